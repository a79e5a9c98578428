//! Which certificates a site asks of its clients: one policy for each set of roots, lists and mode.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

use super::{crl, load, names, provider};
use crate::config::diagnostics::Diagnostic;
use crate::config::{ClientAuth, ClientAuthMode, Config, HostPattern, Origin, SiteTls};

/// What tells one policy from another, in all generations: a digest of mode and roots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyId([u8; 32]);

impl std::fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PolicyId({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What is asked of clients.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub id: PolicyId,
    /// The same with the revocation lists: a session must not be resumed past the list that ends it.
    pub tickets: PolicyId,
    pub verifier: Arc<dyn ClientCertVerifier>,
    pub required: bool,
}

/// A policy whose roots or lists cannot be used: nobody is let in.
#[derive(Debug)]
pub(super) struct Closed {
    pub required: bool,
    /// In one line.
    pub why: Arc<str>,
}

/// What a host asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asks {
    #[default]
    Nothing,
    /// Index into `all`.
    Policy(usize),
    /// Index into `closed`.
    Closed(usize),
}

/// What tells the policies of a config apart: the mode, and the files of roots and lists.
type Wanted = (ClientAuthMode, Vec<PathBuf>);

/// The policies of one generation. Empty where no site asks for certificates.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub all: Vec<Policy>,
    pub closed: Vec<Closed>,
    /// Those in use, for the next generation.
    opened: HashMap<Wanted, Asks>,
    of_site: Vec<Asks>,
    /// By host, as the router finds a site: sites that ask nothing stand here too, since they may be more specific.
    exact: HashMap<Box<str>, Asks>,
    wildcard: HashMap<Box<str>, Asks>,
    any: Asks,
    /// Of a client that names no server: what all sites share, where they do.
    without_sni: Asks,
}

impl Policies {
    /// Opens the files of every site. Problems go into `out`; what cannot be used is as it was in `last`, and closed where
    /// it was not there.
    pub fn build(config: &Config, now: i64, last: Option<&Policies>, out: &mut Vec<Diagnostic>) -> Policies {
        let mut policies = Policies::default();
        if config.sites.iter().all(|site| site.client_auth.is_none()) {
            return policies;
        }
        for site in &config.sites {
            let asks = match &site.client_auth {
                Some(auth) => policies.asks(auth, now, last, out),
                None => Asks::Nothing,
            };
            policies.of_site.push(asks);
            if site.tls == SiteTls::Off {
                continue;
            }
            for host in std::iter::once(&site.host).chain(&site.aliases) {
                match host {
                    HostPattern::Exact(name) => {
                        policies.exact.insert(names::normalize(name).into(), asks);
                    }
                    HostPattern::Wildcard(base) => {
                        policies.wildcard.insert(names::normalize(base).into(), asks);
                    }
                    HostPattern::Any => policies.any = asks,
                }
            }
        }
        let mut served = config.sites.iter().zip(&policies.of_site).filter(|(site, _)| site.tls != SiteTls::Off);
        let first = served.next().map_or(Asks::Nothing, |(_, asks)| *asks);
        policies.without_sni = if served.all(|(_, asks)| *asks == first) { first } else { Asks::Nothing };
        policies
    }

    /// What one site asks. Sites that ask the same share it.
    fn asks(&mut self, auth: &ClientAuth, now: i64, last: Option<&Policies>, out: &mut Vec<Diagnostic>) -> Asks {
        let files = std::iter::once(&auth.ca).chain(&auth.crl).map(|(path, _)| path.clone());
        let wanted = (auth.mode, files.collect());
        if let Some(asks) = self.opened.get(&wanted) {
            return *asks;
        }
        let mut found = Vec::new();
        let before = || last.and_then(|last| last.policy(*last.opened.get(&wanted)?)).cloned();
        let asks = match open(auth, now, &mut found).or_else(before) {
            Some(policy) => Asks::Policy(self.intern(policy)),
            None => {
                let required = auth.mode == ClientAuthMode::Require;
                self.closed.push(Closed { required, why: load::reason(&found) });
                Asks::Closed(self.closed.len() - 1)
            }
        };
        out.extend(found);
        self.opened.insert(wanted, asks);
        asks
    }

