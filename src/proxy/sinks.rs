//! Who wants to know of requests: the access log, the metrics, the traces. Where nobody does, nothing is gathered.

use std::sync::Arc;

use super::access_log::{AccessLog, Place};
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
#[derive(Debug, Default)]
pub struct Names(Box<[Site]>);

/// A host and its routes.
#[derive(Debug)]
struct Site {
    host: Box<str>,
    routes: Box<[Route]>,
}

/// The path of a route, and it with its host as the access log writes them.
#[derive(Debug)]
struct Route {
    path: Box<str>,
    json: Box<[u8]>,
}

impl Names {
    pub fn of(config: &Config) -> Names {
        let sites = config.sites.iter().map(|site| {
            let host = site.host.to_string();
            let route = |path: String| Route { json: Place::in_json(&host, &path).into(), path: path.into() };
            let routes = site.routes.iter().map(|known| route(known.path.to_string())).collect();
            Site { routes, host: host.into() }
        });
        Names(sites.collect())
    }

    pub fn place(&self, found: Found) -> Option<Place<'_>> {
        let site = self.0.get(found.site)?;
        let route = site.routes.get(found.route)?;
        Some(Place { site: &site.host, route: &route.path, json: &route.json })
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
