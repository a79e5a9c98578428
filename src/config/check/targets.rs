//! Where requests go: `3000`, `"host:port"`, `"http://host:port"`, `"unix:/run/app.sock"`, `"builtin:show"`.

use std::path::Path;

use super::{Checker, hosts};
use crate::config::UpstreamAddress;
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Node, Value, quote};

/// Longest path of a unix socket: `sun_path` of Linux holds 108 bytes with its end mark.
const LONGEST_SOCKET_PATH: usize = 107;

impl Checker<'_> {
    /// Reads a target; `None` when it was reported.
    pub(super) fn target(&mut self, node: &Node) -> Option<UpstreamAddress> {
        match &node.value {
            // The schema bounds the number to a port.
            Value::Integer(Some(port)) => {
                let port = u16::try_from(*port).ok()?;
                Some(UpstreamAddress::Tcp { host: "localhost".to_owned(), port })
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
pub(super) fn target(text: &str, base: &Path) -> Checked<UpstreamAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path.strip_prefix("//").unwrap_or(path), base);
    }
    if let Some(name) = text.strip_prefix("builtin:") {
        return match name {
            "show" => Ok(UpstreamAddress::Builtin),
            _ => Err(bad(text, "there is one built-in backend").replace("\"builtin:show\"").boxed()),
        };
    }
    for scheme in ["https://", "h2c://"] {
        if text.starts_with(scheme) {
            return Err(Diagnostic::error("not-supported-yet", format!("`{scheme}` targets are not supported yet"))
                .label("this version speaks plain http/1.1 to backends")
                .boxed());
        }
    }
    let (url, rest) = match text.split_once("://") {
        Some(("http", rest)) => (true, rest.strip_suffix('/').unwrap_or(rest)),
        Some(_) => return Err(bad(text, "its scheme is none of a backend's").boxed()),
        None => (false, text),
    };
    if rest.contains(['/', '?', '#']) {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return Err(bad(text, "it has a path")
            .note("the path of a request is forwarded as the client sent it; `strip_prefix` on a route shortens it")
            .replace(quote(host))
            .boxed());
    }
    if rest.contains('@') {
        return Err(bad(text, "it has a user name").boxed());
    }
    let (host, port) = split(rest);
    let port = match port {
        Some(port) => self::port(port).ok_or_else(|| bad_port(port))?,
        None if url => 80,
        None if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()) => {
            let mut diagnostic = bad(text, "it is a number alone");
            if let Some(port) = self::port(rest) {
                diagnostic.help = vec!["a port on this machine is a number without quotes".to_owned()];
                diagnostic = diagnostic.replace(port.to_string());
            }
            return Err(diagnostic.boxed());
        }
        None => {
            if hosts::ip(host).is_none() {
                hosts::name(host).map_err(|why| bad(text, &format!("its host {why}")).boxed())?;
            }
            return Err(bad(text, "the port is missing").replace(quote(&format!("{rest}:8080"))).boxed());
        }
    };
    if host.is_empty() {
        return Err(bad(text, "the host is missing").replace(quote(&format!("localhost:{port}"))).boxed());
    }
    if let Some(address) = hosts::ip(host) {
        return Ok(UpstreamAddress::Tcp { host: address.to_string(), port });
    }
    let host = hosts::name(host).map_err(|why| bad(text, &format!("its host {why}")).boxed())?;
    Ok(UpstreamAddress::Tcp { host, port })
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
        .help("targets are a port on this machine, \"host:port\", \"http://host:port\", or \"unix:/run/app.sock\"")
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
            ("[::1]:8000", "[::1]:8000"),
            ("http://[0::1]", "[::1]:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix:app.sock", "unix:/etc/v/app.sock"),
            ("builtin:show", "builtin:show"),
        ];
        for (text, shown) in table {
            assert_eq!(target(text, Path::new("/etc/v")).map(|t| t.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_fix_where_there_is_one() {
        let table = [
            ("3000", "bad-target", Some("3000")),
            (":3000", "bad-target", Some("\"localhost:3000\"")),
            ("web", "bad-target", Some("\"web:8080\"")),
            ("http://web:8000/base", "bad-target", Some("\"web:8000\"")),
            ("http://u:p@web:8000", "bad-target", None),
            ("ftp://web", "bad-target", None),
            ("web:0", "bad-port", None),
            ("web:http", "bad-port", None),
            ("web:70000", "bad-port", None),
            ("https://web", "not-supported-yet", None),
            ("h2c://web:1", "not-supported-yet", None),
            ("unix:", "bad-target", None),
            ("a b:80", "bad-target", None),
        ];
        for (text, code, fix) in table {
            let problem = target(text, Path::new("")).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), (code, fix), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_refused_without_a_panic(text in ".{0,60}") {
            let _ = target(&text, Path::new(""));
        }
    }
}
