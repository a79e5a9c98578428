//! The life of a request: [`Proxy::handle`] is the function to read first.

pub mod access_log;
pub mod forward;
mod record;
mod tally;

use std::cell::RefCell;
use std::rc::Rc;

use self::access_log::AccessLog;
use self::record::Record;
pub use self::tally::Tally;
use crate::config::{Action, HostPattern, PathPattern, Route, Site};
use crate::error::Why;
use crate::filter::{door, headers as header_rules, redirect};
use crate::http::headers::{Client, prepare_request};
use crate::http::respond::{self, Format};
use crate::http::{ConnInfo, Handler, Request, Response};
use crate::message::{Known, RequestHead};
use crate::route::Found;
use crate::snapshot::View;
use crate::upstream::Cluster;

/// The path a health check asks on the plain door. Only this machine is answered.
pub const HEALTH_PATH: &str = "/.vestibule/health";

/// One worker's proxy.
pub struct Proxy {
    view: RefCell<Rc<View>>,
    log: RefCell<Option<AccessLog>>,
    tally: Tally,
}

impl Handler for Proxy {
    async fn handle(&self, mut request: Request) -> Response {
        let view = self.view();
        let mut record = Record::begin(self.log.borrow().as_ref(), &request);
        let response = match self.answer(&view, &mut request, &mut record).await {
            Ok(response) => response,
            Err(why) => {
                record.why = Some(why);
                respond::error(why, Format::of(&request.head.fields), &record.request_id())
            }
        };
        self.tally.count(response.status);
        record.attach(response, &request)
    }

    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Response {
        let mut record = Record::refused(self.log.borrow().as_ref(), conn);
        record.why = Some(why);
        let response = respond::error(why, Format::Text, &record.request_id());
        self.tally.count(response.status);
        record.attach_refused(response)
    }
}

impl Proxy {
    pub fn new(view: Rc<View>, log: Option<AccessLog>) -> Proxy {
        Proxy { view: RefCell::new(view), log: RefCell::new(log), tally: Tally::default() }
    }

    /// Puts a generation in place: requests that begin after this meet it.
    pub fn adopt(&self, view: Rc<View>, log: Option<AccessLog>) {
        self.view.replace(view);
        self.log.replace(log);
    }

    /// The generation that new requests meet. A request keeps its own to its end.
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// What has been answered so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    async fn answer(&self, view: &View, request: &mut Request, record: &mut Record) -> Result<Response, Why> {
        if is_health_check(&request.conn, &request.head) {
            return Ok(respond::own(200, "text/plain; charset=utf-8", "ready\n".into()));
        }
        let decided = decide(view, &request.conn, &mut request.head, record)?;
        let mut response = match decided.outcome {
            Outcome::Door(response) | Outcome::Alias(response) => return Ok(*response),
            Outcome::Forward(cluster) => forward::forward(cluster, decided.route, request, record).await?,
            Outcome::Own(response) => *response,
        };
        finish(decided.route, &decided.client, decided.varies, &request.head, &mut response, record);
        Ok(response)
    }
}

/// The question of a health check, from this machine.
pub fn is_health_check(conn: &ConnInfo, head: &RequestHead) -> bool {
    head.path() == HEALTH_PATH.as_bytes() && conn.ip().is_loopback()
}

/// Who watches a request being decided: the access log's record, or `explain`.
pub trait Witness {
    fn meet(&mut self, found: Found);
    /// `head` has lost what was not for the server, and states who the client is.
    fn client(&mut self, client: &Client, head: &RequestHead);
    fn request_id(&self) -> String;
}

/// What is decided about a request before anything is sent for it.
pub struct Decided<'v> {
    pub route: &'v Route,
    pub client: Client,
    /// The answer depends on `Upgrade-Insecure-Requests`, and says so.
    pub varies: bool,
    pub outcome: Outcome<'v>,
}

/// Who answers.
pub enum Outcome<'v> {
    /// The plain door: a redirect to https.
    Door(Box<Response>),
    /// A redirect to the site's own name.
    Alias(Box<Response>),
    /// A server of this cluster.
    Forward(&'v Cluster),
    /// The route itself: `redirect` or `respond`.
    Own(Box<Response>),
}

