//! The keys of the config language, table by table, in the order a reader meets them.

use super::Kind::{Bool, Choice, Duration, Integer, List, Map, OneOf, Size, Text};
use super::sites::{ERROR_PAGES, SITE};
use super::{Key, Kind, Table};

/// The version of the keys that were there from the beginning.
const FIRST: &str = "0.1";

pub(super) const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc, supported: true, since: FIRST }
}

/// A key of the language that this version does not act on.
pub(super) const fn later(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc, supported: false, since: FIRST }
}

pub(super) const fn words(now: &'static [&'static str]) -> Kind {
    Choice { now, later: &[] }
}

pub(super) const fn count(max: i64) -> Kind {
    Integer { min: 1, max }
}

pub(super) const NETWORKS: Kind = List(&Text("a network"));
pub(super) const HEADER_NAMES: Kind = List(&Text("a header name"));
pub(super) const DURATION: Kind = Duration { off: false };
const TIMEOUT: Kind = Duration { off: true };
pub(super) const PORT: Kind = count(65_535);
pub(super) const OFF: Kind = words(&["off"]);
pub(super) const TARGET: Kind = OneOf(&[PORT, Text("a target")]);
pub(super) const COMPRESS: Kind = OneOf(&[Bool, List(&words(&["zstd", "br", "gzip"]))]);
pub(super) const PLAIN: Kind = words(&["redirect", "serve", "upgrade", "off"]);
pub(super) const FORWARDED: Kind = words(&["x-forwarded", "rfc7239", "both", "off"]);

/// The top of a config file.
#[rustfmt::skip]
pub static ROOT: Table = Table { other: None, keys: &[
    key("include", List(&Text("a file pattern")), "[]", "Files merged into this one; `*` stands in the last part."),
    key("listeners", Kind::Table(&LISTENERS), "", "The doors: addresses and what is spoken there."),
    key("tls", Kind::Table(&TLS), "", "TLS versions and certificates for all sites."),
    key("dev_ca", Kind::Table(&DEV_CA), "", "The development certificate authority."),
    key("acme", Kind::Table(&ACME), "", "Certificates from an ACME server (RFC 8555)."),
    key("defaults", Kind::Table(&DEFAULTS), "", "Settings every site starts from."),
    key("sites", Map("a host", &OneOf(&[PORT, Text("a target"), Kind::Table(&SITE)])), "", "The hosts served."),
    key("upstreams", Map("a name", &Kind::Table(&UPSTREAM)), "", "Named groups of servers."),
    later("streams", Map("a name", &Kind::Table(&STREAM)), "", "Bytes passed on unread."),
    key("access_log", OneOf(&[OFF, Kind::Table(&ACCESS_LOG)]), "", "One record a request."),
    key("log", Kind::Table(&LOG), "", "What the program says about itself."),
    key("metrics", Kind::Table(&METRICS), "", "Prometheus metrics."),
    key("tracing", Kind::Table(&TRACING), "", "Traces over OTLP."),
    key("admin", Kind::Table(&ADMIN), "", "The administration socket and the inspector."),
    key("store", Kind::Table(&STORE), "", "Where shared state lives."),
    key("server", Kind::Table(&SERVER), "", "Workers, shutdown, connections."),
    key("test", List(&Kind::Table(&TEST)), "[]", "Requests that `check` explains, with what is expected of them."),
] };

const LISTENER_VALUE: Kind = OneOf(&[Text("an address"), List(&Text("an address")), Kind::Table(&LISTENER)]);

#[rustfmt::skip]
static LISTENERS: Table = Table { other: Some(LISTENER_VALUE), keys: &[
    key("http", LISTENER_VALUE, "':80'", "The plain door; \"off\" closes it."),
    key("https", LISTENER_VALUE, "':443'", "The TLS door; \"off\" closes it."),
    key("public_https_port", PORT, "", "The https port redirects name, when it is not the listener's own."),
] };

