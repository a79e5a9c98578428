//! The connection as two hold it, the loop that answers and the handler that reads the body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{READ, READ_LARGE};
use crate::error::Why;
use crate::h1::{self, Decoder, Step};
use crate::http::body::{Body, Frame, NextFrame, Pace, Source};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Interim, Request, SendInterim, Settings};
use crate::message::{Fields, Framing, RequestHead, Version};
use crate::net::{Deadline, clock};

/// The connection, shared between the loop that writes responses and the request body that a handler holds.
pub(super) struct Conn {
    pub wire: RefCell<Wire>,
    pub decoder: RefCell<Decoder>,
    pub deadline: Rc<Deadline>,
    /// The client waits for `100 Continue` before it sends its body.
    pub waits: Cell<bool>,
    /// The client has said that it sends no more. It may well wait for its answer.
    pub half_closed: Cell<bool>,
}

impl Conn {
    pub fn request(self: Rc<Self>, head: Box<RequestHead>, info: &Rc<ConnInfo>, settings: &Settings) -> Request {
        let deadline = self.deadline.clone();
        let has_body = head.framing != Framing::None;
        let interim = (head.version == Version::Http11).then(|| Interim(self.clone()));
        let body = if has_body {
            *self.decoder.borrow_mut() = Decoder::new(head.framing);
            self.waits.set(head.expect_continue);
            let idle = settings.timeouts.request_body_idle;
            let length = match head.framing {
                Framing::Length(length) => Some(length),
                _ => None,
            };
            Body::Stream(Box::new(Receive { conn: self, length, pace: Pace::default(), idle, waiting: false }))
        } else {
            Body::Empty
        };
        Request { head, body, conn: info.clone(), deadline, interim }
    }

    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.wire.borrow_mut().poll_flush(cx) {
            Poll::Pending => self.deadline.poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into())),
            ready => ready,
        }
    }

    /// Ready when the client's connection has broken: nobody waits for the answer any more. To be asked while there is none.
    ///
    /// A FIN is no such break, since a client may end its side and wait (RFC 9293 section 3.6); a reset is, and so is the end
    /// of TLS without close_notify (RFC 8446 section 6.1). What the client sends meanwhile is read up to a buffer's size. As
    /// long as it sends nothing this costs no system call: the runtime knows.
    pub fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.half_closed.get() {
            return Poll::Pending;
        }
        let mut wire = self.wire.borrow_mut();
        while wire.input.len() < READ {
            let _ = ready!(wire.io.poll_socket(cx));
            match ready!(wire.poll_fill(cx, READ)) {
                Ok(0) => {
                    self.half_closed.set(true);
                    return Poll::Pending;
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl SendInterim for Conn {
    fn send(&self, status: u16, fields: &Fields) {
        let mut wire = self.wire.borrow_mut();
        if wire.has_room() {
            let out = wire.output();
            h1::write_status_line(out, status);
            h1::write_fields(out, fields);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A request body: read from the connection when the handler asks.
struct Receive {
    conn: Rc<Conn>,
    /// Bytes still to come, from Content-Length.
    length: Option<u64>,
    pace: Pace,
    idle: Option<Duration>,
    /// The last poll found nothing: the deadline is the client's. Between two pieces others may have moved it.
    waiting: bool,
}

impl Source for Receive {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let mut wire = self.conn.wire.borrow_mut();
        let mut decoder = self.conn.decoder.borrow_mut();
        loop {
            match decoder.step(&mut wire.input) {
                Ok(Step::Data(data)) => {
                    self.conn.waits.set(false);
                    self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
                    if !self.pace.receive(data.len(), clock::now()) {
                        return Poll::Ready(Some(Err(Why::TimeoutRequestBody)));
                    }
                    self.waiting = false;
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Ok(Step::End(trailers)) => return Poll::Ready(trailers.map(|fields| Ok(Frame::Trailers(fields)))),
                Ok(Step::NeedMore) => {}
                Err(_) => return Poll::Ready(Some(Err(Why::RequestFraming))),
            }
            let room = if self.length.is_none_or(|left| left > READ_LARGE as u64) { READ_LARGE } else { READ };
            match wire.poll_fill(cx, room) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Some(Err(Why::RequestCut))),
                Poll::Pending => {
                    if !std::mem::replace(&mut self.waiting, true) {
                        self.conn.deadline.set(self.idle);
                        self.pace.wait(clock::now());
                    }
                    return self.conn.deadline.poll(cx).map(|()| Some(Err(Why::TimeoutRequestBody)));
                }
            }
        }
    }

    fn set_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn proceed(&mut self) {
        if self.conn.waits.replace(false) {
            self.conn.wire.borrow_mut().output().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
}
