//! Upstreams and their servers.

use std::path::PathBuf;
use std::time::Duration;

use super::{CertFiles, Origin};

/// One `[upstreams.NAME]`, or the one behind a `proxy = TARGET`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The name, or the target text of a `proxy`.
    pub name: String,
    pub servers: Vec<ServerAddress>,
    pub balance: Balance,
    pub keepalive: Keepalive,
    pub host_header: HostHeader,
    /// For servers spoken to over TLS.
    pub tls: UpstreamTls,
    pub origin: Origin,
}

/// One server of an upstream with its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    pub address: UpstreamAddress,
    pub protocol: ServerProtocol,
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

/// What is spoken to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServerProtocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls,
    /// HTTP/2 over TLS, agreed on by ALPN.
    H2,
    /// HTTP/2 in clear, by prior knowledge (RFC 9113 section 3.3).
    H2c,
}

impl ServerProtocol {
    pub fn is_tls(self) -> bool {
        matches!(self, ServerProtocol::Http1Tls | ServerProtocol::H2)
    }

    pub fn is_h2(self) -> bool {
        matches!(self, ServerProtocol::H2 | ServerProtocol::H2c)
    }

    /// What stands before the address of a target; empty for the default.
    pub fn scheme(self) -> &'static str {
        match self {
            ServerProtocol::Http1 => "",
            ServerProtocol::Http1Tls | ServerProtocol::H2 => "https://",
            ServerProtocol::H2c => "h2c://",
        }
    }
}

/// `[upstreams.NAME] tls`: how servers prove who they are, and how we do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Roots that replace the system's: a PEM file, and where its name stands.
    pub ca: Option<(PathBuf, Origin)>,
    /// The name in SNI that the certificate must cover; `None`: the host of the server's address.
    pub server_name: Option<String>,
    /// Our certificate, for servers that ask for one.
    pub client: Option<CertFiles>,
    /// Certificates are verified.
    pub verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        UpstreamTls { ca: None, server_name: None, client: None, verify: true }
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