#[rustfmt::skip]
static LISTENER: Table = Table { other: None, keys: &[
    key("address", OneOf(&[Text("an address"), List(&Text("an address"))]), "", "Addresses to bind; \":80\" is every address."),
    key("tls", Bool, "false", "TLS ends here; `https` always has it and `http` never."),
    key("protocols", List(&words(&["h2", "http/1.1"])), "['h2', 'http/1.1']", "HTTP versions; on a plain door h2 is h2c by prior knowledge."),
    later("http3", Bool, "false", "HTTP/3 on the UDP port of the same number."),
    key("proxy_protocol", OneOf(&[OFF, Kind::Table(&PROXY_PROTOCOL)]), "'off'", "The PROXY protocol of a balancer in front."),
] };

#[rustfmt::skip]
static PROXY_PROTOCOL: Table = Table { other: None, keys: &[
    key("trust", NETWORKS, "[]", "Networks whose header is believed."),
    key("timeout", DURATION, "'5s'", "Time for the header to arrive."),
] };

#[rustfmt::skip]
static TLS: Table = Table { other: None, keys: &[
    key("min_version", words(&["1.2", "1.3"]), "'1.2'", "The oldest TLS version accepted."),
    key("certificates", List(&Kind::Table(&CERTIFICATE)), "[]", "Certificate files; each serves the names in its SAN."),
    key("unknown_host", words(&["reject", "default"]), "'reject'", "What an SNI nobody serves gets: an alert, or the first certificate."),
] };

#[rustfmt::skip]
static CERTIFICATE: Table = Table { other: None, keys: &[
    key("cert", Text("a file"), "", "The certificate chain, PEM."),
    key("key", Text("a file"), "", "The private key, PEM."),
] };

#[rustfmt::skip]
static DEV_CA: Table = Table { other: None, keys: &[
    key("dir", Text("a folder"), "'auto'", "Where the root lives; \"auto\" is the user's data folder."),
    key("leaf_lifetime", DURATION, "'90d'", "How long a development certificate is valid."),
    key("extra_domains", List(&Text("a domain")), "[]", "Domains beyond the local ones that the root may sign."),
] };

#[rustfmt::skip]
static ACME: Table = Table { other: None, keys: &[
    key("email", Text("a mail address"), "", "The contact of the account."),
    key("directory", Text("a URL"), "'letsencrypt'", "The server: letsencrypt, letsencrypt-staging, or a URL."),
    key("ca_root", Text("a file"), "", "A root to trust when talking to the server."),
    key("challenges", List(&words(&["tls-alpn-01", "http-01", "dns-01"])), "['tls-alpn-01', 'http-01']", "Challenges, in order of preference."),
    key("eab", Kind::Table(&EAB), "", "External account binding."),
    key("dns01_hook", List(&Text("a command")), "", "Called with present or cleanup, NAME and VALUE."),
    key("accept_terms", Bool, "false", "The terms of the server are accepted."),
    key("profile", Text("a profile"), "", "The profile of certificate asked for, where the server offers several."),
    key("ephemeral_ok", Bool, "false", "Orders from a public server although the state folder is lost at a restart."),
] };

#[rustfmt::skip]
static EAB: Table = Table { other: None, keys: &[
    key("key_id", Text("a key id"), "", "The key id the server gave out."),
    key("hmac_key", Text("a key"), "", "The key, base64url."),
] };

#[rustfmt::skip]
static DEFAULTS: Table = Table { other: None, keys: &[
    key("http", PLAIN, "'redirect'", "What the plain door does for a site."),
    key("trusted_proxies", NETWORKS, "[]", "Networks whose forwarding headers are believed."),
    key("forwarded", FORWARDED, "'x-forwarded'", "Which forwarding headers a backend gets."),
    key("compress", COMPRESS, "false", "Response compression."),
    key("error_pages", ERROR_PAGES, "", "Pages that browsers are shown for errors."),
    key("timeouts", Kind::Table(&TIMEOUTS), "", "Deadlines of a request."),
    key("limits", Kind::Table(&LIMITS), "", "Bounds of a request."),
] };

