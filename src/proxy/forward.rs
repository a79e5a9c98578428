//! Pick a server, get a connection, exchange; on failure ask the failure whether to try again.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::buffer;
use super::decide::Entry;
use super::record::Record;
use crate::config::RouteSettings;
use crate::error::Why;
use crate::http::body::Body;
use crate::http::headers::{push_via, remove_hop_by_hop};
use crate::http::term::Standing;
use crate::http::{Request, Response, websocket};
use crate::message::{Fields, Framing, RequestHead, Version};
use crate::metrics::Retried;
use crate::net::proxy_protocol::Addresses;
use crate::snapshot::View;
use crate::upstream::{self, Answer, Cluster, Ongoing, Outgoing, Retry, Upload, Waits};

/// Between two rounds of a request that waits for a server.
const ROUND: Duration = Duration::from_millis(250);

/// Sends the request to a server of the cluster and makes its answer ours. `latest` gives the generation that is served now,
/// for a request that waits.
///
/// # Errors
/// The cause of the last try.
pub(super) async fn forward(
    latest: impl Fn() -> Rc<View>,
    way: Way<'_>,
    request: &mut Request,
    record: &mut Record,
) -> Result<Box<Response>, Why> {
    let Way { cluster, entry, .. } = way;
    let RouteSettings { timeouts, limits, .. } = entry.settings;
    prepare(limits.body, &mut request.head)?;
    request.body.set_idle(timeouts.request_body_idle);
    let body = std::mem::replace(&mut request.body, Body::Empty);
    let upload = match request.head.framing {
        Framing::None => Upload::new(body, None),
        _ if entry.settings.buffer_request => buffer::read_whole(&mut request.head, body, limits.body).await?,
        _ => Upload::new(body, limits.body),
    };
    let waits = Waits {
        connect: timeouts.connect,
        response_header: timeouts.response_header,
        body_idle: longer(timeouts.request_body_idle, timeouts.response_body_idle),
        tunnel_idle: timeouts.tunnel_idle,
    };
    let job = Job { target: entry.target(&request.head)?, request, way, waits };
    cluster.note_request();
    match job.attempt(cluster, upload, record).await {
        Ok(response) => Ok(response),
        // On the heap, so that a request that does not wait is no larger for it.
        Err(broken) => match cluster.hold {
            Some(hold) if is_absence(broken.why) => Box::pin(job.wait(latest, cluster, hold, broken, record)).await,
            _ => Err(broken.why),
        },
    }
}

/// Where a request goes, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub cluster: &'a Cluster,
    pub entry: &'a Entry<'a>,
    /// What the request depends on; its server is told here.
    pub standing: &'a Standing,
}

/// A request on its way to a server.
struct Job<'a> {
    request: &'a Request,
    /// Path and query that the server gets.
    target: Cow<'a, [u8]>,
    way: Way<'a>,
    waits: Waits,
}

/// Why there is no answer, and the body where nothing of it was sent.
struct Broken {
    why: Why,
    upload: Option<Upload>,
}

