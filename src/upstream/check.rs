//! One active health check: a question to a server on a connection of its own.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::exchange::{Answer, Ongoing, exchange};
use super::request_head::Outgoing;
use super::{Cluster, Endpoint, Upload, Waits, connect};
use crate::config::{CheckKind, HealthCheck, HostHeader};
use crate::error::Why;
use crate::http::body::{Body, Frame};
use crate::message::{Fields, Framing, Method, RequestHead, Version};
use crate::net::Deadline;
use crate::net::proxy_protocol::Addresses;

/// A state that may be about to change is looked at this often.
const SOON: Duration = Duration::from_secs(1);
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";
/// Flag and length in front of a gRPC message.
const GRPC_PREFIX: usize = 5;
/// Of the answer to a gRPC check: its one number needs two bytes.
const MAX_GRPC_ANSWER: usize = 4096;

/// Asks one server again and again, and notes in its health what changes. Ends with its task.
pub(super) async fn watch(cluster: Rc<Cluster>, index: usize, check: Rc<HealthCheck>, slow_start: Option<Duration>) {
    let Some(endpoint) = cluster.endpoints.get(index) else { return };
    // Not all at once.
    tokio::time::sleep(check.interval.min(SOON).mul_f32(fastrand::f32())).await;
    let mut row = 0;
    loop {
        let found = tokio::time::timeout(check.timeout, ask(&cluster, endpoint, &check.kind)).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout)));
        // Connections of checks are not kept.
        if let Some(pool) = &endpoint.h2 {
            pool.sweep(0, Duration::ZERO);
        }
        let down = endpoint.health.is_down();
        row = if found.is_ok() == down { row + 1 } else { 0 };
        let (name, label) = (&cluster.name, &endpoint.label);
        match found {
            Err(why) if row >= check.unhealthy => {
                endpoint.health.set_down(true, std::time::Instant::now());
                tracing::warn!("upstream {name}: {label} is down: {row} checks failed, the last one: {why}");
                row = 0;
            }
            Ok(()) if row >= check.healthy => {
                endpoint.health.set_down(false, std::time::Instant::now());
                match slow_start.filter(|_| cluster.endpoints.len() > 1) {
                    Some(time) => {
                        tracing::info!(
                            "upstream {name}: {label} is up: {row} checks passed, its share grows over {time:?}"
                        );
                    }
                    None => tracing::info!("upstream {name}: {label} is up: {row} checks passed"),
                }
                row = 0;
            }
            Err(why) => tracing::debug!("upstream {name}: a check of {label} failed: {why}"),
            Ok(()) => {}
        }
        let pause = if row > 0 { check.interval.min(SOON) } else { check.interval };
        tokio::time::sleep(pause.mul_f32(0.9 + 0.2 * fastrand::f32())).await;
    }
}

/// One check; the error in words.
async fn ask(cluster: &Cluster, endpoint: &Rc<Endpoint>, kind: &CheckKind) -> Result<(), String> {
    // A header of the PROXY protocol says that this connection is nobody's.
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let channel = connect(endpoint, false, None, Addresses { source: nobody, destination: nobody });
    let channel = channel.await.map_err(words)?;
    let (head, upload, host) = match kind {
        CheckKind::Tcp => return Ok(()),
        CheckKind::Http { method, path, host, .. } => {
            let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
            (head(method, path), Upload::new(Body::Empty, None), host.clone().map(HostHeader::Name))
        }
        CheckKind::Grpc { service } => {
            let message = grpc_message(service);
            let mut head = head(Method::POST, GRPC_PATH);
            head.fields.push(b"Content-Type", b"application/grpc");
            head.takes_trailers = true;
            head.framing = Framing::Length(message.len() as u64);
            (head, Upload::new(Body::Full(message), None), None)
        }
    };
    let host = host.unwrap_or_else(|| cluster.host_header.clone());
    let outgoing = Outgoing { head: &head, target: head.target(), host: &host };
    let waits = Waits { connect: None, response_header: None, body_idle: None, tunnel_idle: None };
    let deadline = Rc::new(Deadline::new(None));
    let in_flight = endpoint.clone().begin(None);
    let ongoing = Ongoing { in_flight, upload, deadline: &deadline, waits, interim: None };
    let answer = exchange(outgoing, channel, ongoing).await.map_err(|failure| words(failure.why))?;
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http { expect, .. } => {
            let status = answer.head.status;
            let expected = expect.iter().any(|(from, to)| (*from..=*to).contains(&status));
            if expected { Ok(()) } else { Err(format!("status {status}")) }
        }
        CheckKind::Grpc { .. } => grpc_answer(answer).await,
    }
}

fn words(why: Why) -> String {
    why.row().cause.trim_end_matches('.').to_owned()
}

/// The head of a question.
fn head(method: Method, target: &str) -> RequestHead {
    let mut fields = Fields::default();
    let target = fields.store(target.as_bytes());
    // Host is the server's, or what the config says.
    let authority = fields.store(b"");
    fields.push(b"User-Agent", concat!("vestibule-health/", env!("CARGO_PKG_VERSION")).as_bytes());
    fields.push(b"Accept", b"*/*");
    RequestHead::new(method, Version::Http11, target, authority, fields)
}

/// `HealthCheckRequest { service }` in its frame (grpc.health.v1).
fn grpc_message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, of bytes; a varint of the length.
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            // The low seven bits.
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// Whether the answer is SERVING with status OK.
async fn grpc_answer(answer: Answer) -> Result<(), String> {
    let Answer { head, mut body, .. } = answer;
    let status =
        |fields: &Fields| fields.get_name(b"grpc-status").map(|value| String::from_utf8_lossy(value).into_owned());
    let (mut data, mut ended) = (Vec::new(), status(&head.fields));
    loop {
        match poll_fn(|cx| body.poll_frame(cx)).await {
            Some(Ok(Frame::Data(piece))) if data.len() + piece.len() <= MAX_GRPC_ANSWER => {
                data.extend_from_slice(&piece)
            }
            Some(Ok(Frame::Data(_))) => return Err("its answer is too long".into()),
            Some(Ok(Frame::Trailers(fields))) => ended = status(&fields).or(ended),
            Some(Err(why)) => return Err(words(why)),
            None => break,
        }
    }
    match ended.as_deref() {
        Some("0") => {}
        Some(other) => return Err(format!("gRPC status {other}")),
        None => return Err(format!("status {}, and no gRPC status", head.status)),
    }
    // Field 1, a varint: UNKNOWN 0 (or absent), SERVING 1, NOT_SERVING 2.
    match data.get(GRPC_PREFIX..) {
        Some([0x08, 1, ..]) => Ok(()),
        Some([0x08, 2, ..]) => Err("it answers NOT_SERVING".into()),
        _ => Err("it does not answer SERVING".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_question_names_its_service() {
        assert_eq!(&grpc_message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&grpc_message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&grpc_message(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }
}
