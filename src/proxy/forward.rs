//! Pick a server, get a connection, exchange; on failure ask the failure whether to try again.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::record::Record;
use crate::config::Route;
use crate::error::Why;
use crate::http::body::Body;
use crate::http::headers::remove_hop_by_hop;
use crate::http::{Request, Response};
use crate::message::{Framing, RequestHead};
use crate::upstream::{self, Answer, Cluster, Ongoing, Outgoing, Retry, Upload, Waits};

/// Tries beyond the first (`retries.attempts`).
const RETRIES: usize = 1;

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
    let target = target(route, &request.head)?;
    let outgoing = Outgoing { head: &request.head, target: &target, host: &cluster.host_header };
    let waits = Waits {
        connect: route.timeouts.connect,
        response_header: route.timeouts.response_header,
        tunnel_idle: route.timeouts.tunnel_idle,
    };
    request.body.set_idle(route.timeouts.request_body_idle);
    let mut upload = Upload::new(std::mem::replace(&mut request.body, Body::Empty), route.limits.body);
    // Doing it twice must be harmless, or it is not done twice.
    let once = !request.head.is_idempotent();
    let mut tried: Vec<usize> = Vec::new();
    let mut fresh = false;
    cluster.note_request();
    loop {
        let (index, endpoint) = cluster.pick(&tried).ok_or(Why::UpstreamUnreachable)?;
        record.attempt(&endpoint);
        let pooled = if fresh { None } else { endpoint.checkout(once) };
        let connection = match pooled {
            Some(connection) => connection,
            None => match upstream::connect(&endpoint, waits.connect).await {
                Ok(connection) => connection,
                Err(why) => {
                    // Nothing was sent, so any method may go to another server.
                    tried.push(index);
                    let other = tried.len() < cluster.endpoints.len();
                    if other && tried.len() <= RETRIES && cluster.may_retry() {
                        continue;
                    }
                    return Err(why);
                }
            },
        };
        let ongoing = Ongoing {
            connection,
            in_flight: endpoint.begin(),
            upload,
            deadline: &request.deadline,
            waits,
            interim: request.interim.as_ref(),
        };
        match upstream::exchange(outgoing, ongoing).await {
            Ok(answer) => {
                record.answered();
                return Ok(response(answer, route));
            }
            Err(failure) => {
                upload = failure.upload;
                let allowed = match failure.retry {
                    Retry::NeverSent => true,
                    Retry::Unanswered => !once,
                    Retry::No => false,
                };
                // Not out of the retry budget: it is one try over a fresh connection, and a server that closes after each
                // answer must not cost its clients a request.
                if !allowed || fresh || !upload.rewind() {
                    return Err(failure.why);
                }
                // Another server where there is one, else the same one over a fresh connection.
                fresh = true;
                if tried.len() + 1 < cluster.endpoints.len() {
                    tried.push(index);
                }
            }
        }
    }
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

/// Path and query for the server: the client's own octets, less the route's prefix.
///
/// # Errors
/// `route.ambiguous_path` where the octets spell the prefix in another way than the normal form.
pub fn target<'h>(route: &Route, head: &'h RequestHead) -> Result<Cow<'h, [u8]>, Why> {
    let target = head.target();
    let Some(prefix) = &route.strip_prefix else { return Ok(Cow::Borrowed(target)) };
    // The normal form has the prefix, or the route would not have matched; these octets may spell it in another way.
    let rest = target.strip_prefix(prefix.as_bytes()).ok_or(Why::RouteAmbiguousPath)?;
    match rest {
        [b'/', ..] => Ok(Cow::Borrowed(rest)),
        [] | [b'?', ..] => Ok(Cow::Owned([b"/", rest].concat())),
        _ => Err(Why::RouteAmbiguousPath),
    }
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

/// This process in `Via`: a name no other process has, so that a request that comes back is known.
pub(super) fn via() -> &'static str {
    static VIA: OnceLock<String> = OnceLock::new();
    VIA.get_or_init(|| format!("vestibule-{:08x}", fastrand::u32(..)))
}
