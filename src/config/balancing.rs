//! How a server of an upstream is chosen, and how it is known to be well.

use std::net::SocketAddr;
use std::time::Duration;

/// `balance`: how a server is picked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Balance {
    /// The less busy of two picked at random.
    #[default]
    LeastRequests,
    RoundRobin,
    Random,
    First,
    /// Weighted rendezvous hashing: requests that are alike go to one server.
    Hash(HashOn),
}

/// `hash_on`: what makes two requests alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    ClientIp,
    /// Path and query, as the client sent them.
    Uri,
    Header(String),
    Cookie(String),
    Query(String),
}

/// `sticky`: a client stays with its server by a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    pub max_age: Duration,
}

/// `health_check`: what a server is asked, and when it counts as down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub kind: CheckKind,
    pub interval: Duration,
    /// Of one check: connection, handshake and answer.
    pub timeout: Duration,
    /// Failures in a row that take a server out.
    pub unhealthy: u32,
    /// Successes in a row that take it back.
    pub healthy: u32,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    Http {
        method: String,
        path: String,
        /// The value of Host; `None`: as `host_header` says, or the server's address.
        host: Option<String>,
        /// Statuses that count as success, from and to.
        expect: Vec<(u16, u16)>,
    },
    /// A connection can be opened; over TLS with a handshake.
    Tcp,
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// The service asked for; empty is the server as a whole.
        service: String,
    },
}

/// `resolve`: how names of servers are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// An answer is used at least this long.
    pub min_ttl: Duration,
    /// An answer is used at most this long.
    pub max_ttl: Duration,
    /// Name servers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

impl Default for Resolve {
    fn default() -> Self {
        Resolve { min_ttl: Duration::from_secs(1), max_ttl: Duration::from_secs(30), servers: Vec::new() }
    }
}
