//! One HTTP/2 connection (RFC 9113): hyper speaks the protocol, this file converts at its edge.

mod inbound;
mod outbound;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};

use self::outbound::{Outgoing, outgoing};
use super::batch::Batch;
use super::wire::Wire;
use super::{ConnInfo, Handler, Request, Shared};
use crate::net::Deadline;

/// Streams a client may have open at once.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Response bytes buffered per stream before the body is asked to wait.
const SEND_BUFFER: usize = 128 << 10;
/// A silent connection is asked for a sign of life this often, while it has streams.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long an idle client may take to close after a GOAWAY.
const GOAWAY_WAIT: Duration = Duration::from_millis(500);

/// Streams run beside their connection on the same worker.
#[derive(Clone, Copy)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pub(super) async fn serve<H: Handler>(wire: Wire, info: Rc<ConnInfo>, shared: &Rc<Shared<H>>) {
    let settings = &shared.settings;
    let mut builder = hyper::server::conn::http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .auto_date_header(false);
    let active = Rc::new(Cell::new(0usize));
    let service = {
        let (shared, active) = (shared.clone(), active.clone());
        hyper::service::service_fn(move |request| {
            let stream = Stream::open(active.clone());
            // On the heap: the stream's task is moved more than once while it is made.
            Box::pin(answer(shared.clone(), info.clone(), request, stream))
        })
    };
    let batch = Batch::new(wire);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(batch.clone()), service));
    let idle = Deadline::new(settings.timeouts.request_header);
    let (mut was_active, mut told, mut over) = (false, false, false);
    poll_fn(|cx| {
        over = over || connection.as_mut().poll(cx).is_ready();
        let sent = batch.poll_send(cx);
        if over || matches!(sent, Poll::Ready(Err(_))) {
            return sent.map(|_| ());
        }
        // An idle connection is closed in order: GOAWAY, then the end.
        let is_active = active.get() > 0;
        if is_active != was_active {
            was_active = is_active;
            let wait = if told { GOAWAY_WAIT } else { settings.h2_keep_alive };
            idle.set((!is_active).then_some(wait));
        }
        if !told && (shared.connections.is_draining() || (!is_active && idle.poll(cx).is_ready())) {
            told = true;
            connection.as_mut().graceful_shutdown();
            // A client without streams that does not answer the GOAWAY is not waited for.
            idle.set(Some(GOAWAY_WAIT));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if told && active.get() == 0 && idle.poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One open stream, counted until its response is over.
struct Stream(Rc<Cell<usize>>);

impl Stream {
    fn open(active: Rc<Cell<usize>>) -> Stream {
        active.set(active.get() + 1);
        Stream(active)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn answer<H: Handler>(
    shared: Rc<Shared<H>>,
    conn: Rc<ConnInfo>,
    request: http::Request<Incoming>,
    stream: Stream,
) -> Result<http::Response<Outgoing>, Infallible> {
    let deadline = Rc::new(Deadline::default());
    let (parts, incoming) = request.into_parts();
    let request = match inbound::head(parts, &incoming, &shared.settings) {
        Ok(head) => inbound::receive(head, incoming, &deadline, &shared.settings).await,
        Err(why) => Err(why),
    };
    let response = match request {
        Ok((head, body)) => {
            shared.handler.handle(Request { head, body, conn, deadline: deadline.clone(), interim: None }).await
        }
        Err(why) => shared.handler.refuse(&conn, why),
    };
    let idle = response.idle.unwrap_or(shared.settings.timeouts.response_body_idle);
    deadline.set(idle);
    Ok(outgoing(response, deadline, idle, stream))
}
