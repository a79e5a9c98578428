//! The certificates of one generation: which one a ClientHello gets.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::client_auth::{Asks, Policies, PolicyId};
use super::dev_leaves::DevLeaves;
use super::load::Loaded;
use super::managed::{Challenges, ManagedCert};
use super::names;
use super::unusable::UnusableCerts;
use crate::config::UnknownHost;
use crate::config::diagnostics::Diagnostic;

/// Where the certificate of a host comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Files(Arc<CertifiedKey>),
    /// From an ACME server, when it is there.
    Managed(Arc<ManagedCert>),
    /// A leaf of the development CA.
    Dev,
    /// A site of many names: a certificate that covers the name, else a development leaf for a local one.
    Auto,
    /// Files that cannot be used, for this reason. No other certificate takes their place.
    Unusable(Arc<str>),
}

/// Every certificate of a config, found by SNI. Built once per generation and never changed: looking up takes no lock,
/// but for development leaves, which are made on demand.
#[derive(Debug, Default)]
pub struct CertStore {
    /// Exact hosts of sites, then exact names of certificates.
    pub(super) exact: HashMap<Box<str>, Source>,
    /// Wildcard sites by what stands after `*.`.
    pub(super) wildcard_sites: HashMap<Box<str>, Source>,
    /// The site `"*"`.
    pub(super) any_site: Option<Source>,
    /// Wildcard names of certificates by what stands after `*.`.
    pub(super) wildcard_certs: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// The first of `tls.certificates`.
    pub(super) default: Option<Arc<CertifiedKey>>,
    pub(super) unknown_host: UnknownHost,
    /// The names a ClientHello without SNI is answered with where there is no `default`, joined by commas.
    pub(super) dev_default: Option<Box<str>>,
    /// What a ClientHello without SNI gets where there is neither: the first certificate a site names.
    pub(super) site_default: Option<Arc<CertifiedKey>>,
    /// The one of these three that is to be served cannot be used: nothing takes its place.
    pub(super) default_unusable: bool,
    pub(super) dev: Option<Arc<DevLeaves>>,
    /// Why there is no development CA although a site needs it.
    pub(super) dev_unusable: Option<Arc<str>>,
    /// What of `tls.certificates` cannot be used.
    pub(super) unusable: UnusableCerts,
    /// What ACME looks after, by site.
    pub(super) managed: Vec<Arc<ManagedCert>>,
    /// Those of them that are not ordered meanwhile: a file that cannot be used may be for their names.
    pub(super) held: Vec<Arc<ManagedCert>>,
    /// Where something is managed: the answers to its challenges.
    pub(super) challenges: Option<Arc<Challenges>>,
    /// What is asked of clients.
    pub(super) policies: Policies,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) errors: Vec<Diagnostic>,
    /// The pairs of files in use, by their paths: what the next generation serves where it cannot read them.
    pub(super) pairs: HashMap<(PathBuf, PathBuf), Loaded>,
}

