//! A request body on its way to a server, with a memory for a second try.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Why;
use crate::http::body::{Body, Frame, NextFrame};

/// Bodies up to this size can be sent again.
const REPLAY: usize = 64 << 10;

/// The body of one request: limited, and kept while it is small. Most requests have none, and the way to a server is long:
/// what there is, is on the heap.
#[derive(Debug)]
pub struct Upload(Option<Box<Pieces>>);

#[derive(Debug)]
struct Pieces {
    body: Body,
    /// Bytes that may still come.
    left: u64,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Everything read so far is in `kept`.
    whole: bool,
    /// The next piece of `kept` to send.
    next: usize,
    ended: bool,
    /// What counts the memory of a body that was read before.
    _held: Option<Box<dyn std::any::Any>>,
}

impl Upload {
    /// `max`: bytes above which the body is refused with `limit.body`.
    pub fn new(body: Body, max: Option<u64>) -> Upload {
        match body {
            Body::Empty => Upload(None),
            body => Upload(Some(Box::new(Pieces { body, ..Pieces::empty(max) }))),
        }
    }

    /// A body that was read whole before. `held` is dropped with it.
    pub fn whole(pieces: Vec<Bytes>, held: Box<dyn std::any::Any>) -> Upload {
        Upload(Some(Box::new(Pieces { kept: pieces, ended: true, _held: Some(held), ..Pieces::empty(None) })))
    }

    /// There is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|pieces| pieces.ended && pieces.kept.is_empty())
    }

    /// Goes back to the start for another server; false when too much has been read to remember.
    pub fn rewind(&mut self) -> bool {
        self.0.as_mut().is_none_or(|pieces| {
            pieces.next = 0;
            pieces.whole
        })
    }

    /// How long the client may stand still from now on.
    pub(super) fn set_idle(&mut self, idle: Option<Duration>) {
        if let Some(pieces) = &mut self.0 {
            pieces.body.set_idle(idle);
        }
    }

    /// Tells a client that waits for `100 Continue` to send.
    pub(super) fn proceed(&mut self) {
        if let Some(pieces) = &mut self.0 {
            pieces.body.proceed();
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match &mut self.0 {
            Some(pieces) => pieces.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Pieces {
    fn empty(max: Option<u64>) -> Pieces {
        Pieces {
            body: Body::Empty,
            left: max.unwrap_or(u64::MAX),
            kept: Vec::new(),
            kept_bytes: 0,
            whole: true,
            next: 0,
            ended: false,
            _held: None,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Some(data) = self.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::Data(data.clone()))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match self.body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return Poll::Pending,
        };
        match &frame {
            Some(Ok(Frame::Data(data))) => {
                let Some(left) = self.left.checked_sub(data.len() as u64) else {
                    self.ended = true;
                    return Poll::Ready(Some(Err(Why::LimitBody)));
                };
                self.left = left;
                self.keep(data);
            }
            Some(Ok(Frame::Trailers(_))) => {
                self.whole = false;
                self.ended = true;
            }
            Some(Err(_)) | None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if !self.whole || self.kept_bytes > REPLAY {
            self.whole = false;
            self.kept.clear();
            self.next = 0;
        } else {
            // A copy, so that a small piece does not hold the large buffer it was read into.
            self.kept.push(Bytes::copy_from_slice(data));
            self.next = self.kept.len();
        }
    }
}
