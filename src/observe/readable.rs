//! What somebody on the way reads, and what the backend says it saw.

use super::hello::{group_name, version_name};
use super::leg::Leg;
use super::request::Answer;
use crate::net::tap::Way;

/// Bytes of a text that are shown.
const SHOWN: usize = 4 << 10;

/// One thing that can be read on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    pub what: &'static str,
    pub text: String,
}

/// The parts of a conversation that are in clear, in the order of the wire.
pub fn parts(leg: &Leg) -> Vec<Readable> {
    match &leg.talk {
        None => plain(leg),
        Some(_) => sealed(leg),
    }
}

fn plain(leg: &Leg) -> Vec<Readable> {
    let mut parts = Vec::new();
    message(&mut parts, &leg.wire.sent, true);
    message(&mut parts, &leg.wire.received, false);
    parts
}

/// The parts of one HTTP/1.1 message.
fn message(parts: &mut Vec<Readable>, bytes: &[u8], request: bool) {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap_or(bytes.len());
    let (head, body) = (shown(&bytes[..end]), bytes.get(end + 4..).unwrap_or_default());
    for (index, line) in head.split("\r\n").enumerate() {
        let what = match (index, request) {
            (0, true) => "request line",
            (0, false) => "status line",
            _ => field_label(line),
        };
        if index == 0 && line.is_empty() {
            return;
        }
        parts.push(Readable { what, text: line.to_string() });
        if let (0, true, Some(query)) = (index, request, line.split(' ').nth(1).and_then(|t| t.split_once('?'))) {
            parts.push(Readable { what: "query", text: query.1.to_string() });
        }
    }
    if !body.is_empty() {
        parts.push(Readable { what: if request { "body" } else { "answer's body" }, text: shown(body) });
    }
}

/// Fields that tell most about the user have a name of their own.
fn field_label(line: &str) -> &'static str {
    let name = line.split(':').next().unwrap_or_default();
    ["Host", "Cookie", "Referer", "Authorization", "Set-Cookie", "Location", "User-Agent"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))
        .unwrap_or("field")
}

fn sealed(leg: &Leg) -> Vec<Readable> {
    let mut parts = Vec::new();
    let mut add = |what, text: String| parts.push(Readable { what, text });
    let Some(talk) = &leg.talk else { return parts };
    if let Some(hello) = &talk.client_hello {
        let list = |numbers: &[u16], name: fn(u16) -> String| {
            numbers.iter().map(|number| name(*number)).collect::<Vec<_>>().join(", ")
        };
        add("SNI", hello.server_name.clone().unwrap_or_else(|| "none".into()));
        add("ALPN offered", hello.alpn.join(", "));
        add("versions offered", list(&hello.versions, version_name));
        add("groups offered", list(&hello.groups, group_name));
        if hello.resumes {
            add("ticket", "an earlier connection is resumed".into());
        }
    }
    if talk.server_hello.is_some_and(|hello| hello.version < 0x0304)
        && let Some(tls) = &leg.tls
        && talk.of(Way::Received).any(|message| message.name == "Certificate" && !message.sealed)
        && let Some(identity) = super::identity::of(tls, &Default::default())
        && let Some(leaf) = identity.chain.first()
    {
        // TLS 1.2 sends it before anything is encrypted.
        add("certificate", format!("{}, from {}, until {}", leaf.names.join(", "), leaf.issuer, leaf.not_after.date()));
    }
    for (what, records) in [("records sent", &talk.sent), ("records received", &talk.received)] {
        let text: Vec<String> = records.iter().map(|r| format!("{}:{}", kind_name(r.kind), r.len)).collect();
        add(what, text.join(" "));
    }
    parts
}

/// A content type, as it stands in clear on every record.
fn kind_name(kind: u8) -> &'static str {
    match kind {
        20 => "ccs",
        21 => "alert",
        22 => "handshake",
        _ => "data",
    }
}

/// Text for people: control characters but line ends and tabs are dots.
fn shown(bytes: &[u8]) -> String {
    let end = bytes.len().min(SHOWN);
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\r' | '\t') { '.' } else { c }).collect()
}

