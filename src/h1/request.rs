//! Reading a request head.

use std::mem::MaybeUninit;

use super::MAX_FIELDS;
use super::tokens::{self, Connection};
use crate::error::Why;
use crate::message::{Fields, Framing, Known, Method, RequestHead, Span, Upgrade, Version};

/// The longest method; registered ones have at most 17 bytes.
const MAX_METHOD: usize = 64;

/// The bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the head, start line included.
    pub bytes: usize,
    pub fields: usize,
    /// Bytes of the target.
    pub target: usize,
}

/// What the bytes so far hold.
#[derive(Debug)]
pub enum Parsed<T> {
    /// A whole head and its length in bytes.
    Head(T, usize),
    /// The head goes on beyond these bytes.
    Partial,
}

/// Reads one request head from the front of `input`.
///
/// # Errors
/// The reason the request is refused. The connection cannot be used afterwards: where the next message starts is unknown.
pub fn parse_request(input: &[u8], limits: &Limits) -> Result<Parsed<RequestHead>, Why> {
    // RFC 9112 section 2.2: one empty line before the request line is skipped, as old clients send it after a POST.
    let skipped = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &input[skipped..];

    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let table = &mut table[..limits.fields.min(MAX_FIELDS)];
    let mut request = httparse::Request::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(false);
    let length = match config.parse_request_with_uninit_headers(&mut request, bytes, table) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return partial(bytes, limits),
        Err(error) => return Err(refusal(error)),
    };
    if length > limits.bytes {
        return Err(Why::LimitHeaderBytes);
    }
    let head = &bytes[..length];
    if !tokens::lines_end_with_crlf(head, request.headers) {
        return Err(Why::RequestMalformed);
    }
    // A complete parse has these three.
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Why::RequestMalformed);
    };
    if method.len() > MAX_METHOD {
        return Err(Why::RequestMalformed);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Why::RequestMalformed)?;
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };
    if method == Method::CONNECT {
        return Err(Why::RequestConnect);
    }
    if target.len() > limits.target {
        return Err(Why::LimitUriBytes);
    }

    let span = |part: &[u8]| Span::new(part.as_ptr() as usize - head.as_ptr() as usize, part.len());
    let target_span = span(target.as_bytes());
    let mut fields = Fields::from_raw(head, request.headers.len());
    let mut facts = Facts::default();
    for field in request.headers.iter() {
        let known = fields.push_span(span(field.name.as_bytes()), span(field.value));
        facts.read(known, field.value, &mut fields)?;
    }
    let (target, absolute) = target_form(&method, target.as_bytes(), target_span, &mut fields)?;
    let authority = facts.authority(version, absolute, &mut fields)?;
    let mut request = RequestHead::new(method, version, target, authority, fields);
    facts.apply(&mut request)?;
    Ok(Parsed::Head(request, skipped + length))
}

/// An unfinished head: may it still become a valid one?
fn partial(bytes: &[u8], limits: &Limits) -> Result<Parsed<RequestHead>, Why> {
    // No valid request line is longer, so that no head is refused in part that would be accepted whole.
    let longest = limits.target.saturating_add(MAX_METHOD + "  HTTP/1.1\r".len());
    if bytes.len() > longest && memchr::memchr(b'\n', bytes).is_none() {
        return Err(Why::LimitUriBytes);
    }
    if bytes.len() > limits.bytes {
        return Err(Why::LimitHeaderBytes);
    }
    Ok(Parsed::Partial)
}

fn refusal(error: httparse::Error) -> Why {
    match error {
        httparse::Error::TooManyHeaders => Why::LimitHeaderFields,
        httparse::Error::Version => Why::RequestVersion,
        _ => Why::RequestMalformed,
    }
}

