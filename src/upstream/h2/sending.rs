//! The request's side of a stream.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h2::SendStream;

use super::head;
use crate::error::Why;
use crate::http::body::Frame;
use crate::net::Deadline;
use crate::upstream::{Upload, Waits};

/// A body on its way into a stream. Dropped before its end, the stream is reset with CANCEL.
pub(super) struct Sending {
    pub upload: Upload,
    stream: SendStream<Bytes>,
    /// Read from the client, not taken by the stream yet.
    piece: Bytes,
    /// The body is not over.
    pub active: bool,
    /// The body waits for the server's 100 (or its silence).
    pub waits: bool,
}

impl Sending {
    pub fn new(upload: Upload, stream: SendStream<Bytes>, waits: bool) -> Sending {
        let active = !upload.is_empty();
        Sending { upload, stream, piece: Bytes::new(), active, waits: waits && active }
    }

    /// Sends what can be sent now. A stream that takes no more is no error: the answer decides.
    ///
    /// # Errors
    /// The client's body failed.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: &Deadline, waits: &Waits) -> Result<(), Why> {
        while self.active && !self.waits {
            if !self.piece.is_empty() {
                let room = match self.stream.capacity() {
                    0 => match self.stream.poll_capacity(cx) {
                        Poll::Pending => return Ok(()),
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(None | Some(Err(_))) => return self.broken(),
                    },
                    room => room,
                };
                let part = self.piece.split_to(room.min(self.piece.len()));
                deadline.set(waits.response_header);
                if self.stream.send_data(part, false).is_err() {
                    return self.broken();
                }
                continue;
            }
            match self.upload.poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    // From here to the next wait for the client, the wait is the server's.
                    deadline.set(waits.response_header);
                    if data.has_remaining() {
                        self.stream.reserve_capacity(data.len());
                        self.piece = data;
                    }
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => {
                    self.ended(deadline, waits);
                    let _ = self.stream.send_trailers(head::trailers_out(&fields));
                }
                Poll::Ready(None) => {
                    self.ended(deadline, waits);
                    let _ = self.stream.send_data(Bytes::new(), true);
                }
                Poll::Ready(Some(Err(why))) => return Err(why),
            }
        }
        Ok(())
    }

    fn ended(&mut self, deadline: &Deadline, waits: &Waits) {
        self.active = false;
        deadline.set(waits.response_header);
    }

    fn broken(&mut self) -> Result<(), Why> {
        self.active = false;
        self.piece = Bytes::new();
        Ok(())
    }

    /// The server wants the body, or says nothing.
    pub fn proceed(&mut self, deadline: &Deadline, waits: &Waits) {
        if std::mem::take(&mut self.waits) {
            self.upload.proceed();
            deadline.set(waits.response_header);
        }
    }
}
