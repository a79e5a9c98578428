//! Servers behind the proxy: which one, over which connection, and one exchange with it.
//!
//! Everything here belongs to one worker: connections are pooled where they are used, and nothing is locked.

mod balance;
mod client;
mod connect;
mod endpoint;
mod exchange;
mod gate;
mod h2;
mod happy_eyeballs;
mod outlier;
mod request_head;
mod upload;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub use connect::connect;
pub use endpoint::{Channel, Connection, Endpoint, InFlight, ServerState};
pub use exchange::{Answer, Failure, Ongoing, Retry, exchange};
pub use gate::Gate;
pub use request_head::Outgoing;
pub use upload::Upload;

use self::balance::Pick;
use self::endpoint::EndpointTls;
use crate::config::{self, Balance, HostHeader, Outlier, Retries};
use crate::error::Why;
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
    balance: Balance,
    outlier: Option<Outlier>,
    /// Shared by all workers; `None`: any number of requests may be in flight.
    gate: Option<Arc<Gate>>,
    turn: Cell<usize>,
    budget: Cell<f32>,
}

impl Cluster {
    /// `tls` is there where a server is spoken to over TLS; `builtin` is where the demonstration's own backend listens.
    pub fn new(upstream: &config::Upstream, tls: Option<&ClientTls>, builtin: Option<SocketAddr>) -> Cluster {
        let tls = tls.map(|tls| (tls.connector(b"http/1.1"), tls.connector(b"h2")));
        let endpoint = |server: &config::ServerAddress| {
            let tls = tls.as_ref().filter(|_| server.protocol.is_tls());
            let name = crate::tls::server_name(upstream, server);
            let tls = tls.zip(name).map(|((h1, h2), name)| EndpointTls { name, h1: h1.clone(), h2: h2.clone() });
            Rc::new(Endpoint::new(server, upstream, builtin).with_tls(tls))
        };
        let endpoints: Vec<_> = upstream.servers.iter().map(endpoint).collect();
        Cluster {
            name: upstream.name.clone(),
            // A single server is never left out.
            outlier: upstream.outlier.filter(|_| endpoints.len() > 1),
            endpoints,
            host_header: upstream.host_header.clone(),
            retries: upstream.retries,
            balance: upstream.balance,
            gate: None,
            turn: Cell::new(0),
            budget: Cell::new(if upstream.retries.budget > 0.0 { BUDGET_CAP } else { 0.0 }),
        }
    }

    /// Takes over the servers that stood in the last generation with the same settings.
    pub fn inherit(&mut self, old: &Cluster) {
        for endpoint in &mut self.endpoints {
            if let Some(same) = old.endpoints.iter().find(|same| same.is_same(endpoint)) {
                *endpoint = same.clone();
            }
        }
        self.budget.set(old.budget.get());
    }

    /// With the places of `max_requests`, which all workers share.
    pub fn with_gate(self, gate: Option<Arc<Gate>>) -> Cluster {
        Cluster { gate, ..self }
    }

    /// Chooses a server for a request, leaving out those in `tried`, and counts the request there. Backups count only when
    /// no other is left. With `max_requests` it waits for a place, in the order of arrival.
    ///
    /// # Errors
    /// No server is left, or none became free in time.
    pub async fn take(&self, tried: &[usize]) -> Result<(usize, InFlight), Why> {
        let Some(gate) = &self.gate else {
            return self
                .pick(tried, |_| true)?
                .map(|(index, endpoint)| (index, endpoint.begin(None)))
                .ok_or(Why::UpstreamUnreachable);
        };
        if !gate.has_queue()
            && let Some(taken) = self.enter(gate, tried)?
        {
            return Ok(taken);
        }
        let turn = gate.queue()?;
        let waiting = poll_fn(|cx| {
            if !turn.is_first(cx) {
                return Poll::Pending;
            }
            self.enter(gate, tried).transpose().map_or(Poll::Pending, Poll::Ready)
        });
        match tokio::time::timeout(gate.timeout, waiting).await {
            Ok(taken) => taken,
            Err(_) => Err(Why::UpstreamQueueTimeout),
        }
    }

    /// Takes a place; `None` when there is none.
    fn enter(&self, gate: &Arc<Gate>, tried: &[usize]) -> Result<Option<(usize, InFlight)>, Why> {
        // Another worker may take the place that was seen: then it is looked again.
        while let Some((index, endpoint)) = self.pick(tried, |index| gate.has_room(index))? {
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
            _ => match balance::pick(self.balance, &self.endpoints, tried, &self.turn, has_room) {
                Pick::Server(index) => index,
                Pick::Full => return Ok(None),
                Pick::None => return Err(Why::UpstreamUnreachable),
            },
        };
        Ok(self.endpoints.get(index).map(|endpoint| (index, endpoint.clone())))
    }

    /// Notes that a server could not be reached, or broke off before its answer.
    pub fn note_failure(&self, endpoint: &Endpoint) {
        let Some(rules) = &self.outlier else { return };
        if !endpoint.failures.add(rules) {
            return;
        }
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
        if (out + 1) as f32 <= self.endpoints.len() as f32 * rules.max_ejected {
            let time = endpoint.failures.eject(rules);
            let (name, label, failures) = (&self.name, &endpoint.label, rules.failures);
            tracing::warn!(
                "upstream {name}: {label} failed {failures} times within {:?}: left out for {time:?}",
                rules.window
            );
        }
    }

    /// Notes that a server answered.
    pub fn note_answer(&self, endpoint: &Endpoint) {
        if let Some(rules) = &self.outlier {
            endpoint.failures.answered(rules);
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

    /// Closes pooled connections that have been idle for too long.
    pub fn sweep(&self) {
        for endpoint in &self.endpoints {
            endpoint.sweep();
        }
    }
}

/// Deadlines of one exchange; `None` is "off".
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    pub connect: Option<Duration>,
    pub response_header: Option<Duration>,
    /// How long a request body may stand still once the answer has begun.
    pub body_idle: Option<Duration>,
    pub tunnel_idle: Option<Duration>,
}
