//! What is counted for Prometheus. The counters of a site, route or upstream are found when a generation is built, and
//! each worker has its own of every one: counting is an addition to memory that no other worker writes, and a scrape sums
//! up. Labels come from the config, never from a client.

mod encode;
mod process;
mod shard;
mod text;

use std::sync::Arc;

pub use encode::{Acme, Certificate, Facts, Scrape, Server};
pub use shard::{Count, HANDSHAKE_FAILURES, HandshakeFailure, Retried, RouteShard, UpstreamShard, WorkerShard};

use crate::config::Config;

/// The site and route of a request that met none, and of bytes that never became a request. No host is called so.
pub const NO_ROUTE: &str = "-";

/// The counters of something that has a name in the config: one set a worker.
#[derive(Debug)]
pub struct Series<S> {
    labels: Labels,
    /// The labels as they stand in the text.
    text: Box<str>,
    shards: Box<[S]>,
}

/// What a series is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Labels {
    Route { site: Box<str>, route: Box<str> },
    Upstream(Box<str>),
}

impl<S: Default> Series<S> {
    fn new(labels: Labels, workers: usize) -> Arc<Series<S>> {
        let text = match &labels {
            Labels::Route { site, route } => {
                format!("site=\"{}\",route=\"{}\"", text::escaped(site), text::escaped(route))
            }
            Labels::Upstream(name) => format!("upstream=\"{}\"", text::escaped(name)),
        };
        Arc::new(Series { labels, text: text.into(), shards: (0..workers).map(|_| S::default()).collect() })
    }

    /// The counters of one worker. Only that worker may add to them.
    pub fn of(&self, worker: usize) -> Option<&S> {
        self.shards.get(worker)
    }

    fn sum(&self, count: impl Fn(&S) -> u64) -> u64 {
        self.shards.iter().map(count).sum()
    }
}

/// Every counter of one generation. Those of sites, routes and upstreams that stay are the same in the next one.
#[derive(Debug)]
pub struct Metrics {
    workers: Arc<[WorkerShard]>,
    unrouted: Arc<Series<RouteShard>>,
    /// By site and route, as the config has them. Routes of one site with the same path share their counters.
    routes: Vec<Vec<Arc<Series<RouteShard>>>>,
    /// Each series of `routes` once.
    all_routes: Vec<Arc<Series<RouteShard>>>,
    /// In the order of the config's upstreams.
    upstreams: Vec<Arc<Series<UpstreamShard>>>,
    all_upstreams: Vec<Arc<Series<UpstreamShard>>>,
}

impl Metrics {
    /// The counters of a config, for so many workers; those that `before` has go on.
    pub fn new(config: &Config, before: Option<&Metrics>, workers: usize) -> Metrics {
        let mut known = Known::default();
        if let Some(before) = before {
            known.routes = before.routes.iter().flatten().map(|s| (s.labels.clone(), s.clone())).collect();
            known.upstreams = before.upstreams.iter().map(|s| (s.labels.clone(), s.clone())).collect();
        }
        let routes = config.sites.iter().map(|site| {
            let host = site.host.to_string();
            let of = |route: &crate::config::Route| Labels::Route {
                site: host.as_str().into(),
                route: route.path.to_string().into(),
            };
            site.routes.iter().map(|route| known.route(of(route), workers)).collect()
        });
        let routes: Vec<Vec<_>> = routes.collect();
        let upstreams: Vec<_> =
            config.upstreams.iter().map(|upstream| known.upstream(&upstream.name, workers)).collect();
        let none = Labels::Route { site: NO_ROUTE.into(), route: NO_ROUTE.into() };
        Metrics {
            workers: before.map_or_else(
                || (0..workers).map(|_| WorkerShard::default()).collect(),
                |before| before.workers.clone(),
            ),
            unrouted: before.map_or_else(|| Series::new(none, workers), |before| before.unrouted.clone()),
            all_routes: once(routes.iter().flatten()),
            routes,
            all_upstreams: once(upstreams.iter()),
            upstreams,
        }
    }

    /// What one worker counts whatever the site.
    pub fn worker(&self, worker: usize) -> Option<&WorkerShard> {
        self.workers.get(worker)
    }

    /// The counters of a route; `None`: of requests that met none.
    pub fn route(&self, found: Option<(usize, usize)>, worker: usize) -> Option<&RouteShard> {
        let series = found.and_then(|(site, route)| self.routes.get(site)?.get(route)).unwrap_or(&self.unrouted);
        series.of(worker)
    }

    pub fn upstream(&self, upstream: usize, worker: usize) -> Option<&UpstreamShard> {
        self.upstreams.get(upstream)?.of(worker)
    }
}

/// Each series once, in the order they are met.
fn once<'a, S: 'a>(all: impl Iterator<Item = &'a Arc<Series<S>>>) -> Vec<Arc<Series<S>>> {
    let mut met = std::collections::HashSet::new();
    all.filter(|series| met.insert(Arc::as_ptr(series))).cloned().collect()
}

/// Series by their labels, while a generation is built.
#[derive(Default)]
struct Known {
    routes: std::collections::HashMap<Labels, Arc<Series<RouteShard>>>,
    upstreams: std::collections::HashMap<Labels, Arc<Series<UpstreamShard>>>,
}

impl Known {
    fn route(&mut self, labels: Labels, workers: usize) -> Arc<Series<RouteShard>> {
        self.routes.entry(labels).or_insert_with_key(|labels| Series::new(labels.clone(), workers)).clone()
    }

    fn upstream(&mut self, name: &str, workers: usize) -> Arc<Series<UpstreamShard>> {
        let labels = Labels::Upstream(name.into());
        self.upstreams.entry(labels).or_insert_with_key(|labels| Series::new(labels.clone(), workers)).clone()
    }
}
