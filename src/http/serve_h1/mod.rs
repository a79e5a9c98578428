//! One HTTP/1.1 connection (RFC 9112): heads in, responses out, one task, no buffer that grows with a body.

mod answer;
mod call;
mod receive;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Buf, BytesMut};

use self::answer::{After, Facts, close, drain, write};
pub use self::call::Spares;
use self::receive::Conn;
use super::connections::{Connections, Speaks};
use super::wire::Wire;
use super::{ConnInfo, Handler, Settings, Shared, respond, tunnel};
use crate::error::Why;
use crate::h1::{self, Decoder, Parsed};
use crate::message::{Framing, Method, RequestHead, Version};
use crate::net::Deadline;

/// Read size for heads and small bodies.
const READ: usize = 8 << 10;
/// Read size for bodies known to be large.
const READ_LARGE: usize = 64 << 10;
/// RFC 9113 section 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How serving ended.
pub(super) enum Outcome {
    Closed,
    /// The client speaks HTTP/2 by prior knowledge; the wire holds its preface.
    Http2(Wire),
}

/// What the loop found at the front of the connection.
enum Next {
    Head(Box<RequestHead>),
    Refused(Why),
    TlsHello,
    Http2,
    /// Closed by the client, or idle for too long, or time to go.
    Gone,
}

pub(super) async fn serve<H: Handler>(
    wire: Wire,
    info: Rc<ConnInfo>,
    shared: &Rc<Shared<H>>,
    mut sniff: bool,
    h2: bool,
) -> Outcome {
    let settings = &shared.settings;
    let counted = shared.connections.speaks(Speaks::Http1);
    let conn = Rc::new(Conn {
        wire: RefCell::new(wire),
        decoder: RefCell::new(Decoder::new(Framing::None)),
        deadline: Rc::new(Deadline::new(settings.timeouts.request_header)),
        waits: Cell::new(false),
        half_closed: Cell::new(false),
    });
    let mut first = true;
    loop {
        let next = next_head(&conn, settings, (&info, &shared.connections), first, sniff, h2).await;
        (first, sniff) = (false, false);
        let head = match next {
            Next::Head(head) => head,
            Next::Gone => break,
            Next::TlsHello => {
                respond::tls_on_plain(&mut conn.wire.borrow_mut(), &info);
                let _ = poll_fn(|cx| conn.poll_flush(cx)).await;
                close(&conn).await;
                break;
            }
            Next::Http2 => match Rc::try_unwrap(conn) {
                Ok(conn) => return Outcome::Http2(conn.wire.into_inner()),
                // Nobody else holds the connection before its first request.
                Err(_) => break,
            },
            Next::Refused(why) => {
                let mut response = shared.handler.refuse(&info, why);
                response.close = true;
                let facts = Facts { version: Version::Http11, head_only: false, keep_alive: false };
                if write(&conn, response, facts, settings).await != After::Abort {
                    close(&conn).await;
                }
                break;
            }
        };
        let facts = Facts {
            version: head.version,
            head_only: head.method == Method::HEAD,
            keep_alive: head.keep_alive && !is_ending(&info, &shared.connections),
        };
        let request = conn.clone().request(head, &info, settings);
        let response = {
            let mut call = shared.calls.call(shared.handler.clone(), request);
            let response = poll_fn(|cx| {
                if let Poll::Ready(response) = call.poll(cx) {
                    return Poll::Ready(Some(response));
                }
                // Interim responses are written while the handler waits.
                if !conn.wire.borrow().is_flushed() {
                    let _ = conn.poll_flush(cx);
                }
                conn.poll_broken(cx).map(|()| None)
            })
            .await;
            if response.is_some() {
                shared.calls.keep(call);
            }
            response
        };
        // The client has left: the exchange with the backend ends with the handler.
        let Some(response) = response else { break };
        let keep = facts.keep_alive && !is_ending(&info, &shared.connections);
        match write(&conn, response, Facts { keep_alive: keep, ..facts }, settings).await {
            After::Keep if drain(&conn, settings).await => {}
            After::Keep | After::Linger => {
                close(&conn).await;
                break;
            }
            After::Close => {
                let _ = poll_fn(|cx| conn.wire.borrow_mut().poll_shutdown(cx)).await;
                break;
            }
            After::Tunnel(tunnel) => {
                drop(counted);
                let _counted = shared.connections.speaks(Speaks::Tunnel);
                // The request is over, so nobody else holds the connection.
                if let Ok(Conn { wire, deadline, .. }) = Rc::try_unwrap(conn) {
                    tunnel::run(wire.into_inner(), *tunnel, &deadline).await;
                }
                break;
            }
            After::Abort => break,
        }
    }
    Outcome::Closed
}

