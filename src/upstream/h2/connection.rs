//! One HTTP/2 connection to a server, and the task that moves its bytes.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};

use crate::error::Why;
use crate::http::batch::Batch;
use crate::http::wire::Wire;
use crate::net::{Deadline, Io, clock};

/// Streams on one connection at most, whatever the server allows.
const MAX_STREAMS: usize = 100;
const STREAM_WINDOW: u32 = 256 << 10;
/// Room for every stream's window: clients that read slowly hold back their own streams, not those of others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// Request bytes buffered per stream before the client is asked to wait.
const SEND_BUFFER: usize = 128 << 10;
/// What the fields of a response may weigh, as on HTTP/1.1.
const MAX_FIELD_BYTES: u32 = 256 << 10;
/// A connection with streams is asked for a sign of life this often, and given up when none comes.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection as its pool sees it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    pub state: Rc<State>,
    /// Where it goes, over TCP.
    pub peer: Option<SocketAddr>,
}

/// What the pool, the streams and the connection's task tell each other.
#[derive(Debug)]
pub(super) struct State {
    pub streams: Cell<usize>,
    /// When the last stream ended.
    pub idle_since: Cell<Instant>,
    /// A response has come: what fails later may be the server closing an idle connection.
    pub answered: Cell<bool>,
    over: Cell<bool>,
    /// Why it is over, where that is more than its end.
    pub lost: Cell<Option<Why>>,
}

impl Connection {
    /// Speaks HTTP/2 on a fresh connection.
    pub async fn open(io: Io) -> Result<Connection, Why> {
        let peer = io.tcp().and_then(|tcp| tcp.peer_addr().ok());
        let batch = Batch::new(Wire::new(io));
        let shaken = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_FIELD_BYTES)
            .handshake(batch.clone())
            .await;
        let (sender, connection) = shaken.map_err(|_| Why::UpstreamClosed)?;
        let state = Rc::new(State {
            streams: Cell::new(0),
            idle_since: Cell::new(clock::now()),
            answered: Cell::new(false),
            over: Cell::new(false),
            lost: Cell::new(None),
        });
        tokio::task::spawn_local(drive(connection, batch, state.clone()));
        Ok(Connection { sender, state, peer })
    }

    /// Streams can be opened: the server has not said goodbye.
    pub fn is_open(&self) -> bool {
        !self.state.over.get() && self.sender().is_some()
    }

    /// Another stream would not have to wait for one to end.
    pub fn has_room(&self) -> bool {
        self.state.streams.get() < MAX_STREAMS.min(self.sender.current_max_send_streams())
    }

    /// A handle to open one stream with; `None` when the connection takes none any more.
    pub fn sender(&self) -> Option<SendRequest<Bytes>> {
        let mut sender = self.sender.clone();
        // A clone waits for nothing, so this asks only whether the connection has failed or is being closed.
        match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Some(sender),
            _ => None,
        }
    }
}

/// Moves the bytes of a connection until it is over.
async fn drive(mut connection: h2::client::Connection<Batch, Bytes>, batch: Batch, state: Rc<State>) {
    let mut alive = Alive::new(connection.ping_pong());
    poll_fn(|cx| {
        match std::pin::Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => return batch.poll_send(cx).map(|_| ()),
            Poll::Ready(Err(error)) => {
                tracing::debug!("HTTP/2 connection to a server: {error}");
                // Of an error the library keeps the kind only; this one is that of TLS, for alerts above all.
                if error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
                    state.lost.set(Some(Why::UpstreamTlsHandshake));
                }
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }
        if let Poll::Ready(Err(error)) = batch.poll_send(cx) {
            // The read side tells the rest: an answer or an alert may be on its way.
            tracing::debug!("writing to a server: {error}");
        }
        alive.poll(cx, state.streams.get() > 0)
    })
    .await;
    state.over.set(true);
}

/// Pings a connection that has streams: a peer that vanished sends nothing, not even an end.
struct Alive {
    pings: Option<PingPong>,
    waiting: bool,
    deadline: Deadline,
}

impl Alive {
    fn new(pings: Option<PingPong>) -> Alive {
        Alive { pings, waiting: false, deadline: Deadline::new(Some(PING_INTERVAL)) }
    }

    /// Ready when the peer is given up.
    fn poll(&mut self, cx: &mut Context<'_>, active: bool) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.waiting && pings.poll_pong(cx).is_ready() {
            self.waiting = false;
            self.deadline.set(Some(PING_INTERVAL));
        }
        while self.deadline.poll(cx).is_ready() {
            if self.waiting {
                tracing::debug!("HTTP/2 connection to a server: no answer to a ping");
                return Poll::Ready(());
            }
            self.waiting = active && pings.send_ping(Ping::opaque()).is_ok();
            self.deadline.set(Some(if self.waiting { PING_TIMEOUT } else { PING_INTERVAL }));
            if self.waiting {
                // The ping goes out when the connection is polled again.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}
