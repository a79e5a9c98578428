//! Writing responses, and what becomes of the connection after one.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::READ;
use super::receive::Conn;
use crate::error::Why;
use crate::h1::{self, Step};
use crate::http::body::{Body, Frame};
use crate::http::term::Standing;
use crate::http::tunnel::Tunnel;
use crate::http::{Ended, OnEnd, Response, Settings};
use crate::message::{Known, Version};

/// A request body nobody wanted is read and dropped up to here to save the connection; above, the connection is closed.
const DRAIN: u64 = 256 << 10;
/// How long a connection is read after its last response, so that a reset does not destroy the response on its way.
const LINGER: Duration = Duration::from_secs(5);

/// What the response's framing depends on.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub version: Version,
    pub head_only: bool,
    pub keep_alive: bool,
}

/// What to do with the connection after a response.
#[derive(Debug)]
pub(super) enum After {
    Keep,
    /// Close in order: the client asked for it, so nothing is on its way.
    Close,
    /// Close, reading what still comes for a while.
    Linger,
    Tunnel(Box<Tunnel>),
    /// The response is not whole: it must not look so.
    Abort,
}

impl PartialEq for After {
    fn eq(&self, other: &After) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Writes one response, head and body.
pub(super) async fn write(conn: &Conn, mut response: Box<Response>, facts: Facts, settings: &Settings) -> After {
    // A body that nobody has read decides too: a long one is not worth reading only to keep the connection.
    let unread = !conn.decoder.borrow().is_done();
    let drainable = !conn.waits.get() && conn.decoder.borrow().left().is_some_and(|left| left <= DRAIN);
    let keep = facts.keep_alive && !response.close && (!unread || drainable);
    let bodiless = facts.head_only || response.status < 200 || matches!(response.status, 204 | 304);
    let length = response.body.length();
    let chunked = !bodiless && length.is_none() && facts.version == Version::Http11;
    let delimited_by_close = !bodiless && length.is_none() && !chunked;
    let keep = keep && !delimited_by_close;
    {
        let mut wire = conn.wire.borrow_mut();
        if !wire.has_room() {
            wire.discard_output();
        }
        let out = wire.output();
        write_head(out, &mut response, facts, if bodiless { None } else { Some((length, chunked)) }, keep);
    }
    let idle = response.idle.unwrap_or(settings.timeouts.response_body_idle);
    conn.deadline.set(idle);
    let on_end = response.on_end.take();
    let mut sent = 0;
    let last = !keep && response.tunnel.is_none();
    let cut = if bodiless {
        if last {
            conn.wire.borrow_mut().io.hold();
        }
        poll_fn(|cx| conn.poll_flush(cx)).await.err().map(|_| Why::ClientGone)
    } else {
        pump(conn, &mut response.body, (chunked, last), idle, &mut sent, &response.standing).await.err()
    };
    if let Some(OnEnd(on_end)) = on_end {
        on_end.over(Ended { bytes: sent, cut });
    }
    if cut.is_some() {
        if delimited_by_close {
            // A reset, since an orderly end would say that the body is whole.
            if let Some(tcp) = conn.wire.borrow().io.tcp() {
                let _ = tcp.set_zero_linger();
            }
        }
        return After::Abort;
    }
    match response.tunnel {
        Some(tunnel) => After::Tunnel(tunnel),
        None if keep => After::Keep,
        None if !facts.keep_alive && !unread => After::Close,
        None => After::Linger,
    }
}

fn write_head(out: &mut Vec<u8>, response: &mut Response, facts: Facts, body: Option<(Option<u64>, bool)>, keep: bool) {
    h1::write_status_line(out, response.status);
    if response.status == 204 {
        // RFC 9110 section 8.6: no Content-Length here, whatever the backend says.
        response.fields.remove(Known::ContentLength);
    }
    match body {
        Some((None, _)) => response.fields.remove(Known::ContentLength),
        Some((Some(length), _)) if !response.fields.has(Known::ContentLength) => h1::write_length(out, length),
        _ => {}
    }
    h1::write_fields(out, &response.fields);
    if let Some((_, true)) = body {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let Some(tunnel) = &response.tunnel {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
        out.extend_from_slice(tunnel.protocol.as_bytes());
        out.extend_from_slice(b"\r\n");
    } else if !keep {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if facts.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Moves a response body to the client, one piece at a time: what the client does not take is not read from the backend. The
/// end of the last body of a connection waits for the connection's own.
async fn pump(
    conn: &Conn,
    body: &mut Body,
    (chunked, last): (bool, bool),
    idle: Option<Duration>,
    sent: &mut u64,
    standing: &Standing,
) -> Result<(), Why> {
    let mut ended = false;
    poll_fn(|cx| {
        if let Some(why) = standing.over() {
            return Poll::Ready(Err(why));
        }
        loop {
            while !ended && conn.wire.borrow().has_room() {
                match body.poll_frame(cx) {
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                        if data.is_empty() {
                            continue;
                        }
                        *sent += data.len() as u64;
                        conn.deadline.set(idle);
                        let mut wire = conn.wire.borrow_mut();
                        if chunked {
                            h1::write_chunk_head(wire.output(), data.len());
                        }
                        wire.put(data, if chunked { b"\r\n" } else { b"" });
                    }
                    Poll::Ready(end @ (Some(Ok(Frame::Trailers(_))) | None)) => {
                        ended = true;
                        if chunked {
                            let trailers = match &end {
                                Some(Ok(Frame::Trailers(trailers))) => Some(trailers),
                                _ => None,
                            };
                            h1::last_chunk(conn.wire.borrow_mut().output(), trailers);
                        }
                    }
                    Poll::Ready(Some(Err(why))) => {
                        // What has come is passed on before the connection is cut.
                        let _ = conn.wire.borrow_mut().poll_flush(cx);
                        return Poll::Ready(Err(why));
                    }
                    Poll::Pending => break,
                }
            }
            if conn.wire.borrow().is_flushed() {
                if ended {
                    return Poll::Ready(Ok(()));
                }
                standing.settle();
                if conn.poll_broken(cx).is_ready() {
                    return Poll::Ready(Err(Why::ClientGone));
                }
                return conn.deadline.poll(cx).map(|()| Err(Why::UpstreamCut));
            }
            if ended && last {
                conn.wire.borrow_mut().io.hold();
            }
            match conn.poll_flush(cx) {
                Poll::Ready(Ok(())) => conn.deadline.set(idle),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Why::ClientGone)),
                Poll::Pending => {
                    standing.settle();
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// Reads and drops what is left of a request body; false when the connection is not worth keeping.
pub(super) async fn drain(conn: &Conn, settings: &Settings) -> bool {
    if conn.decoder.borrow().is_done() {
        return true;
    }
    conn.deadline.set(settings.timeouts.request_body_idle);
    poll_fn(|cx| {
        loop {
            let mut wire = conn.wire.borrow_mut();
            match conn.decoder.borrow_mut().step(&mut wire.input) {
                Ok(Step::Data(_)) => continue,
                Ok(Step::End(_)) => return Poll::Ready(true),
                Ok(Step::NeedMore) => {}
                Err(_) => return Poll::Ready(false),
            }
            match wire.poll_fill(cx, READ) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return conn.deadline.poll(cx).map(|()| false),
            }
        }
    })
    .await
}

/// Closes so that the last response arrives: FIN, then read until the client's, within bounds.
pub(super) async fn close(conn: &Conn) {
    conn.deadline.set(Some(LINGER));
    poll_fn(|cx| {
        let mut wire = conn.wire.borrow_mut();
        match wire.poll_shutdown(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => return conn.deadline.poll(cx),
        }
        // TLS is not decrypted any more: the socket itself is read.
        loop {
            wire.input.clear();
            match wire.poll_fill(cx, READ) {
                Poll::Ready(Ok(1..)) => {
                    if conn.deadline.poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return conn.deadline.poll(cx),
            }
        }
    })
    .await
}
