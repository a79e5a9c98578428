//! The plain door: what port 80 does for a site (`http = ...`).

use crate::config::PlainMode;
use crate::error::Why;
use crate::http::{ConnInfo, Response, respond};
use crate::message::{Fields, Known, RequestHead};
use crate::tls::CertStore;

/// What a site says to a request at this door.
#[derive(Debug)]
pub enum Door {
    Open,
    /// Open here, and the answer says that it depends on `Upgrade-Insecure-Requests`.
    OpenVaries,
    Answer(Box<Response>),
    Refused(Why),
}

/// What a site has to say about the doors.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    pub plain: PlainMode,
    /// The site is there on the TLS door.
    pub tls: bool,
    /// Its certificate is from the development CA.
    pub dev: bool,
}

/// The TLS door, as redirects name it.
#[derive(Debug, Clone, Copy)]
pub struct HttpsDoor {
    /// The port to write; `None` where it is 443.
    pub port: Option<u16>,
}

/// Decides by the door the request came through and, on the plain one, by the site's mode. `https`: the client's own
/// connection was https, though it may have ended at a trusted proxy in front. Nobody is sent to a TLS door that would
/// refuse them: where `certs` has files for the host that cannot be used, there is no redirect.
pub fn decide(
    door: Option<HttpsDoor>,
    certs: Option<&CertStore>,
    site: Doors,
    conn: &ConnInfo,
    head: &RequestHead,
    https: bool,
) -> Door {
    if conn.tls.is_some() {
        return if site.tls { Door::Open } else { Door::Refused(Why::RouteNoHost) };
    }
    if site.plain == PlainMode::Off {
        return Door::Refused(Why::RouteNoHost);
    }
    let Some(door) = door.filter(|_| !https && site.tls && !head.authority().is_empty()) else {
        return Door::Open;
    };
    let is_refused = || {
        let host = std::str::from_utf8(head.host()).ok();
        certs.zip(host).is_some_and(|(certs, host)| certs.unusable(host).is_some())
    };
    match site.plain {
        PlainMode::Redirect if is_refused() => Door::Refused(Why::TlsUnusableCertificate),
        PlainMode::Upgrade if is_refused() => Door::OpenVaries,
        PlainMode::Serve | PlainMode::Off => Door::Open,
        PlainMode::Redirect => Door::Answer(to_https(door, head, site.dev)),
        PlainMode::Upgrade if head.fields.get(Known::UpgradeInsecureRequests) == Some(b"1") => {
            let mut response = to_https(door, head, site.dev);
            vary(&mut response.fields);
            Door::Answer(response)
        }
        PlainMode::Upgrade => Door::OpenVaries,
    }
}

/// Says that the answer depends on `Upgrade-Insecure-Requests` (RFC 9110 section 12.5.5).
pub fn vary(fields: &mut Fields) {
    super::vary(fields, b"Upgrade-Insecure-Requests");
}

/// The same address on https. Both statuses keep the method and body; a permanent one is remembered by browsers, which is
/// a trap on development names.
fn to_https(door: HttpsDoor, head: &RequestHead, dev: bool) -> Box<Response> {
    let mut location = b"https://".to_vec();
    location.extend_from_slice(head.host());
    if let Some(port) = door.port {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(if head.target() == b"*" { b"/" } else { head.target() });
    respond::redirect(if dev { 307 } else { 308 }, &location)
}
