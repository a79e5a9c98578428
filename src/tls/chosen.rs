//! Which certificate a client gets, in words: the answer of the handshake with the reason for it.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certs::{CertStore, Found, Rule};
use super::names;
use super::told::Provenance;
use crate::config::{CertFiles, Config, HostPattern, Site, SiteTls};

/// The certificate of a host, and why it is this one.
#[derive(Debug, Clone)]
pub struct Choice {
    pub why: String,
    /// `None`: the handshake ends with the alert `unrecognized_name`.
    pub provenance: Option<Provenance>,
    /// Where it is from files, these.
    pub files: Option<CertFiles>,
    /// What the handshake shows; `None` where there is none, or none yet.
    pub shown: Option<Arc<CertifiedKey>>,
}

impl CertStore {
    /// What a client gets that asks for `host`: a normalised name, `*.name`, or an address, for which clients send no server
    /// name. `config` is the one this store was built from.
    pub fn choice(&self, config: &Config, host: &str) -> Choice {
        if names::parse_ip(host).is_some() {
            return self.without_name(config);
        }
        let (rule, found) = self.find_by(host);
        let site = config.sites.iter().find(|site| serves(site, rule, host));
        let by = match (site, rule) {
            (Some(site), Rule::Exact) => format!("the site `{}` has exactly this name ({})", site.host, site.origin),
            (Some(site), _) => format!("the site `{}` covers it ({})", site.host, site.origin),
            (None, _) => "no site has this name".to_owned(),
        };
        let (source, provenance) = match found {
            Found::Nothing => ("and no certificate is for it".to_owned(), None),
            Found::Unusable(why) => (format!("what it is to show cannot be used: {why}"), None),
            Found::Leaf(_) => (of_dev(site).to_owned(), Some(Provenance::DevCa)),
            Found::Managed(cert) => (of_acme(site).to_owned(), Some(Provenance::Acme(cert.clone()))),
            Found::Key(key) => (self.of_file(site, key, host), Some(Provenance::File(key.clone()))),
        };
        let shown = self.resolve(Some(host));
        let files = self.files_of(config, shown.as_ref());
        Choice { why: format!("{by}; {source}"), provenance, files, shown }
    }

    fn without_name(&self, config: &Config) -> Choice {
        let shown = self.resolve(None);
        let files = self.files_of(config, shown.as_ref());
        let (source, provenance) = match (&shown, &files) {
            (None, _) => ("and there is no certificate for that", None),
            (Some(key), Some(_)) if self.default.is_some() => {
                ("the first of tls.certificates is for that", Some(Provenance::File(key.clone())))
            }
            (Some(key), Some(_)) => {
                ("the first certificate of a site is for that", Some(Provenance::File(key.clone())))
            }
            (Some(_), None) => ("a leaf of the development CA is for that", Some(Provenance::DevCa)),
        };
        Choice {
            why: format!("a client that comes by address sends no server name; {source}"),
            provenance,
            files,
            shown,
        }
    }

    fn of_file(&self, site: Option<&Site>, key: &Arc<CertifiedKey>, host: &str) -> String {
        if site.is_some_and(|site| matches!(site.tls, SiteTls::Files(_))) {
            return "its `tls` names these files".into();
        }
        let is = |other: Option<&Arc<CertifiedKey>>| other.is_some_and(|other| Arc::ptr_eq(other, key));
        if self.exact.contains_key(host) && !is(self.covering(host)) {
            return "a certificate of tls.certificates has exactly this name".into();
        }
        if is(self.covering(host)) {
            return "a wildcard of tls.certificates covers it".into();
        }
        "the first of tls.certificates is for what no other covers".into()
    }

    /// The files that a certificate is from.
    fn files_of(&self, config: &Config, key: Option<&Arc<CertifiedKey>>) -> Option<CertFiles> {
        let key = key?;
        let of_sites = config.sites.iter().filter_map(|site| match &site.tls {
            SiteTls::Files(files) => Some(files),
            _ => None,
        });
        let is_it = |files: &&CertFiles| {
            let loaded = self.pairs.get(&(files.cert.clone(), files.key.clone()));
            loaded.is_some_and(|loaded| Arc::ptr_eq(&loaded.key, key))
        };
        config.tls.certificates.iter().chain(of_sites).find(is_it).cloned()
    }
}

/// Whether this is the site that the rule means.
fn serves(site: &Site, rule: Rule<'_>, host: &str) -> bool {
    std::iter::once(&site.host).chain(&site.aliases).any(|pattern| match (pattern, rule) {
        (HostPattern::Exact(name), Rule::Exact) => name == host,
        (HostPattern::Wildcard(base), Rule::WildcardSite(met)) => base == met,
        (HostPattern::Any, Rule::AnySite) => true,
        _ => false,
    })
}

fn of_dev(site: Option<&Site>) -> &'static str {
    match site.map(|site| &site.tls) {
        Some(SiteTls::Dev) => "`tls = \"dev\"`: the development CA makes a leaf at the handshake",
        _ => "no file covers it and it is a local name: the development CA makes a leaf at the handshake",
    }
}

fn of_acme(site: Option<&Site>) -> &'static str {
    match site.map(|site| &site.tls) {
        Some(SiteTls::Acme) => "`tls = \"acme\"`: it is ordered and renewed",
        _ => "no file covers it, it is a public name, and [acme] is there: it is ordered and renewed",
    }
}
