//! Responses as HTTP/2 wants them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use hyper::body::SizeHint;

use super::Stream;
use crate::error::Why;
use crate::http::body::{Body, Frame};
use crate::http::{Ended, OnEnd, Response};
use crate::message::Fields;
use crate::net::Deadline;

/// A response with its body on its way. `stream` is counted as open until the body is over.
pub(super) fn outgoing(
    response: Response,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    stream: Stream,
) -> http::Response<Outgoing> {
    let Response { status, fields, body, on_end, .. } = response;
    let outgoing = Outgoing { body, deadline, idle, sent: 0, on_end, cut: Some(Why::ClientGone), _stream: stream };
    let mut out = http::Response::new(outgoing);
    *out.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    copy_fields(fields, out.headers_mut());
    out
}

/// The values share the buffer of our representation: no copy a field.
fn copy_fields(fields: Fields, headers: &mut http::HeaderMap) {
    headers.reserve(fields.len());
    let (bytes, spans) = fields.into_parts();
    let bytes = Bytes::from(bytes);
    for (known, name, value) in spans {
        if known.is_hop_by_hop() {
            continue;
        }
        let name = HeaderName::from_bytes(&bytes[name]);
        let value = HeaderValue::from_maybe_shared(bytes.slice(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
}

/// A response body as hyper wants it.
pub(super) struct Outgoing {
    body: Body,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    sent: u64,
    on_end: Option<OnEnd>,
    /// What is reported when the body is dropped: the client left, unless its end was seen.
    cut: Option<Why>,
    _stream: Stream,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Why;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Why>>> {
        let this = &mut *self;
        let frame = match this.body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => match this.deadline.poll(cx) {
                Poll::Ready(()) => Some(Err(Why::UpstreamCut)),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(match frame {
            Some(Ok(Frame::Data(data))) => {
                this.sent += data.len() as u64;
                this.deadline.set(this.idle);
                if this.body.is_empty() {
                    this.cut = None;
                }
                Some(Ok(hyper::body::Frame::data(data)))
            }
            Some(Ok(Frame::Trailers(fields))) => {
                this.cut = None;
                let mut trailers = http::HeaderMap::new();
                copy_fields(fields, &mut trailers);
                Some(Ok(hyper::body::Frame::trailers(trailers)))
            }
            Some(Err(why)) => {
                this.cut = Some(why);
                Some(Err(why))
            }
            None => {
                this.cut = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(OnEnd(on_end)) = self.on_end.take() {
            let cut = if self.body.is_empty() { None } else { self.cut };
            on_end(Ended { bytes: self.sent, cut });
        }
    }
}
