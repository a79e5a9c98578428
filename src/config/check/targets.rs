//! Where requests go: `3000`, `"host:port"`, `"https://host:port"`, `"h2c://host:port"`, `"unix:/run/app.sock"`.

use std::path::Path;

use super::{Checker, hosts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Node, Value, quote};
use crate::config::{ServerProtocol, UpstreamAddress};

/// Longest path of a unix socket: `sun_path` of Linux holds 108 bytes with its end mark.
const LONGEST_SOCKET_PATH: usize = 107;

/// An address, and what its scheme says about the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub address: UpstreamAddress,
    pub scheme: Option<Scheme>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    H2c,
}

impl Scheme {
    fn of(text: &str) -> Option<Scheme> {
        match text {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            "h2c" => Some(Scheme::H2c),
            _ => None,
        }
    }

    fn default_port(self) -> u16 {
        if self == Scheme::Https { 443 } else { 80 }
    }
}

impl Target {
    fn plain(address: UpstreamAddress) -> Target {
        Target { address, scheme: None }
    }

    /// What is spoken to the target under the `protocol` of its upstream, if that is written.
    ///
    /// # Errors
    /// The two contradict each other; the text says how.
    pub fn protocol(&self, written: Option<&str>) -> Result<ServerProtocol, &'static str> {
        match (written, self.scheme) {
            (Some("h2"), Some(Scheme::Http | Scheme::H2c)) => Err("\"h2\" is over TLS, and this scheme is in clear"),
            (Some("h2c"), Some(Scheme::Https)) => Err("\"h2c\" is in clear, and this scheme is TLS"),
            (Some("http/1.1"), Some(Scheme::H2c)) => Err("this scheme is HTTP/2"),
            (Some("h2"), _) if matches!(self.address, UpstreamAddress::Unix(_)) => {
                Err("\"h2\" is over TLS, and a unix socket is spoken to in clear")
            }
            (Some("h2" | "h2c"), _) if self.address == UpstreamAddress::Builtin => {
                Err("the built-in backend speaks http/1.1")
            }
            (Some("h2"), _) => Ok(ServerProtocol::H2),
            (Some("h2c"), _) | (_, Some(Scheme::H2c)) => Ok(ServerProtocol::H2c),
            (_, Some(Scheme::Https)) => Ok(ServerProtocol::Http1Tls),
            _ => Ok(ServerProtocol::Http1),
        }
    }
}

impl Checker<'_> {
    /// Reads a target; `None` when it was reported.
    pub(super) fn target(&mut self, node: &Node) -> Option<Target> {
        match &node.value {
            // The schema bounds the number to a port.
            Value::Integer(Some(port)) => {
                let port = u16::try_from(*port).ok()?;
                Some(Target::plain(UpstreamAddress::Tcp { host: "localhost".to_owned(), port }))
            }
            Value::Text(text) => {
                let mut checked = target(&text.text, self.sources.base_of(node.at.file));
                if let (true, Err(diagnostic)) = (text.expanded, &mut checked) {
                    diagnostic.replacement = None;
                }
                self.take(checked, node.at)
            }
            _ => None,
        }
    }
}

/// Reads the text of a target. Relative socket paths start at `base`.
pub(super) fn target(text: &str, base: &Path) -> Checked<Target> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path.strip_prefix("//").unwrap_or(path), base).map(Target::plain);
    }
    if let Some(name) = text.strip_prefix("builtin:") {
        return match name {
            "show" => Ok(Target::plain(UpstreamAddress::Builtin)),
            _ => Err(bad(text, "there is one built-in backend").replace("\"builtin:show\"").boxed()),
        };
    }
    if let Some(name) = text.strip_prefix("srv:") {
        return Checker::srv(name).map(Target::plain);
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => match Scheme::of(scheme) {
            None => return Err(bad(text, "its scheme is none of a backend's").boxed()),
            scheme => (scheme, rest.strip_suffix('/').unwrap_or(rest)),
        },
        None => (None, text),
    };
    if rest.contains(['/', '?', '#']) {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return Err(bad(text, "it has a path")
            .note("the path of a request is forwarded as the client sent it; `strip_prefix` on a route shortens it")
            .replace(quote(&text[..text.len() - rest.len() + host.len()]))
            .boxed());
    }
    if rest.contains('@') {
        return Err(bad(text, "it has a user name").boxed());
    }
    let (host, port) = split(rest);
    let port = match (port, scheme) {
        (Some(port), _) => self::port(port).ok_or_else(|| bad_port(port))?,
        (None, Some(scheme)) => scheme.default_port(),
        (None, None) if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()) => {
            let mut diagnostic = bad(text, "it is a number alone");
            if let Some(port) = self::port(rest) {
                diagnostic.help = vec!["a port on this machine is a number without quotes".to_owned()];
                diagnostic = diagnostic.replace(port.to_string());
            }
            return Err(diagnostic.boxed());
        }
        (None, None) => {
            if hosts::ip(host).is_none() {
                hosts::name(host).map_err(|why| bad(text, &format!("its host {why}")).boxed())?;
            }
            return Err(bad(text, "the port is missing").replace(quote(&format!("{rest}:8080"))).boxed());
        }
    };
    if host.is_empty() {
        return Err(bad(text, "the host is missing").replace(quote(&format!("localhost:{port}"))).boxed());
    }
    let host = match hosts::ip(host) {
        Some(address) => address.to_string(),
        None => hosts::name(host).map_err(|why| bad(text, &format!("its host {why}")).boxed())?,
    };
    Ok(Target { address: UpstreamAddress::Tcp { host, port }, scheme })
}

