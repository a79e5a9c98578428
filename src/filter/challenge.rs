//! http-01: what an ACME server asks for on the plain door to check that a name is ours (RFC 8555 section 8.3).

use crate::http::{ConnInfo, Response, respond};
use crate::message::{Method, RequestHead};
use crate::tls::Challenges;

/// Where tokens are asked for (RFC 8555 section 8.3).
const PLACE: &[u8] = b"/.well-known/acme-challenge/";

/// The answer to a live token. Any other path, and any other token, is an ordinary request: a backend may have an ACME
/// client of its own.
pub fn answer(challenges: &Challenges, conn: &ConnInfo, head: &RequestHead) -> Option<Box<Response>> {
    let token = head.path().strip_prefix(PLACE)?;
    if conn.tls.is_some() || !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let key_authorization = challenges.http(std::str::from_utf8(token).ok()?)?;
    Some(respond::own(200, "application/octet-stream", key_authorization.into_string().into()))
}
