//! A response body of one stream: the window is opened as the client takes it.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::RecvStream;

use super::head;
use super::pool::Lease;
use super::sending::Sending;
use crate::error::Why;
use crate::http::body::{Frame, NextFrame, Source};
use crate::net::Deadline;
use crate::upstream::{InFlight, Waits};

/// What is left of an exchange after its head. Dropped before the end, the stream is reset with CANCEL.
pub(super) struct Download {
    pub body: RecvStream,
    /// Content-Length, less what has come. The library compares the two.
    pub left: Option<u64>,
    pub stream: Option<(Sending, Lease, InFlight)>,
    pub deadline: Rc<Deadline>,
    pub waits: Waits,
}

impl Source for Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let Some((sending, ..)) = &mut self.stream else { return Poll::Ready(None) };
        if let Err(why) = sending.poll(cx, &self.deadline, &self.waits) {
            return Poll::Ready(Some(Err(why)));
        }
        Poll::Ready(match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                // The client asks for a piece when it has room for one, so the server may send the next.
                let _ = self.body.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                if self.body.is_end_stream() {
                    self.stream = None;
                }
                Some(Ok(Frame::Data(data)))
            }
            Some(Err(error)) => Some(Err(cut(&error))),
            None => match ready!(self.body.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.stream = None;
                    trailers.map(|trailers| Ok(Frame::Trailers(head::trailers_in(&trailers))))
                }
                Err(error) => Some(Err(cut(&error))),
            },
        })
    }

    fn length(&self) -> Option<u64> {
        match self.left {
            _ if self.stream.is_none() => Some(0),
            // Trailers may follow the last byte: the end is where the server says so.
            Some(0) => None,
            left => left,
        }
    }
}

/// Why a body is not whole.
fn cut(error: &h2::Error) -> Why {
    if error.is_library() {
        Why::UpstreamMalformed
    } else if error.is_reset() {
        Why::UpstreamReset
    } else {
        Why::UpstreamCut
    }
}
