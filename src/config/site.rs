//! Sites, their routes, and what a route does.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::IpNet;

use super::{CertFiles, ErrorPages, Filters, Matchers, Origin, PathRegex};

/// A host a site answers for. Names are lower case, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.example.com` holds `example.com`: any one label or more in front.
    Wildcard(String),
    /// `"*"`.
    Any,
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(base) => write!(f, "*.{base}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

/// One `[sites."HOST"]`.
#[derive(Debug, Clone)]
pub struct Site {
    pub host: HostPattern,
    pub aliases: Vec<HostPattern>,
    /// Aliases are answered with a redirect to the site's own name.
    pub aliases_redirect: bool,
    pub tls: SiteTls,
    /// Certificates asked of clients. On the heap: few sites ask, and a config may have very many.
    pub client_auth: Option<Box<ClientAuth>>,
    pub http: PlainMode,
    /// The error pages where no route is met.
    pub error_pages: Option<Arc<ErrorPages>>,
    /// Routes in file order; the site's own action is last, with [`PathPattern::Any`].
    pub routes: Vec<Route>,
    pub origin: Origin,
}

/// Where a site's certificate comes from, resolved from `tls = "auto"` and friends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteTls {
    /// A file of `tls.certificates` if its SAN covers the host, else the development CA if the name is a local one, else
    /// ACME where `[acme]` is there, else nothing (only [`UnknownHost::Default`] can serve it): known when the
    /// certificates are open.
    Auto,
    Dev,
    Acme,
    Off,
    Files(CertFiles),
}

/// `client_auth = { mode, ca, crl }` of a site's `tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    pub mode: ClientAuthMode,
    /// The roots that sign client certificates, and where the value stands.
    pub ca: (PathBuf, Origin),
    /// Revocation lists (RFC 5280 section 5). Where there is one, every certificate below a root needs one of its issuer.
    pub crl: Vec<(PathBuf, Origin)>,
    pub origin: Origin,
}

/// Whether a client may come without a certificate. One that it shows is verified in both modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAuthMode {
    Request,
    Require,
}

/// What the plain door does for a site (`http = ...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainMode {
    /// Redirect to https.
    #[default]
    Redirect,
    /// The same content on both doors.
    Serve,
    /// Redirect only clients that send `Upgrade-Insecure-Requests: 1`.
    Upgrade,
    /// The site is not there on the plain door.
    Off,
}

/// One path of a site with what happens there.
#[derive(Debug, Clone)]
pub struct Route {
    pub path: PathPattern,
    pub matchers: Matchers,
    /// Removed from the front of the path before it is forwarded; no trailing slash.
    pub strip_prefix: Option<String>,
    /// The path a backend gets, a template: `{path}`, `{1}`, `{name}`.
    pub rewrite: Option<String>,
    pub filters: Filters,
    pub action: Action,
    pub settings: Arc<RouteSettings>,
    pub origin: Origin,
}

/// What a route takes from its site, and that from `[defaults]`, where it does not say it itself. Routes that have the same
/// share it: a config may have thousands, and what their requests read is in the cache then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Of the site.
    pub request_headers: Arc<HeaderRules>,
    pub response_headers: Arc<HeaderRules>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub forwarding: Forwarding,
    /// Protocols a client may switch to, in lower case.
    pub upgrade: Arc<[String]>,
    /// The request body is read whole before a server gets the request.
    pub buffer_request: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/ping`.
    Exact(String),
    /// `/api/*` holds `/api`: that path itself and everything below it, whole segments only.
    Prefix(String),
    /// Anchored at both ends.
    Regex(PathRegex),
    /// Every path, after all others.
    Any,
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(prefix) => write!(f, "{prefix}/*"),
            PathPattern::Regex(regex) => write!(f, "~{}", regex.as_str()),
            PathPattern::Any => f.write_str("/*"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Index into [`Config::upstreams`].
    Forward(usize),
    Redirect(Redirect),
    Respond(Respond),
}

/// `redirect = { to, status }`; `{path}`, `{query}`, `{host}` and groups of `path_regex` in `to` are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub to: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    pub status: u16,
    pub body: String,
    pub content_type: String,
}

/// `headers.request` or `headers.response`: `remove`, then `set`, then `add`. Values are templates:
/// `{client_ip}`, `{request_id}`, `{tls.sni}` and the others of [`HEADER_PLACEHOLDERS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

/// What a value of a header rule may be filled in with.
pub const HEADER_PLACEHOLDERS: &[&str] = &[
    "client_ip",
    "host",
    "scheme",
    "request_id",
    "method",
    "path",
    "query",
    "tls.sni",
    "tls.version",
    "tls.cipher",
    "tls.group",
    "tls.alpn",
    "tls.client.subject",
    "tls.client.issuer",
    "tls.client.serial",
    "tls.client.fingerprint",
    "tls.client.san",
    "tls.client.not_after",
];

impl HeaderRules {
    /// The rules that do nothing: one for all sites, since a config may have thousands.
    pub fn none() -> Arc<HeaderRules> {
        static NONE: LazyLock<Arc<HeaderRules>> = LazyLock::new(Arc::default);
        NONE.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Whose forwarding fields are believed, and which are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    pub trusted_proxies: Vec<IpNet>,
    pub style: ForwardedStyle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedStyle {
    /// X-Forwarded-For, -Proto, -Host and -Port.
    #[default]
    XForwarded,
    /// Forwarded (RFC 7239).
    Rfc7239,
    Both,
    Off,
}

/// Every deadline of a request; `None` is "off".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake, from accept.
    pub handshake: Option<Duration>,
    /// From the first byte of a request to the end of its head; from accept for the first one.
    pub request_header: Option<Duration>,
    /// Between two reads of a request body.
    pub request_body_idle: Option<Duration>,
    /// Between two requests on one connection.
    pub keep_alive: Option<Duration>,
    /// Connecting to a server.
    pub connect: Option<Duration>,
    /// From the end of the request to the response head.
    pub response_header: Option<Duration>,
    /// Between two reads of a response body, or two writes to a client that does not read.
    pub response_body_idle: Option<Duration>,
    /// Silence on an upgraded connection.
    pub tunnel_idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |n| Some(Duration::from_secs(n));
        Timeouts {
            handshake: seconds(10),
            request_header: seconds(10),
            request_body_idle: seconds(30),
            keep_alive: seconds(75),
            connect: seconds(3),
            response_header: seconds(60),
            response_body_idle: seconds(60),
            tunnel_idle: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, start line included.
    pub header_bytes: usize,
    pub header_fields: usize,
    /// Bytes of a request body; `None` is "off".
    pub body: Option<u64>,
    /// Bytes of a request target.
    pub uri_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { header_bytes: 32 << 10, header_fields: 100, body: Some(100 << 20), uri_bytes: 16 << 10 }
    }
}
