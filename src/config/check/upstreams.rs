//! `[upstreams]`, and the upstreams behind `proxy` targets.

use std::collections::{HashMap, HashSet};

use super::targets::{self, Target};
use super::{Checker, hosts};
use crate::config::diagnostics::{Checked, Diagnostic, Severity};
use crate::config::schema::nearest;
use crate::config::value::{Entry, Node, Table, Value, quote};
use crate::config::{HostHeader, Keepalive, Origin, ServerAddress, ServerProtocol, Upstream, UpstreamAddress};

/// Every upstream of a config: the named ones, then one for each distinct target.
#[derive(Default)]
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    by_name: HashMap<String, usize>,
    by_target: HashMap<(UpstreamAddress, ServerProtocol), usize>,
    used: HashSet<usize>,
}

impl Upstreams {
    /// The index of a named upstream, which counts as used from now on.
    pub fn named(&mut self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name)?;
        self.used.insert(index);
        Some(index)
    }

    pub fn nearest(&self, name: &str) -> Option<&str> {
        let names = self.list[..self.by_name.len()].iter().map(|upstream| upstream.name.as_str());
        nearest(name, names)
    }

    /// The index of the upstream behind a target. Equal targets share one.
    pub fn of_target(&mut self, target: Target, origin: Origin) -> usize {
        // A scheme alone contradicts nothing.
        let protocol = target.protocol(None).unwrap_or_default();
        let key = (target.address, protocol);
        if let Some(index) = self.by_target.get(&key) {
            return *index;
        }
        let index = self.list.len();
        let servers = vec![ServerAddress { address: key.0.clone(), protocol, weight: 1, backup: false }];
        self.list.push(Upstream::new(format!("{}{}", protocol.scheme(), key.0), servers, origin));
        self.by_target.insert(key, index);
        index
    }

    pub fn into_list(self) -> Vec<Upstream> {
        self.list
    }
}

impl Checker<'_> {
    /// The named upstreams. One with problems is there too, so that its name is known.
    pub(super) fn upstreams(&mut self, root: &Table) -> Upstreams {
        let mut upstreams = Upstreams::default();
        let entries = root.table("upstreams").map_or(&[][..], |table| &table.entries);
        for entry in entries {
            let upstream = self.upstream(entry);
            upstreams.by_name.insert(entry.key.clone(), upstreams.list.len());
            upstreams.list.push(upstream);
        }
        upstreams
    }

    /// Says which named upstreams no site uses; not beside an error, which may be why.
    pub(super) fn unused(&mut self, upstreams: &Upstreams) {
        if self.out.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return;
        }
        for (index, upstream) in upstreams.list[..upstreams.by_name.len()].iter().enumerate() {
            if !upstreams.used.contains(&index) {
                let message = format!("no site uses the upstream {}", quote(&upstream.name));
                let diagnostic = Diagnostic::warning("unused-upstream", message).label("defined here");
                self.out.push(diagnostic.at(&upstream.origin));
            }
        }
    }

    fn upstream(&mut self, entry: &Entry) -> Upstream {
        let empty = Table::default();
        let table = entry.value.table().unwrap_or(&empty);
        if entry.key.is_empty() {
            self.report(Diagnostic::error("bad-name", "an upstream needs a name").label("empty"), entry.key_at);
        }
        let servers = self.servers(table, entry);
        let mut keepalive = Keepalive::default();
        if let Some(table) = table.table("keepalive") {
            let idle = table.integer("idle").and_then(|number| usize::try_from(number).ok());
            keepalive.idle = idle.unwrap_or(keepalive.idle);
            keepalive.idle_timeout = table.duration("idle_timeout").flatten().unwrap_or(keepalive.idle_timeout);
        }
        let host_header = table.get("host_header").and_then(|node| self.take(host_header(node.text()?), node.at));
        let tls = self.upstream_tls(table, &servers);
        let mut upstream = Upstream::new(entry.key.clone(), servers, self.origin(entry.key_at));
        upstream.tls = tls;
        upstream.keepalive = keepalive;
        upstream.host_header = host_header.unwrap_or_default();
        self.balancing(table, &mut upstream);
        self.policy(table, &mut upstream);
        upstream
    }

    fn servers(&mut self, table: &Table, entry: &Entry) -> Vec<ServerAddress> {
        let Some(list) = table.get("servers") else {
            if !table.has("servers") && !table.incomplete && entry.value.table().is_some() {
                self.missing("servers", entry.key_at);
            }
            return Vec::new();
        };
        if list.items().is_empty() {
            let message = format!("the upstream {} has no server", quote(&entry.key));
            self.report(Diagnostic::error("no-servers", message).label("empty"), list.at);
        }
        let mut servers: Vec<ServerAddress> = Vec::new();
        let mut seen = HashMap::new();
        for node in list.items() {
            let Some(server) = self.server(node, table.text("protocol")) else { continue };
            if let Some(first) = seen.insert(server.address.clone(), node.at) {
                let diagnostic = Diagnostic::error("duplicate-server", format!("{} is a server twice", server.address))
                    .label("the second time")
                    .also(&self.origin(first), "the first time")
                    .help("a greater share is `weight`: { address = \"...\", weight = 2 }");
                self.report(diagnostic, node.at);
                continue;
            }
            servers.push(server);
        }
        servers
    }

    fn server(&mut self, node: &Node, protocol: Option<&str>) -> Option<ServerAddress> {
        let Value::Table(table) = &node.value else {
            let (address, protocol) = self.spoken(node, protocol)?;
            return Some(ServerAddress { address, protocol, weight: 1, backup: false });
        };
        let Some(address) = table.get("address") else {
            if !table.has("address") && !table.incomplete {
                self.missing("address", node.at);
            }
            return None;
        };
        let weight = table.integer("weight").and_then(|number| u32::try_from(number).ok()).unwrap_or(1);
        let (address, protocol) = self.spoken(address, protocol)?;
        Some(ServerAddress { address, protocol, weight, backup: table.bool("backup").unwrap_or(false) })
    }

    /// The address of a server and what is spoken to it, by its scheme and the `protocol` of its upstream.
    fn spoken(&mut self, node: &Node, protocol: Option<&str>) -> Option<(UpstreamAddress, ServerProtocol)> {
        let target = self.target(node)?;
        match target.protocol(protocol) {
            Ok(protocol) => Some((target.address, protocol)),
            Err(why) => {
                let message = format!("this server does not fit `protocol = {}`", quote(protocol.unwrap_or_default()));
                let diagnostic = Diagnostic::error("protocol-conflict", message).label(why);
                self.report(diagnostic.help("leave the scheme out, or change `protocol`"), node.at);
                None
            }
        }
    }
}

/// `"preserve"`, `"upstream"`, or a host with or without a port.
fn host_header(text: &str) -> Checked<HostHeader> {
    match text {
        "preserve" => return Ok(HostHeader::Preserve),
        "upstream" => return Ok(HostHeader::Upstream),
        _ => {}
    }
    let (host, port) = targets::split(text);
    let bad = |why: &str| {
        Diagnostic::error("bad-host", format!("{} is no value of Host: it {why}", quote(text)))
            .label("not a host")
            .help("write \"preserve\", \"upstream\", or a host name")
            .boxed()
    };
    if port.is_some_and(|port| targets::port(port).is_none()) {
        return Err(bad("has a port that is none"));
    }
    if hosts::ip(host).is_none() {
        hosts::name(host).map_err(|why| bad(&why))?;
    }
    Ok(HostHeader::Name(text.to_owned()))
}
