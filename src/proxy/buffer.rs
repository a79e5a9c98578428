//! `buffer_request`: the body is read whole, so that a server that cannot read chunked bodies gets a Content-Length, and a
//! slow upload holds no server.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use crate::error::Why;
use crate::http::body::{Body, Frame};
use crate::message::{Framing, Known, RequestHead};
use crate::upstream::Upload;

/// Bytes of all the bodies that the process holds at once.
pub const MEMORY: u64 = 256 << 20;

/// What is gathered before the next piece begins.
const PIECE: usize = 64 << 10;

static HELD: AtomicU64 = AtomicU64::new(0);

/// Bytes counted as held until it is dropped.
#[derive(Debug)]
struct Held(u64);

impl Held {
    fn add(&mut self, bytes: u64) -> Result<(), Why> {
        let before = HELD.fetch_add(bytes, Ordering::Relaxed);
        self.0 += bytes;
        if before + bytes > MEMORY { Err(Why::BufferFull) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Reads the body of a request whole and makes the head say its length. Trailers are dropped: there is no place for them
/// beside a Content-Length. A client that waits for `100 Continue` is told to send.
///
/// # Errors
/// The body is larger than `max` (`limit.body`), all bodies together are too large (`limit.buffer`), or it did not arrive.
pub(super) async fn read_whole(head: &mut RequestHead, mut body: Body, max: Option<u64>) -> Result<Upload, Why> {
    let mut held = Held(0);
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut piece = BytesMut::new();
    body.proceed();
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        if let Frame::Data(data) = frame? {
            held.add(data.len() as u64)?;
            if max.is_some_and(|max| held.0 > max) {
                return Err(Why::LimitBody);
            }
            // Copied: a small piece would hold the large buffer it was read into.
            piece.extend_from_slice(&data);
            if piece.len() >= PIECE {
                pieces.push(piece.split().freeze());
            }
        }
    }
    if !piece.is_empty() {
        pieces.push(piece.freeze());
    }
    head.framing = Framing::Length(held.0);
    head.expect_continue = false;
    head.fields.remove(Known::Expect);
    Ok(Upload::whole(pieces, Box::new(held)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{Limits, Parsed, parse_request};

    fn head() -> RequestHead {
        let raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
        match parse_request(raw, &Limits { bytes: 1 << 10, fields: 10, target: 100 }) {
            Ok(Parsed::Head(head, _)) => head,
            other => panic!("{other:?}"),
        }
    }

    // One test: the count is the process's.
    #[tokio::test]
    async fn a_body_is_counted_while_it_is_held_and_bounded() {
        let body = Body::Full(Bytes::from(vec![7; 200_000]));
        let mut head = head();
        let upload = read_whole(&mut head, body, Some(200_000)).await.unwrap();
        assert_eq!((head.framing, head.expect_continue), (Framing::Length(200_000), false));
        assert!(!head.fields.has(Known::Expect) && !upload.is_empty());
        assert_eq!(HELD.load(Ordering::Relaxed), 200_000);
        drop(upload);
        assert_eq!(HELD.load(Ordering::Relaxed), 0);

        let too_long = read_whole(&mut head, Body::Full(Bytes::from_static(b"four")), Some(3)).await;
        assert_eq!(too_long.err(), Some(Why::LimitBody));
        let mut others = Held(0);
        others.add(MEMORY).unwrap();
        let no_room = read_whole(&mut head, Body::Full(Bytes::from_static(b"four")), None).await;
        assert_eq!(no_room.err(), Some(Why::BufferFull));
        drop(others);
        let empty = read_whole(&mut head, Body::Empty, None).await.unwrap();
        assert!(empty.is_empty() && head.framing == Framing::Length(0));
        assert_eq!(HELD.load(Ordering::Relaxed), 0);
    }
}
