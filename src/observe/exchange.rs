//! One request and its answer over an open stream: HTTP/1.1 by our own codec, HTTP/2 by h2's client.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::request::{Answer, Request};
use crate::h1::{Decoder, Parsed, ResponseTo, Step, parse_response};
use crate::message::Method;

/// Bytes of the answer's body that are kept; the rest is counted.
const KEPT: usize = 64 << 10;
/// Interim responses (1xx) before the final one.
const INTERIM: usize = 16;
/// How long the server may take to close after we have half-closed.
const CLOSING: Duration = Duration::from_secs(3);
/// What a server may still send after the answer.
const REST: u64 = 1 << 20;
/// What our SETTINGS and WINDOW_UPDATE say, as clients of this kind usually do: a page comes without a wait for windows.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 5 << 20;
const MAX_FRAME: u32 = 16 << 10;
const MAX_FIELD_BYTES: u32 = 16 << 10;

/// Sends a request as HTTP/1.1 and reads the answer to its end.
///
/// # Errors
/// A sentence for the reader: what the server did wrong.
pub(super) async fn h1<S>(stream: &mut S, request: &Request, authority: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let said = |error: io::Error| format!("the connection broke: {error}");
    stream.write_all(&request.to_h1(authority)).await.map_err(said)?;
    stream.flush().await.map_err(said)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    let to = ResponseTo { is_head: request.method == Method::HEAD };
    let mut interim = 0;
    let head = loop {
        match parse_response(&buffer, to).map_err(|_| "the answer is not HTTP/1.1")? {
            Parsed::Head(head, length) => {
                drop(buffer.split_to(length));
                if head.status >= 200 {
                    break head;
                }
                interim += 1;
                if interim > INTERIM {
                    return Err("interim responses without end".into());
                }
            }
            Parsed::Partial => {
                if stream.read_buf(&mut buffer).await.map_err(said)? == 0 {
                    return Err("the server closed without an answer".into());
                }
            }
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut answer = Answer {
        status: head.status,
        version: head.version.as_str(),
        fields: head.fields.iter().map(|field| (text(field.name), text(field.value))).collect(),
        body: Vec::new(),
        body_total: 0,
    };
    let mut decoder = Decoder::new(head.framing);
    loop {
        match decoder.step(&mut buffer).map_err(|_| "the body breaks its chunked coding")? {
            Step::Data(data) => answer.take(&data),
            Step::End(_) => return Ok(answer),
            Step::NeedMore if decoder.is_done() => return Ok(answer),
            Step::NeedMore => {
                if stream.read_buf(&mut buffer).await.map_err(said)? == 0 {
                    return decoder.end_of_input().map(|()| answer).map_err(|_| "the body was cut off".into());
                }
            }
        }
    }
}

/// Says that we have sent everything, then reads until the server has too: so each side's FIN can be seen. Returns whether
/// the server closed.
pub(super) async fn half_close<S>(stream: &mut S) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A server that is gone already has closed.
    let _ = stream.shutdown().await;
    read_out(stream).await
}

/// Reads until the server has closed, as far as patience and a bound go.
pub(super) async fn read_out<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut rest = Vec::new();
    let mut bounded = stream.take(REST);
    matches!(tokio::time::timeout(CLOSING, bounded.read_to_end(&mut rest)).await, Ok(read) if read.is_ok())
}

/// Sends a request as HTTP/2 on a connection of its own. `before_end` runs before the connection says goodbye.
///
/// # Errors
/// A sentence for the reader: what the server did wrong.
pub(super) async fn h2<S>(
    stream: Lent<S>,
    request: &Request,
    authority: &str,
    before_end: impl FnOnce(),
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let said = |error: h2::Error| format!("HTTP/2: {error}");
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_FIELD_BYTES)
        .handshake(stream)
        .await
        .map_err(said)?;
    let driver = tokio::task::spawn_local(connection);
    let mut sender = sender.ready().await.map_err(said)?;
    let answer = async {
        let body = request.body.clone();
        let (response, mut stream) = sender.send_request(request.to_h2(authority)?, body.is_empty()).map_err(said)?;
        if !body.is_empty() {
            // The library waits for the windows; the body is in memory already. What a server refuses early, it answers.
            let _ = stream.send_data(body, true);
        }
        let response = response.await.map_err(said)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut answer = Answer {
            status: response.status().as_u16(),
            version: "HTTP/2.0",
            fields: response.headers().iter().map(|(n, v)| (n.to_string(), text(v.as_bytes()))).collect(),
            body: Vec::new(),
            body_total: 0,
        };
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data = data.map_err(said)?;
            answer.take(&data);
            body.flow_control().release_capacity(data.len()).map_err(said)?;
        }
        body.trailers().await.map_err(said)?;
        Ok(answer)
    };
    let answer = answer.await;
    before_end();
    // Without a sender the connection says GOAWAY, shuts our side down and ends.
    drop(sender);
    let _ = tokio::time::timeout(CLOSING, driver).await;
    answer
}

impl Answer {
    fn take(&mut self, data: &[u8]) {
        self.body_total += data.len() as u64;
        let room = KEPT.saturating_sub(self.body.len()).min(data.len());
        self.body.extend_from_slice(&data[..room]);
    }
}

/// A stream that is lent to the HTTP/2 library, so that it is still ours when the connection is done.
#[derive(Debug)]
pub(super) struct Lent<S>(pub Rc<RefCell<S>>);

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