#[rustfmt::skip]
pub(super) static TIMEOUTS: Table = Table { other: None, keys: &[
    key("handshake", TIMEOUT, "'10s'", "TLS handshake, from accept."),
    key("request_header", TIMEOUT, "'10s'", "From the first byte of a request to the end of its head."),
    key("request_body_idle", TIMEOUT, "'30s'", "Between two reads of a request body."),
    key("keep_alive", TIMEOUT, "'75s'", "Between two requests on one connection."),
    key("connect", TIMEOUT, "'3s'", "Connecting to a server."),
    key("response_header", TIMEOUT, "'60s'", "From the end of the request to the response head."),
    key("response_body_idle", TIMEOUT, "'60s'", "Between two reads of a response body."),
    key("tunnel_idle", TIMEOUT, "'off'", "Silence on an upgraded connection."),
] };

#[rustfmt::skip]
pub(super) static LIMITS: Table = Table { other: None, keys: &[
    key("header_bytes", Size { min: 1 << 10, max: 1 << 20, off: false }, "'32KiB'", "Bytes of a request head."),
    key("header_fields", count(1000), "100", "Fields of a request head."),
    key("body", Size { min: 0, max: 1 << 50, off: true }, "'100MiB'", "Bytes of a request body."),
    later("connections_per_ip", OneOf(&[OFF, count(1_000_000)]), "'off'", "Connections of one client address."),
    key("uri_bytes", Size { min: 64, max: 1 << 20, off: false }, "'16KiB'", "Bytes of a request target."),
] };

/// `[upstreams.NAME]`.
#[rustfmt::skip]
static UPSTREAM: Table = Table { other: None, keys: &[
    key("servers", List(&OneOf(&[PORT, Text("a target"), Kind::Table(&SERVER_OF)])), "", "The servers."),
    key("protocol", words(&["http/1.1", "h2", "h2c"]), "'http/1.1'", "What is spoken to the servers; h2 is over TLS, h2c in clear."),
    key("balance", words(&["least-requests", "round-robin", "random", "first", "hash"]), "'least-requests'", "How a server is picked."),
    key("hash_on", Text("a key"), "'client_ip'", "What \"hash\" looks at."),
    key("sticky", OneOf(&[OFF, Kind::Table(&STICKY)]), "'off'", "A client stays with its server."),
    key("keepalive", Kind::Table(&KEEPALIVE), "", "Idle connections kept."),
    key("host_header", Text("a host"), "'preserve'", "The Host a server gets: preserve, upstream, or a name."),
    key("retries", OneOf(&[OFF, Kind::Table(&RETRIES)]), "{ attempts = 1, budget = '20%' }", "Second attempts."),
    key("health_check", OneOf(&[OFF, Kind::Table(&HEALTH_CHECK)]), "'off'", "Requests that ask a server how it is."),
    key("slow_start", TIMEOUT, "'10s'", "Time in which the share of a server that is back grows to its whole."),
    key("outlier", OneOf(&[OFF, Kind::Table(&OUTLIER)]), "{ failures = 3, window = '10s', eject = '10s', max_ejected = '50%' }", "Servers that fail are left out for a while."),
    key("max_requests", OneOf(&[OFF, count(1_000_000)]), "'off'", "Requests in flight per server."),
    key("queue_timeout", DURATION, "'1s'", "How long a request waits for a free server."),
    key("hold", TIMEOUT, "'off'", "How long a request waits for a server that cannot be reached."),
    key("resolve", Kind::Table(&RESOLVE), "{ min_ttl = '1s', max_ttl = '30s' }", "How long an answer of DNS is used."),
    key("proxy_protocol", words(&["off", "v1", "v2"]), "'off'", "The PROXY protocol, sent to the servers."),
    key("tls", OneOf(&[OFF, Kind::Table(&UPSTREAM_TLS)]), "'off'", "TLS to the servers."),
] };

