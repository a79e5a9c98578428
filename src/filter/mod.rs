//! What a site or route does to requests and responses beyond forwarding them. One file each.
//!
//! A route that has any gets a [`Chain`] when the snapshot is built; a route without has none, and its requests pay one
//! branch. The order is fixed: who may come in, how often, preflights, who it is, and on the way back what other origins
//! may see, the limit's fields, the coding, HSTS.

mod access;
mod basic_auth;
pub mod ca_download;
pub mod challenge;
mod compress;
mod cors;
mod counts;
pub mod door;
pub mod error_pages;
mod forward_auth;
pub mod headers;
mod hsts;
mod rate_limit;
pub mod redirect;
pub mod target;
pub mod template;
mod trace;
mod users;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use self::access::Access;
use self::basic_auth::BasicAuth;
use self::cors::Grant;
pub use self::counts::keep_counts;
use self::error_pages::{Fallback, Pages};
use self::rate_limit::{Limiter, Standing};
pub use self::trace::{Step, Trace};
use crate::config::diagnostics::Diagnostic;
use crate::config::{Coding, Config, Cors, ErrorPages, Filters, ForwardAuth, Timeouts};
use crate::error::Why;
use crate::http::headers::Client;
use crate::http::{ConnInfo, Response};
use crate::message::{Fields, RequestHead};
use crate::net::{Deadline, clock};
use crate::upstream::Cluster;

/// The filters of a route, resolved.
#[derive(Debug)]
pub struct Chain {
    access: Option<Access>,
    rate_limit: Option<Arc<Limiter>>,
    cors: Option<Arc<Cors>>,
    basic_auth: Option<Arc<BasicAuth>>,
    forward_auth: Option<Arc<ForwardAuth>>,
    compress: Box<[Coding]>,
    hsts: Option<Box<str>>,
    error_pages: Option<Arc<Pages>>,
}

/// Of each site's routes: their chains.
pub type Chains = Vec<Vec<Option<Box<Chain>>>>;

/// What the filters of a config share: a limit counts, and a users' file is read, once for all routes that take it from
/// one place.
#[derive(Default)]
pub struct Shared {
    limiters: HashMap<usize, Arc<Limiter>>,
    users: HashMap<usize, Arc<BasicAuth>>,
    pages: HashMap<usize, Arc<Pages>>,
}

impl Shared {
    /// The pages of a place in the config.
    ///
    /// # Errors
    /// A file cannot be used.
    fn pages(&mut self, rules: Option<&Arc<ErrorPages>>) -> Result<Option<Arc<Pages>>, Box<Diagnostic>> {
        let Some(rules) = rules else { return Ok(None) };
        let place = Arc::as_ptr(rules) as usize;
        let pages = match self.pages.get(&place) {
            Some(pages) => pages.clone(),
            None => Arc::new(Pages::open(rules)?),
        };
        self.pages.insert(place, pages.clone());
        Ok(Some(pages))
    }

    /// The pages that hold where no route was met.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn fallback(&mut self, config: &Config) -> Result<Fallback, Box<Diagnostic>> {
        let no_site = self.pages(config.error_pages.as_ref())?;
        let sites = config.sites.iter().map(|site| self.pages(site.error_pages.as_ref()));
        Ok(Fallback { sites: sites.collect::<Result<_, _>>()?, no_site })
    }
}

/// A request on its way in.
pub struct Visit<'a> {
    pub head: &'a mut RequestHead,
    pub client: &'a Client,
    pub conn: &'a ConnInfo,
    pub deadline: &'a Rc<Deadline>,
    pub clusters: &'a [Cluster],
    pub timeouts: &'a Timeouts,
}

/// What the filters say to a request.
#[derive(Debug)]
pub enum Verdict {
    Pass,
    /// This is the answer.
    Answer(Box<Response>),
    /// An error is the answer, with these fields on it.
    Refuse(Why, Fields),
}

