//! Bodies on their way: frames that are asked for one at a time, so that a slow reader slows the writer.

use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Why;
use crate::message::Fields;

/// A piece of a body.
#[derive(Debug)]
pub enum Frame {
    Data(Bytes),
    /// Trailer fields: the last frame.
    Trailers(Fields),
}

/// The next frame, the end, or the reason there is no proper end.
pub type NextFrame = Option<Result<Frame, Why>>;

/// Where frames come from.
pub trait Source {
    /// The next frame. After `None` or an error it is not asked again.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame>;

    /// Bytes still to come, where that is known.
    fn length(&self) -> Option<u64>;

    /// How long a request body may stand still, where the route says so.
    fn set_idle(&mut self, _: Option<Duration>) {}

    /// Tells a client that waits for it to send its body (`100 Continue`). Only request bodies of HTTP/1.1 do something.
    fn proceed(&mut self) {}
}

/// The body of a request or response.
pub enum Body {
    Empty,
    /// All of it, there already.
    Full(Bytes),
    Stream(Box<dyn Source>),
}

impl Body {
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match self {
            Body::Empty => Poll::Ready(None),
            Body::Full(_) => match std::mem::replace(self, Body::Empty) {
                Body::Full(data) if !data.is_empty() => Poll::Ready(Some(Ok(Frame::Data(data)))),
                _ => Poll::Ready(None),
            },
            Body::Stream(source) => {
                let frame = source.poll_frame(cx);
                if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
                    *self = Body::Empty;
                }
                frame
            }
        }
    }

    /// Bytes still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(data) => Some(data.len() as u64),
            Body::Stream(source) => source.length(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.length() == Some(0)
    }

    /// How long it may stand still, from a request's route.
    pub fn set_idle(&mut self, idle: Option<Duration>) {
        if let Body::Stream(source) = self {
            source.set_idle(idle);
        }
    }

    /// Tells a client that waits for it to send its body.
    pub fn proceed(&mut self) {
        if let Body::Stream(source) = self {
            source.proceed();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::Full(data) => write!(f, "Full({})", data.len()),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}
