//! What would happen to one request, and why: a dry run through the very code that serves.
//!
//! Nothing is sent. The request is read by the HTTP/1.1 codec, decided by [`crate::proxy::decide`], and its head for the
//! server is written by [`crate::upstream::Outgoing`]; this room only asks and tells.

mod json;
mod outcome;
mod question;
mod steps;
mod text;

use std::rc::Rc;
use std::sync::Arc;

pub use json::json;
pub use question::Question;
pub use text::text;

use self::question::Door;
use crate::config::{Config, Diagnostic, Effective, Origin, SiteTls, Sources, Values};
use crate::error::Why;
pub use crate::filter::Step;
use crate::h1::{Limits, Parsed, parse_request};
use crate::http::ConnInfo;
use crate::message::{RequestHead, normalize};
use crate::route::{Asked, why_not};
use crate::snapshot::{Snapshot, View};
use crate::tls::CertStore;

/// All that is to be said of one request.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub question: Question,
    pub listener: Place,
    /// On a TLS listener: the certificate and why it is that one.
    pub certificate: Option<(String, String)>,
    /// Why a TLS listener refuses the host although it has a site: files that cannot be used.
    pub refused: Option<Arc<str>>,
    pub site: Option<Place>,
    /// The host is an alias of the site.
    pub alias: bool,
    pub route: Option<Place>,
    /// The indices of site and route.
    pub found: Option<(usize, usize)>,
    /// Every other route of the site with the first thing that spoke against it.
    pub others: Vec<(Place, String)>,
    /// Address and scheme of the client, as far as it is believed.
    pub client: Option<(String, &'static str)>,
    /// What changed the request on its way, in order.
    pub steps: Vec<Step>,
    pub answer: Answer,
    /// Timeouts and limits that hold.
    pub bounds: Vec<Effective>,
}

/// Something of the config with where it stands; the line is 0 for a default.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: String,
    pub origin: Origin,
}

/// What the client gets, or who is asked.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The handshake ends with the alert `unrecognized_name`: no request is made.
    Alert,
    /// An error of ours; `fields` beside those every error has.
    Refused { why: Why, fields: Vec<(String, String)> },
    /// An answer of ours; `by` names what made it: `health`, `challenge`, `door`, `alias`, `cors`, `redirect`, `respond`.
    Own { by: &'static str, status: u16, fields: Vec<(String, String)> },
    /// Forwarded: the head is the one the first server gets.
    Forward {
        upstream: Place,
        balance: &'static str,
        servers: Vec<String>,
        head: Vec<u8>,
        fields: Vec<(String, String)>,
    },
}

/// Answers a question about a config that is served as `view`.
///
/// # Errors
/// A sentence where the question has no answer: no listener speaks the scheme on the port.
pub fn explain(view: &View, values: &Values, sources: &Sources, question: Question) -> Result<Explanation, String> {
    let door = question.door(&view.snapshot.config)?;
    let conn = Rc::new(door.connection(&question, view.snapshot.certs.as_deref()));
    let mut explanation = Explanation {
        listener: Place { name: format!("{} on {}", door.name, door.address), origin: door.origin.clone() },
        certificate: None,
        refused: None,
        site: None,
        alias: false,
        route: None,
        found: None,
        others: Vec::new(),
        client: None,
        steps: Vec::new(),
        answer: Answer::Alert,
        bounds: Vec::new(),
        question,
    };
    if let Some(certificate) = certificate(view, &door) {
        let Some(certificate) = certificate else {
            let certs = view.snapshot.certs.as_ref().zip(door.sni.as_deref());
            explanation.refused = certs.and_then(|(certs, sni)| certs.unusable(sni));
            return Ok(explanation);
        };
        explanation.certificate = Some(certificate);
    }
    let limits = view.snapshot.config.defaults.limits;
    let limits = Limits { bytes: limits.header_bytes, fields: limits.header_fields, target: limits.uri_bytes };
    let raw = explanation.question.raw();
    let head = match parse_request(&raw, &limits) {
        Ok(Parsed::Head(head, _)) => head,
        Ok(Parsed::Partial) => return Err("the request is not whole: a header may not hold a line break".to_owned()),
        Err(why) => {
            explanation.answer = Answer::Refused { why, fields: Vec::new() };
            return Ok(explanation);
        }
    };
    explanation.routing(view, &conn, &head);
    if let (Some(site), Some(route)) = (&explanation.site, &explanation.route) {
        explanation.bounds = values.bounds(sources, &site.origin, &route.origin);
    }
    explanation.decide(view, &conn, head);
    Ok(explanation)
}

