//! Upstreams and their servers.

use std::path::PathBuf;
use std::time::Duration;

use super::{Balance, CertFiles, HealthCheck, Origin, Resolve, Sticky};

/// One `[upstreams.NAME]`, or the one behind a `proxy = TARGET`.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// The name, or the target text of a `proxy`.
    pub name: String,
    pub servers: Vec<ServerAddress>,
    pub balance: Balance,
    pub sticky: Option<Sticky>,
    /// `None`: servers are not asked how they are.
    pub health_check: Option<HealthCheck>,
    /// How long a request waits for a server that cannot be reached; `None`: not at all.
    pub hold: Option<Duration>,
    /// The time in which the share of a server that is back grows to its whole; `None`: at once.
    pub slow_start: Option<Duration>,
    pub resolve: Resolve,
    pub keepalive: Keepalive,
    pub host_header: HostHeader,
    pub retries: Retries,
    /// `None`: no server is left out for its failures.
    pub outlier: Option<Outlier>,
    /// `None`: any number of requests may be in flight.
    pub max_requests: Option<MaxRequests>,
    /// The PROXY protocol header each connection begins with.
    pub proxy_protocol: Option<ProxyHeader>,
    /// For servers spoken to over TLS.
    pub tls: UpstreamTls,
    pub origin: Origin,
}

impl Upstream {
    /// An upstream with the defaults of every key.
    pub fn new(name: String, servers: Vec<ServerAddress>, origin: Origin) -> Upstream {
        Upstream {
            name,
            servers,
            balance: Balance::default(),
            sticky: None,
            health_check: None,
            hold: None,
            slow_start: Some(Duration::from_secs(10)),
            resolve: Resolve::default(),
            keepalive: Keepalive::default(),
            host_header: HostHeader::default(),
            retries: Retries::default(),
            outlier: Some(Outlier::default()),
            max_requests: None,
            proxy_protocol: None,
            tls: UpstreamTls::default(),
            origin,
        }
    }
}

/// `retries`: what may be tried again, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Attempts after the first.
    pub attempts: usize,
    /// Retries at most, as a share of all requests.
    pub budget: f32,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { attempts: 1, budget: 0.2 }
    }
}

/// `outlier`: servers that fail are left out for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Failures within `window` that take a server out.
    pub failures: usize,
    pub window: Duration,
    /// How long the first time; each further time doubles it.
    pub eject: Duration,
    /// Servers out at most, as a share of all.
    pub max_ejected: f32,
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier { failures: 3, window: Duration::from_secs(10), eject: Duration::from_secs(10), max_ejected: 0.5 }
    }
}

/// `max_requests` and `queue_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests {
    /// Requests in flight on one server, of the whole process.
    pub per_server: usize,
    /// How long a request waits for a place.
    pub queue_timeout: Duration,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    V1,
    V2,
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
    /// `srv:NAME`: the servers that an SRV record names (RFC 2782), in lower case.
    Srv(String),
    /// `builtin:show`: the small backend of the demonstration, which answers with the request as a backend sees it.
    Builtin,
}

impl std::fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UpstreamAddress::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            UpstreamAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            UpstreamAddress::Srv(name) => write!(f, "srv:{name}"),
            UpstreamAddress::Builtin => f.write_str("builtin:show"),
        }
    }
}

/// The domain of an SRV record's name, which is what its servers' certificates name (RFC 6125 section 6.3).
pub fn srv_domain(name: &str) -> &str {
    let mut rest = name;
    while let Some((label, after)) = rest.split_once('.')
        && label.starts_with('_')
    {
        rest = after;
    }
    rest
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
