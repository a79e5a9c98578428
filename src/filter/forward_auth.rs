//! `forward_auth`: another server decides. 2xx lets the request pass; any other answer is the client's.

use super::{Verdict, Visit};
use crate::config::{ForwardAuth, HostHeader};
use crate::error::Why;
use crate::http::Response;
use crate::http::body::Body;
use crate::http::headers::{push_via, remove_hop_by_hop};
use crate::message::{Fields, Known, Method, RequestHead, Version};
use crate::net::proxy_protocol::Addresses;
use crate::upstream::{self, Answer, Cluster, Ongoing, Outgoing, Retry, Upload, Waits};

/// Fields of the client that are not the question's: they are about a body, or about a copy the client has of the page.
const NOT_ASKED: &[&str] = &[
    "content-length",
    "content-type",
    "content-encoding",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// Asks the server of the rules.
///
/// # Errors
/// The cause for which there is no answer: then nobody passes.
pub async fn request(rules: &ForwardAuth, visit: &mut Visit<'_>) -> Result<Verdict, Why> {
    take_out_copies(rules, visit.head);
    let cluster = visit.clusters.get(rules.upstream).ok_or(Why::UpstreamUnreachable)?;
    let question = question(rules, visit);
    let Answer { mut head, body, .. } = ask(cluster, &question, visit).await?;
    if (200..300).contains(&head.status) {
        for name in &rules.copy_headers {
            for field in head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())) {
                visit.head.fields.push(name.as_bytes(), field.value);
            }
        }
        return Ok(Verdict::Pass);
    }
    remove_hop_by_hop(&mut head.fields, head.nominates);
    let mut response = Response::new(head.status);
    response.fields = head.fields;
    response.body = body;
    Ok(Verdict::Answer(response))
}

/// Takes out the client's own copies of what the server states, with those a CGI server would read as the same.
pub fn take_out_copies(rules: &ForwardAuth, head: &mut RequestHead) {
    head.fields.retain(|field| !rules.copy_headers.iter().any(|name| folds(field.name, name.as_bytes())));
}

/// A GET with the client's fields and what it asked for.
fn question(rules: &ForwardAuth, visit: &Visit<'_>) -> RequestHead {
    let head = &*visit.head;
    let mut fields = Fields::with_capacity(1024, head.fields.len() + 6);
    let target = fields.store(rules.target.as_bytes());
    let authority = fields.store(head.authority());
    for field in head.fields.iter() {
        let asked = !NOT_ASKED.iter().any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        if asked && !field.known.is_hop_by_hop() && field.known != Known::Host {
            fields.push(field.name, field.value);
        }
    }
    fields.set(b"X-Forwarded-Method", head.method.as_str().as_bytes());
    fields.set(b"X-Forwarded-Uri", head.target());
    // With another `forwarded` these may not be there, and no server can decide without them.
    let scheme: &[u8] = if visit.client.https { b"https" } else { b"http" };
    let missing = [
        (Known::XForwardedProto, &b"X-Forwarded-Proto"[..], scheme),
        (Known::XForwardedHost, b"X-Forwarded-Host", head.authority()),
        (Known::XForwardedFor, b"X-Forwarded-For", visit.client.ip.as_bytes()),
    ];
    for (known, name, value) in missing {
        if !fields.has(known) {
            fields.push(name, value);
        }
    }
    // So that a server that is this proxy again is noticed.
    push_via(&mut fields);
    RequestHead::new(Method::GET, Version::Http11, target, authority, fields)
}

async fn ask(cluster: &Cluster, question: &RequestHead, visit: &Visit<'_>) -> Result<Answer, Why> {
    let outgoing = Outgoing { head: question, target: question.target(), host: &HostHeader::Upstream };
    let waits = Waits {
        connect: visit.timeouts.connect,
        response_header: visit.timeouts.response_header,
        body_idle: None,
        tunnel_idle: None,
    };
    let ends = Addresses { source: visit.conn.peer, destination: visit.conn.local };
    let choice = cluster.choice(question, visit.client.address);
    let mut fresh = false;
    loop {
        let (_, in_flight) = cluster.take(&[], choice).await?;
        let endpoint = in_flight.endpoint().clone();
        let pooled = if fresh { None } else { endpoint.checkout(false, false) };
        let channel = match pooled {
            Some(channel) => channel,
            None => upstream::connect(&endpoint, false, waits.connect, ends).await?,
        };
        let ongoing = Ongoing {
            in_flight,
            upload: Upload::new(Body::Empty, None),
            deadline: visit.deadline,
            waits,
            interim: None,
        };
        match upstream::exchange(outgoing, channel, ongoing).await {
            Ok(answer) => return Ok(answer),
            // A kept connection that the server had closed: once more over a fresh one.
            Err(failure) if !fresh && matches!(failure.retry, Retry::NeverSent | Retry::Unanswered) => fresh = true,
            Err(failure) => return Err(failure.why),
        }
    }
}

/// Both names are one variable to a CGI or WSGI server (RFC 3875 section 4.1.18).
fn folds(name: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() == other.len() && name.iter().map(plain).eq(other.iter().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_cgi_server_folds_are_the_same_name() {
        assert!(folds(b"Remote_User", b"Remote-User") && folds(b"REMOTE.user", b"Remote-User"));
        assert!(!folds(b"Remote-Users", b"Remote-User") && !folds(b"RemoteXUser", b"Remote-User"));
    }
}
