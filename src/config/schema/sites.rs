//! The keys of a site and its routes, with the filters that may stand there.

use super::Kind::{Bool, Integer, List, Map, OneOf, Text};
use super::tables::{COMPRESS, DURATION, FORWARDED, HEADER_NAMES, LIMITS, NETWORKS, OFF, PLAIN, TARGET, TIMEOUTS};
use super::tables::{count, key, words};
use super::{Kind, Table};

pub(super) const ERROR_PAGES: Kind = OneOf(&[OFF, Kind::Table(&ERROR_PAGE)]);
const UPGRADE: Kind = List(&Text("a protocol"));

/// `[sites."HOST"]`.
#[rustfmt::skip]
pub(in crate::config) static SITE: Table = Table { other: None, keys: &[
    key("aliases", List(&Text("a host")), "[]", "Further hosts of the site."),
    key("aliases_redirect", Bool, "true", "Aliases are answered with a redirect to the site's own name."),
    key("proxy", TARGET, "", "The one server requests go to."),
    key("upstream", Text("the name of an upstream"), "", "The upstream requests go to."),
    key("redirect", OneOf(&[Text("a URL or path"), Kind::Table(&REDIRECT)]), "", "Answer with a redirect."),
    key("respond", Kind::Table(&RESPOND), "", "Answer with a fixed response."),
    key("tls", OneOf(&[words(&["auto", "dev", "acme", "off"]), Kind::Table(&SITE_TLS)]), "'auto'", "Where the certificate comes from."),
    key("http", PLAIN, "'redirect'", "What the plain door does for the site."),
    key("hsts", OneOf(&[OFF, Kind::Table(&HSTS)]), "", "Strict-Transport-Security (RFC 6797)."),
    key("headers", Kind::Table(&HEADERS), "", "Header fields changed on the way."),
    key("trusted_proxies", NETWORKS, "[]", "Networks whose forwarding headers are believed."),
    key("forwarded", FORWARDED, "'x-forwarded'", "Which forwarding headers a backend gets."),
    key("compress", COMPRESS, "false", "Response compression."),
    key("allow", NETWORKS, "", "Client networks let in; the rest is refused."),
    key("deny", NETWORKS, "", "Client networks refused."),
    key("rate_limit", OneOf(&[OFF, Kind::Table(&RATE_LIMIT)]), "", "Requests over time."),
    key("basic_auth", OneOf(&[OFF, Kind::Table(&BASIC_AUTH)]), "", "User and password (RFC 7617)."),
    key("forward_auth", OneOf(&[OFF, Kind::Table(&FORWARD_AUTH)]), "", "Another server decides who may pass."),
    key("cors", OneOf(&[OFF, Kind::Table(&CORS)]), "", "Cross-origin requests."),
    key("error_pages", ERROR_PAGES, "", "Pages that browsers are shown for errors."),
    key("timeouts", Kind::Table(&TIMEOUTS), "", "Deadlines of a request."),
    key("limits", Kind::Table(&LIMITS), "", "Bounds of a request."),
    key("upgrade", UPGRADE, "['websocket']", "Protocols a client may switch to with `Upgrade`."),
    key("buffer_request", Bool, "false", "Read the request body whole before forwarding it."),
    key("routes", List(&Kind::Table(&ROUTE)), "[]", "Paths with an action of their own."),
] };

#[rustfmt::skip]
static SITE_TLS: Table = Table { other: None, keys: &[
    key("cert", Text("a file"), "", "The certificate chain, PEM."),
    key("key", Text("a file"), "", "The private key, PEM."),
    key("client_auth", OneOf(&[OFF, Kind::Table(&CLIENT_AUTH)]), "'off'", "Certificates asked of clients."),
] };

#[rustfmt::skip]
static CLIENT_AUTH: Table = Table { other: None, keys: &[
    key("mode", words(&["request", "require"]), "'require'", "Whether a client may come without a certificate."),
    key("ca", Text("a file"), "", "The roots that sign client certificates, PEM."),
    key("crl", OneOf(&[Text("a file"), List(&Text("a file"))]), "", "Revocation lists of those who sign, PEM."),
] };

