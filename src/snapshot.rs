//! One generation of the configuration, ready to serve.
//!
//! A [`Snapshot`] is built once, whole, and shared by all workers; each makes its own [`View`] of it with the state that
//! belongs to one worker (servers, pools).

mod brief;
mod terms;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

pub use self::brief::Brief;
pub use self::terms::Terms;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::config::{ClientAuthMode, Config, HostPattern, PlainMode, RouteSettings, Site, SiteTls, Upstream};
use crate::filter::ca_download::CaDownload;
use crate::filter::door::HttpsDoor;
use crate::filter::error_pages::{Fallback, Pages};
use crate::filter::{self, Chain, Chains};
use crate::http::term::Term;
use crate::inspect::Recorder;
use crate::metrics::Metrics;
use crate::route::Router;
use crate::tls::{CertStore, Challenges, ClientTls, DevAuthority, Managed, Roots, is_local};
use crate::upstream::{Cluster, Gate, Seal, Shared, Watched};

/// What all workers share.
#[derive(Debug)]
pub struct Snapshot {
    pub config: Config,
    /// There is a TLS listener, and these are its certificates.
    pub certs: Option<Arc<CertStore>>,
    /// Where ACME looks after a certificate: the answers to its challenges.
    pub challenges: Option<Arc<Challenges>>,
    /// The development root for other devices, where `dev --lan` offers it.
    pub ca_download: Option<CaDownload>,
    /// The TLS door, where there is one.
    pub https: Option<HttpsDoor>,
    /// Of each site: its certificate is from the development CA.
    pub dev: Vec<bool>,
    /// Of each upstream: how its servers are spoken to over TLS, where one is.
    pub upstream_tls: Vec<Option<ClientTls>>,
    /// What is worth saying about the files of `upstream_tls`.
    pub warnings: Vec<Diagnostic>,
    /// Of each site's routes: their filters, where there are any.
    pub chains: Chains,
    /// The error pages where no route is met.
    pub fallback: Fallback,
    /// Where the demonstration's backend listens, when a site uses it.
    pub builtin: Option<SocketAddr>,
    /// What requests are counted in, where `[metrics]` is there.
    pub metrics: Option<Arc<Metrics>>,
    /// Of each upstream: the places of `max_requests`.
    pub gates: Vec<Option<Arc<Gate>>>,
    /// Of each upstream: what all workers know of its servers.
    pub shared: Vec<Arc<Shared>>,
    /// Seals the cookies of `sticky`, where an upstream has it.
    pub seal: Option<Arc<Seal>>,
    /// Where the inspector is on: where requests are told to it.
    pub recorder: Option<Arc<Recorder>>,
    /// Of each site's routes: what tells them from those of other generations.
    meanings: OnceLock<Vec<Vec<u64>>>,
}

impl Snapshot {
    /// Opens everything a config names. `bound` is the port the first TLS listener really has, known after binding.
    ///
    /// # Errors
    /// Every problem with certificates, keys, users' files and error pages.
    pub fn build(
        config: Config,
        dev: &DevAuthority,
        managed: &Managed,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
    ) -> Result<Snapshot, Vec<Diagnostic>> {
        let snapshot = Snapshot::open(config, dev, managed, bound, builtin, None)?;
        let errors = snapshot.certs.as_ref().map_or(&[][..], |certs| certs.errors());
        if errors.is_empty() { Ok(snapshot) } else { Err(snapshot.problems()) }
    }

    /// The same, but files of certificates that cannot be used cost no more than the hosts they are for, as
    /// [`CertStore::open`] says.
    ///
    /// # Errors
    /// Every problem, where at least one is another than that.
    pub fn open(
        config: Config,
        dev: &DevAuthority,
        managed: &Managed,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
        last: Option<&CertStore>,
    ) -> Result<Snapshot, Vec<Diagnostic>> {
        let has_https = config.listeners.iter().any(|listener| listener.tls);
        let (certs, mut problems) = match has_https.then(|| CertStore::open(&config, dev, managed, last)).transpose() {
            Ok(certs) => (certs.map(Arc::new), Vec::new()),
            Err(problems) => (None, problems),
        };
        let (mut snapshot, others) = Snapshot::with_certificates(config, certs, bound, builtin);
        problems.extend(others);
        if snapshot.config.dev_ca.download {
            snapshot.ca_download = dev.root().as_ref().and_then(CaDownload::new);
        }
        if let Some(upstream) = snapshot.config.upstreams.iter().find(|upstream| upstream.sticky.is_some()) {
            match Seal::open() {
                Ok(seal) => snapshot.seal = Some(Arc::new(seal)),
                Err(why) => {
                    let problem = Diagnostic::error("sticky", format!("cookies cannot be sealed: {why}"));
                    problems.push(problem.at(&upstream.origin));
                }
            }
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            problems.extend(snapshot.problems());
            return Err(problems);
        }
        snapshot.warnings = problems;
        Ok(snapshot)
    }

    /// What is wrong with files, and served or isolated all the same.
    pub fn problems(&self) -> Vec<Diagnostic> {
        let certs = self.certs.iter().flat_map(|certs| certs.errors().iter().chain(certs.warnings()));
        certs.chain(&self.warnings).cloned().collect()
    }

