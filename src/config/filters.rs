//! What a route does to requests and responses beyond forwarding them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Origin;

/// The filters of a route: its own, else its site's. A part is shared by the routes that take it from one place, so that
/// what counts requests counts them together.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    pub hsts: Option<Hsts>,
    pub access: Option<Arc<AccessRules>>,
    pub rate_limit: Option<Arc<RateLimit>>,
    pub basic_auth: Option<Arc<BasicAuth>>,
    pub forward_auth: Option<Arc<ForwardAuth>>,
    pub cors: Option<Arc<Cors>>,
    /// Content codings offered, in order of preference; empty is off.
    pub compress: Vec<Coding>,
    pub error_pages: Option<Arc<ErrorPages>>,
}

/// `hsts` (RFC 6797).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// How long a browser remembers; zero makes it forget.
    pub max_age: Duration,
    pub include_subdomains: bool,
    pub preload: bool,
}

/// `allow` and `deny`: `deny` wins, and where there is an `allow` the rest is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRules {
    /// `None`: everybody who is not denied.
    pub allow: Option<Vec<IpNet>>,
    pub deny: Vec<IpNet>,
}

/// `rate_limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Time between two requests at the full rate.
    pub interval: Duration,
    /// Requests let through at once.
    pub burst: u32,
    pub key: RateKey,
    /// Requests pass; the log says which would not have.
    pub dry_run: bool,
}

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; of IPv6 the /64, which is one customer's.
    ClientIp,
    /// The value of a request field; a request without it counts by its address.
    Header(String),
    /// All requests together.
    Route,
}

/// `basic_auth` (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    pub realm: String,
    pub users_file: PathBuf,
    /// Where `users_file` stands.
    pub origin: Origin,
}

/// `forward_auth`: another server decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Index into [`super::Config::upstreams`].
    pub upstream: usize,
    /// Path and query asked for.
    pub target: String,
    /// Fields of its answer that the backend gets; the client's own are removed first.
    pub copy_headers: Vec<String>,
}

/// `cors` (the Fetch standard, section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins let in; `None` is any.
    pub origins: Option<Vec<String>>,
    pub methods: Vec<String>,
    pub credentials: bool,
    /// How long a browser remembers the answer to a preflight.
    pub max_age: Duration,
}

/// `error_pages`: what browsers are shown for an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPages {
    /// Single statuses first, then classes.
    pub files: Vec<ErrorFile>,
    /// The errors of servers too, not only the proxy's own.
    pub upstream: bool,
}

/// The page of a status, or of a class of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFile {
    pub statuses: RangeInclusive<u16>,
    pub file: PathBuf,
    /// Where `file` stands.
    pub origin: Origin,
}

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Zstd,
    Br,
    Gzip,
}

impl Coding {
    /// Every coding, best first.
    pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }
}
