//! Requests as HTTP/2 brings them, made ours.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::RecvStream;
use h2::ext::Protocol;
use http::header::HeaderValue;

use crate::error::Why;
use crate::h1;
use crate::http::body::{Body, Frame, NextFrame, Pace, Source};
use crate::http::{Settings, websocket};
use crate::message::{Fields, Framing, Known, Method, RequestHead, Upgrade, Version};
use crate::net::{Deadline, clock};

/// The body of a request, if it has one.
pub(super) async fn receive(
    mut head: RequestHead,
    incoming: RecvStream,
    deadline: &Rc<Deadline>,
    settings: &Settings,
) -> Result<(RequestHead, Body), Why> {
    let idle = settings.timeouts.request_body_idle;
    if head.framing == Framing::None {
        return Ok((head, Body::Empty));
    }
    let length = match head.framing {
        Framing::Length(length) => Some(length),
        _ => None,
    };
    let deadline = deadline.clone();
    let receive = Receive { incoming, length, pace: Pace::default(), deadline, idle, waiting: false };
    let mut body = Body::Stream(Box::new(receive));
    if head.framing == Framing::Length(0) {
        // The promise of no body is checked before anything is sent on: the server would have the whole request at once.
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            match frame? {
                Frame::Data(data) if !data.is_empty() => return Err(Why::RequestFraming),
                _ => {}
            }
        }
        head.framing = Framing::None;
    }
    Ok((head, body))
}

/// An HTTP/2 head in our representation. The library has checked pseudo-fields, names and values, and refuses
/// connection-specific fields (RFC 9113 section 8.2.2).
///
/// A CONNECT for a WebSocket (RFC 8441) becomes what a backend understands: a GET that asks for the upgrade.
pub(super) fn head(parts: http::request::Parts, ends: bool, settings: &Settings) -> Result<RequestHead, Why> {
    let limits = &settings.limits;
    let upgrade = match (&parts.method, parts.extensions.get::<Protocol>()) {
        (&Method::CONNECT, Some(protocol)) if protocol.as_str() == "websocket" => Some(Upgrade::WebSocket),
        (&Method::CONNECT, _) => return Err(Why::RequestConnect),
        _ => None,
    };
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err(Why::RequestTarget);
    }
    if parts.headers.len() > limits.header_fields {
        return Err(Why::LimitHeaderFields);
    }
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => "/",
    };
    // RFC 9113 section 10.5.1: a field counts 32 bytes more than its name and value. Pseudo-fields count, and so does each
    // crumb of a cookie.
    let pseudo = [":method", ":scheme", ":authority", ":path"].iter().map(|name| name.len() + 32).sum::<usize>()
        + [parts.method.as_str().len(), parts.uri.scheme_str().map_or(0, str::len), target.len()].iter().sum::<usize>()
        + parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let bytes = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>();
    if pseudo + bytes > limits.header_bytes {
        return Err(Why::LimitHeaderBytes);
    }
    if target.len() > limits.uri_bytes {
        return Err(Why::LimitUriBytes);
    }
    if !h1::is_target(target.as_bytes())
        || !(target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS))
    {
        return Err(Why::RequestTarget);
    }
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Why::RequestHost);
    }
    let authority = match (parts.uri.authority(), host) {
        // RFC 9113 section 8.3.1: a Host that differs from :authority makes the request malformed.
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            return Err(Why::RequestHost);
        }
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host,
        (None, None) => return Err(Why::RequestHost),
    };
    if !h1::is_authority(authority) {
        return Err(Why::RequestHost);
    }

    let mut fields = Fields::with_capacity(bytes + target.len() + 256, parts.headers.len() + 8);
    let target = fields.store(target.as_bytes());
    fields.push(b"host", authority);
    let authority = fields.span(Known::Host).unwrap_or_default();
    let mut length = None;
    for (name, value) in &parts.headers {
        if *name == http::header::HOST || *name == http::header::COOKIE {
            continue;
        }
        if *name == http::header::CONTENT_LENGTH {
            let value = h1::content_length(value.as_bytes()).ok_or(Why::RequestFraming)?;
            if length.replace(value).is_some() {
                return Err(Why::RequestFraming);
            }
        }
        if *name == http::header::EXPECT {
            // There is nothing to wait for on HTTP/2: the window holds the body back.
            continue;
        }
        if upgrade.is_some() && name == "sec-websocket-key" {
            // RFC 8441 section 5: the key is no part of this handshake; ours goes to the backend.
            continue;
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    // RFC 9113 section 8.2.3: crumbs are joined before they leave HTTP/2.
    let mut crumbs = parts.headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).peekable();
    if crumbs.peek().is_some() {
        let joined = crumbs.collect::<Vec<_>>().join(&b"; "[..]);
        fields.push(b"cookie", &joined);
    }
    if upgrade.is_some() {
        if ends || length.is_some() {
            // A tunnel has no length, and one that has ended says nothing.
            return Err(Why::RequestFraming);
        }
        fields.push(b"Sec-WebSocket-Key", websocket::key().as_bytes());
        let mut head = RequestHead::new(Method::GET, Version::Http2, target, authority, fields);
        head.upgrade = upgrade;
        return Ok(head);
    }
    let mut head = RequestHead::new(parts.method, Version::Http2, target, authority, fields);
    head.framing = match (ends, length) {
        (true, None | Some(0)) => Framing::None,
        (true, Some(_)) => return Err(Why::RequestFraming),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    Ok(head)
}

/// A request body of one stream; the window is opened as it is read.
struct Receive {
    incoming: RecvStream,
    /// Bytes still to come, from Content-Length. The library holds the DATA frames to it.
    length: Option<u64>,
    pace: Pace,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    /// The last poll found nothing: the deadline is the client's. Between two pieces others may have moved it.
    waiting: bool,
}

impl Receive {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Some(data) = ready!(self.incoming.poll_data(cx)) {
            let Ok(data) = data else { return Poll::Ready(Some(Err(Why::RequestCut))) };
            // What was lent is given back when the piece goes on: the window follows the server's pace.
            if self.incoming.flow_control().release_capacity(data.len()).is_err() {
                return Poll::Ready(Some(Err(Why::RequestCut)));
            }
            self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
            let fast = self.pace.receive(data.len(), clock::now());
            return Poll::Ready(Some(if fast { Ok(Frame::Data(data)) } else { Err(Why::TimeoutRequestBody) }));
        }
        Poll::Ready(match ready!(self.incoming.poll_trailers(cx)) {
            Ok(None) => None,
            Ok(Some(map)) => {
                let mut fields = Fields::default();
                for (name, value) in &map {
                    if Known::classify(name.as_str().as_bytes()) == Known::Other {
                        fields.push(name.as_str().as_bytes(), value.as_bytes());
                    }
                }
                Some(Ok(Frame::Trailers(fields)))
            }
            Err(_) => Some(Err(Why::RequestCut)),
        })
    }
}

impl Source for Receive {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Poll::Ready(frame) = self.poll(cx) {
            self.waiting = false;
            return Poll::Ready(frame);
        }
        if !std::mem::replace(&mut self.waiting, true) {
            self.deadline.set(self.idle);
            self.pace.wait(clock::now());
        }
        self.deadline.poll(cx).map(|()| Some(Err(Why::TimeoutRequestBody)))
    }

    fn set_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}
