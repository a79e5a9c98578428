//! One stream: a request in, a response out, given up when the client resets it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use super::streams::Open;
use super::{inbound, outbound, tunnel};
use crate::error::Why;
use crate::http::body::Body;
use crate::http::{ConnInfo, Ended, Handler, Interim, OnEnd, Request, Response, Shared};
use crate::message::{Fields, Method};
use crate::net::Deadline;

/// The library's handle on the response, held by the stream and by what sends interim responses.
pub(super) type Reply = Rc<RefCell<SendResponse<Bytes>>>;

pub(super) async fn serve<H: Handler>(
    shared: Rc<Shared<H>>,
    conn: Rc<ConnInfo>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
    mut open: Open,
) {
    let deadline = Rc::new(Deadline::default());
    let reply = Rc::new(RefCell::new(respond));
    let (parts, incoming) = request.into_parts();
    let head_only = parts.method == Method::HEAD;
    let connect = parts.method == Method::CONNECT;
    // The client's half of a tunnel is no body.
    let mut half = None;
    let answered = {
        let half = &mut half;
        let mut answering = pin!(async {
            let request = match inbound::head(parts, incoming.is_end_stream(), &shared.settings) {
                Ok(head) if connect => {
                    *half = Some(incoming);
                    Ok((head, Body::Empty))
                }
                Ok(head) => inbound::receive(head, incoming, &deadline, &shared.settings).await,
                Err(why) => Err(why),
            };
            match request {
                Ok((head, body)) => {
                    let (conn, deadline) = (conn.clone(), deadline.clone());
                    let interim = Some(interim(reply.clone()));
                    shared.handler.handle(Request { head: Box::new(head), body, conn, deadline, interim }).await
                }
                Err(why) => shared.handler.refuse(&conn, why),
            }
        });
        // Asked first, so that a stream that is reset already costs the backend nothing, and whenever the answer is not
        // there: nobody waits for it any more, and the exchange with the backend ends.
        let mut fresh = true;
        poll_fn(|cx| {
            if std::mem::take(&mut fresh) {
                open.register(cx);
                if reply.borrow_mut().poll_reset(cx).is_ready() {
                    return Poll::Ready(None);
                }
            }
            match answering.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => reply.borrow_mut().poll_reset(cx).map(|_| None),
            }
        })
        .await
    };
    let Some(mut response) = answered else {
        open.set_reset();
        return;
    };
    if connect && response.tunnel.is_none() && (200..300).contains(&response.status) {
        // To this client a 2xx would open a tunnel, and there is none (RFC 9113 section 8.5).
        response.on_end = None;
        response = shared.handler.refuse(&conn, Why::UpstreamWebsocket);
    }
    let report = Report::new(&mut response);
    if let Some(tunnel) = response.tunnel.take() {
        if let (Some(half), Ok(to)) = (half, outbound::accept(&reply, response.fields)) {
            drop(report.whole());
            tunnel::run(half, to, *tunnel, &deadline, open).await;
        }
        return;
    }
    let idle = response.idle.unwrap_or(shared.settings.timeouts.response_body_idle);
    let standing = std::mem::take(&mut response.standing);
    let task = outbound::Task { reply: &reply, deadline: &deadline, idle, open: &open, standing: &standing, head_only };
    if outbound::send(task, response, report).await == Err(Why::ClientGone) {
        open.set_reset();
    }
}

/// Sends interim responses on the stream (RFC 9113 section 8.1).
fn interim(reply: Reply) -> Interim {
    Interim(Rc::new(move |status, fields: &Fields| {
        let mut head = http::Response::new(());
        if let Ok(status) = http::StatusCode::from_u16(status) {
            *head.status_mut() = status;
            outbound::copy_fields(fields.clone(), head.headers_mut());
            if let Err(error) = reply.borrow_mut().send_informational(head) {
                tracing::debug!("an interim response of {status} was not sent: {error}");
            }
        }
    }))
}

/// Tells how the response ended, once, whatever becomes of the stream.
pub(super) struct Report {
    on_end: Option<OnEnd>,
    pub sent: u64,
    /// What is told when nobody says otherwise: the client left.
    pub cut: Option<Why>,
}

impl Report {
    fn new(response: &mut Response) -> Report {
        Report { on_end: response.on_end.take(), sent: 0, cut: Some(Why::ClientGone) }
    }

    /// The response was sent to its end.
    pub fn whole(mut self) -> Report {
        self.cut = None;
        self
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(OnEnd(on_end)) = self.on_end.take() {
            on_end.over(Ended { bytes: self.sent, cut: self.cut });
        }
    }
}

/// The code a response is cut with: whether what stands behind is at fault, or nobody wants the stream any more.
pub(super) fn reason(why: Why) -> Reason {
    match why {
        Why::ClientGone | Why::ProxyReloaded | Why::ProxyStopped => Reason::CANCEL,
        _ => Reason::INTERNAL_ERROR,
    }
}
