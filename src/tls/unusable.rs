//! Certificates of `[tls]` that cannot be used, and the names they were for: no other certificate takes their place.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::names::{self, CertNames};
use super::pem;

/// The names, each with the reason in one line.
#[derive(Debug, Default)]
pub(super) struct UnusableCerts {
    pub exact: HashMap<Box<str>, Arc<str>>,
    /// By what stands after `*.`.
    pub wildcard: HashMap<Box<str>, Arc<str>>,
    /// The reason of one that does not even say its names: any host may be one of them.
    pub nameless: Option<Arc<str>>,
    /// The reason of the first certificate, which is the default.
    pub first: Option<Arc<str>>,
}

impl UnusableCerts {
    /// Notes a certificate. Where its key is at fault, the file still says the names.
    pub fn add(&mut self, cert: &Path, why: &Arc<str>, first: bool) {
        if first {
            self.first = Some(why.clone());
        }
        let names = names_in(cert);
        if names.dns.is_empty() && names.ips.is_empty() {
            self.nameless.get_or_insert_with(|| why.clone());
        }
        for name in names.dns.into_iter().chain(names.ips.iter().map(ToString::to_string)) {
            let (names, name) = match name.strip_prefix("*.") {
                Some(base) if base.contains('.') => (&mut self.wildcard, base),
                _ => (&mut self.exact, name.as_str()),
            };
            names.entry(name.into()).or_insert_with(|| why.clone());
        }
    }

    /// Why a name has none, where one of these is for it.
    pub fn of(&self, name: &str) -> Option<&Arc<str>> {
        if let Some(ip) = names::parse_ip(name) {
            return self.exact.get(ip.to_string().as_str());
        }
        self.exact.get(name).or_else(|| self.wildcard.get(names::split_label(name)?.1))
    }
}

/// The names of all certificates in a file, as far as it can be read.
fn names_in(path: &Path) -> CertNames {
    let mut all = CertNames::default();
    let Ok(file) = pem::read(path) else { return all };
    for der in &file.certs {
        let Ok((_, cert)) = x509_parser::parse_x509_certificate(der) else { continue };
        let CertNames { dns, ips } = CertNames::of(&cert);
        all.dns.extend(dns);
        all.ips.extend(ips);
    }
    all
}
