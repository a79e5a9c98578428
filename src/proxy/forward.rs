//! Pick a server, get a connection, exchange; on failure ask the failure whether to try again.

use std::time::Duration;

use super::buffer;
use super::record::Record;
use crate::config::Route;
use crate::error::Why;
use crate::filter::target;
use crate::http::body::Body;
use crate::http::headers::{remove_hop_by_hop, via};
use crate::http::{Request, Response, websocket};
use crate::message::{Fields, Framing, RequestHead, Version};
use crate::metrics::Retried;
use crate::net::proxy_protocol::Addresses;
use crate::upstream::{self, Answer, Cluster, Ongoing, Outgoing, Retry, Upload, Waits};

/// Sends the request to a server of the cluster and makes its answer ours.
///
/// # Errors
/// The cause of the last try.
pub(super) async fn forward(
    cluster: &Cluster,
    route: &Route,
    request: &mut Request,
    record: &mut Record,
) -> Result<Response, Why> {
    prepare(route, &mut request.head)?;
    let ends = Addresses { source: request.conn.peer, destination: request.conn.local };
    let waits = Waits {
        connect: route.timeouts.connect,
        response_header: route.timeouts.response_header,
        body_idle: longer(route.timeouts.request_body_idle, route.timeouts.response_body_idle),
        tunnel_idle: route.timeouts.tunnel_idle,
    };
    request.body.set_idle(route.timeouts.request_body_idle);
    let body = std::mem::replace(&mut request.body, Body::Empty);
    let mut upload = match request.head.framing {
        Framing::None => Upload::new(body, None),
        _ if route.buffer_request => buffer::read_whole(&mut request.head, body, route.limits.body).await?,
        _ => Upload::new(body, route.limits.body),
    };
    let target = target::of(route, &request.head)?;
    let outgoing = Outgoing { head: &request.head, target: &target, host: &cluster.host_header };
    // Doing it twice must be harmless, or it is not done twice.
    let once = !request.head.is_idempotent();
    let upgrade = request.head.upgrade.is_some();
    let mut tried: Vec<usize> = Vec::new();
    let (mut retries, mut fresh) = (0, false);
    cluster.note_request();
    loop {
        let (index, in_flight) = cluster.take(&tried).await?;
        let endpoint = in_flight.endpoint().clone();
        record.attempt(&endpoint);
        let pooled = if fresh { None } else { endpoint.checkout(once, upgrade) };
        let channel = match pooled {
            Some(channel) => {
                record.connected(true);
                channel
            }
            None => match upstream::connect(&endpoint, upgrade, waits.connect, ends).await {
                Ok(channel) => {
                    record.connected(false);
                    channel
                }
                Err(why) => {
                    cluster.note_failure(&endpoint);
                    // Nothing was sent, so any method may go to another server.
                    tried.push(index);
                    let other = tried.len() < cluster.endpoints.len();
                    if other && retries < cluster.retries.attempts && cluster.may_retry() {
                        retries += 1;
                        record.retry(Retried::Connect);
                        continue;
                    }
                    return Err(why);
                }
            },
        };
        let ongoing =
            Ongoing { in_flight, upload, deadline: &request.deadline, waits, interim: request.interim.as_ref() };
        match upstream::exchange(outgoing, channel, ongoing).await {
            Ok(answer) => {
                cluster.note_answer(&endpoint);
                record.answered();
                check_websocket(&request.head, &answer)?;
                return Ok(response(answer, route));
            }
            Err(failure) => {
                if is_servers_fault(failure.why) {
                    cluster.note_failure(&endpoint);
                }
                upload = failure.upload;
                let allowed = match failure.retry {
                    Retry::NeverSent => true,
                    Retry::Unanswered => !once,
                    Retry::No => false,
                };
                // Not out of the retry budget: it is one try over a fresh connection, and a server that closes after each
                // answer must not cost its clients a request.
                if !allowed || fresh || retries >= cluster.retries.attempts || !upload.rewind() {
                    return Err(failure.why);
                }
                retries += 1;
                record.retry(match failure.retry {
                    Retry::NeverSent => Retried::NeverSent,
                    Retry::Unanswered | Retry::No => Retried::ClosedReused,
                });
                // Another server where there is one, else the same one over a fresh connection.
                fresh = true;
                if tried.len() + 1 < cluster.endpoints.len() {
                    tried.push(index);
                }
            }
        }
    }
}

/// The server broke off before its answer. That it closed an idle connection is no failure, and what the client did is not
/// the server's.
fn is_servers_fault(why: Why) -> bool {
    matches!(
        why,
        Why::UpstreamClosed
            | Why::UpstreamCut
            | Why::UpstreamMalformed
            | Why::UpstreamHeaderTimeout
            | Why::UpstreamUpgrade
            | Why::UpstreamWebsocket
            | Why::UpstreamReset
    )
}

/// The longer of two waits; `None` is for ever.
fn longer(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.zip(b).map(|(a, b)| a.max(b))
}

/// An HTTP/2 client asked for a WebSocket with a key of ours (RFC 8441): nobody else checks the answer to it, and a success
/// that opens no tunnel would look like one.
fn check_websocket(head: &RequestHead, answer: &Answer) -> Result<(), Why> {
    if head.version != Version::Http2 || head.upgrade.is_none() {
        return Ok(());
    }
    let field = |fields: &Fields, name: &[u8]| fields.get_name(name).unwrap_or_default().to_vec();
    let opened = match &answer.tunnel {
        Some(_) => websocket::accepts(
            &field(&head.fields, b"sec-websocket-key"),
            &field(&answer.head.fields, b"sec-websocket-accept"),
        ),
        None => answer.head.status >= 300,
    };
    if opened { Ok(()) } else { Err(Why::UpstreamWebsocket) }
}

/// The last touch to a head before it is sent.
///
/// # Errors
/// `limit.body` where the head announces more than the route takes.
pub fn prepare(route: &Route, head: &mut RequestHead) -> Result<(), Why> {
    if let (Framing::Length(length), Some(max)) = (head.framing, route.limits.body)
        && length > max
    {
        return Err(Why::LimitBody);
    }
    head.fields.push_parts(b"Via", &[b"1.1 ", via().as_bytes()]);
    Ok(())
}

fn response(answer: Answer, route: &Route) -> Response {
    let Answer { mut head, body, tunnel } = answer;
    remove_hop_by_hop(&mut head.fields, head.nominates);
    let mut response = Response::new(head.status);
    response.fields = head.fields;
    response.body = body;
    response.idle = Some(route.timeouts.response_body_idle);
    response.tunnel = tunnel;
    response
}
