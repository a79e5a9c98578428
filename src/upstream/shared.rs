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
    whole: Arc<Whole>,
}

/// What holds for an upstream as a whole, in every generation that names it: requests of the last one still count.
#[derive(Debug, Default)]
struct Whole {
    /// Held while it is decided whether one more server may be left out.
    ejecting: Mutex<()>,
    /// No server is well, and requests go to all of them: said once.
    failing_open: AtomicBool,
    /// Requests that wait for a server.
    held: AtomicUsize,
}

impl Shared {
    /// `before`: what the last generation knows. Servers that are the same in both keep their health, and those who wait for
    /// one are counted on.
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
            whole: before.map_or_else(Arc::default, |(_, old)| old.whole.clone()),
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
        let _one = self.whole.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let health = &self.servers.get(server)?.health;
        let out = self.servers.iter().filter(|server| server.health.is_ejected(now)).count();
        let fits = (out + 1) as f32 <= self.servers.len() as f32 * rules.max_ejected;
        (fits && !health.is_ejected(now)).then(|| health.eject(rules, now))
    }

    /// Notes whether requests go to servers that are not well because no other is left; true when that is news.
    pub(super) fn fail_open(&self, open: bool) -> bool {
        // A load first: workers do not fight for the line while nothing changes.
        let said = &self.whole.failing_open;
        said.load(Ordering::Relaxed) != open && said.swap(open, Ordering::Relaxed) != open
    }

    /// A place among the requests that wait for a server; `None` when there are too many.
    pub(super) fn hold(&self) -> Option<Held> {
        let more = |held: usize| (held < HELD).then_some(held + 1);
        self.whole.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Held(self.whole.clone()))
    }
}

/// A request that waits for a server, counted until it is dropped.
#[derive(Debug)]
pub struct Held(Arc<Whole>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_count_on_over_a_reload_and_over_a_change_of_servers() {
        let upstream = |port: u16| {
            let address = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port };
            let protocol = crate::config::ServerProtocol::Http1;
            let server = ServerAddress { address, protocol, weight: 1, backup: false };
            Upstream::new("app".into(), vec![server], Default::default())
        };
        let first = Shared::new(&upstream(1), None);
        let mut waiting: Vec<_> = (0..HELD).map(|_| first.hold().unwrap()).collect();
        let second = Shared::new(&upstream(2), Some((&upstream(1), &first)));
        drop(first);
        assert!(second.hold().is_none());
        waiting.pop();
        assert!(second.hold().is_some());
        drop(waiting);
        assert_eq!(second.whole.held.load(Ordering::Relaxed), 0);
        assert!(second.fail_open(true));
        assert!(!Shared::new(&upstream(1), Some((&upstream(2), &second))).fail_open(true));
    }
}
