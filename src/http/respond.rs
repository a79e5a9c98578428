//! Answers the proxy makes itself: errors and redirects.

use std::time::SystemTime;

use bytes::Bytes;

use super::body::Body;
use super::wire::Wire;
use super::{ConnInfo, Response};
use crate::error::Why;
use crate::message::{Fields, Known};

/// How an error is told: the client's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A browser that navigates.
    Html,
    /// A program that wants JSON (RFC 9457).
    Problem,
    /// Everybody else: one line.
    Text,
}

impl Format {
    /// Reads what the client asked for. A script (`X-Requested-With: XMLHttpRequest`) gets JSON whatever it accepts.
    pub fn of(fields: &Fields) -> Format {
        if fields.get(Known::XRequestedWith).is_some_and(|v| v.eq_ignore_ascii_case(b"XMLHttpRequest")) {
            return Format::Problem;
        }
        let accept = fields.get(Known::Accept).unwrap_or_default();
        let names = |what: &[u8]| accept.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what));
        if names(b"text/html") {
            Format::Html
        } else if names(b"application/json") || names(b"application/problem+json") {
            Format::Problem
        } else {
            Format::Text
        }
    }
}

/// The type of a page of ours.
pub const HTML: &str = "text/html; charset=utf-8";

/// The reason phrase of a status (RFC 9110 section 15).
pub fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

/// The answer for a cause, in the client's format, with its code in the body and in `Proxy-Status` (RFC 9209).
pub fn error(why: Why, format: Format, request_id: &str) -> Box<Response> {
    let row = why.row();
    let reason = reason(row.status);
    let (content_type, body) = match format {
        Format::Html => (HTML, page(row.status, reason, row.cause, row.code, request_id)),
        Format::Problem => (
            "application/problem+json",
            format!(
                "{{\"title\":\"{reason}\",\"status\":{},\"detail\":\"{}\",\"code\":\"{}\",\"request_id\":\"{request_id}\"}}\n",
                row.status, row.cause, row.code
            ),
        ),
        Format::Text => (
            "text/plain; charset=utf-8",
            format!("{} {reason}: {} [{}] request {request_id}\n", row.status, row.cause, row.code),
        ),
    };
    let mut response = own(row.status, content_type, body.into());
    response.fields.push_parts(
        b"Proxy-Status",
        &[b"vestibule; error=", row.proxy_status.as_bytes(), b"; details=\"", row.code.as_bytes(), b"\""],
    );
    response.fields.push(b"Cache-Control", b"no-store");
    if matches!(why, Why::UpstreamQueueTimeout | Why::UpstreamQueueFull | Why::BufferFull) {
        // Busy, not broken: the next moment may have room (RFC 9110 section 10.2.3).
        response.fields.push(b"Retry-After", b"1");
    }
    response
}

/// A redirect. 307 and 308 keep the method, 301 to 303 do not (RFC 9110 section 15.4).
pub fn redirect(status: u16, location: &[u8]) -> Box<Response> {
    let mut response = own(status, "text/plain; charset=utf-8", Bytes::new());
    response.fields.push(b"Location", location);
    response
}

/// An answer with a body of ours.
pub fn own(status: u16, content_type: &str, body: Bytes) -> Box<Response> {
    let mut response = Response::new(status);
    response.fields.push(b"Date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    if !body.is_empty() {
        response.fields.push(b"Content-Type", content_type.as_bytes());
        response.body = Body::Full(body);
    }
    response
}

/// Answers a TLS handshake on the plain door: the alert `protocol_version` (RFC 8446 section 6.2), and a log line.
pub(super) fn tls_on_plain(wire: &mut Wire, conn: &ConnInfo) {
    wire.input.clear();
    wire.output().extend_from_slice(&[0x15, 3, 1, 0, 2, 2, 70]);
    tracing::warn!(
        "TLS handshake on the plain port {} from {}: the client used https:// with the http port",
        conn.local.port(),
        conn.peer_ip
    );
}

/// The page a browser shows. All of its parts are ours: nothing of the request is in it.
fn page(status: u16, reason: &str, cause: &str, code: &str, request_id: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{status} {reason}</title>\n\
         <style>body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem;\
         color:#1c2330;background:#fff}}h1{{font-size:1.5rem;margin:0 0 .5rem}}code{{font-size:.95rem}}\
         p{{margin:.4rem 0}}small{{color:#5c6675}}\
         @media(prefers-color-scheme:dark){{body{{color:#e6e9ee;background:#14181f}}small{{color:#98a2b1}}}}</style>\n\
         <h1>{status} {reason}</h1>\n<p>{cause}</p>\n<p><small><code>{code}</code> &middot; request <code>{request_id}</code>\
         </small></p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::TABLE;

    fn accept(value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(b"Accept", value.as_bytes());
        fields
    }

    #[test]
    fn the_client_chooses_how_an_error_is_told() {
        assert_eq!(Format::of(&accept("text/html,application/xhtml+xml;q=0.9")), Format::Html);
        assert_eq!(Format::of(&accept("application/json")), Format::Problem);
        assert_eq!(Format::of(&accept("*/*")), Format::Text);
        assert_eq!(Format::of(&Fields::default()), Format::Text);
        let mut script = accept("text/html");
        script.push(b"X-Requested-With", b"XMLHttpRequest");
        assert_eq!(Format::of(&script), Format::Problem);
    }

    #[test]
    fn every_error_carries_its_code_in_every_format() {
        for row in TABLE {
            for format in [Format::Html, Format::Problem, Format::Text] {
                let response = error(row.why, format, "r1");
                let Body::Full(body) = &response.body else { panic!("no body") };
                let text = std::str::from_utf8(body).unwrap();
                assert!(text.contains(row.code) && text.contains("r1"), "{text}");
                if format == Format::Problem {
                    let json: serde_json::Value = serde_json::from_str(text).unwrap();
                    assert_eq!(json["status"], row.status);
                }
                let status = response.fields.get(Known::ProxyStatus).unwrap();
                assert!(std::str::from_utf8(status).unwrap().contains(row.proxy_status));
            }
        }
    }
}
