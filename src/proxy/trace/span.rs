//! The spans of one request, in the names of OpenTelemetry's semantic conventions for HTTP.

use std::time::{Duration, SystemTime};

use super::Trace;
use super::protobuf::Message;
use crate::error::Why;
use crate::http::ConnInfo;
use crate::message::{Known, RequestHead, Version};
use crate::proxy::access_log::Times;

/// `SpanKind` of opentelemetry/proto/trace/v1/trace.proto.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// `Status.StatusCode`.
const ERROR: u64 = 2;
/// Fields of `Span`.
const ATTRIBUTES: u64 = 9;
/// The field of `ScopeSpans` a span stands in.
pub(super) const SPANS: u64 = 2;

/// A request that is over.
#[derive(Debug)]
pub struct Span<'a> {
    pub trace: &'a Trace,
    pub head: &'a RequestHead,
    pub conn: &'a ConnInfo,
    pub client_ip: &'a str,
    pub site: Option<&'a str>,
    pub route: Option<&'a str>,
    pub status: u16,
    pub why: Option<Why>,
    pub server: Option<&'a str>,
    pub attempts: u32,
    pub times: Times,
}

/// Encoded spans of one request.
#[derive(Debug)]
pub(super) struct Encoded {
    pub bytes: Vec<u8>,
    pub count: u64,
}

impl Span<'_> {
    /// The span of the request, and that of its way to a server where it took one. The query is left out: it may hold
    /// secrets.
    pub(super) fn encode(&self) -> Encoded {
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start = end.saturating_sub(self.times.total);
        let mut all = Message::default();
        all.message(SPANS, self.request(start, end));
        let Some(server) = self.server else { return Encoded { bytes: all.into_bytes(), count: 1 } };
        all.message(SPANS, self.exchange(server, start, end));
        Encoded { bytes: all.into_bytes(), count: 2 }
    }

    fn request(&self, start: Duration, end: Duration) -> Message {
        let head = self.head;
        let method = head.method.as_str();
        let name = self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let mut span = self.span(self.trace.span, self.trace.parent, &name, SERVER, (start, end));
        let mut text = |key: &str, value: &[u8]| span.text_attribute(ATTRIBUTES, key, value);
        text("http.request.method", method.as_bytes());
        text("url.scheme", if self.conn.tls.is_some() { b"https" } else { b"http" });
        text("url.path", head.path());
        text("server.address", head.host());
        text("client.address", self.client_ip.as_bytes());
        let version: &[u8] = match head.version {
            Version::Http10 => b"1.0",
            Version::Http11 => b"1.1",
            Version::Http2 => b"2",
        };
        text("network.protocol.version", version);
        if let Some(route) = self.route {
            text("http.route", route.as_bytes());
        }
        if let Some(site) = self.site {
            text("vestibule.site", site.as_bytes());
        }
        if let Some(agent) = head.fields.get(Known::UserAgent) {
            text("user_agent.original", agent);
        }
        if let Some(tls) = &self.conn.tls {
            text("tls.protocol.version", tls.version.trim_start_matches("TLS ").as_bytes());
        }
        if let Some(why) = self.why {
            text("error.type", why.code().as_bytes());
        }
        span.number_attribute(ATTRIBUTES, "http.response.status_code", self.status.into());
        self.status(&mut span, 500);
        span
    }

    fn exchange(&self, server: &str, start: Duration, end: Duration) -> Message {
        let method = self.head.method.as_str();
        let wait = self.times.queue.unwrap_or_default();
        let mut span =
            self.span(self.trace.client_span, Some(self.trace.span), method, CLIENT, (start.saturating_add(wait), end));
        span.text_attribute(ATTRIBUTES, "http.request.method", method.as_bytes());
        span.text_attribute(ATTRIBUTES, "server.address", server.as_bytes());
        if self.attempts > 1 {
            span.number_attribute(ATTRIBUTES, "http.request.resend_count", u64::from(self.attempts - 1));
        }
        if let Some(time) = self.times.upstream {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            span.number_attribute(ATTRIBUTES, "vestibule.first_byte_us", micros);
            span.number_attribute(ATTRIBUTES, "http.response.status_code", self.status.into());
        }
        if let Some(why) = self.why {
            span.text_attribute(ATTRIBUTES, "error.type", why.code().as_bytes());
        }
        self.status(&mut span, 400);
        span
    }

    fn span(&self, id: u64, parent: Option<u64>, name: &str, kind: u64, time: (Duration, Duration)) -> Message {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut span = Message::default();
        span.bytes(1, &self.trace.id.to_be_bytes());
        span.bytes(2, &id.to_be_bytes());
        if let Some(parent) = parent {
            span.bytes(4, &parent.to_be_bytes());
        }
        span.bytes(5, name.as_bytes());
        span.number(6, kind);
        span.fixed64(7, nanos(time.0));
        span.fixed64(8, nanos(time.1));
        span
    }

    /// Whether the span is an error: a cut answer, or a status from `from` on (semantic conventions, "Status").
    fn status(&self, span: &mut Message, from: u16) {
        if self.status < from && !(self.status < 400 && self.why.is_some()) {
            return;
        }
        let mut status = Message::default();
        if let Some(why) = self.why {
            status.bytes(2, why.row().cause.as_bytes());
        }
        status.number(3, ERROR);
        span.message(15, status);
    }
}