/// The connection takes no further request.
fn is_ending(info: &ConnInfo, connections: &Connections) -> bool {
    connections.is_draining() || info.is_over()
}

/// Waits for the next request head.
async fn next_head(
    conn: &Conn,
    settings: &Settings,
    (info, connections): (&ConnInfo, &Connections),
    first: bool,
    sniff: bool,
    h2: bool,
) -> Next {
    let limits = h1::Limits {
        bytes: settings.limits.header_bytes,
        fields: settings.limits.header_fields,
        target: settings.limits.uri_bytes,
    };
    let mut seen = 0;
    // The head's own deadline starts with its first byte; a new connection has it from accept.
    let mut reading = first;
    if !first {
        conn.deadline.set(settings.timeouts.keep_alive);
    }
    conn.wire.borrow_mut().release_buffers();
    poll_fn(|cx| {
        let mut wire = conn.wire.borrow_mut();
        loop {
            if wire.input.len() > seen {
                if !reading {
                    reading = true;
                    conn.deadline.set(settings.timeouts.request_header);
                }
                if let Some(next) = scan(&mut wire.input, seen, &limits, sniff, h2) {
                    return Poll::Ready(next);
                }
                seen = wire.input.len();
            }
            if (connections.is_hasty() || info.is_over()) && wire.input.is_empty() {
                return Poll::Ready(Next::Gone);
            }
            match wire.poll_fill(cx, READ) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Next::Gone),
                Poll::Pending if conn.deadline.poll(cx).is_pending() => return Poll::Pending,
                Poll::Pending if wire.input.is_empty() => return Poll::Ready(Next::Gone),
                Poll::Pending => return Poll::Ready(Next::Refused(Why::TimeoutRequestHeader)),
            }
        }
    })
    .await
}

/// Looks at the bytes of a head, of which the first `seen` were looked at before; takes a whole one out.
fn scan(input: &mut BytesMut, seen: usize, limits: &h1::Limits, sniff: bool, h2: bool) -> Option<Next> {
    if sniff {
        match sniffed(input, h2) {
            Some(Sniffed::Tls) => return Some(Next::TlsHello),
            Some(Sniffed::Http2) => return Some(Next::Http2),
            Some(Sniffed::Unsure) => return None,
            None => {}
        }
    }
    // A head that drips in is not read again at every byte, only when its end may be there.
    let ends = || memchr::memmem::find(&input[seen.saturating_sub(3)..], b"\n\r\n").is_some();
    if seen > 0 && input.len() <= limits.bytes && !ends() {
        return None;
    }
    match h1::parse_request(input, limits) {
        Ok(Parsed::Head(head, length)) => {
            input.advance(length);
            Some(Next::Head(Box::new(head)))
        }
        Ok(Parsed::Partial) => None,
        Err(why) => Some(Next::Refused(why)),
    }
}

enum Sniffed {
    Tls,
    Http2,
    /// The bytes so far may become a preface.
    Unsure,
}

fn sniffed(input: &[u8], h2: bool) -> Option<Sniffed> {
    // A TLS record of type handshake, version 3.x.
    if let [0x16, rest @ ..] = input {
        return rest.first().is_none_or(|major| *major == 3).then_some(Sniffed::Tls);
    }
    if !h2 || input.is_empty() {
        None
    } else if input.starts_with(H2_PREFACE) {
        Some(Sniffed::Http2)
    } else {
        H2_PREFACE.starts_with(input).then_some(Sniffed::Unsure)
    }
}
