//! Upstreams and their servers.

use std::path::PathBuf;
use std::time::Duration;

use super::Origin;

/// One `[upstreams.NAME]`, or the one behind a `proxy = TARGET`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The name, or the target text of a `proxy`.
    pub name: String,
    pub servers: Vec<ServerAddress>,
    pub balance: Balance,
    pub keepalive: Keepalive,
    pub host_header: HostHeader,
    pub origin: Origin,
}

/// One server of an upstream with its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    pub address: UpstreamAddress,
    /// 1 to 1000.
    pub weight: u32,
    pub backup: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A host name or an IP literal without brackets, and a port.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// `builtin:show`: the small backend of the demonstration, which answers with the request as a backend sees it.
    Builtin,
}

impl std::fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpstreamAddress::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            UpstreamAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Builtin => f.write_str("builtin:show"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// The less busy of two picked at random.
    #[default]
    LeastRequests,
    RoundRobin,
    Random,
    First,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle connections kept per server and worker.
    pub idle: usize,
    pub idle_timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Keepalive { idle: 64, idle_timeout: Duration::from_secs(60) }
    }
}

/// The `Host` a backend sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostHeader {
    /// As the client sent it.
    #[default]
    Preserve,
    /// The server's own address.
    Upstream,
    Name(String),
}