/// Decides about a request and makes its head the one a server gets. Nothing is sent and nothing awaited, so that
/// `explain` runs the very same code.
///
/// # Errors
/// The cause of the answer that refuses the request.
pub fn decide<'v>(
    view: &'v View,
    conn: &ConnInfo,
    head: &mut RequestHead,
    witness: &mut impl Witness,
) -> Result<Decided<'v>, Why> {
    let found = view.router.find(head.host(), head.path())?;
    let site = view.snapshot.config.sites.get(found.site).ok_or(Why::RouteNoHost)?;
    let route = site.routes.get(found.route).ok_or(Why::RouteNoRoute)?;
    witness.meet(found);
    check_certificate(view, conn, head)?;
    check_loop(head)?;

    let client = prepare_request(head, conn, &route.forwarding);
    witness.client(&client, head);
    let dev = view.snapshot.dev.get(found.site).copied().unwrap_or(false);
    let decided = |varies, client, outcome| Ok(Decided { route, client, varies, outcome });
    let varies = match door::decide(view.snapshot.https, site, dev, conn, head, client.https) {
        door::Door::Open => false,
        door::Door::OpenVaries => true,
        door::Door::Answer(response) => return decided(false, client, Outcome::Door(response)),
        door::Door::Refused(why) => return Err(why),
    };
    if found.alias
        && let Some(response) = to_own_name(site, &client, head)
    {
        return decided(false, client, Outcome::Alias(Box::new(response)));
    }
    let outcome = match &route.action {
        Action::Forward(cluster) => {
            let cluster = view.clusters.get(*cluster).ok_or(Why::RouteNoRoute)?;
            apply_request_rules(route, &client, head, witness);
            Outcome::Forward(cluster)
        }
        Action::Redirect(rule) => Outcome::Own(Box::new(redirect::answer(rule, &route.path, head))),
        Action::Respond(rule) => {
            Outcome::Own(Box::new(respond::own(rule.status, &rule.content_type, rule.body.clone().into())))
        }
    };
    decided(varies, client, outcome)
}

/// What a route does to every answer on its way out.
pub fn finish(
    route: &Route,
    client: &Client,
    varies: bool,
    head: &RequestHead,
    response: &mut Response,
    witness: &impl Witness,
) {
    apply_response_rules(route, client, head, response, witness);
    if varies {
        door::vary(&mut response.fields);
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
    let own = forward::via();
    let seen = head.fields.all(Known::Via).any(|via| memchr::memmem::find(via, own.as_bytes()).is_some());
    if seen { Err(Why::ProxyLoop) } else { Ok(()) }
}

fn to_own_name(site: &Site, client: &Client, head: &RequestHead) -> Option<Response> {
    match &site.host {
        HostPattern::Exact(name) if site.aliases_redirect => Some(redirect::alias(name, client.https, head)),
        _ => None,
    }
}

fn apply_request_rules(route: &Route, client: &Client, head: &mut RequestHead, witness: &impl Witness) {
    if !route.request_headers.is_empty() {
        let (host, request_id) = (header_rules::host(head), witness.request_id());
        let facts = header_rules::Facts { client, host: &host, request_id: &request_id };
        header_rules::apply(&mut head.fields, &route.request_headers, &facts);
    }
    if let (Some(prefix), PathPattern::Prefix(_) | PathPattern::Any) = (&route.strip_prefix, &route.path) {
        head.fields.push(b"X-Forwarded-Prefix", prefix.as_bytes());
    }
}

fn apply_response_rules(
    route: &Route,
    client: &Client,
    head: &RequestHead,
    response: &mut Response,
    witness: &impl Witness,
) {
    if !route.response_headers.is_empty() {
        let (host, request_id) = (header_rules::host(head), witness.request_id());
        let facts = header_rules::Facts { client, host: &host, request_id: &request_id };
        header_rules::apply(&mut response.fields, &route.response_headers, &facts);
    }
}