#[rustfmt::skip]
static SERVER_OF: Table = Table { other: None, keys: &[
    key("address", TARGET, "", "The target."),
    key("weight", count(1000), "1", "The share of this server."),
    key("backup", Bool, "false", "Used when no other server can be."),
] };

#[rustfmt::skip]
static STICKY: Table = Table { other: None, keys: &[
    key("cookie", Text("a cookie name"), "'vestibule'", "The cookie that names the server."),
    key("max_age", DURATION, "'1d'", "How long the cookie lives."),
] };

#[rustfmt::skip]
static KEEPALIVE: Table = Table { other: None, keys: &[
    key("idle", Integer { min: 0, max: 10_000 }, "64", "Idle connections per server and worker."),
    key("idle_timeout", DURATION, "'60s'", "How long an idle connection is kept."),
] };

#[rustfmt::skip]
static RETRIES: Table = Table { other: None, keys: &[
    key("attempts", Integer { min: 0, max: 10 }, "1", "Attempts after the first."),
    key("budget", Text("a share"), "'20%'", "Retries at most, of all requests."),
] };

#[rustfmt::skip]
static HEALTH_CHECK: Table = Table { other: None, keys: &[
    key("type", words(&["http", "tcp", "grpc"]), "'http'", "What is asked."),
    key("path", Text("a path"), "'/'", "The path asked for."),
    key("method", Text("a method"), "'GET'", "The method it is asked with."),
    key("host", Text("a host"), "", "The Host it is asked with, when it is not the upstream's `host_header` or the server's address."),
    key("service", Text("a service"), "''", "With type \"grpc\", the service asked for."),
    key("interval", DURATION, "'10s'", "Time between two checks."),
    key("timeout", DURATION, "'2s'", "Time for an answer."),
    key("unhealthy", count(100), "3", "Failures in a row that take a server out."),
    key("healthy", count(100), "2", "Successes in a row that take it back."),
    key("expect", Text("a range of statuses"), "'200-399'", "Statuses that count as success."),
] };

#[rustfmt::skip]
static OUTLIER: Table = Table { other: None, keys: &[
    key("failures", count(1000), "3", "Failures that take a server out."),
    key("window", DURATION, "'10s'", "Time they must fall in."),
    key("eject", DURATION, "'10s'", "How long it stays out."),
    key("max_ejected", Text("a share"), "'50%'", "Servers out at most, of all."),
] };

#[rustfmt::skip]
static RESOLVE: Table = Table { other: None, keys: &[
    key("min_ttl", DURATION, "'1s'", "An answer is used at least this long."),
    key("max_ttl", DURATION, "'30s'", "An answer is used at most this long."),
    key("servers", List(&Text("an address")), "[]", "Name servers to ask; none are those of the system."),
] };

#[rustfmt::skip]
static UPSTREAM_TLS: Table = Table { other: None, keys: &[
    key("ca", Text("a file"), "", "Roots to trust, PEM."),
    key("server_name", Text("a host"), "", "The name the certificate must cover."),
    key("client_cert", Text("a file"), "", "Our certificate, PEM."),
    key("client_key", Text("a file"), "", "Its private key, PEM."),
    key("verify", Bool, "true", "The certificate is verified."),
] };

#[rustfmt::skip]
static STREAM: Table = Table { other: None, keys: &[
    key("listen", Text("an address"), "", "The address to bind."),
    key("sni", Map("a host", &Text("a target")), "", "Targets by SNI, TLS left as it is."),
    key("proxy", Text("a target"), "", "The one target."),
] };

#[rustfmt::skip]
static ACCESS_LOG: Table = Table { other: None, keys: &[
    key("format", words(&["auto", "json", "text", "combined"]), "'auto'", "Text on a terminal and JSON otherwise, or one of them."),
    key("output", Text("a file"), "'stdout'", "stdout, stderr, or a file."),
    key("redact", Kind::Table(&REDACT), "", "What never reaches the log."),
    key("sample", Text("a share"), "'100%'", "The share of requests written; errors are written always."),
] };

