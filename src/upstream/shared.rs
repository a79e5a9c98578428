//! What all workers, and the keeper's thread, share of one upstream. It lives as long as a generation names the upstream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::health::{Health, State};
use super::names::Name;
use crate::config::{Outlier, ServerAddress, Upstream, UpstreamAddress};

/// Requests that may wait for the servers of one upstream with `hold`.
const HELD: usize = 1000;

/// One server, to all workers.
#[derive(Debug, Clone)]
pub struct SharedServer {
    pub(super) health: Arc<Health>,
    /// Where its name leads, when it has one that is looked up.
    pub(super) name: Option<Arc<Name>>,
    address: ServerAddress,
}

/// One upstream, to all workers.
#[derive(Debug)]
pub struct Shared {
    pub(super) servers: Vec<SharedServer>,
    /// Held while it is decided whether one more server may be left out.
    ejecting: Mutex<()>,
    /// No server is well, and requests go to all of them: said once.
    failing_open: AtomicBool,
    held: AtomicUsize,
}

impl Shared {
    /// `before`: what the last generation knows. Servers that are the same in both keep their health.
    pub fn new(upstream: &Upstream, before: Option<(&Upstream, &Shared)>) -> Shared {
        let failures = upstream.outlier.map_or(1, |rules| rules.failures);
        let server = |server: &ServerAddress| {
            let same_tls = |old: &Upstream| old.tls.server_name == upstream.tls.server_name;
            let old = before.filter(|(old, _)| same_tls(old)).and_then(|(_, old)| old.find(server));
            let health = match old {
                Some(old) if old.health.memory() == failures => old.health.clone(),
                Some(old) => {
                    let health = Health::new(failures);
                    health.inherit(&old.health);
                    Arc::new(health)
                }
                None => Arc::new(Health::new(failures)),
            };
            let name = old.map_or_else(|| Name::of(&server.address), |old| old.name.clone());
            SharedServer { health, name, address: server.clone() }
        };
        Shared {
            servers: upstream.servers.iter().map(server).collect(),
            ejecting: Mutex::default(),
            failing_open: AtomicBool::new(false),
            held: AtomicUsize::new(0),
        }
    }

    /// How a server is, to those who ask.
    pub fn state(&self, server: usize, upstream: &Upstream) -> Option<State> {
        Some(self.servers.get(server)?.health.state(Instant::now(), upstream.slow_start))
    }

    fn find(&self, server: &ServerAddress) -> Option<&SharedServer> {
        let same =
            |old: &&SharedServer| old.address.address == server.address && old.address.protocol == server.protocol;
        self.servers.iter().find(same)
    }

    /// The servers whose names are looked up.
    pub(super) fn names(&self) -> impl Iterator<Item = (&UpstreamAddress, &Arc<Name>)> {
        self.servers.iter().filter_map(|server| Some((&server.address.address, server.name.as_ref()?)))
    }

    /// Leaves a server out unless too many are out already; gives how long.
    pub(super) fn eject(&self, server: usize, rules: &Outlier, now: Instant) -> Option<std::time::Duration> {
        let _one = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let health = &self.servers.get(server)?.health;
        let out = self.servers.iter().filter(|server| server.health.is_ejected(now)).count();
        let fits = (out + 1) as f32 <= self.servers.len() as f32 * rules.max_ejected;
        (fits && !health.is_ejected(now)).then(|| health.eject(rules, now))
    }

    /// Notes whether requests go to servers that are not well because no other is left; true when that is news.
    pub(super) fn fail_open(&self, open: bool) -> bool {
        // A load first: workers do not fight for the line while nothing changes.
        self.failing_open.load(Ordering::Relaxed) != open && self.failing_open.swap(open, Ordering::Relaxed) != open
    }

    /// A place among the requests that wait for a server; `None` when there are too many.
    pub(super) fn hold(self: &Arc<Shared>) -> Option<Held> {
        let more = |held: usize| (held < HELD).then_some(held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Held(self.clone()))
    }
}

/// A request that waits for a server, counted until it is dropped.
#[derive(Debug)]
pub struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}
