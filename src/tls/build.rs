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
use super::names;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::config::{CertFiles, Config, HostPattern, Site, SiteTls};

impl CertStore {
    /// Opens everything a TLS listener of this config needs. Without a TLS listener nothing is opened. The development CA
    /// is opened only where a site needs it.
    ///
    /// # Errors
    /// Every problem found, warnings too, where at least one is an error.
    pub fn build(config: &Config, dev: &DevAuthority, managed: &Managed) -> Result<CertStore, Vec<Diagnostic>> {
        let mut store = CertStore::open(config, dev, managed, None)?;
        if store.errors.is_empty() {
            return Ok(store);
        }
        store.errors.append(&mut store.warnings);
        Err(store.errors)
    }

    /// The same, but a file that cannot be used costs no more than the hosts it is for: they are served as in `last`, where
    /// they were, and refused otherwise. The store says which errors these are.
    ///
    /// # Errors
    /// Every problem found, where at least one is a mistake of the config itself.
    pub fn open(
        config: &Config,
        dev: &DevAuthority,
        managed: &Managed,
        last: Option<&CertStore>,
    ) -> Result<CertStore, Vec<Diagnostic>> {
        if !config.listeners.iter().any(|listener| listener.tls) {
            return Ok(CertStore::default());
        }
        let mut builder = Builder::new(config, managed, last);
        builder.load_certificates();
        for site in &config.sites {
            builder.add_site(site);
        }
        builder.open_dev_ca(dev);
        let policies = last.map(|last| &last.policies);
        builder.store.policies = Policies::build(config, builder.now, policies, &mut builder.problems);
        builder.finish()
    }
}

pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    pub(super) store: CertStore,
    /// What is served where files cannot be used.
    last: Option<&'a CertStore>,
    /// One load per pair of paths: sites that name the same files share one certificate.
    loaded: HashMap<(PathBuf, PathBuf), Result<Loaded, Arc<str>>>,
    /// What each certificate of `tls.certificates` covers, by name; the first one wins.
    pub(super) covered: HashMap<String, Arc<CertifiedKey>>,
    /// The first certificate a site names; `Some(None)` where it cannot be used.
    site_default: Option<Option<Arc<CertifiedKey>>>,
    /// Hosts that get a development leaf, with their site.
    pub(super) dev_hosts: Vec<(&'a HostPattern, &'a Site)>,
    managed: &'a Managed,
    /// Hosts of the site at hand whose certificate is ordered.
    pub(super) ordered: Vec<&'a HostPattern>,
    /// With files, and what is worth a warning.
    problems: Vec<Diagnostic>,
    /// Of the config itself.
    pub(super) mistakes: Vec<Diagnostic>,
    now: i64,
}

impl<'a> Builder<'a> {
    fn new(config: &'a Config, managed: &'a Managed, last: Option<&'a CertStore>) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Builder {
            config,
            store: CertStore { unknown_host: config.tls.unknown_host, ..CertStore::default() },
            last,
            loaded: HashMap::new(),
            covered: HashMap::new(),
            site_default: None,
            dev_hosts: Vec::new(),
            managed,
            ordered: Vec::new(),
            problems: Vec::new(),
            mistakes: Vec::new(),
            now: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// The pair, or in one line why there is none.
    fn load(&mut self, files: &CertFiles) -> Result<Loaded, Arc<str>> {
        let paths = (files.cert.clone(), files.key.clone());
        if let Some(loaded) = self.loaded.get(&paths) {
            return loaded.clone();
        }
        let mut found = Vec::new();
        let loaded = load::load(files, self.now, &mut found);
        let before = || self.last?.pairs.get(&paths).cloned();
        let loaded = loaded.or_else(before).ok_or_else(|| load::reason(&found));
        self.problems.extend(found);
        self.loaded.insert(paths, loaded.clone());
        loaded
    }

    fn load_certificates(&mut self) {
        for (index, files) in self.config.tls.certificates.iter().enumerate() {
            let Loaded { key, names } = match self.load(files) {
                Ok(loaded) => loaded,
                Err(why) => {
                    self.store.unusable.add(&files.cert, &why, index == 0);
                    self.store.default_unusable |= index == 0;
                    continue;
                }
            };
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
            SiteTls::Files(files) => Some((files, self.load(files))),
            SiteTls::Auto | SiteTls::Dev | SiteTls::Acme => None,
        };
        if let Some((_, loaded)) = &files {
            self.site_default.get_or_insert_with(|| loaded.as_ref().ok().map(|loaded| loaded.key.clone()));
        }
        for host in std::iter::once(&site.host).chain(&site.aliases) {
            let source = match &files {
                Some((files, Ok(loaded))) => {
                    self.warn_uncovered(host, files, loaded);
                    Some(Source::Files(loaded.key.clone()))
                }
                Some((_, Err(why))) => Some(Source::Unusable(why.clone())),
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
        // Names that a file may cover are not ordered before it can be read: they may not be for the public.
        if site.tls == SiteTls::Auto && self.store.unusable.nameless.is_some() {
            self.store.held.push(cert.clone());
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
            Err(problem) => match self.last.and_then(|last| last.dev.clone()) {
                Some(dev) => {
                    self.problems.push(*problem);
                    dev
                }
                None => {
                    self.store.dev_unusable = Some(problem.line().into());
                    return self.problems.push(*problem);
                }
            },
        };
        for (host, site) in &self.dev_hosts {
            let name = match host {
                HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
                HostPattern::Any => continue,
            };
            if !dev.ca.allows(name) {
                let found = dev.ca.refusal(&host.to_string(), &self.config.dev_ca.extra_domains).at(&site.origin);
                self.mistakes.push(found);
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
        if !self.mistakes.is_empty() {
            self.problems.append(&mut self.mistakes);
            return Err(self.problems);
        }
        let mut store = self.store;
        // The certificates serve their other names too; a site's own choice comes first.
        for (name, key) in self.covered {
            store.exact.entry(name.into()).or_insert(Source::Files(key));
        }
        for (name, why) in &store.unusable.exact {
            store.exact.entry(name.clone()).or_insert_with(|| Source::Unusable(why.clone()));
        }
        if self.config.tls.certificates.is_empty() {
            store.default_unusable = store.dev_unusable.is_some()
                || (store.dev_default.is_none() && self.site_default.as_ref().is_some_and(Option::is_none));
        }
        store.site_default = self.site_default.flatten();
        store.pairs = self.loaded.into_iter().filter_map(|(paths, loaded)| Some((paths, loaded.ok()?))).collect();
        let is_error = |problem: &Diagnostic| problem.severity == Severity::Error;
        (store.errors, store.warnings) = self.problems.into_iter().partition(is_error);
        Ok(store)
    }
}
