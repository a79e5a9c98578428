//! One HTTP/2 connection (RFC 9113): the `h2` library speaks the protocol, this room converts at its edge.
//!
//! `serve` runs the connection; every stream is a task beside it (`stream`). `frames` and `guard` bound what a client may
//! send, `batch` gathers what goes out.

mod block;
mod frames;
mod guard;
mod guarded;
mod inbound;
mod outbound;
mod stream;
mod streams;
mod tunnel;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::Connection;
use h2::{Ping, Reason};

use self::guarded::Guarded;
use self::streams::Streams;
use super::wire::Wire;
use super::{ConnInfo, Handler, Shared};
use crate::net::Deadline;

/// Streams a client may have open at once.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Response bytes buffered per stream before the body is asked to wait.
const SEND_BUFFER: usize = 128 << 10;
/// A silent client is asked for a sign of life after this, and given up [`PONG_WAIT`] later.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PONG_WAIT: Duration = Duration::from_secs(20);
/// How long an idle client may take to close after a GOAWAY.
const GOAWAY_WAIT: Duration = Duration::from_millis(500);
/// The same where nobody waits for this process to end.
const GOAWAY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection is read after its last frame.
const LINGER: Duration = Duration::from_secs(1);

pub(super) async fn serve<H: Handler>(wire: Wire, info: Rc<ConnInfo>, shared: &Rc<Shared<H>>) {
    let batch = Guarded::new(wire);
    if let Some(connection) = handshake(&batch, shared).await {
        run(connection, &batch, info, shared).await;
    }
    let linger = Deadline::new(Some(if shared.connections.is_draining() { GOAWAY_WAIT } else { LINGER }));
    poll_fn(|cx| match batch.poll_close(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => linger.poll(cx),
    })
    .await;
}

