//! Bodies on their way: frames that are asked for one at a time, so that a slow reader slows the writer.

use std::fmt;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

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

/// A request body slower than this after [`SLOW_AFTER`] is given up: bytes a second.
const MIN_RATE: u64 = 240;
const SLOW_AFTER: Duration = Duration::from_secs(30);

/// How fast a client sends its body. Only the time it is waited for counts: a slow server is not the client's fault.
#[derive(Debug, Default)]
pub struct Pace {
    received: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// Nothing is there: a wait begins, or goes on.
    pub fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Notes bytes that have come; false when the body is too slow to wait for the rest.
    pub fn receive(&mut self, bytes: usize, now: Instant) -> bool {
        self.received += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.waited <= SLOW_AFTER || self.received / self.waited.as_secs().max(1) >= MIN_RATE
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_drips_is_too_slow_after_a_while() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let slow_at = (1..100).find(|_| {
            pace.wait(now);
            now += Duration::from_secs(1);
            !pace.receive(100, now)
        });
        assert_eq!(slow_at, Some(31));
    }

    #[test]
    fn a_body_at_the_least_rate_is_waited_for() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..1000 {
            pace.wait(now);
            now += Duration::from_secs(1);
            assert!(pace.receive(240, now));
        }
    }

    #[test]
    fn the_time_a_server_takes_is_not_counted() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..1000 {
            now += Duration::from_secs(60);
            assert!(pace.receive(1, now));
        }
    }
}
