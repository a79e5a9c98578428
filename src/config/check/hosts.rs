//! Host names, host patterns and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::HostPattern;
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::quote;

impl HostPattern {
    /// Reads a host as a config or a command line names it: a DNS name, `*.example.com`, `*`, or an IP address.
    ///
    /// # Errors
    /// One diagnostic: what stands in the way, and what to write.
    pub fn parse(text: &str) -> Result<HostPattern, Box<Diagnostic>> {
        pattern(text)
    }
}

/// Reads the host of a site: exact, `*.wildcard`, `*`, or an IP address (kept without brackets, in canonical form).
pub(super) fn pattern(text: &str) -> Checked<HostPattern> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(address) = ip(text) {
        return Ok(HostPattern::Exact(address.to_string()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = without_port(host).unwrap_or(host);
        return Err(bad(text, &format!("has a scheme: `{}://`", scheme.escape_debug()))
            .help("a site is named by its host alone")
            .replace(quote(host))
            .boxed());
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(bad(text, "has a path")
            .help("a site is named by its host alone; paths stand in its `routes`")
            .replace(quote(host))
            .boxed());
    }
    if let Some(host) = without_port(text) {
        return Err(bad(text, "has a port")
            .help("ports belong to `listeners`; a site is named by its host alone")
            .replace(quote(host))
            .boxed());
    }
    if let Some(base) = text.strip_prefix("*.") {
        return name(base).map(HostPattern::Wildcard).map_err(|why| bad(text, &why).boxed());
    }
    if text.contains('*') {
        return Err(bad(text, "has `*` in another place than the first label")
            .help("wildcards are \"*.example.com\" and \"*\"")
            .boxed());
    }
    name(text).map(HostPattern::Exact).map_err(|why| bad(text, &why).boxed())
}

fn bad(text: &str, why: &str) -> Diagnostic {
    Diagnostic::error("bad-host", format!("{} is no host: it {why}", quote(text))).label("not a host name")
}

/// Reads a DNS name (RFC 1123 section 2.1, and `_`, which container networks use): lower case, no trailing dot. The
/// error is the end of a sentence that begins with "it".
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if !name.is_ascii() {
        return Err("is not ASCII; write the name in its xn-- form".to_owned());
    }
    if name.len() > 253 {
        return Err("is longer than 253 characters".to_owned());
    }
    for label in name.split('.') {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if label.is_empty() {
            return Err("has an empty label".to_owned());
        }
        if label.len() > 63 {
            return Err("has a label longer than 63 characters".to_owned());
        }
        if let Some(c) = label.chars().find(|c| !plain(*c)) {
            return Err(format!("holds `{}`", c.escape_debug()));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("has a label that begins or ends with `-`".to_owned());
        }
    }
    // A name whose last label is a number is an address to every client (WHATWG URL, "ends in a number").
    if name.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit())) {
        return Err("ends in a number and is no IP address".to_owned());
    }
    Ok(name)
}

/// An IP address, IPv6 with or without brackets.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<Ipv4Addr>().map(IpAddr::V4).or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::V6)).ok(),
    }
}

/// `host` of `host:port` or `[v6]:port`; `None` when there is no port.
fn without_port(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let single = !host.contains(':') || host.starts_with('[');
    (single && port.chars().all(|c| c.is_ascii_digit())).then_some(host)
}

/// Reads a network (`"10.0.0.0/8"`); an address alone is the network of that one address.
pub(super) fn network(text: &str) -> Checked<IpNet> {
    if let Some(address) = ip(text) {
        return Ok(IpNet::from(address));
    }
    let bad = |why: &str| {
        Diagnostic::error("bad-network", format!("{} is no network: {why}", quote(text)))
            .label("not a network")
            .help("networks are written \"10.0.0.0/8\", \"fd00::/8\", or as one address")
    };
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(match text.split_once('/') {
            None => bad("it is no address").boxed(),
            Some((address, _)) if ip(address).is_none() => bad("what stands before `/` is no address").boxed(),
            Some((address, _)) if address.contains(':') => bad("the prefix is 0 to 128 bits").boxed(),
            Some(_) => bad("the prefix is 0 to 32 bits").boxed(),
        });
    };
    if network.trunc() != network {
        return Err(bad("its address has bits beyond the prefix").replace(quote(&network.trunc().to_string())).boxed());
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_exact_wildcard_any_or_addresses() {
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let table = [
            ("App.LocalHost.", exact("app.localhost")),
            ("*.example.com", HostPattern::Wildcard("example.com".to_owned())),
            ("*", HostPattern::Any),
            ("my_app", exact("my_app")),
            ("127.0.0.1", exact("127.0.0.1")),
            ("[::1]", exact("::1")),
            ("0:0::1", exact("::1")),
        ];
        for (text, host) in table {
            assert_eq!(pattern(text), Ok(host), "{text}");
        }
    }

    #[test]
    fn a_host_with_more_than_a_name_is_refused_with_the_name_alone() {
        let table = [
            ("localhost:8080", Some("\"localhost\"")),
            ("https://a.test/x", Some("\"a.test\"")),
            ("https://a.test:8443", Some("\"a.test\"")),
            ("a.test/x", Some("\"a.test\"")),
            ("[::1]:80", Some("\"[::1]\"")),
            ("a..test", None),
            ("*a.test", None),
            ("a.*.test", None),
            ("-a.test", None),
            ("a b", None),
            ("büro.test", None),
            ("300.1.1.1", None),
            ("", None),
        ];
        for (text, fix) in table {
            let problem = pattern(text).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), ("bad-host", fix), "{text}");
        }
    }

    #[test]
    fn a_network_with_bits_beyond_its_prefix_names_the_right_one() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("10.1.0.0/8").unwrap_err().replacement.as_deref(), Some("\"10.0.0.0/8\""));
        for text in ["10.0.0.0/33", "private", "10.0.0/8", "", "::/129"] {
            assert_eq!(network(text).expect_err(text).code, "bad-network");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_host_or_refused_without_a_panic(text in ".{0,60}") {
            let _ = pattern(&text);
            let _ = network(&text);
        }
    }
}
