//! A small client that says exactly what it is told to, one connection at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;

use crate::h1::{Decoder, Parsed, ResponseTo, Step, parse_response};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to close a connection that it does not keep.
const CLOSING: Duration = Duration::from_millis(500);
/// Bytes of an answer.
const LONGEST: usize = 1 << 20;

/// Where to ask, under which name.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub door: SocketAddr,
    pub host: String,
}

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Got {
    /// Interim responses before it.
    pub interim: Vec<u16>,
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: String,
    pub body_bytes: usize,
}

impl Got {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The why-code of an answer that the proxy made itself.
    pub fn why(&self) -> Option<&str> {
        self.field("Proxy-Status")?.split("details=\"").nth(1)?.split('"').next()
    }

    /// Status and why-code.
    pub fn told(&self) -> String {
        match self.why() {
            Some(why) => format!("{} {why}", self.status),
            None => self.status.to_string(),
        }
    }

    /// A fact of what the demonstration's backend received, from its answer in JSON.
    pub fn backend(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A field that the backend received.
    pub fn backend_field(&self, name: &str) -> Option<String> {
        let seen = self.backend();
        let mut pairs = seen.get("fields")?.as_array()?.iter();
        let pair = pairs.find(|pair| pair[0].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)))?;
        pair[1].as_str().map(str::to_string)
    }
}

/// The bytes of a request.
pub(super) fn request(method: &str, host: &str, target: &str, fields: &[(&str, &str)], body: Option<&str>) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = body {
        text +=
            &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    } else {
        text += "\r\n";
    }
    text
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub fn connect(ask: &Ask) -> Result<Client, String> {
        let said = |error: std::io::Error| format!("{} does not accept: {error}", ask.door);
        let stream = TcpStream::connect_timeout(&ask.door, PATIENCE).map_err(said)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        // A small write goes out at once.
        let _ = stream.set_nodelay(true);
        Ok(Client { stream, buffer: BytesMut::new() })
    }

    pub fn send(&mut self, text: &str) -> Result<(), String> {
        self.stream.write_all(text.as_bytes()).map_err(|error| format!("the connection broke: {error}"))
    }

    /// Reads up to the final answer and its body.
    pub fn read(&mut self) -> Result<Got, String> {
        let mut got = Got::default();
        loop {
            if let Some(decoder) = self.head(&mut got)? {
                return self.body(decoder, got);
            }
            got.interim.push(got.status);
        }
    }

    /// Reads an interim answer, or says which final one came instead.
    pub fn read_interim(&mut self) -> Result<u16, String> {
        let mut got = Got::default();
        self.head(&mut got).map(|_| got.status)
    }

    pub fn exchange(&mut self, text: &str) -> Result<Got, String> {
        self.send(text)?;
        self.read()
    }

    /// Whether the server closes now. What it still sends is not ours.
    pub fn is_closed(&mut self) -> bool {
        // A read timeout cannot fail to be set on an open socket; if it does, the read waits longer.
        let _ = self.stream.set_read_timeout(Some(CLOSING));
        let closed = matches!(self.stream.read(&mut [0; 64]), Ok(0));
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        closed
    }

    /// The next head; `None` behind an interim one.
    fn head(&mut self, got: &mut Got) -> Result<Option<Decoder>, String> {
        loop {
            let parsed = parse_response(&self.buffer, ResponseTo { is_head: false });
            match parsed.map_err(|_| "the answer is not HTTP/1.1")? {
                Parsed::Head(head, length) => {
                    drop(self.buffer.split_to(length));
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    got.status = head.status;
                    got.fields = head.fields.iter().map(|field| (text(field.name), text(field.value))).collect();
                    return Ok((head.status >= 200).then(|| Decoder::new(head.framing)));
                }
                Parsed::Partial => self.more()?,
            }
        }
    }

    fn body(&mut self, mut decoder: Decoder, mut got: Got) -> Result<Got, String> {
        let mut body = Vec::new();
        loop {
            match decoder.step(&mut self.buffer).map_err(|_| "the body breaks its chunked coding")? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::NeedMore if !decoder.is_done() => self.more()?,
                Step::End(_) | Step::NeedMore => break,
            }
            if body.len() > LONGEST {
                return Err("the answer is longer than was asked for".into());
            }
        }
        got.body_bytes = body.len();
        got.body = String::from_utf8_lossy(&body).into_owned();
        Ok(got)
    }

    fn more(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 << 10];
        let read = self.stream.read(&mut piece).map_err(|error| format!("the connection broke: {error}"))?;
        if read == 0 {
            return Err("the server closed without an answer".into());
        }
        self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
        Ok(())
    }
}

impl Ask {
    /// One request on a connection of its own.
    pub fn once(&self, text: &str) -> Result<Got, String> {
        Client::connect(self)?.exchange(text)
    }

    /// A GET of a path, on a connection of its own.
    pub fn get(&self, target: &str, fields: &[(&str, &str)]) -> Result<Got, String> {
        self.once(&request("GET", &self.host, target, fields, None))
    }
}