/// Exchanges prefaces (RFC 9113 section 3.4); `None` when the client sent another one, or none in time.
async fn handshake<H: Handler>(batch: &Guarded, shared: &Shared<H>) -> Option<Connection<Guarded, Bytes>> {
    let settings = &shared.settings;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        // The library answers larger heads itself, without page and log; up to here the answer is ours.
        .max_header_list_size(u32::try_from(settings.limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(guard::MAX_RESETS)
        .max_local_error_reset_streams(Some(guard::MAX_RESETS))
        .enable_connect_protocol();
    let mut handshake = pin!(builder.handshake::<_, Bytes>(batch.clone()));
    let deadline = Deadline::new(settings.timeouts.request_header);
    poll_fn(|cx| {
        let connection = match handshake.as_mut().poll(cx) {
            Poll::Ready(Ok(connection)) => Poll::Ready(Some(connection)),
            Poll::Ready(Err(error)) => {
                if error.reason() == Some(Reason::PROTOCOL_ERROR) {
                    batch.go_away(Reason::PROTOCOL_ERROR);
                }
                Poll::Ready(None)
            }
            Poll::Pending if shared.connections.is_hasty() => Poll::Ready(None),
            Poll::Pending => deadline.poll(cx).map(|()| None),
        };
        match batch.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => connection,
        }
    })
    .await
}

/// Takes streams and sends frames until the connection is over.
async fn run<H: Handler>(
    mut connection: Connection<Guarded, Bytes>,
    batch: &Guarded,
    info: Rc<ConnInfo>,
    shared: &Rc<Shared<H>>,
) {
    let settings = &shared.settings;
    let streams = Streams::new();
    let mut alive = Alive::new(&mut connection);
    let mut stalled = Stalled::default();
    let idle = Deadline::new(settings.timeouts.request_header);
    // What was said last: nothing, GOAWAY with the last streams still served, or GOAWAY for a reason.
    let (mut was_active, mut told, mut condemned, mut over) = (false, false, false, false);
    let mut stirs = shared.connections.stirs();
    poll_fn(|cx| {
        streams.register(cx);
        if std::mem::replace(&mut stirs, shared.connections.stirs()) != stirs {
            streams.stir();
        }
        while !over {
            match poll_stream(&mut connection, &streams, cx) {
                Poll::Ready(Some((request, respond))) => {
                    let open = streams.open(batch.clone());
                    // Boxed, since a task moves its future several times: that was 5 % of a request.
                    let serving = stream::serve(shared.clone(), info.clone(), request, respond, open);
                    tokio::task::spawn_local(Box::pin(serving));
                }
                Poll::Ready(None) => over = true,
                Poll::Pending => break,
            }
        }
        let sent = batch.poll_send(cx);
        if stalled.poll(batch, settings.timeouts.response_body_idle, cx).is_ready() {
            return Poll::Ready(());
        }
        if over || matches!(sent, Poll::Ready(Err(_))) {
            return sent.map(|_| ());
        }
        if let (Some(reason), false) = (batch.verdict(), condemned) {
            tracing::debug!("HTTP/2 client {} ended: {reason}", info.peer_ip);
            condemned = true;
            connection.abrupt_shutdown(reason);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if alive.poll(batch, cx).is_ready() {
            return Poll::Ready(());
        }
        // An idle connection is closed in order: GOAWAY, then the end.
        let is_active = streams.active() > 0;
        if is_active != was_active {
            was_active = is_active;
            let wait = if told { goaway_wait(shared) } else { settings.h2_keep_alive };
            idle.set((!is_active).then_some(wait));
        }
        let is_ending = shared.connections.is_draining() || info.is_over();
        if !told && (is_ending || (!is_active && idle.poll(cx).is_ready())) {
            told = true;
            connection.graceful_shutdown();
            // A client without streams that does not answer the GOAWAY is not waited for.
            idle.set(Some(goaway_wait(shared)));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if told && !is_active && idle.poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn goaway_wait<H: Handler>(shared: &Shared<H>) -> Duration {
    if shared.connections.is_hasty() { GOAWAY_WAIT } else { GOAWAY_PATIENCE }
}

/// Drives the connection, and takes a stream when there may be one more.
fn poll_stream(
    connection: &mut Connection<Guarded, Bytes>,
    streams: &Streams,
    cx: &mut Context<'_>,
) -> Poll<Option<(http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>)>> {
    let accepted = if streams.has_room(cx) {
        pin!(connection.accept()).poll(cx)
    } else {
        connection.poll_closed(cx).map(|closed| closed.err().map(Err))
    };
    accepted.map(|accepted| match accepted {
        Some(Ok(stream)) => Some(stream),
        Some(Err(error)) => {
            tracing::debug!("HTTP/2 connection: {error}");
            None
        }
        None => None,
    })
}

/// Asks a silent client whether it is there (RFC 9113 section 6.7).
struct Alive {
    pings: Option<h2::PingPong>,
    deadline: Deadline,
    asked: bool,
}

impl Alive {
    fn new(connection: &mut Connection<Guarded, Bytes>) -> Alive {
        Alive { pings: connection.ping_pong(), deadline: Deadline::new(Some(PING_INTERVAL)), asked: false }
    }

    /// Ready when the client is gone.
    fn poll(&mut self, batch: &Guarded, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if batch.heard() {
            self.deadline.set(Some(PING_INTERVAL));
            if self.asked {
                self.asked = pings.poll_pong(cx).is_pending();
            }
        }
        if self.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if self.asked || pings.send_ping(Ping::opaque()).is_err() {
            return Poll::Ready(());
        }
        self.asked = true;
        self.deadline.set(Some(PONG_WAIT));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A client whose socket takes nothing for too long is not worth its buffers.
#[derive(Default)]
struct Stalled {
    deadline: Deadline,
    unsent: usize,
}

impl Stalled {
    fn poll(&mut self, batch: &Guarded, idle: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        let unsent = batch.unsent();
        if unsent != self.unsent {
            self.unsent = unsent;
            self.deadline.set(if unsent > 0 { idle } else { None });
        }
        if unsent > 0 { self.deadline.poll(cx) } else { Poll::Pending }
    }
}
