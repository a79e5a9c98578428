//! What would happen to one request, and why: a dry run through the very code that serves.
//!
//! Nothing is sent. The request is read by the HTTP/1.1 codec, decided by [`crate::proxy::decide`], and its head for the
//! server is written by [`crate::upstream::Outgoing`]; this room only asks and tells.

mod json;
mod question;
mod steps;
mod text;

use std::rc::Rc;

pub use json::json;
pub use question::Question;
pub use steps::Step;
pub use text::text;

use self::question::Door;
use self::steps::Watcher;
use crate::config::{Action, Effective, Loaded, Origin, SiteTls, Sources, Values};
use crate::error::Why;
use crate::h1::{Limits, Parsed, parse_request};
use crate::http::{ConnInfo, Response};
use crate::message::RequestHead;
use crate::proxy::{self, Outcome, forward};
use crate::route::{normalize, why_not};
use crate::snapshot::View;
use crate::upstream::Outgoing;

/// All that is to be said of one request.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub question: Question,
    pub listener: Place,
    /// On a TLS listener: the certificate and why it is that one.
    pub certificate: Option<(String, String)>,
    pub site: Option<Place>,
    /// The host is an alias of the site.
    pub alias: bool,
    pub route: Option<Place>,
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
    /// An error of ours.
    Refused(Why),
    /// An answer of ours; `by` names what made it: `health`, `door`, `alias`, `redirect`, `respond`.
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
    let conn = Rc::new(door.connection(&question));
    let mut explanation = Explanation {
        listener: Place { name: format!("{} on {}", door.name, door.address), origin: door.origin.clone() },
        certificate: None,
        site: None,
        alias: false,
        route: None,
        others: Vec::new(),
        client: None,
        steps: Vec::new(),
        answer: Answer::Alert,
        bounds: Vec::new(),
        question,
    };
    if let Some(certificate) = certificate(view, &door) {
        let Some(certificate) = certificate else { return Ok(explanation) };
        explanation.certificate = Some(certificate);
    }
    let limits = view.snapshot.config.defaults.limits;
    let limits = Limits { bytes: limits.header_bytes, fields: limits.header_fields, target: limits.uri_bytes };
    let raw = explanation.question.raw();
    let head = match parse_request(&raw, &limits) {
        Ok(Parsed::Head(head, _)) => head,
        Ok(Parsed::Partial) => return Err("the request is not whole: a header may not hold a line break".to_owned()),
        Err(why) => {
            explanation.answer = Answer::Refused(why);
            return Ok(explanation);
        }
    };
    explanation.routing(view, &head);
    if let (Some(site), Some(route)) = (&explanation.site, &explanation.route) {
        explanation.bounds = values.bounds(sources, &site.origin, &route.origin);
    }
    explanation.answer(view, &conn, head);
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
        (Some(SiteTls::Auto), _) => "tls = \"auto\": a certificate of [tls] covers the name".to_owned(),
        (Some(SiteTls::Off) | None, _) => "no site has the name; a certificate of [tls] is for it".to_owned(),
    };
    Some(Some((text, why)))
}

impl Explanation {
    /// Site, route, and what spoke against the others.
    fn routing(&mut self, view: &View, head: &RequestHead) {
        let Some((index, alias)) = view.router.site(head.host()) else { return };
        let Some(site) = view.snapshot.config.sites.get(index) else { return };
        self.site = Some(Place { name: site.host.to_string(), origin: site.origin.clone() });
        self.alias = alias;
        let found = view.router.find(head.host(), head.path()).ok().and_then(|found| site.routes.get(found.route));
        self.route = found.map(|route| Place { name: route.path.to_string(), origin: route.origin.clone() });
        let path = normalize(head.path());
        for route in site.routes.iter().filter(|route| found.is_none_or(|found| !std::ptr::eq(found, *route))) {
            let why = why_not(route, &path).unwrap_or_else(|| match found {
                Some(found) => format!("it would do, but {} is more exact", found.path),
                None => "the path as sent and its normal form meet different routes".to_owned(),
            });
            self.others.push((Place { name: route.path.to_string(), origin: route.origin.clone() }, why));
        }
    }

    /// Lets the request be decided, and writes what a server would get.
    fn answer(&mut self, view: &View, conn: &ConnInfo, head: RequestHead) {
        if proxy::is_health_check(conn, &head) {
            self.answer = Answer::Own { by: "health", status: 200, fields: Vec::new() };
            return;
        }
        let mut head = head;
        let mut watcher = Watcher::new(&head);
        let decided = proxy::decide(view, conn, &mut head, &mut watcher);
        self.client = watcher.client.as_ref().map(|c| (c.ip.to_string(), if c.https { "https" } else { "http" }));
        let decided = match decided {
            Ok(decided) => decided,
            Err(why) => {
                self.answer = Answer::Refused(why);
                return;
            }
        };
        let finish = |head: &RequestHead, mut response: Response| {
            proxy::finish(decided.route, &decided.client, decided.varies, head, &mut response, &watcher);
            response
        };
        let own = |by, response: &Response| Answer::Own { by, status: response.status, fields: fields(response) };
        self.answer = match decided.outcome {
            Outcome::Door(response) => own("door", &response),
            Outcome::Alias(response) => own("alias", &response),
            Outcome::Own(response) => {
                let by = if matches!(decided.route.action, Action::Redirect(_)) { "redirect" } else { "respond" };
                own(by, &finish(&head, *response))
            }
            Outcome::Forward(cluster) => {
                self.steps = watcher.steps(decided.route, &head);
                let target = forward::prepare(decided.route, &mut head)
                    .and_then(|()| forward::target(decided.route, &head).map(|target| target.into_owned()));
                match target {
                    Err(why) => Answer::Refused(why),
                    Ok(target) => {
                        let response = finish(&head, Response::new(200));
                        self.steps.extend(steps::target(&head, &target));
                        let upstream = view.snapshot.config.upstreams.iter().find(|there| there.name == cluster.name);
                        let server = cluster.endpoints.first().map_or("", |endpoint| &endpoint.label);
                        let mut bytes = Vec::new();
                        Outgoing { head: &head, target: &target, host: &cluster.host_header }.write(&mut bytes, server);
                        Answer::Forward {
                            upstream: Place {
                                name: cluster.name.clone(),
                                origin: upstream.map(|upstream| upstream.origin.clone()).unwrap_or_default(),
                            },
                            balance: upstream.map_or("", |upstream| steps::balance(upstream.balance)),
                            servers: upstream.map(steps::servers).unwrap_or_default(),
                            head: bytes,
                            fields: fields(&response),
                        }
                    }
                }
            }
        };
    }
}

fn fields(response: &Response) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // When it is said is no part of what is said.
    let lasting = response.fields.iter().filter(|field| !field.name.eq_ignore_ascii_case(b"date"));
    lasting.map(|field| (text(field.name), text(field.value))).collect()
}

/// A view of a loaded config for questions: nothing is bound, and `certs` are the certificates where they could be opened.
pub fn view(loaded: &Loaded, certs: Option<std::sync::Arc<crate::tls::CertStore>>) -> View {
    use crate::snapshot::Snapshot;
    let https = loaded.config.listeners.iter().find(|listener| listener.tls);
    let port = https.and_then(|listener| listener.addresses.first()).map(|address| address.port());
    View::new(std::sync::Arc::new(Snapshot::with_certificates(loaded.config.clone(), certs, port, None)))
}
