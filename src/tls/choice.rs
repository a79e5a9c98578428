//! Which source of certificates a host gets where its site names no files.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::build::Builder;
use super::certs::Source;
use super::{managed_hosts, names};
use crate::config::{HostPattern, Site, UnknownHost};

impl<'a> Builder<'a> {
    /// `tls = "acme"`: noted for the order of the site.
    pub(super) fn acme(&mut self, host: &'a HostPattern, site: &'a Site) -> Option<Source> {
        match managed_hosts::check(host, site) {
            Ok(()) => self.ordered.push(host),
            Err(problem) => self.mistakes.push(*problem),
        }
        None
    }

    pub(super) fn dev(&mut self, host: &'a HostPattern, site: &'a Site, source: Source) -> Option<Source> {
        self.dev_hosts.push((host, site));
        Some(source)
    }

    /// `tls = "auto"`: a file that covers the host, the development CA for a local name, ACME, else an error.
    pub(super) fn auto(&mut self, host: &'a HostPattern, site: &'a Site) -> Option<Source> {
        let some_certificate = !self.config.tls.certificates.is_empty();
        match host {
            HostPattern::Exact(name) => {
                if let Some(key) = self.covering(name) {
                    return Some(Source::Files(key));
                }
                if let Some(why) = self.store.unusable.of(name) {
                    return Some(Source::Unusable(why.clone()));
                }
                if self.is_local(name) {
                    return self.dev(host, site, Source::Dev);
                }
            }
            HostPattern::Wildcard(base) => {
                if self.is_local(base) {
                    return self.dev(host, site, Source::Auto);
                }
                if self.store.wildcard_certs.contains_key(base.as_str()) {
                    return Some(Source::Auto);
                }
                if let Some(why) = self.store.unusable.wildcard.get(base.as_str()) {
                    return Some(Source::Unusable(why.clone()));
                }
            }
            // The default certificate serves every name; without one, local names are all that can be served.
            HostPattern::Any if some_certificate => return Some(Source::Auto),
            HostPattern::Any => return self.dev(host, site, Source::Auto),
        }
        if managed_hosts::fits(host, self.config) {
            self.ordered.push(host);
            return None;
        }
        if let Some(why) = &self.store.unusable.nameless {
            return Some(Source::Unusable(why.clone()));
        }
        if !(some_certificate && self.config.tls.unknown_host == UnknownHost::Default) {
            self.mistakes.push(managed_hosts::no_certificate(host, site, self.config));
        }
        // Under `unknown_host = "default"` the host is one of the unknown ones.
        None
    }

    fn covering(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        if let Some(ip) = names::parse_ip(name) {
            return self.covered.get(&ip.to_string()).cloned();
        }
        let wildcard = || self.store.wildcard_certs.get(names::split_label(name)?.1);
        self.covered.get(name).or_else(wildcard).cloned()
    }

    /// Local by nature, or by the user's word in `dev_ca.extra_domains`.
    fn is_local(&self, name: &str) -> bool {
        names::is_local(name) || self.config.dev_ca.extra_domains.iter().any(|domain| names::is_within(name, domain))
    }
}
