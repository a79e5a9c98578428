//! A group of servers that answer the same requests, as one worker sees it.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::balance::{Pick, Policy};
use super::choice::Choice;
use super::endpoint::{Endpoint, EndpointTls, InFlight};
use super::gate::Gate;
use super::shared::{Held, Shared};
use super::sticky::Seal;
use crate::config::{self, Balance, HashOn, HostHeader, Outlier, Retries, Sticky};
use crate::error::Why;
use crate::net::clock;
use crate::tls::ClientTls;

/// Retries saved up at most; a request saves `retries.budget` of one.
const BUDGET_CAP: f32 = 10.0;

/// A group of servers that answer the same requests.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub endpoints: Vec<Rc<Endpoint>>,
    pub host_header: HostHeader,
    pub retries: Retries,
    /// How long a request waits for a server that cannot be reached.
    pub hold: Option<Duration>,
    policy: Policy,
    sticky: Option<Sticky>,
    /// Seals the cookies of `sticky`.
    seal: Option<Arc<Seal>>,
    outlier: Option<Outlier>,
    shared: Arc<Shared>,
    /// Shared by all workers; `None`: any number of requests may be in flight.
    gate: Option<Arc<Gate>>,
    budget: Cell<f32>,
}

impl Cluster {
    /// `tls` is there where a server is spoken to over TLS; `builtin` is where the demonstration's own backend listens.
    pub fn new(
        upstream: &config::Upstream,
        tls: Option<&ClientTls>,
        builtin: Option<SocketAddr>,
        shared: Arc<Shared>,
    ) -> Cluster {
        let tls = tls.map(|tls| (tls.connector(b"http/1.1"), tls.connector(b"h2")));
        let endpoint = |(server, shared): (&config::ServerAddress, _)| {
            let tls = tls.as_ref().filter(|_| server.protocol.is_tls());
            let name = crate::tls::server_name(upstream, server);
            let tls = tls.zip(name).map(|((h1, h2), name)| EndpointTls { name, h1: h1.clone(), h2: h2.clone() });
            Rc::new(Endpoint::new(server, upstream, builtin, shared).with_tls(tls))
        };
        let endpoints: Vec<_> = upstream.servers.iter().zip(&shared.servers).map(endpoint).collect();
        Cluster {
            name: upstream.name.clone(),
            // A single server is never left out.
            outlier: upstream.outlier.filter(|_| endpoints.len() > 1),
            endpoints,
            host_header: upstream.host_header.clone(),
            retries: upstream.retries,
            hold: upstream.hold,
            policy: Policy { balance: upstream.balance.clone(), slow_start: upstream.slow_start },
            sticky: upstream.sticky.clone(),
            seal: None,
            shared,
            gate: None,
            budget: Cell::new(if upstream.retries.budget > 0.0 { BUDGET_CAP } else { 0.0 }),
        }
    }

    /// Takes over the servers that stood in the last generation with the same settings, and the requests at others that are
    /// reached in the same way. `gone`: servers of generations before that are still at work.
    pub fn inherit(&mut self, old: Option<&Cluster>, gone: &[Rc<Endpoint>]) {
        let before = old.map_or(&[][..], |old| &old.endpoints);
        for endpoint in &mut self.endpoints {
            if let Some(same) = before.iter().find(|same| same.is_same(endpoint)) {
                *endpoint = same.clone();
            } else if let Some(fresh) = Rc::get_mut(endpoint) {
                let _ = before.iter().chain(gone).any(|old| fresh.succeed(old));
            }
        }
        if let Some(old) = old {
            self.budget.set(old.budget.get());
        }
    }

    /// With the places of `max_requests`, which all workers share.
    pub fn with_gate(self, gate: Option<Arc<Gate>>) -> Cluster {
        Cluster { gate, ..self }
    }

    /// Requests may have to wait for a place.
    pub fn has_gate(&self) -> bool {
        self.gate.is_some()
    }

    /// With what seals the cookies of `sticky`; without it there are none.
    pub fn with_seal(self, seal: Option<Arc<Seal>>) -> Cluster {
        Cluster { seal, ..self }
    }

    pub(super) fn hash_on(&self) -> Option<&HashOn> {
        match &self.policy.balance {
            Balance::Hash(hash_on) => Some(hash_on),
            _ => None,
        }
    }

    pub(super) fn sticky(&self) -> Option<(&Sticky, &Seal)> {
        self.sticky.as_ref().zip(self.seal.as_deref())
    }

