//! `[listeners]`: the doors and their addresses.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Checker, hosts, is_invalid, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::schema::nearest;
use crate::config::source::Mark;
use crate::config::value::{Entry, Node, Table, Value, quote};
use crate::config::{BindAddress, Listener, PlainMode, ProxyProtocol, Site};

/// `proxy_protocol.timeout`.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

impl Checker<'_> {
    /// The open doors: `http`, `https`, then the others in file order.
    pub(super) fn listeners(&mut self, table: &Table) -> Vec<Listener> {
        let mut out = Vec::new();
        for (name, port) in [("http", 80), ("https", 443)] {
            let listener = match table.entry(name) {
                Some(entry) => self.listener(entry, Some(port)),
                None => Some(Listener {
                    name: name.to_owned(),
                    addresses: vec![BindAddress::Any(port)],
                    tls: name == "https",
                    h2: true,
                    h1: true,
                    proxy_protocol: None,
                    origin: Default::default(),
                }),
            };
            out.extend(listener);
        }
        for entry in &table.entries {
            if !matches!(entry.key.as_str(), "http" | "https" | "public_https_port") {
                self.look_alike(entry);
                out.extend(self.listener(entry, None));
            }
        }
        self.taken_twice(&out);
        out
    }

    /// A name of the user's own that is one letter away from a name of ours is most likely a slip.
    fn look_alike(&mut self, entry: &Entry) {
        let digit = entry.key.ends_with(|c: char| c.is_ascii_digit());
        if let Some(near) = nearest(&entry.key, ["http", "https"]).filter(|_| !digit) {
            let message = format!("`{}` opens a further listener", entry.key.escape_debug());
            let diagnostic = Diagnostic::warning("unusual-listener", message)
                .label("a name of your own")
                .help(format!("did you mean `{near}`?"))
                .replace(near);
            self.report(diagnostic, entry.key_at);
        }
    }

    /// One door; `None` when it is closed or was reported. `port` is the default of `http` and `https`.
    fn listener(&mut self, entry: &Entry, port: Option<u16>) -> Option<Listener> {
        let node = &entry.value;
        let name = entry.key.as_str();
        let empty = Table::default();
        let table = node.table().unwrap_or(&empty);
        let mut tls = name == "https";
        let addresses = match &node.value {
            Value::Text(text) if text.text == "off" => return None,
            Value::Text(_) | Value::List(_) => self.addresses(node),
            Value::Table(table) => match (table.get("address"), port) {
                (Some(node), _) => self.addresses(node),
                (None, Some(port)) if !table.has("address") => vec![BindAddress::Any(port)],
                (None, _) => {
                    if !table.has("address") && !table.incomplete {
                        self.missing("address", entry.key_at);
                    }
                    return None;
                }
            },
            _ => return None,
        };
        if let Some(wanted) = table.bool("tls") {
            if port.is_some() && wanted != tls {
                let kind = if tls { "always ends TLS" } else { "is always plain" };
                let message = format!("the listener `{name}` {kind}");
                let at = table.get("tls").map_or(node.at, |node| node.at);
                let help = if tls { "use `http`, or a name of your own" } else { "use `https`, or a name of your own" };
                self.report(Diagnostic::error("listener-tls", message).label("not on this listener").help(help), at);
            } else {
                tls = wanted;
            }
        }
        let (mut h2, mut h1) = (true, true);
        if let Some(node) = table.get("protocols") {
            h2 = texts(table, "protocols").any(|(text, _)| text == "h2");
            h1 = texts(table, "protocols").any(|(text, _)| text == "http/1.1");
            if node.items().is_empty() {
                let message = format!("the listener `{name}` speaks no protocol");
                let diagnostic = Diagnostic::error("no-protocol", message).label("empty");
                self.report(diagnostic.replace("[\"h2\", \"http/1.1\"]"), node.at);
            }
        }
        let proxy_protocol = table.get("proxy_protocol").and_then(|node| self.proxy_protocol(node));
        let origin = self.origin(entry.key_at);
        Some(Listener { name: name.to_owned(), addresses, tls, h2, h1, proxy_protocol, origin })
    }

    /// `{ trust, timeout }`.
    fn proxy_protocol(&mut self, node: &Node) -> Option<ProxyProtocol> {
        let table = node.table()?;
        if table.list("trust").next().is_none() && !is_invalid(table, "trust") && !table.incomplete {
            let diagnostic = Diagnostic::error("no-trust", "no peer is trusted to send a PROXY protocol header")
                .label("`trust` is missing or empty")
                .help("list the networks of the balancers in front: trust = [\"10.0.0.0/8\"]");
            self.report(diagnostic, node.at);
        }
        let trust = texts(table, "trust").filter_map(|(text, at)| self.take(hosts::network(text), at)).collect();
        let timeout = table.duration("timeout").flatten().unwrap_or(HEADER_TIMEOUT);
        Some(ProxyProtocol { trust, timeout })
    }

    /// One address or a list of them.
    fn addresses(&mut self, node: &Node) -> Vec<BindAddress> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if items.is_empty() {
            self.report(Diagnostic::error("bad-address", "a listener needs an address").label("empty"), node.at);
        }
        items.iter().filter_map(|item| self.take(address(item.text()?), item.at)).collect()
    }

    /// Two listeners on one address. Port 0 is a new port each time.
    fn taken_twice(&mut self, listeners: &[Listener]) {
        let mut seen: Vec<(BindAddress, &Listener)> = Vec::new();
        for listener in listeners {
            for address in listener.addresses.iter().filter(|address| address.port() != 0) {
                if let Some((_, first)) = seen.iter().find(|(there, _)| there == address) {
                    let message = format!("the address {address} is given to two listeners");
                    let diagnostic = Diagnostic::error("duplicate-address", message)
                        .at(&listener.origin)
                        .label(format!("`{}` has it", listener.name));
                    let label = format!("`{}` has it too", first.name);
                    // A listener that is not in the text holds its default address.
                    self.out.push(match (listener.origin.line, first.origin.line) {
                        (0, _) => diagnostic.at(&first.origin).note(format!("`{}` has it by default", listener.name)),
                        (_, 0) => diagnostic.note(format!("`{}` has it by default", first.name)),
                        _ => diagnostic.also(&first.origin, label),
                    });
                    continue;
                }
                seen.push((*address, listener));
            }
        }
    }

    /// Problems of the doors together with the sites.
    pub(super) fn doors(&mut self, root: &Table, listeners: &[Listener], public: Option<u16>, sites: &[Site]) {
        let Some(table) = root.table("listeners") else { return };
        let at = root.entry("listeners").map_or(Mark::default(), |entry| entry.key_at);
        let given = |name: &str| table.entry(name).map_or(at, |entry| entry.value.at);
        let reported = table.entries.iter().any(|entry| matches!(entry.value.value, Value::Invalid));
        if listeners.is_empty() && !reported {
            let diagnostic = Diagnostic::error("no-listener", "every listener is off").label("closed");
            self.report(diagnostic.help("open one: http = \":80\""), given("https"));
            return;
        }
        let plain = listeners.iter().any(|listener| !listener.tls);
        let tls = listeners.iter().any(|listener| listener.tls);
        let redirects = sites.iter().find(|site| site.http == PlainMode::Redirect);
        if let (true, false, None, Some(site), false) = (plain, tls, public, redirects, reported) {
            let message = format!("the site \"{}\" redirects to https, and no listener speaks it", site.host);
            let diagnostic = Diagnostic::warning("redirect-nowhere", message)
                .label("no https here")
                .help("[defaults] http = \"serve\" serves the sites on the plain listener")
                .help("where another program ends TLS in front, set listeners.public_https_port");
            self.report(diagnostic, given("https"));
        }
    }
}