/// The four forms of a target (RFC 9112 section 3.2): the span of path and query, and the authority of an absolute one.
fn target_form(method: &Method, target: &[u8], span: Span, fields: &mut Fields) -> Result<(Span, Option<Span>), Why> {
    if !tokens::is_target(target) {
        return Err(Why::RequestTarget);
    }
    match target {
        [b'/', ..] => Ok((span, None)),
        b"*" if *method == Method::OPTIONS => Ok((span, None)),
        _ => {
            let rest = ["http://", "https://"]
                .iter()
                .find(|scheme| {
                    target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes())
                })
                .map(|scheme| &target[scheme.len()..])
                .ok_or(Why::RequestTarget)?;
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            if !tokens::is_authority(authority) {
                return Err(Why::RequestTarget);
            }
            let authority = fields.store(authority);
            // RFC 9112 section 3.2.1: an empty path is sent on as "/".
            let path = match path {
                [b'/', ..] => fields.store(path),
                query => {
                    let joined = [b"/", query].concat();
                    fields.store(&joined)
                }
            };
            Ok((path, Some(authority)))
        }
    }
}

/// A protocol with its version: two tokens (RFC 9110 section 7.8).
fn is_protocol(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte))
}

/// Tokens of `Upgrade` that are HTTP in another form: never passed on.
const HTTP_TOKENS: &[&str] = &["h2c", "h2", "http", "tls"];

/// The token is `name`, or `name/version`.
fn starts_with_token(token: &[u8], name: &str) -> bool {
    let end = token.iter().position(|b| *b == b'/').unwrap_or(token.len());
    token[..end].eq_ignore_ascii_case(name.as_bytes())
}

/// What the fields of one head say together.
#[derive(Default)]
struct Facts {
    host: usize,
    length: Option<u64>,
    chunked: bool,
    connection: Connection,
    expect: bool,
    upgrades: usize,
    upgrade: Option<Upgrade>,
}

impl Facts {
    fn read(&mut self, known: Known, value: &[u8], fields: &mut Fields) -> Result<(), Why> {
        match known {
            Known::Host => {
                self.host += 1;
                if !tokens::is_authority(value) {
                    return Err(Why::RequestHost);
                }
            }
            Known::ContentLength => {
                // A second one is refused even when equal: one of the two may be seen by somebody else alone.
                let length = tokens::content_length(value).ok_or(Why::RequestFraming)?;
                if self.length.replace(length).is_some() {
                    return Err(Why::RequestFraming);
                }
            }
            Known::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Why::RequestFraming);
                }
                self.chunked = true;
            }
            Known::Connection => self.connection.add(value),
            Known::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Why::RequestExpectation);
                }
                self.expect = true;
            }
            Known::Upgrade => {
                for token in tokens::list(value) {
                    self.upgrades += 1;
                    self.upgrade = match token {
                        _ if token.eq_ignore_ascii_case(b"websocket") => Some(Upgrade::WebSocket),
                        // What follows would be requests that nobody here has read (RFC 7540 section 3.2, RFC 2817).
                        _ if HTTP_TOKENS.iter().any(|http| starts_with_token(token, http)) => None,
                        _ if is_protocol(token) => Some(Upgrade::Other(fields.store(token))),
                        _ => None,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, at most one in 1.0; the authority of an absolute target wins.
    fn authority(&self, version: Version, absolute: Option<Span>, fields: &mut Fields) -> Result<Span, Why> {
        if self.host > 1 || (self.host == 0 && version == Version::Http11) {
            return Err(Why::RequestHost);
        }
        Ok(absolute.or_else(|| fields.span(Known::Host)).unwrap_or_default())
    }

    fn apply(self, head: &mut RequestHead) -> Result<(), Why> {
        head.framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Why::RequestFraming),
            // RFC 9112 section 6.1: Transfer-Encoding in an HTTP/1.0 message is faulty framing.
            (true, None) if head.version == Version::Http10 => return Err(Why::RequestFraming),
            (true, None) => Framing::Chunked,
            (false, Some(0)) | (false, None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        head.keep_alive = match head.version {
            Version::Http11 => !self.connection.close,
            _ => self.connection.keep_alive && !self.connection.close,
        };
        head.nominates = self.connection.nominates;
        head.expect_continue = self.expect && head.version == Version::Http11 && head.framing != Framing::None;
        let asks = self.connection.upgrade && self.upgrades == 1;
        let may = head.version == Version::Http11 && head.framing == Framing::None;
        head.upgrade = self
            .upgrade
            .filter(|upgrade| asks && may && (head.method == Method::GET || *upgrade != Upgrade::WebSocket));
        Ok(())
    }
}
