//! A request body whose bytes are counted on their way.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::http::body::{Body, Frame, NextFrame, Source};

pub(super) struct Counted {
    body: Body,
    count: Rc<Cell<u64>>,
}

impl Counted {
    pub fn new(body: Body, count: Rc<Cell<u64>>) -> Counted {
        Counted { body, count }
    }
}

impl Source for Counted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let frame = self.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &frame {
            self.count.set(self.count.get() + data.len() as u64);
        }
        frame
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }

    fn set_idle(&mut self, idle: Option<Duration>) {
        self.body.set_idle(idle);
    }

    fn proceed(&mut self) {
        self.body.proceed();
    }
}
