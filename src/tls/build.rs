//! Builds the certificate store of a config: loads every file, gives every site its source, reports every problem.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use super::certs::{CertStore, Source};
use super::client_auth::Policies;
use super::dev_leaves::DevAuthority;
use super::load::{self, Loaded};
use super::managed::Managed;
use super::managed_hosts;
use super::names;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::config::{CertFiles, Config, HostPattern, Site, SiteTls, UnknownHost};

impl CertStore {
    /// Opens everything a TLS listener of this config needs. Without a TLS listener nothing is opened. The development CA
    /// is opened only where a site needs it.
    ///
    /// # Errors
    /// Every problem found, warnings too, where at least one is an error.
    pub fn build(config: &Config, dev: &DevAuthority, managed: &Managed) -> Result<CertStore, Vec<Diagnostic>> {
        if !config.listeners.iter().any(|listener| listener.tls) {
            return Ok(CertStore::default());
        }
        let mut builder = Builder::new(config, managed);
        builder.load_certificates();
        for site in &config.sites {
            builder.add_site(site);
        }
        builder.open_dev_ca(dev);
        builder.store.policies = Policies::build(config, builder.now, &mut builder.problems);
        builder.finish()
    }
}

struct Builder<'a> {
    config: &'a Config,
    store: CertStore,
    /// One load per pair of paths: sites that name the same files share one certificate.
    loaded: HashMap<(PathBuf, PathBuf), Option<Loaded>>,
    /// What each certificate of `tls.certificates` covers, by name; the first one wins.
    covered: HashMap<String, Arc<CertifiedKey>>,
    /// Hosts that get a development leaf, with their site.
    dev_hosts: Vec<(&'a HostPattern, &'a Site)>,
    managed: &'a Managed,
    /// Hosts of the site at hand whose certificate is ordered.
    ordered: Vec<&'a HostPattern>,
    problems: Vec<Diagnostic>,
    now: i64,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, managed: &'a Managed) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Builder {
            config,
            store: CertStore { unknown_host: config.tls.unknown_host, ..CertStore::default() },
            loaded: HashMap::new(),
            covered: HashMap::new(),
            dev_hosts: Vec::new(),
            managed,
            ordered: Vec::new(),
            problems: Vec::new(),
            now: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        }
    }

    fn load(&mut self, files: &CertFiles) -> Option<Loaded> {
        let paths = (files.cert.clone(), files.key.clone());
        if let Some(loaded) = self.loaded.get(&paths) {
            return loaded.clone();
        }
        let loaded = load::load(files, self.now, &mut self.problems);
        self.store.files.extend(loaded.iter().map(|loaded| (files.clone(), loaded.key.clone())));
        self.loaded.insert(paths, loaded.clone());
        loaded
    }

    fn load_certificates(&mut self) {
        for (index, files) in self.config.tls.certificates.iter().enumerate() {
            let Some(Loaded { key, names }) = self.load(files) else { continue };
            if index == 0 {
                self.store.default = Some(key.clone());
            }
            for name in names.dns.into_iter().chain(names.ips.iter().map(|ip| ip.to_string())) {
                match name.strip_prefix("*.") {
                    Some(base) if base.contains('.') => {
                        self.store.wildcard_certs.entry(base.into()).or_insert_with(|| key.clone());
                    }
                    _ => {
                        self.covered.entry(name).or_insert_with(|| key.clone());
                    }
                }
            }
        }
    }

    fn add_site(&mut self, site: &'a Site) {
        let files = match &site.tls {
            SiteTls::Off => return,
            SiteTls::Files(files) => match self.load(files) {
                Some(loaded) => Some((files, loaded)),
                None => return,
            },
            SiteTls::Auto | SiteTls::Dev | SiteTls::Acme => None,
        };
        if let Some((_, loaded)) = &files {
            self.store.site_default.get_or_insert_with(|| loaded.key.clone());
        }
        for host in std::iter::once(&site.host).chain(&site.aliases) {
            let source = match &files {
                Some((files, loaded)) => {
                    self.warn_uncovered(host, files, loaded);
                    Some(Source::Files(loaded.key.clone()))
                }
                None if site.tls == SiteTls::Dev => self.dev(host, site, Source::Dev),
                None if site.tls == SiteTls::Acme => self.acme(host, site),
                None => self.auto(host, site),
            };
            if let Some(source) = source {
                self.serve(host, source);
            }
        }
        let ordered = std::mem::take(&mut self.ordered);
        if ordered.is_empty() {
            return;
        }
        let all: Vec<String> = ordered.iter().map(|host| names::normalize(&host.to_string()).into_owned()).collect();
        let cert = self.managed.cert(&all);
        for host in ordered {
            self.serve(host, Source::Managed(cert.clone()));
        }
        self.store.managed.push(cert);
        self.store.challenges = Some(self.managed.challenges().clone());
    }

    fn serve(&mut self, host: &HostPattern, source: Source) {
        match host {
            HostPattern::Exact(name) => {
                self.store.exact.insert(names::normalize(name).into(), source);
            }
            HostPattern::Wildcard(base) => {
                self.store.wildcard_sites.insert(names::normalize(base).into(), source);
            }
            HostPattern::Any => self.store.any_site = Some(source),
        }
    }

    /// `tls = "acme"`: noted for the order of the site.
    fn acme(&mut self, host: &'a HostPattern, site: &'a Site) -> Option<Source> {
        match managed_hosts::check(host, site) {
            Ok(()) => self.ordered.push(host),
            Err(problem) => self.problems.push(*problem),
        }
        None
    }

    fn dev(&mut self, host: &'a HostPattern, site: &'a Site, source: Source) -> Option<Source> {
        self.dev_hosts.push((host, site));
        Some(source)
    }

    /// `tls = "auto"`: a file that covers the host, the development CA for a local name, ACME, else an error.
    fn auto(&mut self, host: &'a HostPattern, site: &'a Site) -> Option<Source> {
        let some_certificate = !self.config.tls.certificates.is_empty();
        match host {
            HostPattern::Exact(name) => {
                if let Some(key) = self.covering(name) {
                    return Some(Source::Files(key));
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
            }
            // The default certificate serves every name; without one, local names are all that can be served.
            HostPattern::Any if some_certificate => return Some(Source::Auto),
            HostPattern::Any => return self.dev(host, site, Source::Auto),
        }
        if managed_hosts::fits(host, self.config) {
            self.ordered.push(host);
            return None;
        }
        if !(some_certificate && self.config.tls.unknown_host == UnknownHost::Default) {
            self.problems.push(managed_hosts::no_certificate(host, site, self.config));
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

    fn warn_uncovered(&mut self, host: &HostPattern, files: &CertFiles, loaded: &Loaded) {
        if *host == HostPattern::Any || loaded.names.covers(host) {
            return;
        }
        self.problems.push(load::uncovered(host, &loaded.names).at(&files.cert_origin));
    }

    fn open_dev_ca(&mut self, authority: &DevAuthority) {
        if self.dev_hosts.is_empty() {
            return;
        }
        let dev = match authority.open(&self.config.dev_ca) {
            Ok((dev, warning)) => {
                self.problems.extend(warning);
                dev
            }
            Err(problem) => return self.problems.push(*problem),
        };
        for (host, site) in &self.dev_hosts {
            let name = match host {
                HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
                HostPattern::Any => continue,
            };
            if !dev.ca.allows(name) {
                let found = dev.ca.refusal(&host.to_string(), &self.config.dev_ca.extra_domains).at(&site.origin);
                self.problems.push(found.label("its root is limited to local names, and clients enforce that"));
            }
        }
        self.store.dev_default = Some(self.default_names().into());
        self.store.dev = Some(dev);
    }

    /// A client without SNI came by address: the leaf names this machine and the addresses that are sites.
    fn default_names(&self) -> String {
        let mut all = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
        for (host, _) in &self.dev_hosts {
            if let HostPattern::Exact(name) = host
                && let Some(ip) = names::parse_ip(name)
                && !all.contains(&ip.to_string())
            {
                all.push(ip.to_string());
            }
        }
        all.join(",")
    }

    fn finish(mut self) -> Result<CertStore, Vec<Diagnostic>> {
        if self.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(self.problems);
        }
        // The certificates serve their other names too; a site's own choice comes first.
        for (name, key) in self.covered {
            self.store.exact.entry(name.into()).or_insert(Source::Files(key));
        }
        self.store.warnings = self.problems;
        Ok(self.store)
    }
}
