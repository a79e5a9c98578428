//! One server: its address, its pooled connections, and what is in flight.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use super::choice::hashed;
use super::gate::Place;
use super::h2;
use super::health::Health;
use super::names::Following;
use super::shared::SharedServer;
use crate::config::{Keepalive, ProxyHeader, ServerAddress, ServerProtocol, Upstream, UpstreamAddress};
use crate::http::term::Term;
use crate::http::wire::Wire;
use crate::net::{Io, clock};
use crate::tls::Connector;

/// A request that must not be done twice goes only on a connection idle for less than this.
const YOUNG: Duration = Duration::from_secs(1);

/// How far a burst may go above `keepalive.idle` until the next sweep: closing connections that are wanted again a
/// moment later would cost more than they do.
const BURST: usize = 16;

/// A server as one worker sees it.
#[derive(Debug)]
pub struct Endpoint {
    pub address: UpstreamAddress,
    /// The address in text, for logs and `Host`.
    pub label: Box<str>,
    pub protocol: ServerProtocol,
    pub weight: u32,
    pub backup: bool,
    /// How long requests may be at it: till a reload takes it out of the upstream, and a grace.
    pub term: Rc<Term>,
    keepalive: Keepalive,
    builtin: Option<SocketAddr>,
    idle: RefCell<Vec<Idle>>,
    /// The connections of a server that speaks HTTP/2.
    pub(super) h2: Option<h2::Pool>,
    pub(super) tls: Option<EndpointTls>,
    in_flight: Cell<usize>,
    /// The server has answered a second request on a connection, and has not closed one since without having said so. Else
    /// it is not trusted with a request that must not be done twice.
    keeps: Cell<bool>,
    /// Pooled connections that were found closed.
    stale: Cell<u64>,
    /// The header each connection begins with.
    pub(super) proxy_protocol: Option<ProxyHeader>,
    /// What all workers know of it.
    pub(super) health: Arc<Health>,
    /// Where its name leads, when that is looked up.
    pub(super) name: Option<RefCell<Following>>,
    /// What tells it from others in a hash: of its address alone, so that it is the same everywhere.
    pub(super) mark: u64,
    /// What it has saved up for its turn in a round robin.
    pub(super) turn: Cell<i64>,
}

/// How a server is spoken to over TLS.
#[derive(Debug)]
pub(super) struct EndpointTls {
    pub name: ServerName<'static>,
    pub h1: Connector,
    pub h2: Connector,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// What one exchange runs on.
#[derive(Debug)]
pub enum Channel {
    /// A connection of its own. On the heap, since it goes from hand to hand with each exchange.
    Http1(Box<Connection>),
    /// A stream of a shared connection.
    Http2(h2::Lease),
}

/// A connection to a server, between two requests or in one.
#[derive(Debug)]
pub struct Connection {
    pub wire: Wire,
    /// It has answered before: the server may close it at any moment.
    pub reused: bool,
    /// How long the server promised to keep it: its `Keep-Alive: timeout` less one second, or without end.
    pub keep: Option<Duration>,
    /// Where it goes, when the server has a name that may lead elsewhere tomorrow.
    peer: Option<Box<SocketAddr>>,
}

impl Connection {
    /// A connection that was just opened; `named`: by the server's name.
    pub fn new(io: Io, named: bool) -> Box<Connection> {
        let peer = io.tcp().filter(|_| named).and_then(|tcp| tcp.peer_addr().ok()).map(Box::new);
        Box::new(Connection { wire: Wire::new(io), reused: false, keep: None, peer })
    }
}

/// What is going on with a server, on one worker or summed over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerState {
    pub in_flight: usize,
    /// Pooled connections.
    pub idle: usize,
    /// Pooled connections so far that were found closed when they were wanted.
    pub stale: u64,
}

impl ServerState {
    pub fn and(self, other: ServerState) -> ServerState {
        ServerState {
            in_flight: self.in_flight + other.in_flight,
            idle: self.idle + other.idle,
            stale: self.stale + other.stale,
        }
    }
}

