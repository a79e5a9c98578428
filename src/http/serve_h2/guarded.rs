//! The client's connection under HTTP/2, with its writes batched and its frames watched.
//!
//! Writes are gathered as towards servers (`http::batch`). What is read passes the [`Guard`] on its way to the library.

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::guard::Guard;
use crate::http::batch;
use crate::http::wire::Wire;
use crate::net::clock;

/// Read at a time while a closing client is waited for.
const DISCARD: usize = 8 << 10;

/// The library holds the connection, and so do the loop that sends what the library has written and every stream.
#[derive(Clone)]
pub(super) struct Guarded(Rc<Inner>);

struct Inner {
    wire: RefCell<Wire>,
    guard: RefCell<Guard>,
    /// Why nothing more is read: the client has done too much.
    verdict: Cell<Option<Reason>>,
    /// Bytes have come since [`Guarded::heard`] was asked.
    heard: Cell<bool>,
    ended: Cell<bool>,
}

impl Guarded {
    /// Bytes that were read to find out what the client speaks are read again first.
    pub fn new(wire: Wire) -> Guarded {
        Guarded(Rc::new(Inner {
            wire: RefCell::new(wire),
            guard: RefCell::new(Guard::new(clock::now())),
            verdict: Cell::new(None),
            heard: Cell::new(false),
            ended: Cell::new(false),
        }))
    }

    /// Sends what has gathered.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.wire.borrow_mut();
        if wire.is_flushed() { Poll::Ready(Ok(())) } else { wire.poll_flush(cx) }
    }

    /// Bytes that wait for the client to take them.
    pub fn unsent(&self) -> usize {
        self.0.wire.borrow().pending()
    }

    /// Why the connection must end, once the client has done too much.
    pub fn verdict(&self) -> Option<Reason> {
        self.0.verdict.get()
    }

    /// The client said something since this was last asked.
    pub fn heard(&self) -> bool {
        self.0.heard.replace(false)
    }

    pub fn guard(&self) -> RefMut<'_, Guard> {
        self.0.guard.borrow_mut()
    }

    /// Puts a GOAWAY (RFC 9113 section 6.8) that names no stream behind what waits to be sent.
    pub fn go_away(&self, reason: Reason) {
        let mut wire = self.0.wire.borrow_mut();
        if wire.has_room() {
            let out = wire.output();
            out.extend_from_slice(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend_from_slice(&u32::from(reason).to_be_bytes());
        }
    }

    /// The library gives a field block that it cannot decode the code PROTOCOL_ERROR. RFC 9113 section 4.3 has a code for
    /// that, which goes into the GOAWAY it leaves with.
    fn correct(&self, output: &mut [u8]) {
        let code = |reason: Reason| u32::from(reason).to_be_bytes();
        if let Some([0, 0, 8, 7, 0, 0, 0, 0, 0, _, _, _, _, said @ ..]) = output.last_chunk_mut::<17>()
            && *said == code(Reason::PROTOCOL_ERROR)
            && self.0.guard.borrow_mut().is_block_broken()
        {
            *said = code(Reason::COMPRESSION_ERROR);
        }
    }

    /// Says that nothing more comes, then reads what the client still sends: a reset must not destroy the last frames on
    /// their way. Ready when the client has closed.
    pub fn poll_close(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.0.wire.borrow_mut();
        if self.0.ended.get() || ready!(wire.poll_flush(cx)).is_err() || ready!(wire.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        loop {
            wire.input.clear();
            if !matches!(ready!(wire.poll_fill(cx, DISCARD)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &*self.0;
        if inner.verdict.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(batch::read(&mut inner.wire.borrow_mut(), cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        inner.heard.set(true);
        inner.ended.set(read.is_empty());
        if let Err((good, reason)) = inner.guard.borrow_mut().watch(read, clock::now()) {
            inner.verdict.set(Some(reason));
            cx.waker().wake_by_ref();
            if good == 0 {
                // Nothing read would mean that the client has closed.
                buf.set_filled(before);
                return Poll::Pending;
            }
            buf.set_filled(before + good);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        batch::write(&mut self.0.wire.borrow_mut(), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The bytes are sent by [`Guarded::poll_send`]; an error of theirs shows at the next write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.wire.borrow_mut();
        if !self.0.ended.get() && !wire.is_flushed() && wire.is_small() {
            self.correct(wire.output());
        }
        ready!(wire.poll_flush(cx))?;
        wire.poll_shutdown(cx)
    }
}