#[rustfmt::skip]
static ROUTE: Table = Table { other: None, keys: &[
    key("path", Text("a path"), "", "An exact path, or a prefix of whole segments: \"/api/*\"."),
    key("path_regex", Text("a regular expression"), "", "A path, anchored at both ends."),
    key("methods", List(&Text("a method")), "", "Methods the route is for."),
    key("headers", Map("a header name", &Text("a value")), "", "Request fields the route is for; \"*\" is any value."),
    key("query", Map("a parameter", &Text("a value")), "", "Query parameters the route is for; \"*\" is any value."),
    key("client_ip", NETWORKS, "", "Client networks the route is for."),
    key("strip_prefix", Text("a path"), "", "Removed from the front of the path before it is forwarded."),
    key("rewrite", Text("a path"), "", "The path a backend gets; {path} and groups of path_regex are filled in."),
    key("proxy", TARGET, "", "The one server requests go to."),
    key("upstream", Text("the name of an upstream"), "", "The upstream requests go to."),
    key("redirect", OneOf(&[Text("a URL or path"), Kind::Table(&REDIRECT)]), "", "Answer with a redirect."),
    key("respond", Kind::Table(&RESPOND), "", "Answer with a fixed response."),
    key("hsts", OneOf(&[OFF, Kind::Table(&HSTS)]), "", "Strict-Transport-Security (RFC 6797)."),
    key("compress", COMPRESS, "false", "Response compression."),
    key("allow", NETWORKS, "", "Client networks let in; the rest is refused."),
    key("deny", NETWORKS, "", "Client networks refused."),
    key("rate_limit", OneOf(&[OFF, Kind::Table(&RATE_LIMIT)]), "", "Requests over time."),
    key("basic_auth", OneOf(&[OFF, Kind::Table(&BASIC_AUTH)]), "", "User and password (RFC 7617)."),
    key("forward_auth", OneOf(&[OFF, Kind::Table(&FORWARD_AUTH)]), "", "Another server decides who may pass."),
    key("cors", OneOf(&[OFF, Kind::Table(&CORS)]), "", "Cross-origin requests."),
    key("error_pages", ERROR_PAGES, "", "Pages that browsers are shown for errors."),
    key("timeouts", Kind::Table(&TIMEOUTS), "", "Deadlines of a request."),
    key("limits", Kind::Table(&LIMITS), "", "Bounds of a request."),
    key("upgrade", UPGRADE, "['websocket']", "Protocols a client may switch to with `Upgrade`."),
    key("buffer_request", Bool, "false", "Read the request body whole before forwarding it."),
] };

#[rustfmt::skip]
static REDIRECT: Table = Table { other: None, keys: &[
    key("to", Text("a URL or path"), "", "Where to; {path}, {query}, {host} and groups of path_regex are filled in."),
    key("status", Integer { min: 0, max: 999 }, "308", "301, 302, 303, 307 or 308."),
] };

#[rustfmt::skip]
static RESPOND: Table = Table { other: None, keys: &[
    key("status", Integer { min: 0, max: 999 }, "200", "The status, 200 to 599."),
    key("body", Text("a text"), "''", "The content of the response."),
    key("content_type", Text("a media type"), "'text/plain; charset=utf-8'", "The Content-Type."),
] };

#[rustfmt::skip]
static HEADERS: Table = Table { other: None, keys: &[
    key("request", Kind::Table(&HEADER_RULES), "", "Fields of the request, as the backend gets them."),
    key("response", Kind::Table(&HEADER_RULES), "", "Fields of the response, as the client gets them."),
] };

#[rustfmt::skip]
static HEADER_RULES: Table = Table { other: None, keys: &[
    key("set", Map("a header name", &Text("a value")), "{}", "Fields set, after `remove`."),
    key("add", Map("a header name", &Text("a value")), "{}", "Fields added, after `set`."),
    key("remove", HEADER_NAMES, "[]", "Fields removed, first of all."),
] };

#[rustfmt::skip]
static HSTS: Table = Table { other: None, keys: &[
    key("max_age", OneOf(&[DURATION, Integer { min: 0, max: 0 }]), "'1y'", "How long a browser remembers; 0 makes it forget."),
    key("include_subdomains", Bool, "false", "Subdomains too."),
    key("preload", Bool, "false", "The owner asks for the browsers' built-in list."),
] };

#[rustfmt::skip]
static RATE_LIMIT: Table = Table { other: None, keys: &[
    key("rate", Text("a rate"), "", "Requests over time, such as \"100/s\"."),
    key("burst", count(1_000_000), "", "Requests let through at once."),
    key("key", Text("a key"), "'client_ip'", "What is counted apart."),
    key("dry_run", Bool, "false", "Only log what would be refused."),
] };

#[rustfmt::skip]
static BASIC_AUTH: Table = Table { other: None, keys: &[
    key("realm", Text("a realm"), "'restricted'", "The realm a browser shows."),
    key("users_file", Text("a file"), "", "Users and password hashes, as htpasswd writes them."),
] };

#[rustfmt::skip]
static FORWARD_AUTH: Table = Table { other: None, keys: &[
    key("url", Text("a URL"), "", "Asked for each request; 2xx lets it pass."),
    key("copy_headers", HEADER_NAMES, "[]", "Fields of the answer the backend gets."),
] };

/// Its other keys are statuses.
#[rustfmt::skip]
static ERROR_PAGE: Table = Table { other: Some(Text("a file")), keys: &[
    key("upstream", Bool, "false", "For the errors of servers too, not only the proxy's own."),
] };

#[rustfmt::skip]
static CORS: Table = Table { other: None, keys: &[
    key("origins", List(&Text("an origin")), "[]", "Origins let in."),
    key("methods", List(&Text("a method")), "['GET', 'POST']", "Methods let in."),
    key("credentials", Bool, "false", "Cookies and authorization too."),
    key("max_age", DURATION, "'10m'", "How long a browser remembers the answer."),
] };
