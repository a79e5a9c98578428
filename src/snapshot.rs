//! One generation of the configuration, ready to serve.
//!
//! A [`Snapshot`] is built once, whole, and shared by all workers; each makes its own [`View`] of it with the state that
//! belongs to one worker (servers, pools).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::diagnostics::Diagnostic;
use crate::config::{Config, SiteTls, Upstream};
use crate::filter::door::HttpsDoor;
use crate::route::Router;
use crate::tls::{CertStore, DevAuthority, is_local};
use crate::upstream::{Cluster, Gate};

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
    /// Where the demonstration's backend listens, when a site uses it.
    pub builtin: Option<SocketAddr>,
    /// Of each upstream: the places of `max_requests`.
    pub gates: Vec<Option<Arc<Gate>>>,
}

impl Snapshot {
    /// Opens everything a config names. `bound` is the port the first TLS listener really has, known after binding.
    ///
    /// # Errors
    /// Every problem with certificates and keys.
    pub fn build(
        config: Config,
        dev: &DevAuthority,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
    ) -> Result<Snapshot, Vec<Diagnostic>> {
        let has_https = config.listeners.iter().any(|listener| listener.tls);
        let certs = if has_https { Some(Arc::new(CertStore::build(&config, dev)?)) } else { None };
        let port = config.public_https_port.or(bound).filter(|port| *port != 443);
        let https = has_https.then_some(HttpsDoor { port });
        let dev = config.sites.iter().map(|site| match site.tls {
            SiteTls::Dev => true,
            SiteTls::Auto => is_local(&site.host.to_string()),
            SiteTls::Off | SiteTls::Files(_) => false,
        });
        let dev = dev.collect();
        let gate = |upstream: &Upstream| {
            upstream.max_requests.map(|limits| Arc::new(Gate::new(limits, upstream.servers.len())))
        };
        let gates = config.upstreams.iter().map(gate).collect();
        Ok(Snapshot { certs, https, dev, builtin, gates, config })
    }
}

impl Snapshot {
    /// Upstreams that are the same as in the last generation keep its places: requests of both count.
    pub fn inherit(&mut self, before: &Snapshot) {
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
        let upstreams = snapshot.config.upstreams.iter().zip(&snapshot.gates);
        let clusters = upstreams
            .map(|(upstream, gate)| Cluster::new(upstream, snapshot.builtin).with_gate(gate.clone()))
            .collect();
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
