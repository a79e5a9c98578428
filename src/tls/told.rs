//! What a person is told of the certificates of a generation.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::certs::{CertStore, Found};
use super::dev_ca;
use super::managed::ManagedCert;
use super::names;
use crate::config;
use crate::config::diagnostics::Diagnostic;

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
            Found::Unusable(_) | Found::Nothing => None,
        }
    }

    /// What is wrong but served all the same: expired certificates, readable keys, names not covered.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What is wrong with files that cannot be used. Where there is an earlier certificate it is served on; else the hosts
    /// are refused.
    pub fn errors(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// The root and key of the development CA, where they are wanted and cannot be used.
    pub fn unusable_dev_ca(&self, settings: &config::DevCa) -> Vec<PathBuf> {
        if self.dev_unusable.is_none() { Vec::new() } else { dev_ca::files(settings) }
    }

    /// The errors that were not there before, wherever they stood in the config then.
    pub fn new_errors<'a>(&'a self, before: &'a CertStore) -> impl Iterator<Item = &'a Diagnostic> {
        let same = |a: &Diagnostic, b: &Diagnostic| {
            (a.code, &a.message, &a.label, &a.notes) == (b.code, &b.message, &b.label, &b.notes)
        };
        self.errors.iter().filter(move |error| !before.errors.iter().any(|known| same(known, error)))
    }

    /// Why a host is refused although it has a site: a file that is to be served, or that says which clients may come, cannot
    /// be used. A wildcard host is written as it is.
    pub fn unusable(&self, host: &str) -> Option<Arc<str>> {
        if self.errors.is_empty() {
            return None;
        }
        match self.find(&names::normalize(host)) {
            Found::Unusable(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// What [`CertStore::resolve`] answers with, in words for a person; no leaf is made for it.
    pub fn describe(&self, sni: Option<&str>) -> Option<String> {
        let key = match sni {
            Some(sni) => match self.find(&names::normalize(sni)) {
                Found::Key(key) => key,
                Found::Leaf(_) => return Some(format!("a leaf of the development CA for {sni}")),
                Found::Managed(cert) if cert.is_there() => return Some(format!("the ACME certificate for {sni}")),
                Found::Managed(_) => return Some(format!("an ACME certificate for {sni}, once it is there")),
                Found::Unusable(_) | Found::Nothing => return None,
            },
            None if self.is_default_refused() => return None,
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
}
