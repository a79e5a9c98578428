//! The connection under HTTP/2, with its writes batched.
//!
//! The HTTP/2 library writes and flushes each DATA frame apart: with many streams that is a system call and a TLS record a
//! response. Here its writes are gathered and its flushes believed; the bytes go out when the connection's task has done
//! all it can, or when much has gathered.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::wire::Wire;

/// Bytes that are gathered before they are written whatever comes next.
const BATCH: usize = 64 << 10;
/// A piece of this size is not copied when nothing stands before it.
const LARGE: usize = 16 << 10;

/// Two hold the connection: the library, and the loop that sends what the library has written.
#[derive(Clone)]
pub struct Batch(Rc<RefCell<Wire>>);

impl Batch {
    /// Bytes that were read to find out what the client speaks are read again first.
    pub fn new(wire: Wire) -> Batch {
        Batch(Rc::new(RefCell::new(wire)))
    }

    /// Sends what has gathered.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        if wire.is_flushed() { Poll::Ready(Ok(())) } else { wire.poll_flush(cx) }
    }
}

/// Reads once: first what was read before the protocol was known.
pub(super) fn read(wire: &mut Wire, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    if wire.input.is_empty() {
        return Pin::new(&mut wire.io).poll_read(cx, buf);
    }
    let take = wire.input.len().min(buf.remaining());
    buf.put_slice(&wire.input.split_to(take));
    Poll::Ready(Ok(()))
}

/// Gathers what is written; sends only when much has gathered.
pub(super) fn write(wire: &mut Wire, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    if wire.pending() >= BATCH {
        ready!(wire.poll_flush(cx))?;
    }
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    if length >= LARGE && wire.is_flushed() {
        return Pin::new(&mut wire.io).poll_write_vectored(cx, bufs);
    }
    let output = wire.output();
    bufs.iter().for_each(|buf| output.extend_from_slice(buf));
    Poll::Ready(Ok(length))
}

impl AsyncRead for Batch {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        read(&mut self.0.borrow_mut(), cx, buf)
    }
}

impl AsyncWrite for Batch {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        write(&mut self.0.borrow_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The bytes are sent by [`Batch::poll_send`]; an error of theirs shows at the next write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_flush(cx))?;
        wire.poll_shutdown(cx)
    }
}