/// The scheme of the client, as the backend says it saw it: the built-in one, an echo, or a WSGI application's environ.
/// Pairs of where the backend found it and what it found.
pub fn seen_by_backend(answer: &Answer) -> Vec<(&'static str, String)> {
    const PROTO: &str = "X-Forwarded-Proto";
    let is_proto = |name: &str| name.eq_ignore_ascii_case(PROTO);
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        let text = String::from_utf8_lossy(&answer.body);
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| is_proto(name.trim()));
        return found.map(|(_, value)| (PROTO, value.trim().to_string())).into_iter().collect();
    };
    let text = |value: &serde_json::Value| value.as_str().map(str::to_string);
    let mut seen = Vec::new();
    let fields = json.get("fields").or_else(|| json.get("headers"));
    let listed = fields.and_then(|fields| fields.as_array()).into_iter().flatten();
    let mapped = fields.and_then(|fields| fields.as_object()).into_iter().flatten();
    let proto = listed
        .filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?)))
        .chain(mapped.map(|(name, value)| (name.as_str(), value)))
        .find(|(name, _)| is_proto(name))
        .map(|(_, value)| value)
        .or_else(|| json.get("HTTP_X_FORWARDED_PROTO"));
    seen.extend(proto.and_then(text).map(|scheme| (PROTO, scheme)));
    seen.extend(json.get("wsgi.url_scheme").and_then(text).map(|scheme| ("wsgi.url_scheme", scheme)));
    seen
}

/// The environ that a WSGI application says it got (PEP 3333), if the answer is one: keys in order.
pub fn environ(answer: &Answer) -> Option<serde_json::Map<String, serde_json::Value>> {
    match serde_json::from_slice(&answer.body) {
        Ok(serde_json::Value::Object(object)) if object.contains_key("wsgi.url_scheme") => Some(object),
        _ => None,
    }
}

/// What becomes of the parts of the request in the environ: part, key, value.
pub fn in_environ(answer: &Answer) -> Vec<(&'static str, &'static str, String)> {
    const PARTS: [(&str, &str); 14] = [
        ("method", "REQUEST_METHOD"),
        ("path, mount point", "SCRIPT_NAME"),
        ("path, the rest", "PATH_INFO"),
        ("query", "QUERY_STRING"),
        ("version (of the last hop)", "SERVER_PROTOCOL"),
        ("Host", "HTTP_HOST"),
        ("User-Agent", "HTTP_USER_AGENT"),
        ("Cookie", "HTTP_COOKIE"),
        ("Content-Type", "CONTENT_TYPE"),
        ("Content-Length", "CONTENT_LENGTH"),
        ("who connects: the proxy", "REMOTE_ADDR"),
        ("client, by the proxy", "HTTP_X_FORWARDED_FOR"),
        ("its door, by the proxy", "HTTP_X_FORWARDED_PROTO"),
        ("scheme of the last hop", "wsgi.url_scheme"),
    ];
    let Some(environ) = environ(answer) else { return Vec::new() };
    let text =
        |key: &str| environ.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string));
    PARTS.into_iter().filter_map(|(part, key)| Some((part, key, text(key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, version: "HTTP/1.1", fields: vec![], body: body.into(), body_total: 0 }
    }

    #[test]
    fn the_backends_view_is_found_in_json_text_and_environ() {
        let scheme = |body| seen_by_backend(&answer(body));
        let forwarded = vec![("X-Forwarded-Proto", "https".to_string())];
        assert_eq!(scheme(r#"{"fields":[["Host","a"],["X-Forwarded-Proto","https"]]}"#), forwarded);
        assert_eq!(scheme(r#"{"headers":{"x-forwarded-proto":"https"}}"#), forwarded);
        assert_eq!(scheme("GET / HTTP/1.1\nX-Forwarded-Proto: https\n"), forwarded);
        assert_eq!(scheme(r#"{"wsgi.url_scheme":"http"}"#), [("wsgi.url_scheme", "http".to_string())]);
        assert_eq!(scheme("hello"), []);
    }

    #[test]
    fn a_plain_request_is_read_line_by_line_with_its_query_and_body() {
        let mut parts = Vec::new();
        message(&mut parts, b"POST /a?q=1 HTTP/1.1\r\nHost: a\r\nCookie: s=2\r\n\r\nuser=x", true);
        let seen: Vec<_> = parts.iter().map(|p| (p.what, p.text.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("request line", "POST /a?q=1 HTTP/1.1"),
                ("query", "q=1"),
                ("Host", "Host: a"),
                ("Cookie", "Cookie: s=2"),
                ("body", "user=x")
            ]
        );
    }
}
