//! What is decided about a request, apart from sending anything: the data plane and `explain` run the very same code.
//!
//! [`enter`] finds the route and makes the head one a gateway may send; then the route's filters have their say, which may
//! take asking somebody; then [`act`] does what the route is for.

use std::borrow::Cow;

use crate::config::{Action, HostPattern, Route, RouteSettings};
use crate::error::Why;
use crate::filter::{Chain, door, headers as header_rules, redirect, target};
use crate::http::headers::{Client, prepare_request, via};
use crate::http::term::Standing;
use crate::http::{ConnInfo, Response, respond};
use crate::message::{Known, RequestHead, Version};
use crate::route::{Asked, Found};
use crate::snapshot::{Brief, View};
use crate::upstream::Cluster;

/// Who watches a request being decided: the access log's record, or `explain`.
pub trait Witness {
    fn meet(&mut self, found: Found);
    /// The host or path meets nothing.
    fn lost(&mut self, view: &View, asked: &Asked<'_>, why: Why);
    /// `head` has lost what was not for the server, and states who the client is.
    fn client(&mut self, client: &Client, head: &RequestHead);
    fn request_id(&self) -> String;
}

/// A request that has found its route.
pub struct Entry<'v> {
    view: &'v View,
    found: Found,
    brief: Brief,
    pub settings: &'v RouteSettings,
    pub client: Client,
    /// The answer depends on `Upgrade-Insecure-Requests`, and says so.
    pub varies: bool,
    /// The filters of the route, where it has any.
    pub chain: Option<&'v Chain>,
    /// The answer where it is not the route's.
    pub early: Option<(Early, Box<Response>)>,
}

impl<'v> Entry<'v> {
    /// The route as the config has it: most requests need no more than its settings.
    ///
    /// # Errors
    /// None: it was found.
    pub fn route(&self) -> Result<&'v Route, Why> {
        let site = self.view.snapshot.config.sites.get(self.found.site);
        site.and_then(|site| site.routes.get(self.found.route)).ok_or(Why::RouteNoRoute)
    }

    /// What has begun on the route goes on as long as that is there.
    pub fn begin(&self, standing: &Standing) {
        standing.on_route(self.view.terms.of_routes(), self.found.place);
    }

    /// Path and query for the server.
    ///
    /// # Errors
    /// As [`target::of`].
    pub fn target<'h>(&self, head: &'h RequestHead) -> Result<Cow<'h, [u8]>, Why> {
        if self.brief.changes_path { target::of(self.route()?, head) } else { Ok(Cow::Borrowed(head.target())) }
    }
}

/// Who answers before the route is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// The plain door redirects to https. No filter touches it.
    Door,
    /// A redirect to the site's own name.
    Alias,
}

/// Who answers.
pub enum Outcome<'v> {
    /// A server of this cluster, which is the upstream of this number.
    Forward(usize, &'v Cluster),
    /// The route itself: `redirect` or `respond`.
    Own(Box<Response>),
}

/// Finds the route of a request, and makes its head one that a gateway may send.
///
/// # Errors
/// The cause of the answer that refuses the request; no filter touches it.
pub fn enter<'v>(
    view: &'v View,
    conn: &ConnInfo,
    head: &mut RequestHead,
    witness: &mut impl Witness,
) -> Result<Entry<'v>, Why> {
    let asked = Asked::of(head, conn);
    let (found, brief) = match view.router.find(&asked) {
        Ok(found) => found,
        Err(why) => {
            witness.lost(view, &asked, why);
            return Err(why);
        }
    };
    let settings = view.settings.get(brief.settings()).ok_or(Why::RouteNoRoute)?;
    witness.meet(found);
    if head.target().len() > settings.limits.uri_bytes {
        return Err(Why::LimitUriBytes);
    }
    check_certificate(view, conn, head, found.site)?;
    check_loop(head)?;

    let client = prepare_request(head, conn, &settings.forwarding);
    witness.client(&client, head);
    let certs = view.snapshot.certs.as_deref();
    let (varies, answer) = match door::decide(view.snapshot.https, certs, brief.doors, conn, head, client.https) {
        door::Door::Open => (false, None),
        door::Door::OpenVaries => (true, None),
        door::Door::Answer(response) => (false, Some(response)),
        door::Door::Refused(why) => return Err(why),
    };
    let mut entry = Entry { view, found, brief, settings, client, varies, chain: None, early: None };
    if let Some(response) = answer {
        entry.early = Some((Early::Door, response));
        return Ok(entry);
    }
    if conn.tls.is_none() && brief.requires_client_cert {
        return Err(Why::TlsClientCert);
    }
    if found.alias {
        entry.early = to_own_name(&entry, head).map(|response| (Early::Alias, response));
    }
    if brief.has_chain {
        entry.chain = view.snapshot.chain(found.site, found.route);
    }
    Ok(entry)
}

