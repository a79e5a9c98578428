//! A connection with its buffers: bytes that came in, and bytes that have to go out.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::net::Io;

/// Data up to this size is copied behind what waits to be written; larger pieces are written from where they are.
const COPY: usize = 8 << 10;

/// Buffers kept for the next connection with something to read, per worker.
const SPARES: usize = 64;
/// Larger ones are not kept.
const SPARE_SIZE: usize = 16 << 10;

thread_local! {
    static SPARE: RefCell<Vec<(BytesMut, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// One connection, either side. Nothing in it is HTTP.
#[derive(Debug)]
pub struct Wire {
    pub io: Io,
    /// Bytes read and not taken yet.
    pub input: BytesMut,
    /// Bytes to write before `piece`.
    output: Vec<u8>,
    written: usize,
    /// One large piece, written from where it is.
    piece: Bytes,
    /// What follows the piece: the line end of its chunk.
    tail: &'static [u8],
}

impl Wire {
    pub fn new(io: Io) -> Wire {
        Wire { io, input: BytesMut::new(), output: Vec::new(), written: 0, piece: Bytes::new(), tail: b"" }
    }

    /// Reads once, up to `room` bytes, to the end of `input`. Zero is the end of the stream. A connection that waits for
    /// its first byte holds no buffer.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() == 0 {
            ready!(self.io.poll_readable(cx))?;
            self.borrow_buffers();
        }
        if self.input.capacity() - self.input.len() < room / 2 + 1 {
            self.input.reserve(room);
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }

    /// The buffer to write heads and framing into. Empty `piece` first: it stands behind.
    pub fn output(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_empty() && self.tail.is_empty());
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        &mut self.output
    }

    /// Puts data behind the output, with `tail` behind it; the data is copied when small.
    pub fn put(&mut self, data: Bytes, tail: &'static [u8]) {
        if data.len() <= COPY {
            let output = self.output();
            output.extend_from_slice(&data);
            output.extend_from_slice(tail);
        } else {
            debug_assert!(self.piece.is_empty() && self.tail.is_empty());
            self.piece = data;
            self.tail = tail;
        }
    }

    /// Nothing waits to be written, here or in TLS.
    pub fn is_flushed(&self) -> bool {
        self.is_empty() && !self.io.holds()
    }

    fn is_empty(&self) -> bool {
        self.written == self.output.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> usize {
        self.output.len() - self.written + self.piece.len() + self.tail.len()
    }

    /// All that waits is in the output: no large piece stands behind it.
    pub fn is_small(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty()
    }

    /// Bytes that may be added before a flush is worth its system call.
    pub fn has_room(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.output.len() - self.written < COPY
    }

    /// Writes everything out.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let head = &self.output[self.written..];
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut self.io).poll_write(cx, head))?
            } else {
                let parts = [IoSlice::new(head), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
                let skip = usize::from(head.is_empty());
                ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &parts[skip..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.output.clear();
        self.written = 0;
        // Even an empty piece holds the buffer it came from, which the next read wants back.
        self.piece = Bytes::new();
        // Only TLS keeps bytes of its own that a flush would push out.
        if let Io::Tls(tls) = &mut self.io {
            return Pin::new(tls).poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let head = written.min(self.output.len() - self.written);
        self.written += head;
        written -= head;
        let piece = written.min(self.piece.len());
        self.piece.advance(piece);
        self.tail = &self.tail[written - piece..];
    }

    /// Says that nothing more will be written: FIN, after close_notify on TLS.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Gives the buffers back while the connection is idle.
    pub fn release_buffers(&mut self) {
        if !self.input.is_empty() || !self.is_flushed() {
            return;
        }
        let (input, output) = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        self.written = 0;
        if input.capacity() > 0 && input.capacity() <= SPARE_SIZE && output.capacity() <= SPARE_SIZE {
            // At the end of a thread there is nobody to keep them for.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARES {
                    spare.push((input, output));
                }
            });
        }
    }

    /// Takes the buffers that a connection of this worker gave back last: they are still in the processor's cache.
    fn borrow_buffers(&mut self) {
        if let Some((input, mut output)) = SPARE.with_borrow_mut(Vec::pop) {
            self.input = input;
            if self.output.capacity() == 0 {
                output.clear();
                self.output = output;
            }
        }
    }

    /// Drops what waits to be written: the message is given up.
    pub fn discard_output(&mut self) {
        self.output.clear();
        self.written = 0;
        self.piece = Bytes::new();
        self.tail = b"";
    }
}

/// A connection that is over leaves its buffers to the next one.
impl Drop for Wire {
    fn drop(&mut self) {
        self.discard_output();
        self.input.clear();
        self.release_buffers();
    }
}
