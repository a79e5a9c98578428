//! hyper's HTTP/1 server over a connection whose bytes are all there.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Response};

use super::Message;

/// Polls after which a connection that is still not over is a hang.
const POLLS: usize = 10_000;

/// Every request whose body ended, in order.
pub(super) fn requests(data: &[u8]) -> Vec<Message> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = hyper::service::service_fn({
        let seen = seen.clone();
        move |request: Request<Incoming>| {
            let seen = seen.clone();
            async move {
                if let Some(message) = read(request).await {
                    seen.borrow_mut().push(message);
                }
                Ok::<_, Infallible>(Response::new(Nothing))
            }
        }
    });
    let io = Io { bytes: data.to_vec(), at: 0 };
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new().half_close(true).max_headers(256).serve_connection(io, service)
    );
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS {
        // An error is the end of what hyper accepts.
        if connection.as_mut().poll(&mut context).is_ready() {
            return std::mem::take(&mut *seen.borrow_mut());
        }
    }
    panic!("hyper waits for something that does not come");
}

async fn read(request: Request<Incoming>) -> Option<Message> {
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            body.extend_from_slice(&data);
        }
    }
    let fields = parts.headers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec()));
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = fields.collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // RFC 9112 section 3.2.1: an empty path of an absolute target is "/".
    let target = if target.starts_with('?') { format!("/{target}") } else { target.into() };
    Some(Message { method: parts.method.to_string(), target: target.into(), fields, body })
}

/// A response body without anything.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// All bytes at once, then the end; what is written is forgotten.
struct Io {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let take = (self.bytes.len() - self.at).min(buffer.remaining());
        buffer.put_slice(&self.bytes[self.at..self.at + take]);
        self.at += take;
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
