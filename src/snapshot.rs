//! One generation of the configuration, ready to serve.
//!
//! A [`Snapshot`] is built once, whole, and shared by all workers; each makes its own [`View`] of it with the state that
//! belongs to one worker (servers, pools).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::diagnostics::Diagnostic;
use crate::config::{Config, SiteTls};
use crate::filter::door::HttpsDoor;
use crate::filter::{self, Chain, Chains};
use crate::route::Router;
use crate::tls::{CertStore, DevAuthority, is_local};
use crate::upstream::Cluster;

/// What all workers share.
#[derive(Debug)]
pub struct Snapshot {
    pub config: Config,
    /// There is a TLS listener, and these are its certificates.
    pub certs: Option<Arc<CertStore>>,
    /// The TLS door, where there is one.
    pub https: Option<HttpsDoor>,
    /// Of each site: its certificate is from the development CA.
    pub dev: Vec<bool>,
    /// Of each site's routes: their filters, where there are any.
    pub chains: Chains,
    /// Where the demonstration's backend listens, when a site uses it.
    pub builtin: Option<SocketAddr>,
}

impl Snapshot {
    /// Opens everything a config names. `bound` is the port the first TLS listener really has, known after binding.
    ///
    /// # Errors
    /// Every problem with certificates, keys and users' files.
    pub fn build(
        config: Config,
        dev: &DevAuthority,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
    ) -> Result<Snapshot, Vec<Diagnostic>> {
        let has_https = config.listeners.iter().any(|listener| listener.tls);
        let certs = has_https.then(|| CertStore::build(&config, dev)).transpose();
        let port = config.public_https_port.or(bound).filter(|port| *port != 443);
        let https = has_https.then_some(HttpsDoor { port });
        let dev = config.sites.iter().map(|site| match site.tls {
            SiteTls::Dev => true,
            SiteTls::Auto => is_local(&site.host.to_string()),
            SiteTls::Off | SiteTls::Files(_) => false,
        });
        let dev: Vec<bool> = dev.collect();
        let (chains, mut problems) = chains(&config, &dev);
        let certs = match certs {
            Ok(certs) => certs.map(Arc::new),
            Err(others) => {
                problems.splice(..0, others);
                None
            }
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Snapshot { certs, https, dev, chains, builtin, config })
    }

    /// The filters of a route.
    pub fn chain(&self, site: usize, route: usize) -> Option<&Chain> {
        self.chains.get(site)?.get(route)?.as_deref()
    }
}

/// The filters of each site's routes, and the problems with what they need.
fn chains(config: &Config, dev: &[bool]) -> (Chains, Vec<Diagnostic>) {
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
        chains.push(site.routes.iter().map(build).collect());
    }
    (chains, problems)
}

/// What one worker serves from.
#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub router: Router,
    /// In the order of the config's upstreams.
    pub clusters: Vec<Cluster>,
}

impl View {
    pub fn new(snapshot: Arc<Snapshot>) -> View {
        let router = Router::new(&snapshot.config.sites);
        let clusters =
            snapshot.config.upstreams.iter().map(|upstream| Cluster::new(upstream, snapshot.builtin)).collect();
        View { snapshot, router, clusters }
    }

    /// The view of the next generation. Servers that are the same in both keep their pools, and what is known of their
    /// health and load.
    pub fn after(before: &View, snapshot: Arc<Snapshot>) -> View {
        let mut view = View::new(snapshot);
        for cluster in &mut view.clusters {
            if let Some(old) = before.clusters.iter().find(|old| old.name == cluster.name) {
                cluster.inherit(old);
            }
        }
        view
    }

    /// Closes pooled connections that have been idle for too long.
    pub fn sweep(&self) {
        self.clusters.iter().for_each(Cluster::sweep);
    }
}
