//! How servers are chosen and known to be well: `balance`, `sticky`, `health_check`, `resolve`, `hold`, `slow_start`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Checker, headers, hosts, matchers, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, quote};
use crate::config::{Balance, CheckKind, HashOn, HealthCheck, Resolve, Sticky, Upstream, UpstreamAddress};

const COOKIE: &str = "vestibule";
const COOKIE_AGE: Duration = Duration::from_secs(24 * 3600);
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Nothing is asked more often than this.
const OFTEN: Duration = Duration::from_millis(100);
/// The port of DNS.
const DNS_PORT: u16 = 53;

impl Checker<'_> {
    /// The keys of this file in an `[upstreams.NAME]`, whose servers are known.
    pub(super) fn balancing(&mut self, table: &Table, upstream: &mut Upstream) {
        let hash_on = table.get("hash_on").and_then(|node| self.take(hash_on(node.text()?), node.at));
        upstream.balance = match table.text("balance") {
            Some("round-robin") => Balance::RoundRobin,
            Some("random") => Balance::Random,
            Some("first") => Balance::First,
            Some("hash") => Balance::Hash(hash_on.unwrap_or(HashOn::ClientIp)),
            _ => {
                if hash_on.is_some_and(|key| key != HashOn::ClientIp) && table.text("balance") != Some("hash") {
                    self.no_effect(table, "hash_on", "it is for `balance = \"hash\"`");
                }
                Balance::LeastRequests
            }
        };
        upstream.sticky = self.sticky(table, upstream.servers.len());
        upstream.health_check = self.health_check(table, upstream);
        upstream.resolve = self.resolve(table);
        upstream.hold = table.duration("hold").flatten();
        if let Some(slow_start) = table.duration("slow_start") {
            upstream.slow_start = slow_start;
        }
    }

    fn sticky(&mut self, table: &Table, servers: usize) -> Option<Sticky> {
        let keys = table.get("sticky")?.table()?;
        let cookie = match keys.get("cookie") {
            Some(node) => self.take(cookie_name(node.text()?), node.at)?,
            None => COOKIE.to_owned(),
        };
        if servers == 1 {
            self.no_effect(table, "sticky", "there is one server");
        }
        Some(Sticky { cookie, max_age: keys.duration("max_age").flatten().unwrap_or(COOKIE_AGE) })
    }

    fn health_check(&mut self, table: &Table, upstream: &Upstream) -> Option<HealthCheck> {
        let node = table.get("health_check")?;
        let keys = node.table()?;
        let kind = keys.text("type").unwrap_or("http");
        let kinds: &[(&str, &str)] =
            &[("path", "http"), ("method", "http"), ("host", "http"), ("expect", "http"), ("service", "grpc")];
        for (key, owner) in kinds {
            if *owner != kind && keys.has(key) {
                self.no_effect(keys, key, &format!("it is for type = \"{owner}\""));
            }
        }
        let kind = match kind {
            "tcp" => CheckKind::Tcp,
            "grpc" => {
                if upstream.servers.iter().any(|server| !server.protocol.is_h2()) {
                    let diagnostic = Diagnostic::error("grpc-check", "a server of this upstream does not speak HTTP/2")
                        .label("gRPC is over HTTP/2")
                        .help("set protocol = \"h2c\" or \"h2\", or ask with another type");
                    self.report(diagnostic, node.at);
                }
                CheckKind::Grpc { service: keys.text("service").unwrap_or_default().to_owned() }
            }
            _ => CheckKind::Http {
                method: keys
                    .get("method")
                    .and_then(|node| self.take(matchers::method(node.text()?), node.at))
                    .unwrap_or_else(|| "GET".to_owned()),
                path: keys
                    .get("path")
                    .and_then(|node| self.take(check_path(node.text()?), node.at))
                    .unwrap_or_else(|| "/".to_owned()),
                host: keys.get("host").and_then(|node| self.take(host(node.text()?), node.at)),
                expect: keys
                    .get("expect")
                    .and_then(|node| self.take(expect(node.text()?), node.at))
                    .unwrap_or_else(|| vec![(200, 399)]),
            },
        };
        let count = |key: &str, default: u32| keys.integer(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(default);
        self.not_too_often(keys, "interval");
        Some(HealthCheck {
            kind,
            interval: keys.duration("interval").flatten().unwrap_or(INTERVAL),
            timeout: keys.duration("timeout").flatten().unwrap_or(TIMEOUT),
            unhealthy: count("unhealthy", 3),
            healthy: count("healthy", 2),
        })
    }

    fn resolve(&mut self, upstream: &Table) -> Resolve {
        let mut resolve = Resolve::default();
        let Some((node, table)) = upstream.get("resolve").and_then(|node| Some((node, node.table()?))) else {
            return resolve;
        };
        resolve.min_ttl = table.duration("min_ttl").flatten().unwrap_or(resolve.min_ttl);
        resolve.max_ttl = table.duration("max_ttl").flatten().unwrap_or(resolve.max_ttl);
        self.not_too_often(table, "min_ttl");
        if resolve.max_ttl < resolve.min_ttl {
            let diagnostic =
                Diagnostic::error("out-of-range", "`max_ttl` is less than `min_ttl`").label("no time fits");
            self.report(diagnostic, node.at);
        }
        for (text, at) in texts(table, "servers") {
            resolve.servers.extend(self.take(name_server(text), at));
        }
        resolve
    }

    fn not_too_often(&mut self, table: &Table, key: &str) {
        if let (Some(node), Some(Some(time))) = (table.get(key), table.duration(key))
            && time < OFTEN
        {
            let message = format!("`{key}` is {OFTEN:?} at least");
            self.report(Diagnostic::error("out-of-range", message).label("too often"), node.at);
        }
    }

    /// The name behind `srv:` of a server.
    pub(super) fn srv(name: &str) -> Checked<UpstreamAddress> {
        let plain: String = name.chars().map(|c| if c == '_' { 'x' } else { c }).collect();
        let bad = |why: &str| {
            Diagnostic::error("bad-target", format!("{} is no target: {why}", quote(&format!("srv:{name}"))))
                .label("not a target")
                .help("an SRV record is named \"srv:_http._tcp.shop.internal\"")
                .boxed()
        };
        if !name.starts_with('_') || name.split('.').filter(|label| label.starts_with('_')).count() < 2 {
            return Err(bad("it names no service and protocol"));
        }
        hosts::name(&plain).map_err(|why| bad(&format!("its name {why}")))?;
        Ok(UpstreamAddress::Srv(name.to_ascii_lowercase()))
    }
}

