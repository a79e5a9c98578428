//! The life of a request: [`Proxy::handle`] is the function to read first.

pub mod access_log;
mod buffer;
mod counted;
mod forward;
mod record;
mod sinks;
mod tally;
pub mod trace;

use std::cell::RefCell;
use std::rc::Rc;

use self::record::{Flight, Record};
pub use self::sinks::{Names, Sinks};
pub use self::tally::Tally;
use crate::config::{Action, HostPattern, Route, Site};
use crate::error::Why;
use crate::filter::{Chain, Notes, Verdict, Visit, challenge, door, headers as header_rules, redirect};
use crate::http::headers::{Client, prepare_request, via};
use crate::http::respond::{self, Format};
use crate::http::{ConnInfo, Handler, Request, Response};
use crate::message::{Fields, Known, RequestHead, Version};
use crate::route::Asked;
use crate::snapshot::View;

/// The path a health check asks on the plain door. Only this machine is answered.
pub const HEALTH_PATH: &str = "/.vestibule/health";

/// One worker's proxy.
pub struct Proxy {
    view: RefCell<Rc<View>>,
    sinks: RefCell<Option<Rc<Sinks>>>,
    tally: Tally,
}

impl Handler for Proxy {
    async fn handle(&self, request: Request) -> Response {
        let view = self.view();
        let record = Record::begin(self.sinks.borrow().as_ref(), &request.conn);
        let mut flight = Flight { request, record };
        let mut met = Met::default();
        let answer = self.answer(&view, &mut flight.request, &mut flight.record, &mut met).await;
        let Flight { request, record } = &mut flight;
        let mut response = match answer {
            Ok(response) => response,
            Err(Stop { why, fields }) => {
                record.why = Some(why);
                let mut response = respond::error(why, Format::of(&request.head.fields), &record.request_id());
                fields.iter().for_each(|field| response.fields.push(field.name, field.value));
                response
            }
        };
        if let Some(chain) = met.chain {
            chain.response(&met.notes, &request.head, met.https, &mut response);
            record.would_refuse = met.notes.would_refuse;
        }
        self.tally.count(response.status);
        flight.attach(response)
    }

    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Response {
        let mut record = Record::begin(self.sinks.borrow().as_ref(), conn);
        record.why = Some(why);
        let response = respond::error(why, Format::Text, &record.request_id());
        self.tally.count(response.status);
        record.attach_refused(response)
    }
}

impl Proxy {
    pub fn new(view: Rc<View>, sinks: Option<Sinks>) -> Proxy {
        Proxy { view: RefCell::new(view), sinks: RefCell::new(sinks.map(Rc::new)), tally: Tally::default() }
    }

    /// Puts a generation in place: requests that begin after this meet it.
    pub fn adopt(&self, view: Rc<View>, sinks: Option<Sinks>) {
        self.view.replace(view);
        self.sinks.replace(sinks.map(Rc::new));
    }

    /// Who wants to know of requests and connections.
    pub fn sinks(&self) -> Option<Rc<Sinks>> {
        self.sinks.borrow().clone()
    }

    /// The generation that new requests meet. A request keeps its own to its end.
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// What has been answered so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    async fn answer<'v>(
        &self,
        view: &'v View,
        request: &mut Request,
        record: &mut Record,
        met: &mut Met<'v>,
    ) -> Result<Response, Stop> {
        if request.head.path() == HEALTH_PATH.as_bytes() && request.conn.ip().is_loopback() {
            return Ok(respond::own(200, "text/plain; charset=utf-8", "ready\n".into()));
        }
        if let Some(challenges) = &view.snapshot.challenges
            && let Some(response) = challenge::answer(challenges, &request.conn, &request.head)
        {
            return Ok(response);
        }
        let asked = Asked::of(&request.head, &request.conn);
        let found = match view.router.find(&asked) {
            Ok(found) => found,
            Err(why) => {
                if let (Why::RouteNoRoute, true) = (why, record.is_kept()) {
                    let nearest = view.router.nearest(&asked);
                    let route =
                        nearest.and_then(|(site, route)| view.snapshot.config.sites.get(site)?.routes.get(route));
                    record.nearest = route.map(|route| route.path.to_string());
                }
                return Err(why.into());
            }
        };
        let site = view.snapshot.config.sites.get(found.site).ok_or(Why::RouteNoHost)?;
        let route = site.routes.get(found.route).ok_or(Why::RouteNoRoute)?;
        record.meet(found);
        check_certificate(view, &request.conn, &request.head)?;
        check_loop(&request.head)?;

        let client = prepare_request(&mut request.head, &request.conn, &route.forwarding);
        record.client(&client);
        record.trace(&mut request.head);
        let dev = view.snapshot.dev.get(found.site).copied().unwrap_or(false);
        let varies = match door::decide(view.snapshot.https, site, dev, &request.conn, &request.head, client.https) {
            door::Door::Open => false,
            door::Door::OpenVaries => true,
            door::Door::Answer(response) => return Ok(*response),
            door::Door::Refused(why) => return Err(why.into()),
        };
        met.https = client.https;
        met.chain = view.snapshot.chain(found.site, found.route);
        if found.alias
            && let Some(response) = to_own_name(site, &client, &request.head)
        {
            return Ok(response);
        }
        if let Some(chain) = met.chain {
            let mut visit = Visit {
                head: &mut request.head,
                client: &client,
                conn: &request.conn,
                deadline: &request.deadline,
                clusters: &view.clusters,
                timeouts: &route.timeouts,
            };
            match chain.request(&mut visit, &mut met.notes).await? {
                Verdict::Pass => {}
                Verdict::Answer(response) => return Ok(*response),
                Verdict::Refuse(why, fields) => return Err(Stop { why, fields }),
            }
        }
        let mut response = match &route.action {
            Action::Forward(index) => {
                let cluster = view.clusters.get(*index).ok_or(Why::RouteNoRoute)?;
                record.forward(*index, request);
                apply_request_rules(route, &client, request, record);
                restrict_upgrade(route, &mut request.head)?;
                forward::forward(cluster, route, request, record).await?
            }
            Action::Redirect(rule) => redirect::answer(rule, &route.path, &request.head),
            Action::Respond(rule) => respond::own(rule.status, &rule.content_type, rule.body.clone().into()),
        };
        apply_response_rules(route, &client, request, &mut response, record);
        if varies {
            door::vary(&mut response.fields);
        }
        Ok(response)
    }
}