/// Does what the route is for, up to the sending.
///
/// # Errors
/// The cause of the answer that refuses the request.
pub fn act<'v>(
    entry: &Entry<'v>,
    conn: &ConnInfo,
    head: &mut RequestHead,
    witness: &impl Witness,
) -> Result<Outcome<'v>, Why> {
    if let Some(upstream) = entry.brief.upstream() {
        let cluster = entry.view.clusters.get(upstream).ok_or(Why::RouteNoRoute)?;
        apply_request_rules(entry, conn, head, witness)?;
        restrict_upgrade(entry.settings, head)?;
        return Ok(Outcome::Forward(upstream, cluster));
    }
    let route = entry.route()?;
    Ok(Outcome::Own(match &route.action {
        Action::Forward(_) => return Err(Why::RouteNoRoute),
        Action::Redirect(rule) => redirect::answer(rule, &route.path, head),
        Action::Respond(rule) => respond::own(rule.status, &rule.content_type, rule.body.clone().into()),
    }))
}

/// What a route does to the answer of [`act`] on its way out.
pub fn finish(entry: &Entry<'_>, conn: &ConnInfo, head: &RequestHead, response: &mut Response, witness: &impl Witness) {
    let rules = &entry.settings.response_headers;
    if !rules.is_empty() {
        let facts = header_rules::Facts {
            client: &entry.client,
            conn,
            method: &head.method,
            authority: head.authority(),
            target: head.target(),
            request_id: &|| witness.request_id(),
        };
        header_rules::apply(&mut response.fields, rules, &facts);
    }
    if entry.varies {
        door::vary(&mut response.fields);
    }
}

/// A connection opened for one host must not carry another that is served with another certificate: the client checked
/// only the first (RFC 9110 section 15.5.20).
///
/// Nor one that asks its clients for another certificate, or for one at all: with TLS 1.3 nothing else would ever ask.
fn check_certificate(view: &View, conn: &ConnInfo, head: &RequestHead, site: usize) -> Result<(), Why> {
    let (Some(facts), Some(certs)) = (&conn.tls, &view.snapshot.certs) else { return Ok(()) };
    if !certs.asks(site, facts.policy) {
        return Err(Why::TlsSniMismatch);
    }
    let host = head.host();
    let Some(sni) = facts.sni.as_deref() else {
        // A client that names no server has some other certificate: no way around one that cannot be used.
        let unusable = std::str::from_utf8(host).is_ok_and(|host| certs.unusable(host).is_some());
        return if unusable { Err(Why::TlsSniMismatch) } else { Ok(()) };
    };
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
fn restrict_upgrade(settings: &RouteSettings, head: &mut RequestHead) -> Result<(), Why> {
    let Some(asked) = head.upgrade_token() else { return Ok(()) };
    if settings.upgrade.iter().any(|allowed| asked.eq_ignore_ascii_case(allowed.as_bytes())) {
        return Ok(());
    }
    // On HTTP/1.1 the wish is dropped, and the request is like any other. Extended CONNECT (RFC 8441) is nothing without it.
    if head.version == Version::Http2 {
        return Err(Why::RequestConnect);
    }
    head.upgrade = None;
    Ok(())
}

fn to_own_name(entry: &Entry<'_>, head: &RequestHead) -> Option<Box<Response>> {
    let site = entry.view.snapshot.config.sites.get(entry.found.site)?;
    match &site.host {
        HostPattern::Exact(name) if site.aliases_redirect => Some(redirect::alias(name, entry.client.https, head)),
        _ => None,
    }
}

fn apply_request_rules(
    entry: &Entry<'_>,
    conn: &ConnInfo,
    head: &mut RequestHead,
    witness: &impl Witness,
) -> Result<(), Why> {
    let rules = &entry.settings.request_headers;
    if !rules.is_empty() {
        let (authority, target) = (head.authority().to_vec(), head.target().to_vec());
        let facts = header_rules::Facts {
            client: &entry.client,
            conn,
            method: &head.method,
            authority: &authority,
            target: &target,
            request_id: &|| witness.request_id(),
        };
        header_rules::apply(&mut head.fields, rules, &facts);
    }
    if entry.brief.changes_path
        && let Some(prefix) = &entry.route()?.strip_prefix
    {
        head.fields.push(b"X-Forwarded-Prefix", prefix.as_bytes());
    }
    Ok(())
}