#[rustfmt::skip]
static REDACT: Table = Table { other: None, keys: &[
    key("query", List(&Text("a parameter")), "['token']", "Query parameters whose value is masked."),
    key("headers", HEADER_NAMES, "['authorization', 'cookie', 'set-cookie']", "Fields whose value is masked."),
] };

#[rustfmt::skip]
static LOG: Table = Table { other: None, keys: &[
    key("level", words(&["error", "warn", "info", "debug", "trace"]), "'info'", "The least important level that is said."),
] };

#[rustfmt::skip]
static METRICS: Table = Table { other: None, keys: &[
    key("listen", Text("an address"), "'127.0.0.1:9180'", "Where GET /metrics is answered."),
] };

#[rustfmt::skip]
static TRACING: Table = Table { other: None, keys: &[
    key("otlp", Text("a URL"), "'http://127.0.0.1:4318'", "The collector: OTLP over HTTP."),
    key("sample", Text("a share"), "'10%'", "The share of requests traced that bring no decision of their own."),
] };

#[rustfmt::skip]
static ADMIN: Table = Table { other: None, keys: &[
    key("socket", Text("a socket"), "'auto'", "The unix socket of status, reload, upgrade and the like."),
    key("inspector", OneOf(&[OFF, Kind::Table(&INSPECTOR)]), "'off'", "The inspector: the traffic as a web page for this machine."),
] };

#[rustfmt::skip]
static INSPECTOR: Table = Table { other: None, keys: &[
    key("listen", Text("an address"), "'127.0.0.1:4480'", "The address of the page."),
    key("capture", Choice { now: &["metadata"], later: &["full"] }, "'metadata'", "What is kept of a request: its heads, with secrets masked."),
] };

#[rustfmt::skip]
static STORE: Table = Table { other: None, keys: &[
    later("url", Text("a URL"), "'file:auto'", "Files, or a redis server."),
] };

#[rustfmt::skip]
static SERVER: Table = Table { other: None, keys: &[
    key("workers", OneOf(&[count(1024), words(&["auto"])]), "'auto'", "Worker threads; \"auto\" is one per core."),
    key("shutdown_grace", DURATION, "'8s'", "How long requests may finish at the end."),
    key("shutdown_delay", Kind::Duration { off: true }, "'off'", "How long health checks fail before the end begins."),
    key("watch_config", Bool, "false", "Changed config files are read and served by themselves."),
    key("generation_grace", DURATION, "'10m'", "How long what began before an upgrade, or under what a reload has changed, may go on."),
    key("max_connections", OneOf(&[count(10_000_000), words(&["auto"])]), "'auto'", "Client connections; \"auto\" is from RLIMIT_NOFILE."),
] };

#[rustfmt::skip]
static TEST: Table = Table { other: None, keys: &[
    key("request", Text("a request"), "", "Method and URL; the method may be left out for GET."),
    key("headers", Map("a header name", &Text("a value")), "{}", "Fields the client sends."),
    key("from", Text("an IP address"), "'127.0.0.1'", "The address of the client."),
    key("expect", Kind::Table(&EXPECT), "", "What must come out; only what is named is compared."),
] };

#[rustfmt::skip]
static EXPECT: Table = Table { other: None, keys: &[
    key("status", Integer { min: 100, max: 599 }, "", "The status, where the answer is the proxy's own."),
    key("redirect", Text("a URL"), "", "The Location of the answer."),
    key("location", Text("a URL"), "", "The same under the name of the field."),
    key("site", Text("a host"), "", "The site, as `[sites]` names it."),
    key("route", Text("a path"), "", "The route's path; \"/*\" is the site's own action."),
    key("upstream", Text("the name of an upstream"), "", "The upstream, or the target of `proxy`, that is asked."),
    key("why", Text("a why-code"), "", "The cause of an error of ours."),
    key("header", Map("a header name", &Text("a value")), "", "Fields the client gets from the proxy."),
    key("sent", Map("a header name", &Text("a value")), "", "Fields the server gets; `:target` is path and query."),
] };
