//! What changed a request on its way, read off its head before and after.

use crate::config::{Balance, Route, Upstream};
use crate::error::Why;
use crate::filter::Step;
use crate::http::headers::Client;
use crate::message::RequestHead;
use crate::proxy::Witness;
use crate::route::{Asked, Found};
use crate::snapshot::View;

/// Watches the decision, and keeps the head as it was at the turning points.
pub(super) struct Watcher {
    received: Vec<(String, String)>,
    prepared: Vec<(String, String)>,
    pub client: Option<Client>,
}

impl Watcher {
    pub fn new(head: &RequestHead) -> Watcher {
        Watcher { received: pairs(head), prepared: Vec::new(), client: None }
    }

    /// What a gateway does to every request.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, value) in self.received.iter().filter(|pair| !self.prepared.contains(pair)) {
            steps.push(Step { by: "gateway", what: format!("removes {name}: {value}") });
        }
        for (name, value) in self.prepared.iter().filter(|pair| !self.received.contains(pair)) {
            steps.push(Step { by: "forwarded", what: format!("sets {name}: {value}") });
        }
        steps
    }
}

impl Witness for Watcher {
    fn meet(&mut self, _: Found) {}

    fn lost(&mut self, _: &View, _: &Asked<'_>, _: Why) {}

    fn client(&mut self, client: &Client, head: &RequestHead) {
        self.client = Some(client.clone());
        self.prepared = pairs(head);
    }

    /// There is no request yet, so no id.
    fn request_id(&self) -> String {
        "{request_id}".to_owned()
    }
}

/// The header rules in the order they act, with the values they came to, and the prefix that is taken off.
pub(super) fn rules(route: &Route, head: &RequestHead, steps: &mut Vec<Step>) {
    let rules = &route.settings.request_headers;
    let by = "headers.request";
    let now = pairs(head);
    steps.extend(rules.remove.iter().map(|name| Step { by, what: format!("removes {name}") }));
    for (verb, pairs) in [("sets", &rules.set), ("adds", &rules.add)] {
        for (name, _) in pairs {
            // Of several fields of one name the last is the one that was added.
            let value = now.iter().rev().find(|(there, _)| there.eq_ignore_ascii_case(name));
            let value = value.map_or("", |(_, value)| value);
            steps.push(Step { by, what: format!("{verb} {name}: {value}") });
        }
    }
    if let Some(prefix) = &route.strip_prefix {
        steps.push(Step { by: "strip_prefix", what: format!("sets X-Forwarded-Prefix: {prefix}") });
    }
}

/// What became of the target.
pub(super) fn target(route: &Route, head: &RequestHead, target: &[u8]) -> Option<Step> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let by = if route.rewrite.is_some() { "rewrite" } else { "strip_prefix" };
    let changed = target != head.target();
    changed.then(|| Step { by, what: format!("{} becomes {}", text(head.target()), text(target)) })
}

fn pairs(head: &RequestHead) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields.iter().map(|field| (text(field.name), text(field.value))).collect()
}

pub(super) fn balance(balance: &Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "least-requests",
        Balance::RoundRobin => "round-robin",
        Balance::Random => "random",
        Balance::First => "first",
        Balance::Hash(_) => "hash",
    }
}

/// The candidates: address, weight and whether it is a backup.
pub(super) fn servers(upstream: &Upstream) -> Vec<String> {
    let text = |server: &crate::config::ServerAddress| {
        let weight = if server.weight == 1 { String::new() } else { format!(" weight {}", server.weight) };
        format!("{}{weight}{}", server.address, if server.backup { " backup" } else { "" })
    };
    upstream.servers.iter().map(text).collect()
}
