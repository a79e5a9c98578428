//! A tap: a bounded, time-stamped copy of the bytes that pass through a stream, each way.
//!
//! Below TLS it holds what a listener on the wire would see, above TLS what the two ends mean. It is for connections that
//! `compare` opens itself; no client's bytes pass through one.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept each way; what follows is counted only.
pub const KEPT: usize = 1 << 20;
/// Reads and writes kept; what follows is counted only.
pub const EVENTS: usize = 16 << 10;

/// Which way bytes went, as the owner of the tap sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sent,
    Received,
}

/// One read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub way: Way,
    /// Since the tape began.
    pub at: Duration,
    /// Offset of its first byte among all bytes that went this way.
    pub start: u64,
    /// Number of bytes; 0: this way ended (a shutdown of ours, the end of input from the peer).
    pub len: u64,
}

/// What a tap has recorded.
#[derive(Debug, Clone)]
pub struct Tape {
    pub began: Instant,
    pub events: Vec<Event>,
    /// The first [`KEPT`] bytes sent and received.
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    /// All of them, kept or not.
    pub sent_total: u64,
    pub received_total: u64,
    /// The peer reset the connection.
    pub reset: bool,
}

impl Tape {
    pub fn new(began: Instant) -> Tape {
        Tape {
            began,
            events: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            sent_total: 0,
            received_total: 0,
            reset: false,
        }
    }

    /// The bytes kept of one way.
    pub fn bytes(&self, way: Way) -> &[u8] {
        match way {
            Way::Sent => &self.sent,
            Way::Received => &self.received,
        }
    }

    /// Whether everything that passed is still here.
    pub fn is_whole(&self) -> bool {
        self.sent_total == self.sent.len() as u64
            && self.received_total == self.received.len() as u64
            && self.events.len() < EVENTS
    }

    /// When this way ended, if it did.
    pub fn ended(&self, way: Way) -> Option<Duration> {
        self.events.iter().find(|event| event.way == way && event.len == 0).map(|event| event.at)
    }

    /// The event that carried the byte before offset `end` of a way.
    pub fn event_of(&self, way: Way, end: u64) -> Option<(usize, &Event)> {
        self.events
            .iter()
            .enumerate()
            .find(|(_, event)| event.way == way && event.len > 0 && event.start < end && end <= event.start + event.len)
    }

    fn record(&mut self, way: Way, bytes: &[u8]) {
        let at = self.began.elapsed();
        let (kept, total) = match way {
            Way::Sent => (&mut self.sent, &mut self.sent_total),
            Way::Received => (&mut self.received, &mut self.received_total),
        };
        let start = *total;
        *total += bytes.len() as u64;
        let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        if self.events.len() < EVENTS {
            self.events.push(Event { way, at, start, len: bytes.len() as u64 });
        }
    }

    /// The end of a way is noted once.
    fn record_end(&mut self, way: Way) {
        if self.ended(way).is_none() {
            self.record(way, &[]);
        }
    }
}

/// A stream whose bytes are copied to a [`Tape`].
#[derive(Debug)]
pub struct Tap<S> {
    inner: S,
    tape: Rc<RefCell<Tape>>,
}

impl<S> Tap<S> {
    pub fn new(inner: S, tape: Rc<RefCell<Tape>>) -> Tap<S> {
        Tap { inner, tape }
    }

    /// The stream underneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let mut tape = self.tape.borrow_mut();
        match &read {
            Ok(()) => match &buf.filled()[before..] {
                [] if room => tape.record_end(Way::Received),
                [] => {}
                bytes => tape.record(Way::Received, bytes),
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => tape.reset = true,
            Err(_) => {}
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        match &written {
            Ok(count) if *count > 0 => self.tape.borrow_mut().record(Way::Sent, &bytes[..*count]),
            _ => {}
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        self.tape.borrow_mut().record_end(Way::Sent);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(flavor = "current_thread")]
    async fn both_ways_are_copied_in_order_and_ends_are_noted_once() {
        let (near, mut far) = tokio::io::duplex(64);
        let tape = Rc::new(RefCell::new(Tape::new(Instant::now())));
        let mut tap = Tap::new(near, tape.clone());
        tap.write_all(b"question").await.unwrap();
        let mut got = [0; 8];
        far.read_exact(&mut got).await.unwrap();
        far.write_all(b"answer").await.unwrap();
        drop(far);
        let mut all = Vec::new();
        tap.read_to_end(&mut all).await.unwrap();
        tap.read_to_end(&mut all).await.unwrap();
        tap.shutdown().await.unwrap();
        let tape = tape.borrow();
        assert_eq!((tape.sent.as_slice(), tape.received.as_slice()), (&b"question"[..], &b"answer"[..]));
        let steps: Vec<_> = tape.events.iter().map(|e| (e.way, e.start, e.len)).collect();
        assert_eq!(steps, [(Way::Sent, 0, 8), (Way::Received, 0, 6), (Way::Received, 6, 0), (Way::Sent, 8, 0)]);
        assert!(tape.is_whole());
        assert_eq!(tape.event_of(Way::Received, 6).unwrap().0, 1);
    }

    #[test]
    fn a_tape_keeps_its_bound_and_counts_the_rest() {
        let mut tape = Tape::new(Instant::now());
        tape.record(Way::Sent, &vec![7; KEPT]);
        tape.record(Way::Sent, b"more");
        assert_eq!((tape.sent.len(), tape.sent_total), (KEPT, KEPT as u64 + 4));
        assert!(!tape.is_whole());
    }
}
