//! Server-sent events: each request that passes, as the piece of the page that shows it.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Interval, interval};

use super::page;
use super::ring::Follower;
use super::words::Words;
use crate::http::body::{Frame, NextFrame, Source};

/// How often a silent stream says that it lives, so that a browser that is gone is noticed.
const BEAT: Duration = Duration::from_secs(15);

pub(super) struct Events {
    follower: Follower,
    words: &'static Words,
    beat: Interval,
}

impl Events {
    pub fn new(follower: Follower, words: &'static Words) -> Events {
        Events { follower, words, beat: interval(BEAT) }
    }
}

impl Source for Events {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::Data(Bytes::from(text)))));
        if let Some(kept) = self.follower.next(cx) {
            let mut event = format!("id: {}\nevent: request\n", kept.number);
            for line in page::request(self.words, &kept).lines() {
                event += &format!("data: {line}\n");
            }
            return frame(event + "\n");
        }
        match self.beat.poll_tick(cx) {
            Poll::Ready(_) => frame(": alive\n\n".into()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}
