//! How an upstream is treated: retries, servers that fail, requests in flight, the PROXY protocol.

use std::time::Duration;

use super::Checker;
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, Value, quote};
use crate::config::{Keepalive, MaxRequests, Outlier, ProxyHeader, Retries, Upstream};

const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

impl Checker<'_> {
    /// The policy keys of an `[upstreams.NAME]`.
    pub(super) fn policy(&mut self, table: &Table, upstream: &mut Upstream) {
        upstream.retries = self.retries(table);
        upstream.outlier = self.outlier(table, upstream.servers.len());
        upstream.max_requests = self.max_requests(table);
        upstream.proxy_protocol = match table.text("proxy_protocol") {
            Some("v1") => Some(ProxyHeader::V1),
            Some("v2") => Some(ProxyHeader::V2),
            _ => None,
        };
        if let (Some(node), Some(_), true) = (
            table.get("proxy_protocol"),
            upstream.proxy_protocol,
            upstream.servers.iter().any(|server| server.protocol.is_h2()),
        ) {
            let diagnostic =
                Diagnostic::error("proxy-protocol-h2", "a PROXY protocol header cannot go with HTTP/2 servers")
                    .label("names one client for the whole connection")
                    .note("a connection of HTTP/2 carries the requests of many clients")
                    .help("speak HTTP/1.1 to them, or leave the client's address to X-Forwarded-For");
            self.report(diagnostic, node.at);
        }
        if upstream.proxy_protocol.is_some() && upstream.keepalive != Keepalive::default() {
            self.no_effect(table, "keepalive", "a connection with a PROXY protocol header is for one request");
        }
    }

    fn retries(&mut self, table: &Table) -> Retries {
        let mut retries = Retries::default();
        match table.get("retries").map(|node| &node.value) {
            Some(Value::Table(table)) => {
                let attempts = table.integer("attempts").and_then(|number| usize::try_from(number).ok());
                retries.attempts = attempts.unwrap_or(retries.attempts);
                retries.budget = self.share(table, "budget").unwrap_or(retries.budget);
            }
            Some(_) => retries.attempts = 0,
            None => {}
        }
        retries
    }

    fn outlier(&mut self, table: &Table, servers: usize) -> Option<Outlier> {
        let mut outlier = Outlier::default();
        match table.get("outlier").map(|node| &node.value) {
            Some(Value::Table(table)) => {
                let failures = table.integer("failures").and_then(|number| usize::try_from(number).ok());
                outlier.failures = failures.unwrap_or(outlier.failures);
                outlier.window = table.duration("window").flatten().unwrap_or(outlier.window);
                outlier.eject = table.duration("eject").flatten().unwrap_or(outlier.eject);
                outlier.max_ejected = self.share(table, "max_ejected").unwrap_or(outlier.max_ejected);
            }
            Some(_) => return None,
            None => return Some(outlier),
        }
        if servers == 1 && outlier != Outlier::default() {
            self.no_effect(table, "outlier", "a single server is never left out");
        }
        Some(outlier)
    }

    fn max_requests(&mut self, table: &Table) -> Option<MaxRequests> {
        let per_server = table.integer("max_requests").and_then(|number| usize::try_from(number).ok());
        let queue_timeout = table.duration("queue_timeout").flatten().unwrap_or(QUEUE_TIMEOUT);
        let Some(per_server) = per_server else {
            if queue_timeout != QUEUE_TIMEOUT {
                self.no_effect(table, "queue_timeout", "nothing waits without `max_requests`");
            }
            return None;
        };
        Some(MaxRequests { per_server, queue_timeout })
    }

    /// Warns about a key that is there, has another value than its default, and changes nothing.
    pub(super) fn no_effect(&mut self, table: &Table, key: &str, why: &str) {
        if let Some(entry) = table.entry(key) {
            let diagnostic = Diagnostic::warning("no-effect", format!("`{key}` has no effect here")).label(why);
            self.report(diagnostic, entry.key_at);
        }
    }

    /// A share of a whole, such as "20%".
    pub(super) fn share(&mut self, table: &Table, key: &str) -> Option<f32> {
        let node = table.get(key)?;
        self.take(share(node.text()?), node.at)
    }
}

fn share(text: &str) -> Checked<f32> {
    let number = text.strip_suffix('%').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|number| number.parse::<u8>().ok()) {
        Some(percent @ 0..=100) => Ok(f32::from(percent) / 100.0),
        _ => Err(Diagnostic::error("bad-share", format!("{} is no share", quote(text)))
            .label("a whole percentage, \"0%\" to \"100%\"")
            .boxed()),
    }
}
