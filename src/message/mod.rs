//! Requests and responses in one representation for every protocol: heads as spans over one buffer.
//!
//! HTTP/1.1 is read into it without a copy per field; HTTP/2 is converted at its edge. Everything between (routing,
//! filters, forwarding, logging) sees only these types.

mod fields;
mod form;
mod known;
mod language;
mod path;

pub use fields::{Field, Fields, Span};
pub use form::form_text;
pub use http::Method;
pub use known::{Known, KnownSet};
pub use language::liking;
pub use path::normalize;

/// The protocol a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

/// How a body ends on an HTTP/1.1 connection (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Content-Length.
    Length(u64),
    Chunked,
    /// The body of a response that ends with its connection.
    Close,
}

/// A request head, checked: the authority is known, the target is valid, the framing is clear.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    /// Path and query as the client sent them, octet by octet (`*` for an OPTIONS about the server).
    target: Span,
    /// Host and port as the client sent them.
    authority: Span,
    pub fields: Fields,
    pub framing: Framing,
    /// The client asked to keep the connection (HTTP/1.x).
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
    /// `Connection: upgrade` with exactly one token in `Upgrade`, and no body.
    pub upgrade: Option<Upgrade>,
    /// `Connection` names fields that must not be passed on.
    pub nominates: bool,
    /// The client takes trailers (`TE: trailers`), and so a server is told.
    pub takes_trailers: bool,
}

/// A protocol a client may switch to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    WebSocket,
    /// Another one, never HTTP: the token as the client sent it.
    Other(Span),
}

impl RequestHead {
    /// A head around fields whose buffer holds target and authority. The rest has the values of a plain HTTP/1.1 GET
    /// without a body.
    pub fn new(method: Method, version: Version, target: Span, authority: Span, fields: Fields) -> RequestHead {
        RequestHead {
            method,
            version,
            target,
            authority,
            fields,
            framing: Framing::None,
            keep_alive: true,
            expect_continue: false,
            upgrade: None,
            nominates: false,
            takes_trailers: false,
        }
    }

    pub fn target(&self) -> &[u8] {
        self.fields.bytes(self.target)
    }

    /// The target up to the first `?`.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        match target.iter().position(|b| *b == b'?') {
            Some(end) => &target[..end],
            None => target,
        }
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        target.iter().position(|b| *b == b'?').map(|at| &target[at + 1..])
    }

    /// `host` or `host:port`, not lower-cased.
    pub fn authority(&self) -> &[u8] {
        self.fields.bytes(self.authority)
    }

    /// The protocol the client asks to switch to, as it names it.
    pub fn upgrade_token(&self) -> Option<&[u8]> {
        match self.upgrade? {
            Upgrade::WebSocket => Some(b"websocket"),
            Upgrade::Other(token) => Some(self.fields.bytes(token)),
        }
    }

    /// Adds a field whose value is the authority as the client sent it, as [`Fields::push_known`].
    #[inline]
    pub fn push_authority<const N: usize>(&mut self, known: Known, line: &'static [u8; N]) {
        self.fields.push_known_copy(known, line, self.authority);
    }

    /// The authority without its port and without a trailing dot, not lower-cased; brackets of an IPv6 address stay.
    pub fn host(&self) -> &[u8] {
        let authority = self.authority();
        let end = match authority.first() {
            Some(b'[') => authority.iter().position(|b| *b == b']').map_or(authority.len(), |at| at + 1),
            _ => authority.iter().position(|b| *b == b':').unwrap_or(authority.len()),
        };
        let host = &authority[..end];
        host.strip_suffix(b".").unwrap_or(host)
    }

    /// The port the client wrote in the authority.
    pub fn port(&self) -> Option<&[u8]> {
        let authority = self.authority();
        let at = authority.iter().rposition(|b| *b == b':')?;
        if authority[at..].contains(&b']') { None } else { Some(&authority[at + 1..]) }
    }

    /// May be sent twice without doing its work twice (RFC 9110 section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        ) || self.fields.has(Known::IdempotencyKey)
    }
}

/// A response head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: u16,
    pub version: Version,
    pub fields: Fields,
    pub framing: Framing,
    /// The peer keeps the connection after this message.
    pub keep_alive: bool,
    /// `Connection` names fields that must not be passed on.
    pub nominates: bool,
}