    /// Why a site is refused by the TLS doors: the files of its certificate, or of its clients' authorities, cannot be used.
    pub fn unusable(&self, site: &Site) -> Option<Arc<str>> {
        let certs = self.certs.as_ref().filter(|_| site.tls != SiteTls::Off)?;
        let hosts = std::iter::once(&site.host).chain(&site.aliases);
        hosts.into_iter().find_map(|host| certs.unusable(&host.to_string()))
    }

    /// No door has anything to serve: every site is to be served with files that cannot be used.
    pub fn serves_nothing(&self) -> bool {
        let plain = self.config.listeners.iter().any(|listener| !listener.tls);
        let has_content = |site: &Site| plain && matches!(site.http, PlainMode::Serve | PlainMode::Upgrade);
        let is_refused =
            |host: &HostPattern| self.certs.as_ref().is_some_and(|certs| certs.unusable(&host.to_string()).is_some());
        self.config.sites.iter().all(|site| {
            site.tls != SiteTls::Off
                && !has_content(site)
                && std::iter::once(&site.host).chain(&site.aliases).all(is_refused)
        })
    }

    /// The same around certificates that are open already, or that could not be opened: routing needs none. Beside it
    /// every problem with users' files and with the files of upstream TLS; those that are errors leave a part out.
    pub fn with_certificates(
        config: Config,
        certs: Option<Arc<CertStore>>,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
    ) -> (Snapshot, Vec<Diagnostic>) {
        let has_https = config.listeners.iter().any(|listener| listener.tls);
        let port = config.public_https_port.or(bound).filter(|port| *port != 443);
        let https = has_https.then_some(HttpsDoor { port });
        let dev = config.sites.iter().map(|site| match site.tls {
            SiteTls::Dev => true,
            SiteTls::Auto => is_local(&site.host.to_string()),
            SiteTls::Off | SiteTls::Acme | SiteTls::Files(_) => false,
        });
        let dev: Vec<bool> = dev.collect();
        let (chains, fallback, mut problems) = chains(&config, &dev);
        let upstream_tls = upstream_tls(&config, &mut problems);
        let gate = |upstream: &Upstream| {
            upstream.max_requests.map(|limits| Arc::new(Gate::new(limits, upstream.servers.len())))
        };
        let gates = config.upstreams.iter().map(gate).collect();
        let shared = config.upstreams.iter().map(|upstream| Arc::new(Shared::new(upstream, None))).collect();
        let recorder = Recorder::build(&config).map(Arc::new);
        let challenges = certs.as_ref().and_then(|certs| certs.challenges().cloned());
        let warnings = Vec::new();
        let snapshot = Snapshot {
            certs,
            challenges,
            ca_download: None,
            https,
            dev,
            upstream_tls,
            warnings,
            chains,
            fallback,
            builtin,
            metrics: None,
            gates,
            shared,
            seal: None,
            recorder,
            meanings: OnceLock::new(),
            config,
        };
        (snapshot, problems)
    }

    /// What the keeper of servers looks after.
    pub fn watched(&self) -> Vec<Watched> {
        let upstreams = self.config.upstreams.iter().zip(&self.upstream_tls).zip(&self.shared);
        let watched = |((upstream, tls), shared): ((&Upstream, &Option<ClientTls>), &Arc<Shared>)| Watched {
            upstream: upstream.clone(),
            tls: tls.clone(),
            shared: shared.clone(),
        };
        upstreams.map(watched).collect()
    }

    /// The filters of a route.
    pub fn chain(&self, site: usize, route: usize) -> Option<&Chain> {
        self.chains.get(site)?.get(route)?.as_deref()
    }

    /// Nobody comes to this site without a client certificate, whatever the door.
    pub fn requires_client_cert(&self, site: usize) -> bool {
        match &self.certs {
            Some(certs) => certs.requires_client_cert(site),
            None => {
                let auth = self.config.sites.get(site).and_then(|site| site.client_auth.as_ref());
                auth.is_some_and(|auth| auth.mode == ClientAuthMode::Require)
            }
        }
    }

    /// Counts for so many workers, where the config wants it. Counters of what was there before go on.
    pub fn count(&mut self, before: Option<&Snapshot>, workers: usize) {
        let before = before.and_then(|before| before.metrics.as_deref());
        self.metrics = self.config.metrics.map(|_| Arc::new(Metrics::new(&self.config, before, workers)));
    }

    /// What browsers are shown for an error on a route, or on a site or host where none was met.
    pub fn error_pages(&self, site: Option<usize>, route: Option<usize>) -> Option<&Pages> {
        match (site, route) {
            (Some(site), Some(route)) => self.chain(site, route)?.error_pages(),
            (site, _) => self.fallback.of(site),
        }
    }

