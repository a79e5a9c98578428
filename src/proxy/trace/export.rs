//! Sends spans to a collector: OTLP over HTTP, from a thread of its own with a bounded queue. A collector that is slow or
//! away costs spans, which are counted, and no request any time.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::protobuf::Message;
use super::span::{Encoded, SPANS};
use crate::config::Collector;
use crate::h1::{Parsed, ResponseTo, parse_response};

/// Requests whose spans may wait.
const QUEUE: usize = 4096;
/// Requests whose spans go out together.
const BATCH: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_millis(500);
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 << 10;
/// How long the end of the process waits for the last spans.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How often a loss is said.
const SAY: Duration = Duration::from_secs(10);

/// The workers' side.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    spans: SyncSender<Order>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Order {
    Send(Encoded),
    Stop,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
}

/// What has become of the spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    pub sent: u64,
    pub lost: u64,
    pub waiting: u64,
}

/// The control side.
#[derive(Debug)]
pub struct Exporter {
    spans: SyncSender<Order>,
    thread: JoinHandle<()>,
}

pub(super) fn start(collector: Collector) -> io::Result<(Queue, Exporter)> {
    let (spans, orders) = sync_channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let thread = {
        let counts = counts.clone();
        std::thread::Builder::new().name("otlp".into()).spawn(move || run(&collector, &orders, &counts))?
    };
    Ok((Queue { spans: spans.clone(), counts }, Exporter { spans, thread }))
}

impl Queue {
    pub fn send(&self, span: Encoded) {
        let count = span.count;
        self.counts.waiting.fetch_add(count, Ordering::Relaxed);
        if self.spans.try_send(Order::Send(span)).is_err() {
            self.counts.waiting.fetch_sub(count, Ordering::Relaxed);
            self.counts.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub fn stats(&self) -> Stats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats { sent: read(&self.counts.sent), lost: read(&self.counts.lost), waiting: read(&self.counts.waiting) }
    }
}

impl Exporter {
    /// Sends what is queued and ends; a collector that does not take it is given up after [`LAST_WAIT`].
    pub fn stop(self) {
        if self.spans.try_send(Order::Stop).is_ok() {
            let until = Instant::now() + LAST_WAIT;
            while !self.thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
}

fn run(collector: &Collector, orders: &Receiver<Order>, counts: &Counts) {
    let mut said: Option<Instant> = None;
    let mut going = true;
    while going {
        let mut spans = Message::default().into_bytes();
        let (mut requests, mut count) = (0, 0);
        let mut until: Option<Instant> = None;
        while going && requests < BATCH {
            let order = match until {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => orders.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(Order::Send(span)) => {
                    until.get_or_insert_with(|| Instant::now() + GATHER);
                    spans.extend_from_slice(&span.bytes);
                    (requests, count) = (requests + 1, count + span.count);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => going = false,
            }
        }
        if count == 0 {
            continue;
        }
        let body = request(&spans);
        // Once more over a new connection: a collector that restarts is away for a moment.
        let outcome = post(collector, &body).or_else(|error| {
            if !going {
                return Err(error);
            }
            std::thread::sleep(GATHER);
            post(collector, &body)
        });
        counts.waiting.fetch_sub(count, Ordering::Relaxed);
        match outcome {
            Ok(()) => drop(counts.sent.fetch_add(count, Ordering::Relaxed)),
            Err(error) => {
                counts.lost.fetch_add(count, Ordering::Relaxed);
                let now = Instant::now();
                if said.is_none_or(|said| now.duration_since(said) >= SAY) {
                    said = Some(now);
                    let Collector { host, port, path } = collector;
                    tracing::warn!("tracing: {count} spans lost, the collector {host}:{port}{path}: {error}");
                }
            }
        }
    }
}

/// An `ExportTraceServiceRequest` around encoded spans.
fn request(spans: &[u8]) -> Vec<u8> {
    let mut scope = Message::default();
    scope.bytes(1, b"vestibule");
    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut of_scope = Message::default();
    of_scope.message(1, scope);
    let mut of_scope = of_scope.into_bytes();
    of_scope.extend_from_slice(spans);
    let mut resource = Message::default();
    resource.text_attribute(1, "service.name", b"vestibule");
    resource.text_attribute(1, "service.version", env!("CARGO_PKG_VERSION").as_bytes());
    let mut of_resource = Message::default();
    of_resource.message(1, resource);
    of_resource.bytes(SPANS, &of_scope);
    let mut request = Message::default();
    request.message(1, of_resource);
    request.into_bytes()
}

fn post(collector: &Collector, body: &[u8]) -> Result<(), String> {
    let Collector { host, port, path } = collector;
    let mut stream = connect(host, *port)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/x-protobuf\r\n\
         Content-Length: {}\r\nUser-Agent: vestibule/{}\r\nConnection: close\r\n\r\n",
        body.len(),
        env!("CARGO_PKG_VERSION"),
    );
    let failed = |error: io::Error| error.to_string();
    stream.set_write_timeout(Some(ANSWER)).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(failed)?;
    stream.write_all(head.as_bytes()).map_err(failed)?;
    stream.write_all(body).map_err(failed)?;
    let (mut input, mut piece) = (bytes::BytesMut::new(), [0; 2048]);
    loop {
        match stream.read(&mut piece).map_err(failed)? {
            0 => return Err("it closed without an answer".into()),
            count => input.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
        match parse_response(&input, ResponseTo { is_head: false }) {
            Ok(Parsed::Head(head, _)) if (200..300).contains(&head.status) => return Ok(()),
            Ok(Parsed::Head(head, _)) => return Err(format!("it answered {}", head.status)),
            Ok(Parsed::Partial) if input.len() < MAX_HEAD => {}
            Ok(Parsed::Partial) | Err(_) => return Err("its answer is not valid HTTP".into()),
        }
    }
}

fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut last = String::from("the name has no address");
    for address in (host, port).to_socket_addrs().map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}