/// What the way in leaves for the way back.
#[derive(Debug, Default)]
pub struct Notes {
    coding: Option<Coding>,
    grant: Option<Grant>,
    standing: Option<Standing>,
    /// A rule on trial would have refused the request.
    pub would_refuse: Option<Why>,
    /// Who it is, for the log.
    pub user: Option<String>,
}

impl Chain {
    /// The chain of a route; `None` where it has no filter. `host` is the site's, `dev`: its certificate is from the
    /// development CA.
    ///
    /// # Errors
    /// A users' file or an error page cannot be used.
    pub fn build(
        filters: &Filters,
        host: &str,
        dev: bool,
        shared: &mut Shared,
    ) -> Result<Option<Box<Chain>>, Box<Diagnostic>> {
        let rate_limit = filters.rate_limit.as_ref().map(|rules| {
            let limiter = shared.limiters.entry(Arc::as_ptr(rules) as usize);
            limiter.or_insert_with(|| Arc::new(Limiter::new(rules))).clone()
        });
        let basic_auth = match &filters.basic_auth {
            Some(rules) => {
                let place = Arc::as_ptr(rules) as usize;
                let users = match shared.users.get(&place) {
                    Some(users) => users.clone(),
                    None => Arc::new(BasicAuth::open(rules)?),
                };
                shared.users.insert(place, users.clone());
                Some(users)
            }
            None => None,
        };
        let chain = Chain {
            access: filters.access.as_deref().map(Access::new),
            rate_limit,
            cors: filters.cors.clone(),
            basic_auth,
            forward_auth: filters.forward_auth.clone(),
            compress: filters.compress.clone().into(),
            hsts: filters.hsts.as_ref().filter(|_| hsts::fits(host, dev)).map(hsts::value),
            error_pages: shared.pages(filters.error_pages.as_ref())?,
        };
        Ok((!chain.is_empty()).then(|| Box::new(chain)))
    }

    fn is_empty(&self) -> bool {
        self.access.is_none()
            && self.rate_limit.is_none()
            && self.cors.is_none()
            && self.basic_auth.is_none()
            && self.forward_auth.is_none()
            && self.compress.is_empty()
            && self.hsts.is_none()
            && self.error_pages.is_none()
    }

    /// What browsers are shown for an error.
    pub fn error_pages(&self) -> Option<&Pages> {
        self.error_pages.as_deref()
    }

    /// The way in.
    ///
    /// # Errors
    /// The server of `forward_auth` gave no answer.
    pub async fn request(&self, visit: &mut Visit<'_>, notes: &mut Notes) -> Result<Verdict, Why> {
        match self.admit(visit.head, visit.client, notes, None) {
            // Boxed, so that the many requests which ask nobody do not carry the room for it.
            Verdict::Pass if self.basic_auth.is_some() || self.forward_auth.is_some() => {
                Box::pin(self.authenticate(visit, &mut notes.user)).await
            }
            verdict => Ok(verdict),
        }
    }

    /// What is decided at once. With a trace it is a dry run: nothing is counted, and each filter says what it found.
    fn admit(&self, head: &RequestHead, client: &Client, notes: &mut Notes, mut trace: Option<&mut Trace>) -> Verdict {
        if !self.compress.is_empty() {
            notes.coding = compress::choose(&self.compress, head);
        }
        if let Some(cors) = &self.cors {
            notes.grant = Some(cors::grant(cors, &head.fields));
        }
        if let Some(access) = &self.access {
            let admitted = access.admits(client.address);
            if let Some(trace) = &mut trace {
                trace.access(client.address, admitted);
            }
            if !admitted {
                return Verdict::Refuse(Why::AccessDenied, Fields::default());
            }
        }
        if let Some(limiter) = &self.rate_limit {
            let standing = match &mut trace {
                None => limiter.count(&head.fields, client.address, clock::now()),
                Some(trace) => trace.rate_limit(limiter, &head.fields, client.address),
            };
            if standing.wait.is_some() && limiter.dry_run {
                notes.would_refuse = Some(Why::LimitRate);
            } else if !limiter.dry_run {
                notes.standing = Some(standing);
            }
            if standing.wait.is_some() && !limiter.dry_run {
                let mut fields = Fields::default();
                fields.push(b"Retry-After", standing.retry_after().to_string().as_bytes());
                return Verdict::Refuse(Why::LimitRate, fields);
            }
        }
        if let (Some(cors), Some(grant)) = (&self.cors, &notes.grant) {
            let preflight = cors::preflight(cors, grant, head);
            if let Some(trace) = &mut trace {
                trace.cors(grant, preflight.is_some());
            }
            if let Some(response) = preflight {
                return Verdict::Answer(response);
            }
        }
        Verdict::Pass
    }

