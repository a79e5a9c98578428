//! Responses on their way to an HTTP/2 client: no more of a body is read than the client's windows take.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};

use super::stream::{Reply, Report, reason};
use super::streams::Open;
use crate::error::Why;
use crate::http::Response;
use crate::http::body::{Body, Frame};
use crate::http::term::Standing;
use crate::message::Fields;
use crate::net::Deadline;

/// Window asked for at a time: what one stream asks for others wait for.
const CLAIM: usize = 64 << 10;

/// What sending a response needs to know of its stream.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub reply: &'a Reply,
    pub deadline: &'a Rc<Deadline>,
    /// How long the body may stand still.
    pub idle: Option<Duration>,
    pub open: &'a Open,
    pub standing: &'a Standing,
    /// The request was a HEAD.
    pub head_only: bool,
}

/// Sends a whole response.
///
/// # Errors
/// Why it was cut; the stream has been reset then.
pub(super) async fn send(task: Task<'_>, mut response: Box<Response>, mut report: Report) -> Result<(), Why> {
    let bodiless = task.head_only || matches!(response.status, 204 | 304);
    let length = response.body.length();
    let mut head = head(response.status, response.fields);
    match length {
        _ if response.status == 204 => drop(head.headers_mut().remove(CONTENT_LENGTH)),
        Some(length) if length > 0 && !head.headers().contains_key(CONTENT_LENGTH) => {
            head.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        _ => {}
    }
    let ends = bodiless || length == Some(0);
    task.deadline.set(task.idle);
    let sent = task.reply.borrow_mut().send_response(head, ends);
    let Ok(mut to) = sent else { return Err(Why::ClientGone) };
    if !ends && let Err(why) = pump(task, &mut to, &mut response.body, &mut report.sent).await {
        to.send_reset(reason(why));
        report.cut = Some(why);
        return Err(why);
    }
    drop(report.whole());
    Ok(())
}

/// Sends the head that opens a tunnel: what was a 101 on HTTP/1.1 is a 200 here (RFC 8441 section 5).
///
/// # Errors
/// The stream is gone.
pub(super) fn accept(reply: &Reply, fields: Fields) -> Result<SendStream<Bytes>, h2::Error> {
    let mut head = head(200, fields);
    head.headers_mut().remove("sec-websocket-accept");
    reply.borrow_mut().send_response(head, false)
}

fn head(status: u16, fields: Fields) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    copy_fields(fields, head.headers_mut());
    head
}

/// The values share the buffer of our representation: no copy a field.
pub(super) fn copy_fields(fields: Fields, headers: &mut http::HeaderMap) {
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

/// Moves a body to the client, one piece at a time.
async fn pump(task: Task<'_>, to: &mut SendStream<Bytes>, body: &mut Body, sent: &mut u64) -> Result<(), Why> {
    let mut held = Bytes::new();
    poll_fn(|cx| {
        if let Some(why) = task.standing.over() {
            return Poll::Ready(Err(why));
        }
        let patience = |cx: &mut Context<'_>, why: Why| {
            task.standing.settle();
            task.deadline.poll(cx).map(|()| Err(why))
        };
        loop {
            if !held.is_empty() {
                let room = match poll_room(to, held.len(), cx) {
                    Poll::Ready(Some(room)) => room,
                    Poll::Ready(None) => return Poll::Ready(Err(Why::ClientGone)),
                    // A client that opens its window no further is not waited for.
                    Poll::Pending => return patience(cx, Why::ClientGone),
                };
                let piece = held.split_to(room.min(held.len()));
                let ends = held.is_empty() && body.is_empty();
                task.deadline.set(task.idle);
                task.open.sent(piece.len());
                *sent += piece.len() as u64;
                if to.send_data(piece, ends).is_err() {
                    return Poll::Ready(Err(Why::ClientGone));
                }
                if ends {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let finished = match body.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) if !data.is_empty() || !body.is_empty() => {
                    held = data;
                    task.deadline.set(task.idle);
                    continue;
                }
                Poll::Ready(None | Some(Ok(Frame::Data(_)))) => to.send_data(Bytes::new(), true),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => {
                    let mut trailers = http::HeaderMap::new();
                    copy_fields(fields, &mut trailers);
                    to.reserve_capacity(0);
                    to.send_trailers(trailers)
                }
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Err(why)),
                Poll::Pending if to.poll_reset(cx).is_ready() => return Poll::Ready(Err(Why::ClientGone)),
                Poll::Pending => return patience(cx, Why::UpstreamCut),
            };
            return Poll::Ready(finished.map_err(|_| Why::ClientGone));
        }
    })
    .await
}

/// How many bytes may be sent now, when any; `None` when the stream takes no more.
///
/// Window is claimed only for bytes that are there: what a stream claims and does not use would hold up the others.
pub(super) fn poll_room(to: &mut SendStream<Bytes>, want: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    to.reserve_capacity(want.min(CLAIM));
    match to.capacity() {
        0 => loop {
            match to.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => return Poll::Ready(Some(room)),
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        },
        room => Poll::Ready(Some(room)),
    }
}
