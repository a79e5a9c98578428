//! Servers behind the proxy: which one, over which connection, and one exchange with it.
//!
//! Everything here belongs to one worker: connections are pooled where they are used, and nothing is locked.

mod balance;
mod client;
mod connect;
mod endpoint;
mod request_head;
mod upload;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

pub use client::{Answer, Failure, Ongoing, Retry, exchange};
pub use connect::connect;
pub use endpoint::{Connection, Endpoint, InFlight, ServerState};
pub use request_head::Outgoing;
pub use upload::Upload;

use crate::config::{self, Balance, HostHeader};

/// Retries saved up at most; a request saves a fifth of one (`retries.budget`).
const BUDGET_CAP: f32 = 10.0;
const BUDGET_SHARE: f32 = 0.2;

/// A group of servers that answer the same requests.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub endpoints: Vec<Rc<Endpoint>>,
    pub host_header: HostHeader,
    balance: Balance,
    turn: Cell<usize>,
    budget: Cell<f32>,
}

impl Cluster {
    /// `builtin` is where the demonstration's own backend listens.
    pub fn new(upstream: &config::Upstream, builtin: Option<SocketAddr>) -> Cluster {
        let endpoint = |server: &config::ServerAddress| Rc::new(Endpoint::new(server, upstream.keepalive, builtin));
        Cluster {
            name: upstream.name.clone(),
            endpoints: upstream.servers.iter().map(endpoint).collect(),
            host_header: upstream.host_header.clone(),
            balance: upstream.balance,
            turn: Cell::new(0),
            budget: Cell::new(BUDGET_CAP),
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

    /// Chooses a server for a request, leaving out those in `tried`. Backups count only when no other is left.
    pub fn pick(&self, tried: &[usize]) -> Option<(usize, Rc<Endpoint>)> {
        // The common case asks nothing.
        let index = match (self.endpoints.len(), tried) {
            (1, []) => 0,
            _ => balance::pick(self.balance, &self.endpoints, tried, &self.turn)?,
        };
        self.endpoints.get(index).map(|endpoint| (index, endpoint.clone()))
    }

    /// Notes a request, which pays into the retry budget.
    pub fn note_request(&self) {
        self.budget.set((self.budget.get() + BUDGET_SHARE).min(BUDGET_CAP));
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
    pub tunnel_idle: Option<Duration>,
}