    fn intern(&mut self, policy: Policy) -> usize {
        if let Some(index) = self.all.iter().position(|other| other.tickets == policy.tickets) {
            return index;
        }
        self.all.push(policy);
        self.all.len() - 1
    }

    /// What is asked of a client that names this server.
    pub fn find(&self, sni: Option<&str>) -> Asks {
        if self.of_site.is_empty() {
            return Asks::Nothing;
        }
        let Some(sni) = sni else { return self.without_sni };
        let name = names::normalize(sni);
        if let Some(asks) = self.exact.get(&*name) {
            return *asks;
        }
        let suffixes = std::iter::successors(names::split_label(&name), |(_, rest)| names::split_label(rest));
        let mut wildcards = suffixes.into_iter().filter_map(|(_, base)| self.wildcard.get(base));
        wildcards.next().copied().unwrap_or(self.any)
    }

    /// What a site of the config asks.
    pub fn of_site(&self, site: usize) -> Asks {
        self.of_site.get(site).copied().unwrap_or_default()
    }

    /// The policy behind an answer, where there is one.
    pub fn policy(&self, asks: Asks) -> Option<&Policy> {
        match asks {
            Asks::Policy(index) => self.all.get(index),
            Asks::Nothing | Asks::Closed(_) => None,
        }
    }

    /// Why nobody is let in.
    pub fn closed(&self, asks: Asks) -> Option<&Closed> {
        match asks {
            Asks::Closed(index) => self.closed.get(index),
            Asks::Nothing | Asks::Policy(_) => None,
        }
    }
}

/// Reads the roots and lists of one policy. `None` where a problem that went into `out` is an error.
fn open(auth: &ClientAuth, now: i64, out: &mut Vec<Diagnostic>) -> Option<Policy> {
    let (path, origin) = &auth.ca;
    let roots = load::roots(path, origin, out)?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    if store.is_empty() {
        let message = format!("`{}` holds no certificate that can be a root", path.display());
        out.push(Diagnostic::error("bad-root", message).at(origin).label("nobody could come in"));
        return None;
    }
    warn_no_authority(path, origin, &roots, out);
    let mut lists = Vec::new();
    let mut whole = true;
    for (path, origin) in &auth.crl {
        match crl::read(path, origin, now, out) {
            Some(found) => lists.extend(found),
            None => whole = false,
        }
    }
    if !whole {
        return None;
    }
    let required = auth.mode == ClientAuthMode::Require;
    let mut digest = Context::new(&SHA256);
    digest.update(&[u8::from(required)]);
    for root in &roots {
        feed(&mut digest, root);
    }
    let id = finish(digest.clone());
    for list in &lists {
        feed(&mut digest, list);
    }
    let tickets = finish(digest);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(provider())).with_crls(lists);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    match builder.build() {
        Ok(verifier) => Some(Policy { id, tickets, verifier, required }),
        Err(error) => {
            let what = match error {
                VerifierBuilderError::InvalidCrl(_) => "a revocation list cannot be used",
                _ => "the roots cannot be used",
            };
            let found = Diagnostic::error("bad-crl", format!("clients cannot be verified: {what}"));
            out.push(found.at(&auth.origin).label(error.to_string()));
            None
        }
    }
}

/// Each part with its length in front, so that no two lists of parts have the same digest.
fn feed(digest: &mut Context, part: &[u8]) {
    digest.update(&(part.len() as u64).to_be_bytes());
    digest.update(part);
}

fn finish(digest: Context) -> PolicyId {
    let mut id = [0; 32];
    // SHA-256 has 32 bytes.
    id.copy_from_slice(digest.finish().as_ref());
    PolicyId(id)
}

/// A server's certificate in place of the authority's lets in that one only, which is seldom meant.
fn warn_no_authority(path: &Path, origin: &Origin, roots: &[CertificateDer<'_>], out: &mut Vec<Diagnostic>) {
    let is_ca = |der: &CertificateDer<'_>| x509_parser::parse_x509_certificate(der).is_ok_and(|(_, cert)| cert.is_ca());
    if !roots.iter().any(is_ca) {
        let message = format!("`{}` holds no certificate authority", path.display());
        let found = Diagnostic::warning("bad-root", message).at(origin).label("not one that signs others");
        out.push(found.help("name the certificate of the authority that signs the clients' ones"));
    }
}
