//! One server: its address, its pooled connections, and what is in flight.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::{Keepalive, ServerAddress, UpstreamAddress};
use crate::http::wire::Wire;
use crate::net::clock;

/// A request that must not be done twice goes only on a connection idle for less than this.
const YOUNG: Duration = Duration::from_secs(1);

/// A connection that is still open this long after its answer was not closed with it.
const SETTLED: Duration = Duration::from_millis(20);

/// How far a burst may go above `keepalive.idle` until the next sweep: closing connections that are wanted again a
/// moment later would cost more than they do.
const BURST: usize = 16;

/// Connects that fail one after the other before a server is left out (`outlier.failures`), and for how long.
const FAILURES: u32 = 3;
const EJECTED: Duration = Duration::from_secs(10);

/// A server as one worker sees it.
#[derive(Debug)]
pub struct Endpoint {
    pub address: UpstreamAddress,
    /// The address in text, for logs and `Host`.
    pub label: Box<str>,
    pub weight: u32,
    pub backup: bool,
    keepalive: Keepalive,
    builtin: Option<SocketAddr>,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    /// The server has been seen to keep a connection open after an answer. One that closes without having said so is not
    /// trusted with a request that must not be done twice.
    keeps: Cell<bool>,
    failures: Cell<u32>,
    ejected_until: Cell<Option<Instant>>,
    pub(super) resolved: RefCell<Resolved>,
}

/// The last good answer for the server's name.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub addresses: Vec<SocketAddr>,
    pub until: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection to a server, between two requests or in one.
#[derive(Debug)]
pub struct Connection {
    pub wire: Wire,
    /// It has answered before: the server may close it at any moment.
    pub reused: bool,
    /// How long the server keeps it, from its `Keep-Alive: timeout`, less one second.
    pub keep: Option<Duration>,
}

/// What is going on with a server, on one worker or summed over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerState {
    pub in_flight: usize,
    /// Pooled connections.
    pub idle: usize,
    /// Workers that leave it out for the time being.
    pub ejected: usize,
}

impl ServerState {
    pub fn and(self, other: ServerState) -> ServerState {
        ServerState {
            in_flight: self.in_flight + other.in_flight,
            idle: self.idle + other.idle,
            ejected: self.ejected + other.ejected,
        }
    }
}

/// Counts a request on a server until it is dropped.
#[derive(Debug)]
pub struct InFlight(Rc<Endpoint>);

impl Endpoint {
    pub fn new(server: &ServerAddress, keepalive: Keepalive, builtin: Option<SocketAddr>) -> Endpoint {
        Endpoint {
            address: server.address.clone(),
            label: server.address.to_string().into(),
            weight: server.weight.max(1),
            backup: server.backup,
            keepalive,
            builtin,
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            keeps: Cell::new(false),
            failures: Cell::new(0),
            ejected_until: Cell::new(None),
            resolved: RefCell::default(),
        }
    }

    /// Where the demonstration's backend listens.
    pub(super) fn builtin(&self) -> Option<SocketAddr> {
        self.builtin
    }

    /// Whether the other is the same server with the same settings.
    pub fn is_same(&self, other: &Endpoint) -> bool {
        self.address == other.address
            && self.weight == other.weight
            && self.backup == other.backup
            && self.keepalive == other.keepalive
            && self.builtin == other.builtin
    }

    /// What is going on with the server.
    pub fn state(&self) -> ServerState {
        ServerState {
            in_flight: self.in_flight.get(),
            idle: self.idle.borrow().len(),
            ejected: usize::from(self.is_ejected()),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Notes how connecting went: a server that refuses again and again is left out for a while.
    pub fn note_connect(&self, connected: bool) {
        let failures = if connected { 0 } else { self.failures.get().saturating_add(1) };
        self.failures.set(failures);
        self.ejected_until.set((failures >= FAILURES).then(|| clock::now() + EJECTED));
    }

    /// Left out for the time being.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.get().is_some_and(|until| clock::now() < until)
    }

    /// Counts a request.
    pub fn begin(self: Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(self)
    }

    /// Takes a pooled connection that is still good. `once`: the request must not be done twice, so only a young
    /// connection serves, of a server that is known to keep them, and the kernel is asked whether it is still open.
    pub fn checkout(&self, once: bool) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let now = clock::now();
        // The last one in is the youngest, so the rest may rest and be swept.
        while let Some(Idle { connection, since }) = idle.pop() {
            let age = now.saturating_duration_since(since);
            if age >= self.limit(&connection) || (once && age >= YOUNG) {
                continue;
            }
            if connection.wire.io.is_stale(once) {
                self.note_closed();
                continue;
            }
            if age >= SETTLED {
                self.keeps.set(true);
            }
            if once && !self.keeps.get() && connection.keep.is_none() {
                idle.push(Idle { connection, since });
                return None;
            }
            return Some(connection);
        }
        None
    }

