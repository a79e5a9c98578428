//! A connection read and written byte by byte, for either side.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Conn {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
}

/// A message as its bytes say: head without its empty line, and the body, decoded.
#[derive(Debug)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
    /// `none`, `length` or `chunked`.
    pub framing: &'static str,
}

impl Conn {
    pub fn new(stream: impl Stream + 'static) -> Conn {
        Conn { stream: Box::new(stream), input: Vec::new() }
    }

    pub async fn connect(address: SocketAddr) -> Conn {
        Conn::new(TcpStream::connect(address).await.expect("a connection"))
    }

    /// Sends bytes; a peer that is gone is found out by reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Reads more; false at the end of the connection.
    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.input).await, Ok(1..))
    }

    /// The next request; `None` when the peer closed or sent none.
    pub async fn request(&mut self) -> Option<Message> {
        self.message(false).await
    }

    /// The next response; `None` when the peer closed.
    pub async fn response(&mut self) -> Option<Message> {
        self.message(true).await
    }

    /// A message head.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 4);
                return Some(head);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn message(&mut self, until_close: bool) -> Option<Message> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let (framing, body) = if lower.contains("\r\ntransfer-encoding: chunked") {
            ("chunked", self.chunks().await?)
        } else if let Some(length) = length {
            ("length", self.take(length).await?)
        } else if until_close {
            ("none", self.rest().await)
        } else {
            ("none", Vec::new())
        };
        Some(Message { head, body, framing })
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.input.len() < count {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.input.drain(..count).collect())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 2);
                return Some(line);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line().await?, 16).ok()?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Some(body);
            }
            body.extend(self.take(size).await?);
            self.take(2).await?;
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.input)
    }

    /// Waits until the peer closes, whatever it still sends.
    pub async fn closed(&mut self) {
        self.rest().await;
    }
}

impl Message {
    /// The value of a field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The why-code of an answer that the proxy made.
    pub fn why(&self) -> &str {
        self.field("Proxy-Status").and_then(|value| value.split('"').nth(1)).unwrap_or("-")
    }
}
