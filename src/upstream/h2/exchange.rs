//! One exchange on a stream: request out, response in, both at once where they overlap.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::Reason;
use h2::client::ResponseFuture;

use super::download::Download;
use super::head;
use super::pool::Lease;
use super::sending::Sending;
use crate::error::Why;
use crate::http::Interim;
use crate::http::body::Body;
use crate::http::headers::remove_hop_by_hop;
use crate::message::Framing;
use crate::net::Deadline;
use crate::upstream::exchange::{CONTINUE_WAIT, MAX_INTERIM};
use crate::upstream::{Answer, Failure, Ongoing, Outgoing, Retry, Waits};

/// As [`crate::upstream::exchange`], on a stream.
pub(in crate::upstream) async fn exchange(
    outgoing: Outgoing<'_>,
    mut lease: Lease,
    ongoing: Ongoing<'_>,
) -> Result<Answer, Failure> {
    let Ongoing { in_flight, upload, deadline, waits, interim } = ongoing;
    let endpoint = in_flight.endpoint();
    let request = match head::request(&outgoing, &endpoint.label, endpoint.protocol.is_tls()) {
        Ok(request) => request,
        Err(why) => return Err(Failure { why, retry: Retry::No, upload }),
    };
    let expects = outgoing.head.expect_continue;
    let (mut response, stream) = match lease.sender.send_request(request, upload.is_empty()) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!("opening a stream: {error}");
            return Err(Failure { why: Why::UpstreamClosed, retry: Retry::NeverSent, upload });
        }
    };
    let mut sending = Sending::new(upload, stream, expects);
    deadline.set(if sending.waits { Some(CONTINUE_WAIT) } else { waits.response_header });
    let mut interims = 0;
    let answered = poll_fn(|cx| {
        loop {
            if let Err(why) = sending.poll(cx, deadline, &waits) {
                return Poll::Ready(Err((why, Retry::No)));
            }
            if let Err(why) = poll_interim(cx, &mut response, &mut sending, &mut interims, interim, deadline, &waits) {
                return Poll::Ready(Err((why, Retry::No)));
            }
            match Pin::new(&mut response).poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
                Poll::Ready(Err(error)) => {
                    if lease.state.lost.get() == Some(Why::UpstreamTlsHandshake) {
                        endpoint.say_alert();
                    }
                    return Poll::Ready(Err(failed(&error, &lease, interims)));
                }
                Poll::Pending => {}
            }
            match deadline.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if sending.waits => sending.proceed(deadline, &waits),
                Poll::Ready(()) => return Poll::Ready(Err((Why::UpstreamHeaderTimeout, Retry::No))),
            }
        }
    })
    .await;
    let (parts, body) = match answered {
        Ok(response) => response.into_parts(),
        Err((why, retry)) => return Err(Failure { why, retry, upload: sending.upload }),
    };
    lease.state.answered.set(true);
    let head = match head::response(&parts, &outgoing.head.method, body.is_end_stream()) {
        Ok(head) => head,
        Err(why) => return Err(Failure { why, retry: Retry::No, upload: sending.upload }),
    };
    let left = match head.framing {
        // What is left of the stream is cancelled.
        Framing::None => return Ok(Answer { head, body: Body::Empty, tunnel: None }),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::Close => None,
    };
    // While the answer comes, a quiet client is not late: the two directions live as long as one of them moves.
    sending.upload.set_idle(waits.body_idle);
    sending.proceed(deadline, &waits);
    let stream = Some((sending, lease, in_flight));
    let download = Download { body, left, stream, deadline: deadline.clone(), waits };
    Ok(Answer { head, body: Body::Stream(Box::new(download)), tunnel: None })
}

/// Takes in interim responses: 100 lets the body go, others go to the client.
fn poll_interim(
    cx: &mut Context<'_>,
    response: &mut ResponseFuture,
    sending: &mut Sending,
    count: &mut usize,
    interim: Option<&Interim>,
    deadline: &Deadline,
    waits: &Waits,
) -> Result<(), Why> {
    // An error shows again at the response itself.
    while let Poll::Ready(Some(Ok(found))) = response.poll_informational(cx) {
        *count += 1;
        let status = found.status().as_u16();
        // RFC 9113 section 8.6: there is no switching of protocols here.
        if *count > MAX_INTERIM || status == 101 {
            return Err(Why::UpstreamMalformed);
        }
        if status == 100 {
            sending.proceed(deadline, waits);
        } else if let Some(Interim(client)) = interim {
            let (mut fields, _) = head::fields(found.headers())?;
            remove_hop_by_hop(&mut fields, false);
            client.send(status, &fields);
        }
    }
    Ok(())
}

/// The cause of a stream without an answer, and whether the request may be sent again.
fn failed(error: &h2::Error, lease: &Lease, interims: usize) -> (Why, Retry) {
    tracing::debug!("a request over HTTP/2: {error}");
    if error.is_go_away() && error.is_remote() {
        // The stream is above the last one the server has looked at (RFC 9113 section 6.8).
        return (Why::UpstreamClosed, Retry::NeverSent);
    }
    if error.is_reset() && error.is_remote() {
        let refused = error.reason() == Some(Reason::REFUSED_STREAM);
        return (Why::UpstreamReset, if refused { Retry::NeverSent } else { Retry::No });
    }
    if error.is_io() {
        return match lease.state.lost.get() {
            Some(why) => (why, Retry::No),
            None if lease.reused && interims == 0 => (Why::UpstreamClosedReused, Retry::Unanswered),
            None if interims == 0 => (Why::UpstreamClosed, Retry::Elsewhere),
            None => (Why::UpstreamClosed, Retry::No),
        };
    }
    (Why::UpstreamMalformed, Retry::No)
}