    /// Notes that the server closed a connection that it had not said it would close.
    pub fn note_closed(&self) {
        self.keeps.set(false);
    }

    /// How long a connection may be idle: what is configured, or what the server said where that is less.
    fn limit(&self, connection: &Connection) -> Duration {
        connection.keep.unwrap_or(self.keepalive.idle_timeout).min(self.keepalive.idle_timeout)
    }

    /// Puts a connection back after a whole exchange.
    pub fn checkin(&self, mut connection: Connection) {
        if connection.reused {
            self.keeps.set(true);
        }
        let mut idle = self.idle.borrow_mut();
        // Bytes behind the response belong to no request.
        if idle.len() < self.keepalive.idle * BURST && connection.wire.input.is_empty() && connection.wire.is_flushed()
        {
            connection.reused = true;
            idle.push(Idle { connection, since: clock::now() });
        }
    }

    /// Closes connections that have been idle for too long, that the server has closed, or that are more than
    /// `keepalive.idle` allows and were not needed since the last sweep.
    pub fn sweep(&self) {
        let now = clock::now();
        let mut idle = self.idle.borrow_mut();
        let unneeded = idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) > YOUNG).count();
        let excess = idle.len().saturating_sub(self.keepalive.idle).min(unneeded);
        // The oldest are at the front: the pool is a stack.
        idle.drain(..excess);
        idle.retain(|idle| {
            let age = now.saturating_duration_since(idle.since);
            let good = age < self.limit(&idle.connection) && !idle.connection.wire.io.is_stale(false);
            if good && age >= SETTLED {
                self.keeps.set(true);
            }
            good
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl InFlight {
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Io;

    async fn pooled() -> (Rc<Endpoint>, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let address = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port: local.port() };
        let server = ServerAddress { address, weight: 1, backup: false };
        let endpoint = Rc::new(Endpoint::new(&server, Keepalive::default(), None));
        let ours = tokio::net::TcpStream::connect(local).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        endpoint.checkin(Connection { wire: Wire::new(Io::Tcp(ours)), reused: false, keep: None });
        (endpoint, theirs)
    }

    #[tokio::test]
    async fn a_connection_carries_what_must_not_be_done_twice_once_the_server_has_kept_one_open() {
        let (endpoint, _theirs) = pooled().await;
        assert!(endpoint.checkout(true).is_none());
        let connection = endpoint.checkout(false).expect("it is still in the pool");
        endpoint.checkin(connection);
        // The second whole exchange on it.
        let connection = endpoint.checkout(false).unwrap();
        endpoint.checkin(connection);
        let connection = endpoint.checkout(true).expect("the server keeps its connections");
        endpoint.checkin(connection);
        endpoint.note_closed();
        assert!(endpoint.checkout(true).is_none());
    }

    #[tokio::test]
    async fn a_promise_to_keep_a_connection_is_believed() {
        let (endpoint, _theirs) = pooled().await;
        let mut connection = endpoint.checkout(false).unwrap();
        connection.reused = false;
        connection.keep = Some(Duration::from_secs(4));
        endpoint.note_closed();
        endpoint.checkin(connection);
        endpoint.note_closed();
        assert!(endpoint.checkout(true).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_not_used() {
        let (endpoint, theirs) = pooled().await;
        drop(theirs);
        assert!(endpoint.checkout(true).is_none());
        assert!(endpoint.idle.borrow().is_empty());
    }
}