    /// Keeps what the last generation knows: the health of servers, where their names lead, the counts of limits, and the
    /// places of upstreams that are the same, since requests of both count.
    pub fn inherit(&mut self, before: &Snapshot) {
        // Worked out here, so that no worker has to.
        before.meanings();
        self.meanings();
        filter::keep_counts((&self.config.sites, &mut self.chains), (&before.config.sites, &before.chains));
        if self.seal.is_some() && before.seal.is_some() {
            self.seal.clone_from(&before.seal);
        }
        if let (Some(recorder), Some(before)) = (&mut self.recorder, &before.recorder)
            && let Some(recorder) = Arc::get_mut(recorder)
        {
            recorder.inherit(before);
        }
        for (upstream, shared) in self.config.upstreams.iter().zip(&mut self.shared) {
            let mut old = before.config.upstreams.iter().zip(&before.shared);
            let same = old.find(|(old, _)| old.name == upstream.name);
            let same = same.map(|(old, shared)| (old, &**shared));
            *shared = Arc::new(Shared::new(upstream, same));
        }
        for (upstream, gate) in self.config.upstreams.iter().zip(&mut self.gates) {
            let mut old = before.config.upstreams.iter().zip(&before.gates);
            let same = old.find(|(old, _)| {
                old.name == upstream.name
                    && old.servers == upstream.servers
                    && old.max_requests == upstream.max_requests
            });
            if let Some((_, same)) = same {
                gate.clone_from(same);
            }
        }
    }
}

impl Snapshot {
    /// What each route of each site means, as a number that is the same where all of it is the same.
    fn meanings(&self) -> &[Vec<u64>] {
        self.meanings.get_or_init(|| terms::meanings(self))
    }
}

/// How the servers of each upstream are spoken to over TLS; what is wrong with the files goes into `problems`.
fn upstream_tls(config: &Config, problems: &mut Vec<Diagnostic>) -> Vec<Option<ClientTls>> {
    let mut roots = Roots::default();
    let built = config.upstreams.iter().map(|upstream| {
        let tls = upstream.servers.iter().any(|server| server.protocol.is_tls());
        if tls { ClientTls::build(upstream, &mut roots, problems) } else { None }
    });
    built.collect()
}

/// The filters of each site's routes, and the problems with what they need.
fn chains(config: &Config, dev: &[bool]) -> (Chains, Fallback, Vec<Diagnostic>) {
    let mut shared = filter::Shared::default();
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut chains = Vec::with_capacity(config.sites.len());
    for (site, dev) in config.sites.iter().zip(dev) {
        let host = site.host.to_string();
        let build = |route: &crate::config::Route| match Chain::build(&route.filters, &host, *dev, &mut shared) {
            Ok(chain) => chain,
            Err(problem) => {
                // Routes that take a filter from their site would say the same again.
                if !problems.iter().any(|said| said.origin == problem.origin) {
                    problems.push(*problem);
                }
                None
            }
        };
        let mut of_site: Vec<_> = site.routes.iter().map(build).collect();
        if of_site.iter().all(Option::is_none) {
            // Nothing that a request would have to look at.
            of_site = Vec::new();
        }
        chains.push(of_site);
    }
    // What is wrong with a file of a site was said with its routes.
    let fallback = shared.fallback(config).unwrap_or_else(|problem| {
        if !problems.iter().any(|said| said.origin == problem.origin) {
            problems.push(*problem);
        }
        Fallback::default()
    });
    (chains, fallback, problems)
}

/// What one worker serves from.
#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub router: Router<Brief>,
    /// What routes have: few of many, since those with the same share it.
    pub settings: Vec<Arc<RouteSettings>>,
    /// In the order of the config's upstreams.
    pub clusters: Vec<Cluster>,
    /// How long what began on a route may go on.
    pub terms: Terms,
}

impl View {
    pub fn new(snapshot: Arc<Snapshot>) -> View {
        let (briefs, settings) = brief::all(&snapshot);
        let router = Router::new(&snapshot.config.sites, briefs);
        let upstreams = snapshot.config.upstreams.iter().zip(&snapshot.upstream_tls).zip(&snapshot.shared);
        let clusters = upstreams
            .zip(&snapshot.gates)
            .map(|(((upstream, tls), shared), gate)| {
                Cluster::new(upstream, tls.as_ref(), snapshot.builtin, shared.clone())
                    .with_gate(gate.clone())
                    .with_seal(snapshot.seal.clone())
            })
            .collect();
        View { terms: Terms::new(&snapshot), snapshot, router, settings, clusters }
    }

    /// The view of the next generation. Servers that are the same in both keep their pools, and what is known of their
    /// health and load. Beside it the terms of routes and servers that are gone or changed.
    pub fn after(before: &View, snapshot: Arc<Snapshot>) -> (View, Vec<Rc<Term>>) {
        let mut view = View::new(snapshot);
        let old: HashMap<&str, &Cluster> = before.clusters.iter().map(|old| (old.name.as_str(), old)).collect();
        for cluster in &mut view.clusters {
            let gone = before.terms.gone_servers(&cluster.name);
            cluster.inherit(old.get(cluster.name.as_str()).copied(), &gone);
        }
        let gone = terms::hand_on(before, &mut view);
        (view, gone)
    }

    /// Closes pooled connections that have been idle for too long.
    pub fn sweep(&self) {
        self.clusters.iter().for_each(Cluster::sweep);
    }
}
