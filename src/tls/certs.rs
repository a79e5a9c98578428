//! The certificates of one generation: which one a ClientHello gets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::client_auth::{Policies, PolicyId};
use super::dev_leaves::DevLeaves;
use super::managed::{Challenges, ManagedCert};
use super::names;
use crate::config::diagnostics::Diagnostic;
use crate::config::{CertFiles, UnknownHost};

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
    pub(super) dev: Option<Arc<DevLeaves>>,
    /// What ACME looks after, by site.
    pub(super) managed: Vec<Arc<ManagedCert>>,
    /// Where something is managed: the answers to its challenges.
    pub(super) challenges: Option<Arc<Challenges>>,
    /// What is asked of clients.
    pub(super) policies: Policies,
    /// What was read from which files.
    pub(super) files: Vec<(CertFiles, Arc<CertifiedKey>)>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// The answer for one name, before a development leaf is made.
pub(super) enum Found<'a> {
    Key(&'a Arc<CertifiedKey>),
    Managed(&'a Arc<ManagedCert>),
    Leaf(&'a DevLeaves),
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

/// Where the certificate of a host comes from, for a person.
#[derive(Debug, Clone)]
pub enum Provenance {
    /// A file, and its leaf.
    File(Arc<CertifiedKey>),
    DevCa,
    Acme(Arc<ManagedCert>),
}

impl CertStore {
    /// Where the certificate of a host comes from; a wildcard host is written as it is. `None`: it has none.
    pub fn provenance(&self, host: &str) -> Option<Provenance> {
        match self.find(&names::normalize(host)) {
            Found::Key(key) => Some(Provenance::File(key.clone())),
            Found::Managed(cert) => Some(Provenance::Acme(cert.clone())),
            Found::Leaf(_) => Some(Provenance::DevCa),
            Found::Nothing => None,
        }
    }

    /// What is wrong but served all the same: expired certificates, readable keys, names not covered.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The certificate for a server name; `None` stands for a ClientHello without SNI. No answer means nobody serves it.
    pub fn resolve(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(sni) = sni else { return self.without_sni() };
        let name = names::normalize(sni);
        match self.find(&name) {
            Found::Key(key) => Some(key.clone()),
            Found::Managed(cert) => cert.key(),
            Found::Leaf(dev) => dev.leaf(&name),
            Found::Nothing => None,
        }
    }

    /// Whether [`CertStore::resolve`] has an answer, without making a leaf for it.
    pub fn serves(&self, sni: Option<&str>) -> bool {
        match sni {
            Some(sni) => match self.find(&names::normalize(sni)) {
                Found::Nothing => false,
                Found::Managed(cert) => cert.is_there(),
                Found::Key(_) | Found::Leaf(_) => true,
            },
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

    /// What a site asks of its clients, by its place in the config. A connection may carry requests for it only where the
    /// same was asked.
    pub fn client_policy(&self, site: usize) -> Option<PolicyId> {
        self.policies.of_site(site).map(|policy| policy.id)
    }

    /// What is asked of a client that asks for this name.
    pub fn policy_for(&self, sni: Option<&str>) -> Option<PolicyId> {
        self.policies.all.get(self.policies.find(sni)?).map(|policy| policy.id)
    }

    /// Nobody comes to this site without a certificate.
    pub fn requires_client_cert(&self, site: usize) -> bool {
        self.policies.of_site(site).is_some_and(|policy| policy.required)
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

    /// The answers to challenges, where a site has its certificate by ACME.
    pub fn challenges(&self) -> Option<&Arc<Challenges>> {
        self.challenges.as_ref()
    }

    /// What [`CertStore::resolve`] answers with, in words for a person; no leaf is made for it.
    pub fn describe(&self, sni: Option<&str>) -> Option<String> {
        let key = match sni {
            Some(sni) => match self.find(&names::normalize(sni)) {
                Found::Key(key) => key,
                Found::Leaf(_) => return Some(format!("a leaf of the development CA for {sni}")),
                Found::Managed(cert) if cert.is_there() => return Some(format!("the ACME certificate for {sni}")),
                Found::Managed(_) => return Some(format!("an ACME certificate for {sni}, once it is there")),
                Found::Nothing => return None,
            },
            None => match (&self.default, &self.dev_default, &self.site_default) {
                (Some(key), ..) | (None, None, Some(key)) => key,
                (None, Some(names), _) => return Some(format!("a leaf of the development CA for {names}")),
                (None, None, None) => return None,
            },
        };
        let leaf = key.cert.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
        Some(match leaf {
            Some((_, leaf)) => format!("a certificate file for {}", names::CertNames::of(&leaf)),
            None => "a certificate file".to_owned(),
        })
    }

    fn without_sni(&self) -> Option<Arc<CertifiedKey>> {
        if let Some(key) = &self.default {
            return Some(key.clone());
        }
        match (&self.dev, &self.dev_default) {
            (Some(dev), Some(names)) => dev.leaf(names),
            _ => self.site_default.clone(),
        }
    }

    fn find(&self, name: &str) -> Found<'_> {
        self.find_by(name).1
    }

    /// Exact, longest wildcard site, `"*"`, then certificates of no site.
    pub(super) fn find_by(&self, name: &str) -> (Rule<'_>, Found<'_>) {
        if let Some(source) = self.exact.get(name) {
            return (Rule::Exact, self.of_source(source, name, false));
        }
        if let Some((base, source)) = self.wildcard_site(name) {
            return (Rule::WildcardSite(base), self.of_source(source, name, false));
        }
        if let Some(source) = &self.any_site {
            return (Rule::AnySite, self.of_source(source, name, true));
        }
        match self.covering(name).or(self.fallback(false)) {
            Some(key) => (Rule::NoSite, Found::Key(key)),
            None => (Rule::NoSite, Found::Nothing),
        }
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
            Source::Dev => self.leaves(name).map_or(Found::Nothing, Found::Leaf),
            Source::Auto => match (self.covering(name), self.leaves(name), self.fallback(any)) {
                (Some(key), _, _) | (None, None, Some(key)) => Found::Key(key),
                (None, Some(dev), _) => Found::Leaf(dev),
                (None, None, None) => Found::Nothing,
            },
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
    fn fallback(&self, any: bool) -> Option<&Arc<CertifiedKey>> {
        self.default.as_ref().filter(|_| any || self.unknown_host == UnknownHost::Default)
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        CertStore::resolve(self, hello.server_name())
    }
}