    /// Who it is: what needs others to be asked.
    async fn authenticate(&self, visit: &mut Visit<'_>, user: &mut Option<String>) -> Result<Verdict, Why> {
        if let Some(basic_auth) = &self.basic_auth {
            match basic_auth.request(visit.head, user).await {
                Verdict::Pass => {}
                verdict => return Ok(verdict),
            }
        }
        if let Some(rules) = &self.forward_auth {
            return forward_auth::request(rules, visit).await;
        }
        Ok(Verdict::Pass)
    }

    /// The way back, of every answer: the backend's, a filter's, an error.
    pub fn response(&self, notes: &Notes, head: &RequestHead, https: bool, response: &mut Response) {
        if let (Some(cors), Some(grant)) = (&self.cors, &notes.grant) {
            cors::mark(cors, grant, &mut response.fields);
        }
        if let Some(standing) = &notes.standing {
            standing.push(&mut response.fields);
        }
        if !self.compress.is_empty() {
            compress::response(notes.coding, &head.method, response);
        }
        if let (Some(value), true) = (&self.hsts, https) {
            hsts::push(&mut response.fields, value);
        }
    }
}

/// Says that an answer depends on a request field (RFC 9110 section 12.5.5), unless it says so already.
pub fn vary(fields: &mut Fields, name: &[u8]) {
    let says = |item: &[u8]| item == b"*" || item.eq_ignore_ascii_case(name);
    let said = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(b"vary"))
        .flat_map(|field| field.value.split(|b| *b == b','))
        .any(|item| says(item.trim_ascii()));
    if !said {
        fields.push(b"Vary", name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_without_filters_has_no_chain() {
        let chain = Chain::build(&Filters::default(), "a.test", false, &mut Shared::default()).unwrap();
        assert!(chain.is_none());
    }

    #[test]
    fn routes_that_take_a_limit_from_one_place_share_it() {
        let rules = crate::config::RateLimit {
            interval: std::time::Duration::from_secs(1),
            burst: 1,
            key: crate::config::RateKey::Route,
            dry_run: false,
        };
        let filters = Filters { rate_limit: Some(Arc::new(rules.clone())), ..Filters::default() };
        let other = Filters { rate_limit: Some(Arc::new(rules)), ..Filters::default() };
        let mut shared = Shared::default();
        let mut limiter = |filters| {
            let chain = Chain::build(filters, "a.test", false, &mut shared).unwrap().unwrap();
            chain.rate_limit.unwrap()
        };
        let (first, second, third) = (limiter(&filters), limiter(&filters), limiter(&other));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &third));
    }

    #[test]
    fn vary_names_a_field_once() {
        let mut fields = Fields::default();
        vary(&mut fields, b"Origin");
        vary(&mut fields, b"origin");
        fields.push(b"vary", b"Accept, Cookie");
        vary(&mut fields, b"cookie");
        assert_eq!(fields.len(), 2);
        fields.push(b"Vary", b"*");
        vary(&mut fields, b"Accept-Encoding");
        assert_eq!(fields.len(), 3);
    }
}