/// Reads an address to bind: `":80"`, `"127.0.0.1:80"`, `"[::1]:80"`. Port 0 lets the system pick.
pub(super) fn address(text: &str) -> Checked<BindAddress> {
    let bad = |why: &str| {
        Diagnostic::error("bad-address", format!("{} is no address to listen on: {why}", quote(text)))
            .label("not an address")
            .help("addresses are \":80\" for every address, \"127.0.0.1:80\", or \"[::1]:80\"")
    };
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(BindAddress::Exact(address));
    }
    let (host, port) = super::targets::split(text);
    let number = |port: &str| port.parse::<u16>().ok().filter(|_| port.chars().all(|c| c.is_ascii_digit()));
    match (host, port) {
        ("", Some(port)) => number(port).map(BindAddress::Any).ok_or_else(|| bad("the port is 0 to 65535").boxed()),
        ("*", Some(port)) => Err(bad("every address is written without `*`").replace(format!("\":{port}\"")).boxed()),
        ("localhost", Some(port)) if number(port).is_some() => {
            Err(bad("listeners take addresses, not names").replace(format!("\"127.0.0.1:{port}\"")).boxed())
        }
        (_, Some(port)) if number(port).is_none() => Err(bad("the port is 0 to 65535").boxed()),
        (_, Some(_)) => Err(bad("what stands before the port is no IP address").boxed()),
        (port, None) if number(port).is_some() => {
            Err(bad("the colon is missing").replace(format!("\":{port}\"")).boxed())
        }
        (_, None) => Err(bad("the port is missing").boxed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_an_ip_address_with_a_port() {
        assert_eq!(address(":80"), Ok(BindAddress::Any(80)));
        for text in ["127.0.0.1:0", "[::1]:8443"] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        let table = [
            ("80", Some("\":80\"")),
            ("*:80", Some("\":80\"")),
            ("localhost:80", Some("\"127.0.0.1:80\"")),
            (":http", None),
            (":+80", None),
            ("::1:80", None),
            ("", None),
        ];
        for (text, fix) in table {
            let problem = address(text).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), ("bad-address", fix), "{text}");
        }
    }
}
