//! Who wants to know of requests: the access log, the metrics, the traces. Where nobody does, nothing is gathered.

use std::sync::Arc;

use super::access_log::AccessLog;
use super::trace::Tracer;
use crate::config::Config;
use crate::metrics::{Metrics, UpstreamShard, WorkerShard};
use crate::route::Found;

/// The sinks of one worker in one generation.
#[derive(Debug, Clone)]
pub struct Sinks {
    pub log: Option<AccessLog>,
    pub metrics: Option<Arc<Metrics>>,
    pub tracer: Option<Tracer>,
    pub names: Arc<Names>,
    pub worker: usize,
}

/// What sites and routes are called, by their places in the config.
#[derive(Debug)]
pub struct Names(Box<[Site]>);

/// A host, and the paths of its routes.
#[derive(Debug)]
struct Site {
    host: Box<str>,
    routes: Box<[Box<str>]>,
}

impl Names {
    pub fn of(config: &Config) -> Names {
        let sites = config.sites.iter().map(|site| {
            let routes = site.routes.iter().map(|route| route.path.to_string().into()).collect();
            Site { host: site.host.to_string().into(), routes }
        });
        Names(sites.collect())
    }

    pub fn site(&self, found: Found) -> Option<&str> {
        self.0.get(found.site).map(|site| &*site.host)
    }

    pub fn route(&self, found: Found) -> Option<&str> {
        self.0.get(found.site)?.routes.get(found.route).map(|path| &**path)
    }
}

impl Sinks {
    /// The same for one worker; `None` where nobody wants to know.
    pub fn for_worker(&self, worker: usize) -> Option<Sinks> {
        if self.log.is_none() && self.metrics.is_none() && self.tracer.is_none() {
            return None;
        }
        let log = self.log.as_ref().map(|log| log.for_worker(worker));
        Some(Sinks { log, worker, ..self.clone() })
    }

    /// The counters of this worker whatever the site.
    pub fn worker_metrics(&self) -> Option<&WorkerShard> {
        self.metrics.as_ref()?.worker(self.worker)
    }

    pub fn upstream_metrics(&self, upstream: usize) -> Option<&UpstreamShard> {
        self.metrics.as_ref()?.upstream(upstream, self.worker)
    }
}