fn socket(path: &str, base: &Path) -> Checked<UpstreamAddress> {
    let text = format!("unix:{path}");
    if path.is_empty() {
        return Err(bad(&text, "the path is missing").boxed());
    }
    let path = base.join(path);
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        return Err(bad(&text, "a socket's path has at most 107 bytes").boxed());
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(bad(&text, "a path holds no NUL").boxed());
    }
    Ok(UpstreamAddress::Unix(path))
}

/// Host and port of `host:port`, `[v6]:port` or `host`.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.find(']') {
            Some(end) => match text[end + 1..].strip_prefix(':') {
                Some(port) => (&text[..=end], Some(port)),
                None => (text, None),
            },
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        // More than one colon is an IPv6 address without brackets: no port can be told from it.
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

/// A port in digits, 1 to 65535.
pub(super) fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
}

fn bad_port(text: &str) -> Box<Diagnostic> {
    Diagnostic::error("bad-port", format!("{} is no port", quote(text))).label("ports are 1 to 65535").boxed()
}

fn bad(text: &str, why: &str) -> Diagnostic {
    Diagnostic::error("bad-target", format!("{} is no target: {why}", quote(text)))
        .label("not a target")
        .help("targets are a port on this machine, \"host:port\", \"https://host:port\", or \"unix:/run/app.sock\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_hosts_with_ports_sockets_or_the_built_in() {
        let table = [
            ("web:8000", "web:8000"),
            ("http://Web:8000/", "web:8000"),
            ("http://web", "web:80"),
            ("https://web", "web:443"),
            ("https://[::1]:8443/", "[::1]:8443"),
            ("h2c://web", "web:80"),
            ("[::1]:8000", "[::1]:8000"),
            ("http://[0::1]", "[::1]:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix:app.sock", "unix:/etc/v/app.sock"),
            ("builtin:show", "builtin:show"),
        ];
        for (text, shown) in table {
            assert_eq!(
                target(text, Path::new("/etc/v")).map(|t| t.address.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_fix_where_there_is_one() {
        let table = [
            ("3000", "bad-target", Some("3000")),
            (":3000", "bad-target", Some("\"localhost:3000\"")),
            ("web", "bad-target", Some("\"web:8080\"")),
            ("http://web:8000/base", "bad-target", Some("\"http://web:8000\"")),
            ("http://u:p@web:8000", "bad-target", None),
            ("ftp://web", "bad-target", None),
            ("web:0", "bad-port", None),
            ("web:http", "bad-port", None),
            ("web:70000", "bad-port", None),
            ("h2://web:1", "bad-target", None),
            ("https://web:1/x", "bad-target", Some("\"https://web:1\"")),
            ("unix:", "bad-target", None),
            ("a b:80", "bad-target", None),
        ];
        for (text, code, fix) in table {
            let problem = target(text, Path::new("")).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), (code, fix), "{text}");
        }
    }

    #[test]
    fn scheme_and_protocol_give_what_is_spoken_or_contradict_each_other() {
        use ServerProtocol::{H2, H2c, Http1, Http1Tls};
        let table = [
            ("web:1", None, Ok(Http1)),
            ("http://web", Some("http/1.1"), Ok(Http1)),
            ("https://web", None, Ok(Http1Tls)),
            ("https://web", Some("http/1.1"), Ok(Http1Tls)),
            ("https://web", Some("h2"), Ok(H2)),
            ("web:1", Some("h2"), Ok(H2)),
            ("web:1", Some("h2c"), Ok(H2c)),
            ("http://web", Some("h2c"), Ok(H2c)),
            ("h2c://web", None, Ok(H2c)),
            ("unix:/x", Some("h2c"), Ok(H2c)),
            ("h2c://web", Some("http/1.1"), Err(())),
            ("h2c://web", Some("h2"), Err(())),
            ("http://web", Some("h2"), Err(())),
            ("https://web", Some("h2c"), Err(())),
            ("unix:/x", Some("h2"), Err(())),
            ("builtin:show", Some("h2c"), Err(())),
        ];
        for (text, written, spoken) in table {
            let target = target(text, Path::new("/")).expect(text);
            assert_eq!(target.protocol(written).map_err(|_| ()), spoken, "{text} {written:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_refused_without_a_panic(text in ".{0,60}") {
            let _ = target(&text, Path::new(""));
        }
    }
}