/// The certificate of a TLS door with the reason; `Some(None)` where nobody serves the name. `None` on a plain door, and
/// where the certificates could not be opened.
fn certificate(view: &View, door: &Door) -> Option<Option<(String, String)>> {
    let certs = view.snapshot.certs.as_ref().filter(|_| door.tls)?;
    let Some(text) = certs.describe(door.sni.as_deref()) else { return Some(None) };
    let site = door.sni.as_deref().and_then(|sni| view.router.site(sni.as_bytes()));
    let site = site.and_then(|(site, _)| view.snapshot.config.sites.get(site));
    let why = match (site.map(|site| &site.tls), &door.sni) {
        (_, None) => "the client names no host (an address has no SNI)".to_owned(),
        (Some(SiteTls::Files(files)), _) => format!("the site names it: {}", files.cert_origin),
        (Some(SiteTls::Dev), _) => "the site has tls = \"dev\"".to_owned(),
        (Some(SiteTls::Auto), _) if text.contains("development CA") => {
            "tls = \"auto\", no certificate file covers the name, and it is a local one".to_owned()
        }
        (Some(SiteTls::Auto), _) if text.contains("ACME") => {
            "tls = \"auto\", no certificate file covers the name, and [acme] is there".to_owned()
        }
        (Some(SiteTls::Auto), _) => "tls = \"auto\": a certificate of [tls] covers the name".to_owned(),
        (Some(SiteTls::Acme), _) => "the site has tls = \"acme\"".to_owned(),
        (Some(SiteTls::Off) | None, _) => "no site has the name; a certificate of [tls] is for it".to_owned(),
    };
    Some(Some((text, why)))
}

impl Explanation {
    /// Site, route, and what spoke against the others.
    fn routing(&mut self, view: &View, conn: &ConnInfo, head: &RequestHead) {
        let Some((index, alias)) = view.router.site(head.host()) else { return };
        let Some(site) = view.snapshot.config.sites.get(index) else { return };
        self.site = Some(Place { name: site.host.to_string(), origin: site.origin.clone() });
        self.alias = alias;
        let asked = Asked::of(head, conn);
        let met = view.router.find(&asked).map(|(met, _)| met);
        self.found = met.ok().map(|found| (found.site, found.route));
        let found = met.ok().and_then(|found| site.routes.get(found.route));
        self.route = found.map(|route| Place { name: route.path.to_string(), origin: route.origin.clone() });
        let path = normalize(head.path());
        for route in site.routes.iter().filter(|route| found.is_none_or(|found| !std::ptr::eq(found, *route))) {
            let why = why_not(route, &path, &asked).map(|failed| failed.to_string());
            let why = why.unwrap_or_else(|| match found {
                Some(found) if found.path == route.path => {
                    format!("it would do, but {} has more conditions or is earlier", found.path)
                }
                Some(found) => format!("it would do, but {} is more exact", found.path),
                None => "the path as sent and its normal form meet different routes".to_owned(),
            });
            self.others.push((Place { name: route.path.to_string(), origin: route.origin.clone() }, why));
        }
    }
}

/// A view of a config for questions: nothing is bound, and `certs` are the certificates where they could be opened. Beside
/// it the problems with other files, which leave out what needs them.
pub fn view(config: Config, certs: Option<Arc<CertStore>>) -> (View, Vec<Diagnostic>) {
    let https = config.listeners.iter().find(|listener| listener.tls);
    let port = https.and_then(|listener| listener.addresses.first()).map(|address| address.port());
    let (snapshot, problems) = Snapshot::with_certificates(config, certs, port, None);
    (View::new(Arc::new(snapshot)), problems)
}