/// Counts a request on a server until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Rc<Endpoint>,
    _place: Option<Place>,
}

impl Endpoint {
    pub fn new(
        server: &ServerAddress,
        upstream: &Upstream,
        builtin: Option<SocketAddr>,
        shared: &SharedServer,
    ) -> Endpoint {
        let label = server.address.to_string();
        Endpoint {
            address: server.address.clone(),
            mark: hashed(label.as_bytes()),
            label: label.into(),
            protocol: server.protocol,
            weight: server.weight.max(1),
            backup: server.backup,
            term: Rc::default(),
            keepalive: upstream.keepalive,
            builtin,
            idle: RefCell::default(),
            h2: server.protocol.is_h2().then(h2::Pool::default),
            tls: None,
            in_flight: Cell::new(0),
            keeps: Cell::new(false),
            stale: Cell::new(0),
            proxy_protocol: upstream.proxy_protocol,
            health: shared.health.clone(),
            name: shared.name.as_ref().map(|name| RefCell::new(name.subscribe())),
            turn: Cell::new(0),
        }
    }

    pub(super) fn with_tls(mut self, tls: Option<EndpointTls>) -> Endpoint {
        self.tls = tls;
        self
    }

    /// Says in the process log that the server ended TLS after the handshake, as it does without a certificate it wants.
    pub(super) fn say_alert(&self) {
        if let Some(tls) = &self.tls {
            let wants = "it may want a certificate (tls.client_cert)";
            tls.h1.say(format_args!("{} ended TLS with an alert; {wants}", self.label));
        }
    }

    /// Where the demonstration's backend listens.
    pub(super) fn builtin(&self) -> Option<SocketAddr> {
        self.builtin
    }

    /// Whether the other is the same server with the same settings.
    pub fn is_same(&self, other: &Endpoint) -> bool {
        Arc::ptr_eq(&self.health, &other.health)
            && self.weight == other.weight
            && self.backup == other.backup
            && self.keepalive == other.keepalive
            && self.is_reached_as(other)
    }

    /// Whether the other is the same server, spoken to in the same way.
    fn is_reached_as(&self, other: &Endpoint) -> bool {
        self.address == other.address
            && self.proxy_protocol == other.proxy_protocol
            && self.builtin == other.builtin
            && self.protocol == other.protocol
            && match (&self.tls, &other.tls) {
                (None, None) => true,
                (Some(a), Some(b)) => a.name == b.name && a.h1.is_same(&b.h1),
                _ => false,
            }
    }

    /// Requests at the server go on with this one, which stands in its place. False when they have been ended.
    pub(super) fn succeed(&mut self, old: &Endpoint) -> bool {
        let same = self.is_reached_as(old) && old.term.keep();
        if same {
            self.term = old.term.clone();
        }
        same
    }