fn hash_on(text: &str) -> Checked<HashOn> {
    match text.split_once(':') {
        None if text == "client_ip" => return Ok(HashOn::ClientIp),
        None if text == "uri" => return Ok(HashOn::Uri),
        Some(("header", name)) => return headers::name(name).map(|_| HashOn::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) => return cookie_name(name).map(HashOn::Cookie),
        Some(("query", name)) if !name.is_empty() => return Ok(HashOn::Query(name.to_owned())),
        _ => {}
    }
    Err(Diagnostic::error("bad-key", format!("{} is nothing to hash on", quote(text)))
        .label("not a key")
        .help("write \"client_ip\", \"uri\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"")
        .boxed())
}

/// A cookie's name: a token (RFC 6265 section 4.1.1).
fn cookie_name(text: &str) -> Checked<String> {
    match headers::name(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Diagnostic::error("bad-cookie", format!("{} is no name of a cookie", quote(text)))
            .label("letters, digits, `-` and `_`")
            .boxed()),
    }
}

fn check_path(text: &str) -> Checked<String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(text.to_owned());
    }
    Err(Diagnostic::error("bad-path", format!("{} is no path", quote(text)))
        .label("a path begins with `/`, and its octets are percent-encoded")
        .boxed())
}

fn host(text: &str) -> Checked<String> {
    let (name, port) = super::targets::split(text);
    let fits = port.is_none_or(|port| super::targets::port(port).is_some());
    if fits && (hosts::ip(name).is_some() || hosts::name(name).is_ok()) {
        return Ok(text.to_owned());
    }
    Err(Diagnostic::error("bad-host", format!("{} is no value of Host", quote(text))).label("not a host").boxed())
}

/// Statuses: `"200"`, `"200-399"`, or several with commas.
fn expect(text: &str) -> Checked<Vec<(u16, u16)>> {
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..600).contains(status));
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => status(from).zip(status(to)).filter(|(from, to)| from <= to),
        None => status(part).map(|status| (status, status)),
    };
    text.split(',').map(range).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Diagnostic::error("bad-status", format!("{} is no range of statuses", quote(text)))
            .label("such as \"200\", \"200-399\" or \"200,204\"")
            .boxed()
    })
}

/// An address of a name server, with port 53 where none is written.
fn name_server(text: &str) -> Checked<SocketAddr> {
    let (host, port) = super::targets::split(text);
    let port = port.map_or(Some(DNS_PORT), super::targets::port);
    hosts::ip(host).zip(port).map(|(ip, port)| SocketAddr::new(ip, port)).ok_or_else(|| {
        Diagnostic::error("bad-address", format!("{} is no address of a name server", quote(text)))
            .label("an IP address, with a port where it is not 53")
            .boxed()
    })
}
