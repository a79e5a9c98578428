//! What is sent, through which doors, and what came back.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::Method;

/// The ways to send the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Plain,
    Tls13,
    Resumed,
    Tls12,
    Http2,
}

impl Column {
    pub const ALL: [Column; 5] = [Column::Plain, Column::Tls13, Column::Resumed, Column::Tls12, Column::Http2];

    /// The name in `--json`, stable.
    pub fn id(self) -> &'static str {
        match self {
            Column::Plain => "plain",
            Column::Tls13 => "tls13",
            Column::Resumed => "tls13_resumed",
            Column::Tls12 => "tls12",
            Column::Http2 => "http2",
        }
    }

    /// The name in a heading.
    pub fn title(self) -> &'static str {
        match self {
            Column::Plain => "plain",
            Column::Tls13 => "TLS 1.3",
            Column::Resumed => "resumed",
            Column::Tls12 => "TLS 1.2",
            Column::Http2 => "HTTP/2",
        }
    }
}

/// Where the two doors are.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    pub http: SocketAddr,
    pub https: SocketAddr,
}

/// The request that every column sends.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: Method,
    /// The name in the URL, without a port.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Everything but Host and Content-Length.
    pub fields: Vec<(String, String)>,
    pub body: Bytes,
}

impl Request {
    /// Host and port as the client would write them.
    pub fn authority(&self, door: SocketAddr, tls: bool) -> String {
        let usual = if tls { 443 } else { 80 };
        if door.port() == usual { self.host.clone() } else { format!("{}:{}", self.host, door.port()) }
    }

    /// The request has a Content-Length: there is a body, or one is expected of the method (RFC 9110 8.6).
    fn states_length(&self) -> bool {
        !self.body.is_empty() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }

    pub(super) fn to_h1(&self, authority: &str) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: {authority}\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            out += &format!("{name}: {value}\r\n");
        }
        if self.states_length() {
            out += &format!("Content-Length: {}\r\n", self.body.len());
        }
        out += "\r\n";
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.body);
        out
    }

    /// The head; fields of a connection have no place in it (RFC 9113 8.2.2).
    pub(super) fn to_h2(&self, authority: &str) -> Result<http::Request<()>, String> {
        let mut request =
            http::Request::builder().method(self.method.clone()).uri(format!("https://{authority}{}", self.target));
        for (name, value) in &self.fields {
            let name = name.to_ascii_lowercase();
            if matches!(name.as_str(), "keep-alive" | "proxy-connection") || name == "te" && value != "trailers" {
                continue;
            }
            request = request.header(name, value);
        }
        if self.states_length() {
            request = request.header(http::header::CONTENT_LENGTH, self.body.len());
        }
        request.body(()).map_err(|error| error.to_string())
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub version: &'static str,
    pub fields: Vec<(String, String)>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    pub body_total: u64,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
