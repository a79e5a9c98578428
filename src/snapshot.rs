//! One generation of the configuration, ready to serve.
//!
//! A [`Snapshot`] is built once, whole, and shared by all workers; each makes its own [`View`] of it with the state that
//! belongs to one worker (servers, pools).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::diagnostics::Diagnostic;
use crate::config::{Config, SiteTls};
use crate::filter::door::HttpsDoor;
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
    /// Where the demonstration's backend listens, when a site uses it.
    pub builtin: Option<SocketAddr>,
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
        Ok(Snapshot::with_certificates(config, certs, bound, builtin))
    }

    /// The same around certificates that are open already, or that could not be opened: routing needs none.
    pub fn with_certificates(
        config: Config,
        certs: Option<Arc<CertStore>>,
        bound: Option<u16>,
        builtin: Option<SocketAddr>,
    ) -> Snapshot {
        let has_https = config.listeners.iter().any(|listener| listener.tls);
        let port = config.public_https_port.or(bound).filter(|port| *port != 443);
        let https = has_https.then_some(HttpsDoor { port });
        let dev = config.sites.iter().map(|site| match site.tls {
            SiteTls::Dev => true,
            SiteTls::Auto => is_local(&site.host.to_string()),
            SiteTls::Off | SiteTls::Files(_) => false,
        });
        let dev = dev.collect();
        Snapshot { certs, https, dev, builtin, config }
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