/// A connection opened for one host must not carry another that is served with another certificate: the client checked
/// only the first (RFC 9110 section 15.5.20).
fn check_certificate(view: &View, conn: &ConnInfo, head: &RequestHead) -> Result<(), Why> {
    let (Some(facts), Some(certs)) = (&conn.tls, &view.snapshot.certs) else { return Ok(()) };
    let Some(sni) = facts.sni.as_deref() else { return Ok(()) };
    let host = head.host();
    if host.eq_ignore_ascii_case(sni.as_bytes()) {
        return Ok(());
    }
    let same = std::str::from_utf8(host).is_ok_and(|host| certs.same_certificate(sni, host));
    if same { Ok(()) } else { Err(Why::TlsSniMismatch) }
}

/// A request that has been here before comes from a backend address that points back at the proxy (RFC 9110 section
/// 7.6.3).
fn check_loop(head: &RequestHead) -> Result<(), Why> {
    let own = via();
    let seen = head.fields.all(Known::Via).any(|via| memchr::memmem::find(via, own.as_bytes()).is_some());
    if seen { Err(Why::ProxyLoop) } else { Ok(()) }
}

/// A switch to a protocol that the route does not allow is not asked for; the rest of the request is answered.
fn restrict_upgrade(route: &Route, head: &mut RequestHead) -> Result<(), Why> {
    let Some(asked) = head.upgrade_token() else { return Ok(()) };
    if route.upgrade.iter().any(|allowed| asked.eq_ignore_ascii_case(allowed.as_bytes())) {
        return Ok(());
    }
    // On HTTP/1.1 the wish is dropped, and the request is like any other. Extended CONNECT (RFC 8441) is nothing without it.
    if head.version == Version::Http2 {
        return Err(Why::RequestConnect);
    }
    head.upgrade = None;
    Ok(())
}

fn to_own_name(site: &Site, client: &Client, head: &RequestHead) -> Option<Response> {
    match &site.host {
        HostPattern::Exact(name) if site.aliases_redirect => Some(redirect::alias(name, client.https, head)),
        _ => None,
    }
}

fn apply_request_rules(route: &Route, client: &Client, request: &mut Request, record: &Record) {
    if !route.request_headers.is_empty() {
        let Request { head, conn, .. } = request;
        let (authority, target) = (head.authority().to_vec(), head.target().to_vec());
        let facts = header_rules::Facts {
            client,
            conn,
            method: &head.method,
            authority: &authority,
            target: &target,
            request_id: &|| record.request_id(),
        };
        header_rules::apply(&mut head.fields, &route.request_headers, &facts);
    }
    if let Some(prefix) = &route.strip_prefix {
        request.head.fields.push(b"X-Forwarded-Prefix", prefix.as_bytes());
    }
}

fn apply_response_rules(route: &Route, client: &Client, request: &Request, response: &mut Response, record: &Record) {
    if !route.response_headers.is_empty() {
        let facts = header_rules::Facts {
            client,
            conn: &request.conn,
            method: &request.head.method,
            authority: request.head.authority(),
            target: request.head.target(),
            request_id: &|| record.request_id(),
        };
        header_rules::apply(&mut response.fields, &route.response_headers, &facts);
    }
}

/// What a request met on its way in, for its way back.
#[derive(Default)]
struct Met<'v> {
    chain: Option<&'v Chain>,
    notes: Notes,
    https: bool,
}

/// An error that is the answer, with the fields it needs.
struct Stop {
    why: Why,
    fields: Fields,
}

impl From<Why> for Stop {
    fn from(why: Why) -> Stop {
        Stop { why, fields: Fields::default() }
    }
}
