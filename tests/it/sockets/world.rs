//! A proxy and its backends for the time of one test.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use vestibule::server::{self, Running};
use vestibule::{config, tls};

use super::raw::Conn;

/// The longest a test may take: beyond every timeout of the tests, also on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test in a runtime of its own, and not for ever.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") });
}

/// A proxy with one worker, a plain door and a TLS door.
pub struct Proxy {
    running: Option<Running>,
    pub http: SocketAddr,
    pub https: SocketAddr,
    /// The development root that signs the TLS door's certificates, as PEM.
    pub root: String,
    _folder: TempDir,
}

impl Proxy {
    /// `sites` is config text without listeners.
    pub fn start(sites: &str) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "listeners = {{ http = \"127.0.0.1:0\", https = \"127.0.0.1:0\" }}\nserver = {{ workers = 1 }}\n\
             access_log = \"off\"\ndev_ca = {{ dir = \"{}\" }}\n{sites}",
            folder.path().display()
        );
        let loaded = config::parse("test.toml", &text, Path::new("")).unwrap_or_else(|p| panic!("{p}"));
        let root = tls::root_pem(&loaded.config.dev_ca).expect("a development root");
        let bound = server::bind(&loaded.config).expect("ports");
        let address = |tls: bool| {
            let of_kind = |(listener, _): &(usize, SocketAddr)| loaded.config.listeners[*listener].tls == tls;
            bound.addresses().find(of_kind).expect("a door").1
        };
        let (http, https) = (address(false), address(true));
        let running = bound.start(loaded).expect("a proxy");
        Proxy { running: Some(running), http, https, root, _folder: folder }
    }

    /// Stops the proxy as a signal would; whether every request finished within the grace.
    pub async fn stop(mut self, grace: Duration) -> bool {
        let running = self.running.take().expect("running");
        tokio::task::spawn_blocking(move || running.stop(grace)).await.expect("stopping").expect("a runtime")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // In a thread of its own, since the test's runtime may be around this one. Nothing is waited for.
            let _ = std::thread::spawn(move || running.stop(Duration::ZERO)).join();
        }
    }
}

/// How the proxy reaches a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Unix,
}

/// A backend in the test's runtime. It hands each connection, with its number from 1, to a function of the test.
pub struct Backend {
    /// As the config names it.
    pub target: String,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
    _folder: Option<TempDir>,
}

impl Backend {
    pub async fn start<F, S>(kind: Kind, serve: F) -> Backend
    where
        F: Fn(Conn, usize) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let next = move |conn| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::spawn(serve(conn, number));
        };
        match kind {
            Kind::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let target = listener.local_addr().expect("an address").to_string();
                let accepting = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).expect("a socket option");
                        next(Conn::new(stream));
                    }
                });
                Backend { target, connections, accepting, _folder: None }
            }
            Kind::Unix => {
                let folder = tempfile::tempdir().expect("a folder");
                let path = folder.path().join("backend.sock");
                let listener = UnixListener::bind(&path).expect("a socket");
                let target = format!("unix:{}", path.display());
                let accepting = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        next(Conn::new(stream));
                    }
                });
                Backend { target, connections, accepting, _folder: Some(folder) }
            }
        }
    }

    /// A server that answers every request with what it got: see [`echo`].
    pub async fn echo(kind: Kind) -> Backend {
        Backend::start(kind, echo).await
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers each request on one connection: the request line, the framing and the connection's number in fields, and as
/// body the request's own, or for `/size/N` and `/chunked/N` that many bytes.
async fn echo(mut conn: Conn, number: usize) {
    while let Some(request) = conn.request().await {
        let line = request.head.lines().next().unwrap_or_default();
        let path = line.split(' ').nth(1).unwrap_or_default();
        let wanted = |prefix: &str| path.strip_prefix(prefix).and_then(|count| count.parse::<usize>().ok());
        let (body, chunked) = match (wanted("/size/"), wanted("/chunked/")) {
            (Some(count), _) => (pattern(count), false),
            (_, Some(count)) => (pattern(count), true),
            _ => (request.body, false),
        };
        let framing =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Line: {line}\r\nX-Framing: {}\r\nX-Connection: {number}\r\n{framing}\r\n\r\n",
            request.framing
        );
        conn.send(head.as_bytes()).await;
        match line.starts_with("HEAD ") {
            true => {}
            false if chunked => {
                for piece in body.chunks(1000) {
                    conn.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
                }
                conn.send(b"0\r\n\r\n").await;
            }
            false => conn.send(&body).await,
        }
    }
}

/// Bytes that show when some are lost or in another order.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}