/// The answer for one name, before a development leaf is made.
pub(super) enum Found<'a> {
    Key(&'a Arc<CertifiedKey>),
    Managed(&'a Arc<ManagedCert>),
    Leaf(&'a DevLeaves),
    /// The name has a site, and what the site wants served cannot be used.
    Unusable(&'a Arc<str>),
    Nothing,
}

/// What led to the answer for one name, the most specific first, as the router does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule<'a> {
    Exact,
    /// The site `*.base`, the longest that fits.
    WildcardSite(&'a str),
    AnySite,
    /// No site has the name.
    NoSite,
}

impl CertStore {
    /// The certificate for a server name; `None` stands for a ClientHello without SNI. No answer means nobody serves it.
    pub fn resolve(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(sni) = sni else { return self.without_sni() };
        let name = names::normalize(sni);
        match self.find(&name) {
            Found::Key(key) => Some(key.clone()),
            Found::Managed(cert) => cert.key(),
            Found::Leaf(dev) => dev.leaf(&name),
            Found::Unusable(_) | Found::Nothing => None,
        }
    }

    /// Whether [`CertStore::resolve`] has an answer, without making a leaf for it.
    pub fn serves(&self, sni: Option<&str>) -> bool {
        match sni {
            Some(sni) => match self.find(&names::normalize(sni)) {
                Found::Unusable(_) | Found::Nothing => false,
                Found::Managed(cert) => cert.is_there(),
                Found::Key(_) | Found::Leaf(_) => true,
            },
            None if self.is_default_refused() => false,
            None => self.default.is_some() || self.dev_default.is_some() || self.site_default.is_some(),
        }
    }

    /// Whether a connection made for one host may carry requests for the other (RFC 9110 section 7.4; 421 otherwise): the
    /// names are equal, or one certificate serves both.
    pub fn same_certificate(&self, a: &str, b: &str) -> bool {
        let (a, b) = (names::normalize(a), names::normalize(b));
        if a == b {
            return true;
        }
        match (self.find(&a), self.find(&b)) {
            (Found::Key(a), Found::Key(b)) => Arc::ptr_eq(a, b),
            (Found::Managed(a), Found::Managed(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether a site asks of its clients what a connection was asked (`None`: nothing). Only then may the connection carry
    /// requests for it. The site stands at this place in the config.
    pub fn asks(&self, site: usize, asked: Option<PolicyId>) -> bool {
        match self.policies.of_site(site) {
            Asks::Closed(_) => false,
            asks => self.policies.policy(asks).map(|policy| policy.id) == asked,
        }
    }

    /// What a site asks of its clients, by its place in the config.
    pub fn client_policy(&self, site: usize) -> Option<PolicyId> {
        self.policies.policy(self.policies.of_site(site)).map(|policy| policy.id)
    }

    /// What is asked of a client that asks for this name.
    pub fn policy_for(&self, sni: Option<&str>) -> Option<PolicyId> {
        self.policies.policy(self.policies.find(sni)).map(|policy| policy.id)
    }

    /// Nobody comes to this site without a certificate.
    pub fn requires_client_cert(&self, site: usize) -> bool {
        let asks = self.policies.of_site(site);
        let required = self.policies.policy(asks).map(|policy| policy.required);
        required.or(self.policies.closed(asks).map(|closed| closed.required)).unwrap_or(false)
    }

    /// What is being done about the certificate of a host that has none yet.
    pub(super) fn pending(&self, sni: &str) -> Option<Arc<str>> {
        match self.find(&names::normalize(sni)) {
            Found::Managed(cert) if !cert.is_there() => Some(cert.state()),
            _ => None,
        }
    }

    /// The certificates that ACME looks after.
    pub fn managed(&self) -> &[Arc<ManagedCert>] {
        &self.managed
    }

    /// Whether ACME waits with the first order of one of these: a file that cannot be used may be for its names.
    pub fn holds(&self, cert: &Arc<ManagedCert>) -> bool {
        self.held.iter().any(|held| Arc::ptr_eq(held, cert))
    }

    /// The answers to challenges, where a site has its certificate by ACME.
    pub fn challenges(&self) -> Option<&Arc<Challenges>> {
        self.challenges.as_ref()
    }

    /// What a ClientHello without SNI is to get cannot be used, or cannot say which clients may come.
    pub(super) fn is_default_refused(&self) -> bool {
        self.default_unusable || self.policies.closed(self.policies.find(None)).is_some()
    }

    fn without_sni(&self) -> Option<Arc<CertifiedKey>> {
        if self.is_default_refused() {
            return None;
        }
        if let Some(key) = &self.default {
            return Some(key.clone());
        }
        match (&self.dev, &self.dev_default) {
            (Some(dev), Some(names)) => dev.leaf(names),
            _ => self.site_default.clone(),
        }
    }

    pub(super) fn find(&self, name: &str) -> Found<'_> {
        self.find_by(name).1
    }

    /// The most specific first, as the router does: exact, longest wildcard site, `"*"`, then certificates of no site.
    pub(super) fn find_by(&self, name: &str) -> (Rule<'_>, Found<'_>) {
        let (rule, found) = self.source_of(name);
        if !self.policies.closed.is_empty()
            && let Some(closed) = self.policies.closed(self.policies.find(Some(name)))
        {
            return (rule, Found::Unusable(&closed.why));
        }
        (rule, found)
    }

    fn source_of(&self, name: &str) -> (Rule<'_>, Found<'_>) {
        if let Some(source) = self.exact.get(name) {
            return (Rule::Exact, self.of_source(source, name, false));
        }
        if let Some((base, source)) = self.wildcard_site(name) {
            return (Rule::WildcardSite(base), self.of_source(source, name, false));
        }
        if let Some(source) = &self.any_site {
            return (Rule::AnySite, self.of_source(source, name, true));
        }
        let found = match (self.covering(name), self.unusable.of(name)) {
            (Some(key), _) => Found::Key(key),
            (None, Some(why)) => Found::Unusable(why),
            (None, None) => self.fallback(false),
        };
        (Rule::NoSite, found)
    }

    fn wildcard_site(&self, name: &str) -> Option<(&str, &Source)> {
        if self.wildcard_sites.is_empty() {
            return None;
        }
        let suffixes = std::iter::successors(names::split_label(name), |(_, rest)| names::split_label(rest));
        let found = suffixes.into_iter().find_map(|(_, base)| self.wildcard_sites.get_key_value(base));
        found.map(|(base, source)| (&**base, source))
    }

    fn of_source<'a>(&'a self, source: &'a Source, name: &str, any: bool) -> Found<'a> {
        match source {
            Source::Files(key) => Found::Key(key),
            Source::Managed(cert) => Found::Managed(cert),
            Source::Unusable(why) => Found::Unusable(why),
            Source::Dev => match (self.leaves(name), &self.dev_unusable) {
                (Some(dev), _) => Found::Leaf(dev),
                (None, Some(why)) => Found::Unusable(why),
                (None, None) => Found::Nothing,
            },
            Source::Auto => {
                // The default serves the rest of the site "*" whatever becomes of the development CA.
                let no_leaf = self.dev_unusable.as_ref().filter(|_| !any || names::is_local(name));
                let unusable = self.unusable.of(name).or(no_leaf);
                match (self.covering(name), unusable, self.leaves(name)) {
                    (Some(key), ..) => Found::Key(key),
                    (None, Some(why), _) => Found::Unusable(why),
                    (None, None, Some(dev)) => Found::Leaf(dev),
                    (None, None, None) => self.fallback(any),
                }
            }
        }
    }

    pub(super) fn covering(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        if self.wildcard_certs.is_empty() {
            return None;
        }
        let (_, base) = names::split_label(name)?;
        self.wildcard_certs.get(base)
    }

    /// The development CA, where clients would believe it for this name.
    fn leaves(&self, name: &str) -> Option<&DevLeaves> {
        self.dev.as_deref().filter(|dev| dev.ca.allows(name))
    }

    /// The default certificate: for the site `"*"`, which serves every name, and where unknown hosts get it.
    fn fallback(&self, any: bool) -> Found<'_> {
        match (&self.default, &self.unusable.first) {
            _ if !any && self.unknown_host == UnknownHost::Reject => Found::Nothing,
            (Some(key), _) => Found::Key(key),
            (None, Some(why)) => Found::Unusable(why),
            (None, None) => Found::Nothing,
        }
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        CertStore::resolve(self, hello.server_name())
    }
}