    /// Chooses a server for a request, leaving out those in `tried`, and counts the request there. Backups count only when
    /// no other is left. With `max_requests` it waits for a place, in the order of arrival.
    ///
    /// # Errors
    /// No server is left, or none became free in time.
    pub async fn take(&self, tried: &[usize], choice: Choice) -> Result<(usize, InFlight), Why> {
        let Some(gate) = &self.gate else {
            return self
                .pick(tried, choice, |_| true)?
                .map(|(index, endpoint)| (index, endpoint.begin(None)))
                .ok_or(Why::UpstreamUnreachable);
        };
        if !gate.has_queue()
            && let Some(taken) = self.enter(gate, tried, choice)?
        {
            return Ok(taken);
        }
        let turn = gate.queue()?;
        let waiting = poll_fn(|cx| {
            if !turn.is_first(cx) {
                return Poll::Pending;
            }
            self.enter(gate, tried, choice).transpose().map_or(Poll::Pending, Poll::Ready)
        });
        match tokio::time::timeout(gate.timeout, waiting).await {
            Ok(taken) => taken,
            Err(_) => Err(Why::UpstreamQueueTimeout),
        }
    }

    /// Takes a place; `None` when there is none.
    fn enter(&self, gate: &Arc<Gate>, tried: &[usize], choice: Choice) -> Result<Option<(usize, InFlight)>, Why> {
        // Another worker may take the place that was seen: then it is looked again.
        while let Some((index, endpoint)) = self.pick(tried, choice, |index| gate.has_room(index))? {
            if let Some(place) = gate.enter(index) {
                return Ok(Some((index, endpoint.begin(Some(place)))));
            }
        }
        Ok(None)
    }

    /// A server with room; `None` when those that would serve are full.
    fn pick(
        &self,
        tried: &[usize],
        choice: Choice,
        has_room: impl Fn(usize) -> bool + Copy,
    ) -> Result<Option<(usize, Rc<Endpoint>)>, Why> {
        // The common case asks nothing.
        let index = match (self.endpoints.len(), tried) {
            (1, []) => {
                if has_room(0) {
                    0
                } else {
                    return Ok(None);
                }
            }
            _ => {
                let now = clock::now();
                match self.policy.pick(&self.endpoints, tried, choice, now, has_room) {
                    Pick::Server(index) => {
                        if tried.is_empty() {
                            self.note_open(index, now);
                        }
                        index
                    }
                    Pick::Full => return Ok(None),
                    Pick::None => return Err(Why::UpstreamUnreachable),
                }
            }
        };
        Ok(self.endpoints.get(index).map(|endpoint| (index, endpoint.clone())))
    }

    /// Says once that requests go to servers that are not well, and once that this is over.
    fn note_open(&self, index: usize, now: std::time::Instant) {
        let open = self.endpoints.get(index).is_some_and(|endpoint| endpoint.health.is_out(now));
        if !self.shared.fail_open(open) {
            return;
        }
        match open {
            true => tracing::warn!("upstream {}: no server is well, so requests go to all of them", self.name),
            false => tracing::info!("upstream {}: a server is well again", self.name),
        }
    }

    /// Notes that a server could not be reached, or broke off before its answer.
    pub fn note_failure(&self, index: usize, endpoint: &Endpoint) {
        let Some(rules) = &self.outlier else { return };
        let now = clock::now();
        if !endpoint.health.add_failure(rules, now) {
            return;
        }
        if let Some(time) = self.shared.eject(index, rules, now) {
            let (name, label, failures) = (&self.name, &endpoint.label, rules.failures);
            tracing::warn!(
                "upstream {name}: {label} failed {failures} times within {:?}: left out for {time:?}",
                rules.window
            );
        }
    }

    /// Notes that a server answered.
    pub fn note_answer(&self, endpoint: &Endpoint) {
        let Some(rules) = &self.outlier else { return };
        if endpoint.health.answered(rules, self.policy.slow_start, clock::now()) {
            let (name, label) = (&self.name, &endpoint.label);
            match self.policy.slow_start {
                Some(time) => tracing::info!("upstream {name}: {label} answers again: its share grows over {time:?}"),
                None => tracing::info!("upstream {name}: {label} answers again"),
            }
        }
    }

    /// Notes a request, which pays into the retry budget.
    pub fn note_request(&self) {
        self.budget.set((self.budget.get() + self.retries.budget).min(BUDGET_CAP));
    }

    /// Takes one retry out of the budget: when everything fails, retries must not double the load.
    pub fn may_retry(&self) -> bool {
        let saved = self.budget.get();
        if saved < 1.0 {
            return false;
        }
        self.budget.set(saved - 1.0);
        true
    }

    /// A place among the requests that wait for a server; `None` when too many do.
    pub fn hold(&self) -> Option<Held> {
        self.shared.hold()
    }

    /// Closes pooled connections that have been idle for too long.
    pub fn sweep(&self) {
        for endpoint in &self.endpoints {
            endpoint.sweep();
        }
    }
}
