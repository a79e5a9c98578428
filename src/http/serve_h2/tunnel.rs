//! The client's side of a tunnel over one HTTP/2 stream (RFC 8441): DATA frames carry its bytes.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::outbound::poll_room;
use super::streams::Open;
use crate::http::tunnel::{self, Side, Tunnel};
use crate::net::Deadline;

/// One stream as bytes both ways.
struct Stream {
    from: RecvStream,
    to: SendStream<Bytes>,
    open: Open,
    /// Bytes handed on and not given back to the client's window.
    lent: usize,
}

/// Passes bytes until the tunnel ends.
pub(super) async fn run(from: RecvStream, to: SendStream<Bytes>, tunnel: Tunnel, deadline: &Deadline, open: Open) {
    tunnel::run(Stream { from, to, open, lent: 0 }, tunnel, deadline).await;
}

fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

impl Side for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        // The last piece has been taken by the server: the client may send as much again.
        let lent = std::mem::take(&mut self.lent);
        if lent > 0 && self.from.flow_control().release_capacity(lent).is_err() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        loop {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.lent = data.len();
                    return Poll::Ready(Ok(data));
                }
                Some(Err(error)) => {
                    self.open.set_reset();
                    return Poll::Ready(Err(broken(error)));
                }
                // Trailers mean nothing on a tunnel.
                None => return Poll::Ready(Ok(Bytes::new())),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        while !data.is_empty() {
            let Some(room) = ready!(poll_room(&mut self.to, data.len(), cx)) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            let piece = data.split_to(room.min(data.len()));
            self.open.sent(piece.len());
            self.to.send_data(piece, false).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.to.send_data(Bytes::new(), true).map_err(broken))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.to.poll_reset(cx).map(|_| self.open.set_reset())
    }

    /// RFC 8441 section 5: what a reset is for TCP, RST_STREAM with CANCEL is for the stream.
    fn abort(&mut self) {
        self.to.send_reset(Reason::CANCEL);
    }
}
