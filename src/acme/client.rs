//! The HTTP client under the ACME protocol: one connection a request, HTTPS only, everything bounded.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config;
use crate::h1::{Decoder, Parsed, ResponseTo, Step, parse_response};

/// From the name look-up to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: a chain of certificates is the longest.
const MAX_ANSWER: usize = 1 << 20;

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

/// Talks to one ACME server.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
}

/// The server could not be reached, or broke off.
#[derive(Debug)]
pub(super) struct Unreachable(String);

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

impl Client {
    /// Trusts the one root of `acme.ca_root`, or the public ones.
    ///
    /// # Errors
    /// The file of the root cannot be used.
    pub fn new(settings: &config::Acme) -> Result<Client, String> {
        let mut roots = RootCertStore::empty();
        match &settings.ca_root {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some((path, _)) => {
                let said = |why: String| format!("acme.ca_root {}: {why}", path.display());
                for root in CertificateDer::pem_file_iter(path).map_err(|error| said(error.to_string()))? {
                    let root = root.map_err(|error| said(error.to_string()))?;
                    roots.add(root).map_err(|error| said(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(said("it holds no certificate".into()));
                }
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client { tls: Arc::new(tls) })
    }
}

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        let tls = self.tls.clone();
        Box::pin(async move {
            let to = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let failed = |why: String| Error::Other(Box::new(Unreachable(format!("{to}: {why}"))));
            match tokio::time::timeout(TIMEOUT, exchange(tls, request)).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(why)) => Err(failed(why)),
                Err(_) => Err(failed(format!("no answer within {} s", TIMEOUT.as_secs()))),
            }
        })
    }
}

async fn exchange(
    tls: Arc<ClientConfig>,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<http::Response<BodyWrapper<Bytes>>, String> {
    let (parts, body) = request.into_parts();
    let uri = &parts.uri;
    if uri.scheme_str() != Some("https") {
        return Err("the URL is not https (RFC 8555 section 6.1)".into());
    }
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tcp = connect(&bare, uri.port_u16().unwrap_or(443)).await?;
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    let mut stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| format!("TLS: {error}"))?;

    let body = whole(body).await;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\nHost: {authority}\r\n", parts.method);
    head += concat!(
        "User-Agent: vestibule/",
        env!("CARGO_PKG_VERSION"),
        "\r\nAccept-Language: en\r\nConnection: close\r\n"
    );
    if let Some(kind) = parts.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) {
        head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut message = head.into_bytes();
    message.extend_from_slice(&body);
    stream.write_all(&message).await.map_err(|error| error.to_string())?;
    answer(&mut stream, parts.method == http::Method::HEAD).await
}

/// Tries each address of the name once, in the system's order.
async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("the name: {error}"))?;
    let mut last = String::from("the name has no address");
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Small messages: nothing waits for more. A refusal only costs time.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(last)
}

async fn whole(mut body: BodyWrapper<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // The error of such a body is `Infallible`.
        if let Ok(data) = frame.map(http_body::Frame::into_data).unwrap_or_else(|never| match never {}) {
            all.extend_from_slice(&data);
        }
    }
    all
}

async fn answer<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    is_head: bool,
) -> Result<http::Response<BodyWrapper<Bytes>>, String> {
    let malformed = |_| String::from("the answer is not valid HTTP");
    let (mut input, mut received) = (BytesMut::new(), 0);
    let head = loop {
        match parse_response(&input, ResponseTo { is_head }).map_err(malformed)? {
            Parsed::Head(head, length) => {
                drop(input.split_to(length));
                if head.status >= 200 {
                    break head;
                }
            }
            Parsed::Partial if read(stream, &mut input, &mut received).await? => {}
            Parsed::Partial => return Err("the server closed without an answer".into()),
        }
    };
    let mut decoder = Decoder::new(head.framing);
    let mut body = Vec::new();
    loop {
        match decoder.step(&mut input).map_err(malformed)? {
            Step::Data(data) => body.extend_from_slice(&data),
            Step::End(_) => break,
            Step::NeedMore if read(stream, &mut input, &mut received).await? => {}
            Step::NeedMore if head.framing == crate::message::Framing::Close => break,
            Step::NeedMore => return Err("the server closed in the middle of its answer".into()),
        }
    }
    let mut response = http::Response::builder().status(head.status);
    for field in head.fields.iter() {
        response = response.header(field.name, field.value);
    }
    response.body(BodyWrapper::from(body)).map_err(|error| error.to_string())
}

/// Reads more; false at the end of the stream.
async fn read<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
    received: &mut usize,
) -> Result<bool, String> {
    match stream.read_buf(input).await {
        Ok(0) => Ok(false),
        // A server that closes without TLS's own farewell.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.to_string()),
        Ok(count) => {
            *received += count;
            if *received > MAX_ANSWER { Err("the answer is larger than 1 MiB".into()) } else { Ok(true) }
        }
    }
}