    /// What is going on with the server.
    pub fn state(&self) -> ServerState {
        ServerState {
            in_flight: self.in_flight.get(),
            idle: self.idle.borrow().len() + self.h2.as_ref().map_or(0, h2::Pool::idle),
            stale: self.stale.get(),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Counts a request. `place`: what it holds of the server's `max_requests`.
    pub(super) fn begin(self: Rc<Self>, place: Option<Place>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight { endpoint: self, _place: place }
    }

    /// Takes a pooled connection that is still good, or a stream of one. `once`: the request must not be done twice, so
    /// only a young connection serves, of a server that is known to keep them, and the kernel is asked whether it is still
    /// open. `upgrade`: the request asks to switch protocols, which HTTP/2 does not do.
    pub fn checkout(&self, once: bool, upgrade: bool) -> Option<Channel> {
        self.follow_name();
        match &self.h2 {
            Some(pool) if !upgrade => pool.lease().map(Channel::Http2),
            _ => self.checkout_idle(once).map(Channel::Http1),
        }
    }

    /// Lets go of the connections to addresses that its name no longer has; requests on them go on to their end.
    fn follow_name(&self) {
        let Some(changed) = self.name.as_ref().and_then(|name| name.borrow_mut().changed()) else { return };
        self.idle.borrow_mut().retain(|idle| idle.connection.peer.as_ref().is_none_or(|peer| changed.contains(peer)));
        if let Some(pool) = &self.h2 {
            pool.keep_peers(&changed);
        }
    }

    /// Whether the name still leads to where a connection goes.
    fn leads_to(&self, connection: &Connection) -> bool {
        let (Some(name), Some(peer)) = (&self.name, &connection.peer) else { return true };
        name.borrow().addresses().contains(peer)
    }

    fn checkout_idle(&self, once: bool) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        let now = clock::now();
        // The last one in is the youngest, so the rest may rest and be swept.
        while let Some(Idle { mut connection, since }) = idle.pop() {
            let age = now.saturating_duration_since(since);
            if age >= self.limit(&connection) || (once && age >= YOUNG) {
                continue;
            }
            if connection.wire.io.is_stale(once) {
                self.note_closed();
                self.stale.set(self.stale.get() + 1);
                continue;
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
    pub fn checkin(&self, mut connection: Box<Connection>) {
        // Its header names one client; the next request may be another's.
        if self.proxy_protocol.is_some() {
            return;
        }
        self.follow_name();
        if !self.leads_to(&connection) {
            return;
        }
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
        self.follow_name();
        if let Some(pool) = &self.h2 {
            pool.sweep(self.keepalive.idle, self.keepalive.idle_timeout);
        }
        let now = clock::now();
        let mut idle = self.idle.borrow_mut();
        let unneeded = idle.iter().take_while(|idle| now.saturating_duration_since(idle.since) > YOUNG).count();
        let excess = idle.len().saturating_sub(self.keepalive.idle).min(unneeded);
        // The oldest are at the front: the pool is a stack.
        idle.drain(..excess);
        idle.retain_mut(|idle| {
            let age = now.saturating_duration_since(idle.since);
            age < self.limit(&idle.connection) && !idle.connection.wire.io.is_stale(false)
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
    }
}

impl InFlight {
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pooled() -> (Rc<Endpoint>, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let address = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port: local.port() };
        let server = ServerAddress { address, protocol: ServerProtocol::Http1, weight: 1, backup: false };
        let upstream = Upstream::new("test".into(), vec![server], Default::default());
        let shared = super::super::Shared::new(&upstream, None);
        let endpoint = Rc::new(Endpoint::new(&upstream.servers[0], &upstream, None, &shared.servers[0]));
        let ours = tokio::net::TcpStream::connect(local).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        endpoint.checkin(Connection::new(Io::Tcp(crate::net::Socket::new(ours)), false));
        (endpoint, theirs)
    }

    #[tokio::test]
    async fn a_connection_carries_what_must_not_be_done_twice_once_the_server_has_kept_one_open() {
        let (endpoint, _theirs) = pooled().await;
        assert!(endpoint.checkout_idle(true).is_none());
        let connection = endpoint.checkout_idle(false).expect("it is still in the pool");
        endpoint.checkin(connection);
        // The second whole exchange on it.
        let connection = endpoint.checkout_idle(false).unwrap();
        endpoint.checkin(connection);
        let connection = endpoint.checkout_idle(true).expect("the server keeps its connections");
        endpoint.checkin(connection);
        endpoint.note_closed();
        assert!(endpoint.checkout_idle(true).is_none());
    }

    #[tokio::test]
    async fn a_promise_to_keep_a_connection_is_believed() {
        let (endpoint, _theirs) = pooled().await;
        let mut connection = endpoint.checkout_idle(false).unwrap();
        connection.reused = false;
        connection.keep = Some(Duration::from_secs(4));
        endpoint.note_closed();
        endpoint.checkin(connection);
        endpoint.note_closed();
        assert!(endpoint.checkout_idle(true).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_not_used() {
        let (endpoint, theirs) = pooled().await;
        drop(theirs);
        assert!(endpoint.checkout_idle(true).is_none());
        assert!(endpoint.idle.borrow().is_empty());
    }
}
