//! What changed a request on its way, read off its head before and after.

use crate::config::{Balance, HeaderRules, Route, Upstream};
use crate::http::headers::Client;
use crate::message::RequestHead;
use crate::proxy::Witness;
use crate::route::Found;

/// One thing that was done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The config key or the part of the proxy that did it.
    pub by: &'static str,
    /// `sets X-Client: 10.0.0.1`.
    pub what: String,
}

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

    /// What was done, in order.
    pub fn steps(&self, route: &Route, head: &RequestHead) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, value) in self.received.iter().filter(|pair| !self.prepared.contains(pair)) {
            steps.push(Step { by: "gateway", what: format!("removes {name}: {value}") });
        }
        for (name, value) in self.prepared.iter().filter(|pair| !self.received.contains(pair)) {
            steps.push(Step { by: "forwarded", what: format!("sets {name}: {value}") });
        }
        let now = pairs(head);
        rules(&route.request_headers, &now, &mut steps);
        let by_rule = |name: &str| {
            let HeaderRules { set, add, .. } = &route.request_headers;
            set.iter().chain(add).any(|(rule, _)| rule.eq_ignore_ascii_case(name))
        };
        for (name, value) in now.iter().filter(|pair| !self.prepared.contains(pair) && !by_rule(&pair.0)) {
            steps.push(Step { by: "strip_prefix", what: format!("sets {name}: {value}") });
        }
        steps
    }
}

impl Witness for Watcher {
    fn meet(&mut self, _: Found) {}

    fn client(&mut self, client: &Client, head: &RequestHead) {
        self.client = Some(client.clone());
        self.prepared = pairs(head);
    }

    /// There is no request yet, so no id.
    fn request_id(&self) -> String {
        "{request_id}".to_owned()
    }
}

/// The rules in the order they act, with the values they came to.
fn rules(rules: &HeaderRules, now: &[(String, String)], steps: &mut Vec<Step>) {
    let by = "headers.request";
    steps.extend(rules.remove.iter().map(|name| Step { by, what: format!("removes {name}") }));
    for (verb, pairs) in [("sets", &rules.set), ("adds", &rules.add)] {
        for (name, _) in pairs {
            // Of several fields of one name the last is the one that was added.
            let value = now.iter().rev().find(|(there, _)| there.eq_ignore_ascii_case(name));
            let value = value.map_or("", |(_, value)| value);
            steps.push(Step { by, what: format!("{verb} {name}: {value}") });
        }
    }
}

/// What became of the target.
pub(super) fn target(head: &RequestHead, target: &[u8]) -> Option<Step> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let changed = target != head.target();
    changed.then(|| Step { by: "strip_prefix", what: format!("{} becomes {}", text(head.target()), text(target)) })
}

fn pairs(head: &RequestHead) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields.iter().map(|field| (text(field.name), text(field.value))).collect()
}

pub(super) fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "least-requests",
        Balance::RoundRobin => "round-robin",
        Balance::Random => "random",
        Balance::First => "first",
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