impl Job<'_> {
    /// Tries a server, and others where that is allowed.
    async fn attempt(
        &self,
        cluster: &Cluster,
        mut upload: Upload,
        record: &mut Record,
    ) -> Result<Box<Response>, Broken> {
        let Job { request, waits, .. } = *self;
        let ends = Addresses { source: request.conn.peer, destination: request.conn.local };
        let outgoing = Outgoing { head: &request.head, target: &self.target, host: &cluster.host_header };
        let choice = cluster.choice(&request.head, self.way.entry.client.address);
        // Doing it twice must be harmless, or it is not done twice.
        let once = !request.head.is_idempotent();
        let upgrade = request.head.upgrade.is_some();
        let mut tried: Vec<usize> = Vec::new();
        let (mut retries, mut fresh) = (0, false);
        loop {
            let (index, in_flight) = match cluster.take(&tried, choice).await {
                Ok(taken) => taken,
                Err(why) => return Err(Broken { why, upload: Some(upload) }),
            };
            let endpoint = in_flight.endpoint().clone();
            record.attempt(&endpoint, cluster.has_gate());
            self.way.standing.at_server(&endpoint.term);
            let pooled = if fresh { None } else { endpoint.checkout(once, upgrade) };
            let channel = match pooled {
                Some(channel) => {
                    record.connected(true);
                    channel
                }
                // On the heap: most requests find a connection that is open.
                None => match Box::pin(upstream::connect(&endpoint, upgrade, waits.connect, ends)).await {
                    Ok(channel) => {
                        record.connected(false);
                        channel
                    }
                    Err(why) => {
                        cluster.note_failure(index, &endpoint);
                        // Nothing was sent, so any method may go to another server.
                        tried.push(index);
                        let other = tried.len() < cluster.endpoints.len();
                        if other && retries < cluster.retries.attempts && cluster.may_retry() {
                            retries += 1;
                            record.retry(Retried::Connect);
                            continue;
                        }
                        return Err(Broken { why, upload: Some(upload) });
                    }
                },
            };
            record.forwarded(&outgoing);
            let ongoing =
                Ongoing { in_flight, upload, deadline: &request.deadline, waits, interim: request.interim.as_ref() };
            match upstream::exchange(outgoing, channel, ongoing).await {
                Ok(answer) => {
                    cluster.note_answer(&endpoint);
                    record.answered(&answer.head);
                    check_websocket(&request.head, &answer).map_err(|why| Broken { why, upload: None })?;
                    let mut response = response(answer, self.way.entry.settings);
                    if let Some(cookie) = cluster.set_cookie(&endpoint, &request.head, self.way.entry.client.https) {
                        response.fields.push(b"Set-Cookie", cookie.as_bytes());
                    }
                    return Ok(response);
                }
                Err(failure) => {
                    if is_servers_fault(failure.why) {
                        cluster.note_failure(index, &endpoint);
                    }
                    upload = failure.upload;
                    let another = tried.len() + 1 < cluster.endpoints.len();
                    let allowed = match failure.retry {
                        Retry::NeverSent => true,
                        Retry::Unanswered => !once,
                        Retry::Elsewhere => !once && another,
                        Retry::No => false,
                    };
                    // A kept connection that was closed is not out of the retry budget: it is one try over a fresh one, and a
                    // server that closes after each answer must not cost its clients a request. The budget is asked last, since
                    // asking takes from it.
                    let paid = || !matches!(failure.retry, Retry::Elsewhere) || cluster.may_retry();
                    if !allowed || fresh || retries >= cluster.retries.attempts || !upload.rewind() || !paid() {
                        return Err(Broken { why: failure.why, upload: None });
                    }
                    retries += 1;
                    record.retry(match failure.retry {
                        Retry::NeverSent => Retried::NeverSent,
                        Retry::Elsewhere => Retried::ClosedFresh,
                        Retry::Unanswered | Retry::No => Retried::ClosedReused,
                    });
                    // Another server where there is one, else the same one over a fresh connection.
                    fresh = true;
                    if another {
                        tried.push(index);
                    }
                }
            }
        }
    }

    /// Tries again until a server is there or `hold` is over. Each round meets the generation that is served then: a reload that
    /// names another server ends the wait.
    async fn wait(
        &self,
        latest: impl Fn() -> Rc<View>,
        cluster: &Cluster,
        hold: Duration,
        broken: Broken,
        record: &mut Record,
    ) -> Result<Box<Response>, Why> {
        let (end, name) = (Instant::now() + hold, cluster.name.as_str());
        let Some(_held) = cluster.hold() else { return Err(broken.why) };
        let Broken { mut why, mut upload } = broken;
        while let Some(body) = upload.take()
            && is_absence(why)
        {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(ROUND.min(left)).await;
            let view = latest();
            let Some(cluster) = view.clusters.iter().find(|cluster| cluster.name == name) else { break };
            match self.attempt(cluster, body, record).await {
                Ok(response) => return Ok(response),
                Err(broken) => Broken { why, upload } = broken,
            }
        }
        Err(why)
    }
}

/// No server can be reached: nothing was sent, and that may change.
fn is_absence(why: Why) -> bool {
    matches!(why, Why::UpstreamRefused | Why::UpstreamUnreachable | Why::UpstreamConnectTimeout | Why::UpstreamDns)
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
/// `limit.body` where the head announces more than `limit` bytes.
pub fn prepare(limit: Option<u64>, head: &mut RequestHead) -> Result<(), Why> {
    if let (Framing::Length(length), Some(max)) = (head.framing, limit)
        && length > max
    {
        return Err(Why::LimitBody);
    }
    push_via(&mut head.fields);
    Ok(())
}

fn response(answer: Answer, settings: &RouteSettings) -> Box<Response> {
    let Answer { mut head, body, tunnel } = answer;
    remove_hop_by_hop(&mut head.fields, head.nominates);
    let mut response = Response::new(head.status);
    response.fields = head.fields;
    response.body = body;
    response.idle = Some(settings.timeouts.response_body_idle);
    response.tunnel = tunnel;
    response
}
