//! What a config means, checked and free of any runtime.
//!
//! Text becomes meaning in two steps, each in its own file: `schema` knows every key (path, type, default, doc), `decode`
//! walks the spanned TOML against it, and `check` turns the typed text into the types of this file or into a list of
//! [`Diagnostic`]s: all problems at once, each with file, line, column, cause and fix. Nothing here opens a socket or a
//! certificate.

mod acme;
mod balancing;
mod check;
pub mod codes;
mod decode;
pub mod diagnostics;
mod expand;
mod expect;
mod filters;
pub mod identity;
mod include;
mod load;
mod matchers;
mod read;
mod render;
pub mod schema;
mod site;
mod source;
mod telemetry;
#[cfg(test)]
mod tests;
pub mod units;
mod upstream;
mod value;
mod values;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use acme::*;
pub use balancing::*;
pub use diagnostics::{Diagnostic, Problems, Severity};
pub use expect::{Expectation, Expected, Test};
pub use filters::*;
pub use load::{Loaded, from_env_sites, load, parse, sort as sort_diagnostics};
pub use matchers::{Matchers, PathRegex};
pub use render::{json as diagnostics_to_json, text as render_diagnostics};
pub use site::*;
pub use source::Sources;
pub use telemetry::*;
pub use upstream::*;
pub use values::{Effective, Values};

/// The whole checked configuration of one process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Doors, in the order `http`, `https`, then any further named listener.
    pub listeners: Vec<Listener>,
    /// The port redirects name instead of the https listener's own (a container that maps ports).
    pub public_https_port: Option<u16>,
    pub tls: Tls,
    pub dev_ca: DevCa,
    /// Certificates from an ACME server, where `[acme]` is there.
    pub acme: Option<Acme>,
    /// What holds before a site is known.
    pub defaults: Defaults,
    /// The error pages for a host that no site answers for.
    pub error_pages: Option<Arc<ErrorPages>>,
    /// Sites in file order.
    pub sites: Vec<Site>,
    /// Named upstreams first, then one for each distinct `proxy` target. [`Action::Forward`] indexes this list.
    pub upstreams: Vec<Upstream>,
    pub access_log: AccessLog,
    /// Prometheus metrics, where `[metrics]` is there.
    pub metrics: Option<Metrics>,
    /// Traces over OTLP, where `[tracing]` is there.
    pub tracing: Option<Tracing>,
    pub log: Log,
    pub admin: Admin,
    pub server: Server,
    /// What `check` asks and expects.
    pub tests: Vec<Test>,
}

/// Timeouts and limits of `[defaults]`: they bound a connection and a request head, when no site is known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    pub timeouts: Timeouts,
    pub limits: Limits,
}

/// Where a value stands in the config text: shown in log lines, `explain` and conflicts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user named it; empty for values that come from the command line or the environment.
    pub file: Arc<str>,
    /// 1-based; 0 where there is no text.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// The value's bytes in the file.
    pub span: Range<usize>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One door: an address or several, plain or TLS.
#[derive(Debug, Clone)]
pub struct Listener {
    /// `http`, `https`, or the user's own name.
    pub name: String,
    pub addresses: Vec<BindAddress>,
    /// TLS ends here.
    pub tls: bool,
    /// HTTP/2 is spoken: by ALPN on a TLS door, by prior knowledge (h2c) on a plain one.
    pub h2: bool,
    /// HTTP/1.1 is spoken.
    pub h1: bool,
    /// Balancers in front that say whom they stand for; `None`: nobody's header is read.
    pub proxy_protocol: Option<ProxyProtocol>,
    pub origin: Origin,
}

/// `proxy_protocol = { trust, timeout }` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Peers that always send a header. Other peers never do: what looks like one from them is not believed.
    pub trust: Vec<IpNet>,
    /// From accept to the end of the header.
    pub timeout: Duration,
}

/// An address to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindAddress {
    /// `":80"`: every address of both families.
    Any(u16),
    Exact(SocketAddr),
}

impl BindAddress {
    pub fn port(&self) -> u16 {
        match self {
            BindAddress::Any(port) => *port,
            BindAddress::Exact(addr) => addr.port(),
        }
    }
}

impl std::fmt::Display for BindAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BindAddress::Any(port) => write!(f, ":{port}"),
            BindAddress::Exact(addr) => addr.fmt(f),
        }
    }
}

/// `[tls]`.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// TLS 1.2 is refused too (`min_version = "1.3"`).
    pub only_tls13: bool,
    /// Certificate files that serve every name in their SAN; the first is the default.
    pub certificates: Vec<CertFiles>,
    pub unknown_host: UnknownHost,
}

/// A certificate chain and its key, as files. Paths are absolute or relative to the working directory: the config
/// file's folder has been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Where the `cert` value stands.
    pub cert_origin: Origin,
    /// Where the `key` value stands.
    pub key_origin: Origin,
}

/// What a ClientHello with an SNI nobody serves gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownHost {
    /// The alert `unrecognized_name` (RFC 6066 section 3).
    #[default]
    Reject,
    /// The first of `tls.certificates`.
    Default,
}

/// `[dev_ca]`.
#[derive(Debug, Clone)]
pub struct DevCa {
    /// `None`: "auto", the user's data folder or the state folder of a container.
    pub dir: Option<PathBuf>,
    pub leaf_lifetime: Duration,
    /// Domains beyond the local ones that the root's name constraints allow.
    pub extra_domains: Vec<String>,
    /// The root is offered to other devices on plain listeners, at `/.vestibule/ca`: `dev --lan`.
    pub download: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AccessLog {
    Off,
    On {
        format: LogFormat,
        output: LogOutput,
        redact: Redact,
        /// The share of requests written, 0 to 1; errors are written always.
        sample: f32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    Json,
    Text,
    /// The "combined" format of Apache and nginx.
    Combined,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogOutput {
    #[default]
    Stdout,
    Stderr,
    File(PathBuf),
}

/// What never reaches the access log. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// Query parameters whose value is masked.
    pub query: Vec<String>,
    /// Fields whose value is masked where a format shows fields.
    pub headers: Vec<String>,
}

impl Default for Redact {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        Redact { query: owned(&["token"]), headers: owned(&["authorization", "cookie", "set-cookie"]) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[server]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// `None`: one per core.
    pub workers: Option<usize>,
    pub shutdown_grace: Duration,
    /// How long health checks say that the end is near before it begins; `None`: not at all.
    pub shutdown_delay: Option<Duration>,
    /// Changed config files are served by themselves.
    pub watch_config: bool,
    /// How long what has begun before an upgrade may go on.
    pub generation_grace: Duration,
    /// `None`: from RLIMIT_NOFILE.
    pub max_connections: Option<usize>,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    pub socket: AdminSocket,
    /// The page that shows the traffic; `None`: off.
    pub inspector: Option<Inspector>,
}

/// `[admin] inspector`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspector {
    /// Where the page is: always an address of this machine alone.
    pub listen: SocketAddr,
}

impl Default for Inspector {
    fn default() -> Self {
        Inspector { listen: SocketAddr::from(([127, 0, 0, 1], 4480)) }
    }
}

/// Where the administration socket is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdminSocket {
    /// In the state folder or the user's runtime folder, by the name of the config file.
    #[default]
    Auto,
    Path(PathBuf),
    Off,
}
