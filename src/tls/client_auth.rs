//! Which certificates a site asks of its clients: one policy for each set of roots, lists and mode.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::load::{self, date};
use super::{names, provider};
use crate::config::diagnostics::Diagnostic;
use crate::config::{ClientAuth, ClientAuthMode, Config, HostPattern, Origin, SiteTls};

/// Bytes of a revocation list at most: the largest public ones have some ten MiB.
const MAX_CRL: u64 = 64 << 20;

/// What tells one policy from another, in all generations: a digest of mode and roots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyId([u8; 32]);

impl std::fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PolicyId({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What is asked of clients.
#[derive(Debug)]
pub(super) struct Policy {
    pub id: PolicyId,
    /// The same with the revocation lists: a session must not be resumed past the list that ends it.
    pub tickets: PolicyId,
    pub verifier: Arc<dyn ClientCertVerifier>,
    pub required: bool,
}

/// The policies of one generation. Empty where no site asks for certificates.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub all: Vec<Policy>,
    /// Index into `all`, by site.
    of_site: Vec<Option<usize>>,
    /// By host, as the router finds a site: sites that ask nothing stand here too, since they may be more specific.
    exact: HashMap<Box<str>, Option<usize>>,
    wildcard: HashMap<Box<str>, Option<usize>>,
    any: Option<usize>,
    /// Of a client that names no server: what all sites share, where they do.
    without_sni: Option<usize>,
}

impl Policies {
    /// Opens the files of every site. Problems go into `out`.
    pub fn build(config: &Config, now: i64, out: &mut Vec<Diagnostic>) -> Policies {
        let mut policies = Policies::default();
        if config.sites.iter().all(|site| site.client_auth.is_none()) {
            return policies;
        }
        let mut known: Vec<(&ClientAuth, Option<usize>)> = Vec::new();
        for site in &config.sites {
            let index = site.client_auth.as_ref().and_then(|auth| {
                let same = |other: &ClientAuth| {
                    let files = |auth: &ClientAuth| -> Vec<std::path::PathBuf> {
                        std::iter::once(&auth.ca).chain(&auth.crl).map(|(path, _)| path.clone()).collect()
                    };
                    other.mode == auth.mode && files(other) == files(auth)
                };
                if let Some((_, index)) = known.iter().find(|(other, _)| same(other)) {
                    return *index;
                }
                let index = open(auth, now, out).map(|policy| policies.intern(policy));
                known.push((auth, index));
                index
            });
            policies.of_site.push(index);
            if site.tls == SiteTls::Off {
                continue;
            }
            for host in std::iter::once(&site.host).chain(&site.aliases) {
                match host {
                    HostPattern::Exact(name) => {
                        policies.exact.insert(names::normalize(name).into(), index);
                    }
                    HostPattern::Wildcard(base) => {
                        policies.wildcard.insert(names::normalize(base).into(), index);
                    }
                    HostPattern::Any => policies.any = index,
                }
            }
        }
        let mut served = config.sites.iter().zip(&policies.of_site).filter(|(site, _)| site.tls != SiteTls::Off);
        let first = served.next().and_then(|(_, index)| *index);
        policies.without_sni = first.filter(|_| served.all(|(_, index)| *index == first));
        policies
    }

    fn intern(&mut self, policy: Policy) -> usize {
        if let Some(index) = self.all.iter().position(|other| other.tickets == policy.tickets) {
            return index;
        }
        self.all.push(policy);
        self.all.len() - 1
    }

    /// The index of the policy for a server name; `None` asks nothing.
    pub fn find(&self, sni: Option<&str>) -> Option<usize> {
        if self.all.is_empty() {
            return None;
        }
        let Some(sni) = sni else { return self.without_sni };
        let name = names::normalize(sni);
        if let Some(index) = self.exact.get(&*name) {
            return *index;
        }
        let suffixes = std::iter::successors(names::split_label(&name), |(_, rest)| names::split_label(rest));
        let mut wildcards = suffixes.into_iter().filter_map(|(_, base)| self.wildcard.get(base));
        wildcards.next().copied().unwrap_or(self.any)
    }

    /// The policy of a site of the config.
    pub fn of_site(&self, site: usize) -> Option<&Policy> {
        self.all.get((*self.of_site.get(site)?)?)
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
        match read_crl(path) {
            Ok(found) => {
                warn_stale(path, origin, &found, now, out);
                lists.extend(found);
            }
            Err(why) => {
                whole = false;
                let message = format!("`{}` is no revocation list: {why}", path.display());
                let found = Diagnostic::error("bad-crl", message).at(origin);
                out.push(found.label("expected a file with `-----BEGIN X509 CRL-----`"));
            }
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

fn read_crl(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is a folder or a device".into());
    }
    if meta.len() > MAX_CRL {
        return Err("it is larger than 64 MiB".into());
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match lists {
        Err(error) => Err(format!("it is damaged or still being written ({error})")),
        Ok(lists) if lists.is_empty() && CertificateRevocationList::from_der(&text).is_ok() => Err(format!(
            "it is in DER form (openssl crl -inform DER -in {} -out {})",
            path.display(),
            path.with_extension("pem").display()
        )),
        Ok(lists) if lists.is_empty() => Err("there is none in it".into()),
        Ok(lists) => Ok(lists),
    }
}

/// A list past its time still holds, since to refuse everybody is worse; who keeps it should hear.
fn warn_stale(
    path: &Path,
    origin: &Origin,
    lists: &[CertificateRevocationListDer<'_>],
    now: i64,
    out: &mut Vec<Diagnostic>,
) {
    for list in lists {
        let Ok((_, parsed)) = CertificateRevocationList::from_der(list.as_ref()) else { continue };
        let Some(next) = parsed.next_update().map(|next| next.timestamp()).filter(|next| *next < now) else { continue };
        let message = format!("`{}`: a revocation list is out of date", path.display());
        let found = Diagnostic::warning("crl-out-of-date", message).at(origin);
        let found = found.label(format!("the next one was due on {}", date(next)));
        out.push(found.note("it is used all the same: certificates revoked since then are let in"));
    }
}
