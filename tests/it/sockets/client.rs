//! hyper as the client, behind each door.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::raw::Stream;
use super::world::Proxy;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Plain,
    Tls,
    Http2,
}

pub const DOORS: [Door; 3] = [Door::Plain, Door::Tls, Door::Http2];

/// One connection to the proxy.
pub struct Client {
    sender: Sender,
    host: String,
    door: Door,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    /// What came of the body.
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// The body ended as it should.
    pub whole: bool,
}

impl Answer {
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-")
    }

    pub fn why(&self) -> &str {
        self.field("proxy-status").split('"').nth(1).unwrap_or("-")
    }
}

impl Client {
    pub async fn open(proxy: &Proxy, door: Door, host: &str) -> Client {
        let sender = match door {
            Door::Plain => {
                let tcp = TcpStream::connect(proxy.http).await.expect("a connection");
                let (sender, conn) = http1::handshake(TokioIo::new(tcp)).await.expect("HTTP/1.1");
                tokio::spawn(conn);
                Sender::Http1(sender)
            }
            Door::Tls => {
                let tls = tls(proxy.https, &proxy.root, host, b"http/1.1").await;
                let (sender, conn) = http1::handshake(TokioIo::new(tls)).await.expect("HTTP/1.1");
                tokio::spawn(conn);
                Sender::Http1(sender)
            }
            Door::Http2 => {
                let tls = tls(proxy.https, &proxy.root, host, b"h2").await;
                let built = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await;
                let (sender, conn) = built.expect("HTTP/2");
                tokio::spawn(conn);
                Sender::Http2(sender)
            }
        };
        Client { sender, host: host.into(), door }
    }

    /// A second hand on an HTTP/2 connection.
    pub fn another_stream(&self) -> Client {
        match &self.sender {
            Sender::Http2(sender) => {
                Client { sender: Sender::Http2(sender.clone()), host: self.host.clone(), door: self.door }
            }
            Sender::Http1(_) => panic!("HTTP/1.1 has no streams"),
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], empty()).await
    }

    pub async fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: Body) -> Answer {
        self.try_ask(method, path, fields, body).await.expect("a response")
    }

    /// As [`Client::ask`] where the proxy may give up before its head has left.
    pub async fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> hyper::Result<Answer> {
        let mut request = Request::builder().method(method);
        request = match self.door {
            Door::Http2 => request.uri(format!("https://{}{path}", self.host)),
            _ => request.uri(path).header("Host", &self.host),
        };
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.expect("a connection that is still open");
                sender.send_request(request).await
            }
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        Ok(collect(response?).await)
    }
}

async fn collect(response: Response<Incoming>) -> Answer {
    let (parts, mut incoming) = response.into_parts();
    let mut answer =
        Answer { status: parts.status.as_u16(), fields: parts.headers, body: Vec::new(), trailers: None, whole: true };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => answer.body.extend_from_slice(&data),
            Ok(Err(frame)) => answer.trailers = frame.into_trailers().ok(),
            Err(_) => {
                answer.whole = false;
                break;
            }
        }
    }
    answer
}

/// The body of a request.
pub struct Body {
    pieces: VecDeque<Bytes>,
    /// Its length is said beforehand.
    known: bool,
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.known && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        if self.known { SizeHint::with_exact(length) } else { SizeHint::default() }
    }
}

pub fn empty() -> Body {
    Body { pieces: VecDeque::new(), known: true }
}

/// A body whose length is known.
pub fn whole(bytes: Vec<u8>) -> Body {
    Body { pieces: [Bytes::from(bytes)].into(), known: true }
}

/// A body in pieces whose length is not said.
pub fn pieces(bytes: &[u8], size: usize) -> Body {
    Body { pieces: bytes.chunks(size).map(Bytes::copy_from_slice).collect(), known: false }
}

/// A TLS connection that trusts the proxy's development root and nothing else.
pub async fn tls(address: SocketAddr, root: &str, host: &str, protocol: &[u8]) -> impl Stream + 'static {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a root")).expect("a root");
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(host.to_string()).expect("a name");
    let tcp = TcpStream::connect(address).await.expect("a connection");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a TLS connection");
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
    tls
}
