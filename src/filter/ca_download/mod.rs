//! The development root for other devices: `/.vestibule/ca` on the plain door, where `dev --lan` offers it.
//!
//! A device that does not trust the root yet can fetch nothing over https without a warning, so the root comes in clear. It
//! is no secret, and its key is not here. That it is the right one is told by its fingerprint, which the terminal shows.

mod page;
mod profile;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use self::page::Device;
use crate::http::respond::{self, Format, HTML};
use crate::http::{ConnInfo, Response};
use crate::message::{Known, Method, RequestHead, liking};
use crate::tls::{CertFacts, certificate_pem};

/// Where devices ask for the root.
pub const PATH: &str = "/.vestibule/ca";

/// A root in the forms that devices take.
#[derive(Debug)]
pub struct CaDownload {
    /// PEM, for everything but iPhones and iPads.
    certificate: Bytes,
    /// A configuration profile, for iPhones and iPads.
    profile: Bytes,
    fingerprint: String,
    /// Nothing but the page's own style is loaded.
    content_security_policy: String,
}

/// What a request is answered with.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Page(Device),
    Certificate,
    Profile,
}

impl CaDownload {
    /// Prepares a root; `None` where it does not decode.
    pub fn new(root: &CertificateDer<'static>) -> Option<CaDownload> {
        let fingerprint = CertFacts::of(root).ok()?.fingerprint;
        let style = STANDARD.encode(digest::digest(&digest::SHA256, page::STYLE.as_bytes()));
        Some(CaDownload {
            certificate: certificate_pem(root).into(),
            profile: profile::text(&STANDARD.encode(root), &fingerprint)?.into(),
            fingerprint,
            content_security_policy: format!(
                "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
        })
    }

    /// The SHA-256 of the root, as people compare it: pairs of hexadecimal digits between colons.
    pub fn fingerprint(&self) -> String {
        let pairs = self.fingerprint.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
        pairs.collect::<Vec<_>>().join(":")
    }

    /// The answer to a request for the root. Every other path, and the TLS door, belong to the sites.
    pub fn answer(&self, conn: &ConnInfo, head: &RequestHead) -> Option<Box<Response>> {
        if head.path() != PATH.as_bytes() || conn.tls.is_some() || !matches!(head.method, Method::GET | Method::HEAD) {
            return None;
        }
        let mut response = match form(head) {
            Form::Page(device) => {
                let accept = head.fields.get_name(b"accept-language");
                let chinese = liking(accept, "zh") > liking(accept, "en");
                respond::own(200, HTML, page::text(device, chinese).into())
            }
            Form::Profile => respond::own(200, "application/x-apple-aspen-config", self.profile.clone()),
            Form::Certificate => {
                let mut response = respond::own(200, "application/x-x509-ca-cert", self.certificate.clone());
                response.fields.push(b"Content-Disposition", b"attachment; filename=\"vestibule-root.crt\"");
                response
            }
        };
        let fields = &mut response.fields;
        fields.push(b"Content-Security-Policy", self.content_security_policy.as_bytes());
        fields.push(b"X-Content-Type-Options", b"nosniff");
        fields.push(b"Vary", b"Accept, Accept-Language, User-Agent");
        fields.push(b"Cache-Control", b"no-store");
        Some(response)
    }
}

/// The query says it, as the links of the page do; else a browser that navigates gets the page, since the root alone
/// helps nobody who does not know where to put it; else it is the form for the device.
fn form(head: &RequestHead) -> Form {
    let device = Device::of(head.fields.get(Known::UserAgent).unwrap_or_default());
    match (head.query(), device) {
        (Some(b"crt"), _) => Form::Certificate,
        (Some(b"mobileconfig"), _) => Form::Profile,
        _ if Format::of(&head.fields) == Format::Html => Form::Page(device),
        (_, Device::Apple) => Form::Profile,
        _ => Form::Certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Fields, Version};

    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1";
    const ANDROID: &str =
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36";

    fn head(method: Method, target: &str, agent: &str, accept: &str) -> RequestHead {
        let mut fields = Fields::default();
        let (span, authority) = (fields.store(target.as_bytes()), fields.store(b"192.168.1.20"));
        fields.push(b"User-Agent", agent.as_bytes());
        fields.push(b"Accept", accept.as_bytes());
        RequestHead::new(method, Version::Http11, span, authority, fields)
    }

    #[test]
    fn the_form_is_the_one_for_the_device_and_a_browser_gets_the_page_first() {
        let table = [
            (PATH, IPHONE, "*/*", Form::Profile),
            (PATH, ANDROID, "*/*", Form::Certificate),
            (PATH, "curl/8.5.0", "*/*", Form::Certificate),
            (PATH, IPHONE, "text/html,*/*;q=0.8", Form::Page(Device::Apple)),
            (PATH, ANDROID, "text/html,*/*;q=0.8", Form::Page(Device::Android)),
            (PATH, "Mozilla/5.0 (X11; Linux x86_64)", "text/html", Form::Page(Device::Computer)),
            ("/.vestibule/ca?crt", IPHONE, "text/html", Form::Certificate),
            ("/.vestibule/ca?mobileconfig", ANDROID, "text/html", Form::Profile),
        ];
        for (target, agent, accept, expected) in table {
            assert_eq!(form(&head(Method::GET, target, agent, accept)), expected, "{target} {agent} {accept}");
        }
    }

    #[test]
    fn only_its_path_is_answered_and_only_to_get_and_head_in_clear() {
        let root = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let download = CaDownload::new(root.cert.der()).unwrap();
        let address = "192.168.1.30:5000".parse().unwrap();
        let conn = ConnInfo::new(address, "192.168.1.20:80".parse().unwrap(), 0, None);
        let answers = |method, target| download.answer(&conn, &head(method, target, "curl", "*/*")).is_some();
        assert!(answers(Method::GET, PATH) && answers(Method::HEAD, PATH));
        assert!(!answers(Method::POST, PATH));
        for target in ["/", "/.vestibule/ca/", "/.vestibule/ca/root.key", "/.vestibule", "/a/../.vestibule/ca"] {
            assert!(!answers(Method::GET, target), "{target}");
        }
        let pem = String::from_utf8(download.certificate.to_vec()).unwrap();
        assert_eq!(CertFacts::of_pem(&pem).unwrap()[0].fingerprint, download.fingerprint);
        assert_eq!(download.fingerprint().replace(':', "").to_lowercase(), download.fingerprint);
    }
}
