//! What the running proxy says of itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::panics;
use super::rollback::Trial;
use crate::config::{self, Config, Site};
use crate::proxy::{Tally, access_log, trace};
use crate::snapshot::Snapshot;
use crate::tls::{CertFacts, CertStore, Provenance};
use crate::upstream::{ServerState, Shared, State};

/// Certificates that are listed at most.
const CERTIFICATES: usize = 1000;

/// What one worker reports.
#[derive(Debug)]
pub(super) struct Report {
    pub connections: usize,
    /// Of them: HTTP/1.1, HTTP/2, tunnels.
    pub speaking: [usize; 3],
    pub tally: Tally,
    /// In the order of the config's upstreams.
    pub upstreams: Vec<Vec<ServerState>>,
}

/// The last reload.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub at: SystemTime,
    pub error: Option<String>,
}

/// Facts of the control thread.
pub(super) struct Facts<'a> {
    pub config: &'a Config,
    /// In the order of the config's upstreams.
    pub shared: &'a [Arc<Shared>],
    pub generation: u64,
    pub started: SystemTime,
    pub running: Duration,
    pub last_reload: Option<&'a Outcome>,
    /// `name address` of each door.
    pub listeners: Vec<(String, String)>,
    /// The access log, the traces and the metrics, where they are on.
    pub log: Option<access_log::Stats>,
    pub spans: Option<trace::Stats>,
    pub metrics: Option<String>,
    /// Workers that have begun anew.
    pub restarts: u64,
    /// The generation waits to be confirmed.
    pub trial: Option<&'a Trial>,
    /// Generations to go back to.
    pub kept: Vec<u64>,
    /// What is served.
    pub snapshot: &'a Snapshot,
}

/// The status as JSON. A worker that does not answer is `null`.
pub(super) fn json(facts: &Facts<'_>, reports: &[Option<Report>]) -> String {
    let answered = || reports.iter().flatten();
    let workers: Vec<Value> = reports
        .iter()
        .map(|report| match report {
            Some(report) => json!({ "connections": report.connections, "requests": report.tally.total() }),
            None => Value::Null,
        })
        .collect();
    let sites: Vec<Value> = facts
        .config
        .sites
        .iter()
        .map(|site| {
            let aliases: Vec<String> = site.aliases.iter().map(ToString::to_string).collect();
            json!({ "host": site.host.to_string(), "aliases": aliases, "routes": site.routes.len() })
        })
        .collect();
    let upstreams: Vec<Value> = facts
        .config
        .upstreams
        .iter()
        .enumerate()
        .map(|(index, upstream)| {
            let servers: Vec<Value> = upstream
                .servers
                .iter()
                .enumerate()
                .map(|(server, address)| {
                    let states = answered().filter_map(|report| report.upstreams.get(index)?.get(server));
                    let sum = states.fold(ServerState::default(), |sum, state| sum.and(*state));
                    json!({
                        "address": address.address.to_string(), "in_flight": sum.in_flight, "idle": sum.idle,
                        "health": facts.shared.get(index).and_then(|shared| shared.state(server, upstream)).map(State::as_str),
                    })
                })
                .collect();
            json!({ "name": upstream.name, "servers": servers })
        })
        .collect();
    let mut by_class = [0u64; 6];
    for report in answered() {
        by_class.iter_mut().zip(report.tally.by_class()).for_each(|(sum, count)| *sum += count);
    }
    let mut speaking = [0; 3];
    for report in answered() {
        speaking.iter_mut().zip(report.speaking).for_each(|(sum, count)| *sum += count);
    }
    let certs = facts.snapshot.certs.as_deref();
    let managed = certs.map_or(&[][..], CertStore::managed);
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": stamp(facts.started),
        "running_seconds": facts.running.as_secs(),
        "generation": facts.generation,
        "last_reload": facts.last_reload.map(|last| json!({ "at": stamp(last.at), "error": last.error })),
        "trial": facts.trial.map(|trial| json!({ "back_to": trial.back_to, "seconds": left(trial) })),
        "kept_generations": facts.kept,
        "worker_restarts": facts.restarts,
        "panics": panics::count(),
        "listeners": facts.listeners.iter().map(|(name, address)| json!({ "name": name, "address": address })).collect::<Vec<_>>(),
        "connections": answered().map(|report| report.connections).sum::<usize>(),
        "connections_by_protocol": { "http/1.1": speaking[0], "h2": speaking[1], "tunnel": speaking[2] },
        "responses": { "2xx": by_class[2], "3xx": by_class[3], "4xx": by_class[4], "5xx": by_class[5] },
        "access_log": facts.log.map(|log| json!({ "lines": log.lines, "lost": log.lost, "waiting_bytes": log.waiting })),
        "tracing": facts.spans.map(|spans| json!({ "sent": spans.sent, "lost": spans.lost, "waiting": spans.waiting })),
        "metrics": facts.metrics,
        "workers": workers,
        "sites": sites,
        "certificates": certificates(facts.config, certs),
        "certificate_errors": errors(certs),
        "unusable": unusable(facts.snapshot),
        "acme": managed.iter().map(|cert| json!({ "names": cert.names(), "state": &*cert.state() })).collect::<Vec<_>>(),
        "upstreams": upstreams,
    });
    format!("{value:#}\n")
}

/// Every certificate that is served, once, with a host it is for. Leaves of the development CA are made at the handshake.
fn certificates(config: &Config, certs: Option<&CertStore>) -> Vec<Value> {
    let Some(certs) = certs else { return Vec::new() };
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    let hosts = config.sites.iter().flat_map(|site| std::iter::once(&site.host).chain(&site.aliases));
    for host in hosts.map(ToString::to_string) {
        let (key, from) = match certs.provenance(&host) {
            Some(Provenance::File(key)) => (Some(key), "file"),
            Some(Provenance::Acme(cert)) => (cert.key(), "acme"),
            Some(Provenance::DevCa) | None => continue,
        };
        let Some(key) = key.filter(|key| seen.insert(Arc::as_ptr(key))) else { continue };
        let Some(facts) = key.cert.first().and_then(|leaf| CertFacts::of(leaf).ok()) else { continue };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        all.push(json!({
            "host": host, "names": facts.names.to_string(), "issuer": facts.issuer, "from": from,
            "not_after": OffsetDateTime::from_unix_timestamp(facts.not_after).ok().and_then(|at| at.format(&Rfc3339).ok()),
            "days_left": (facts.not_after - now).div_euclid(86_400),
        }));
        if all.len() == CERTIFICATES {
            break;
        }
    }
    all
}

/// What is wrong with files that cannot be used, in the form of `check --json`.
fn errors(certs: Option<&CertStore>) -> Value {
    let errors = certs.map_or(&[][..], CertStore::errors);
    // It is JSON that this process has just written.
    serde_json::from_str(&config::diagnostics_to_json(errors)).unwrap_or_default()
}

/// The sites that the TLS doors refuse, with the reason in one line.
fn unusable(snapshot: &Snapshot) -> Vec<Value> {
    let of = |site: &Site| Some(json!({ "site": site.host.to_string(), "why": &*snapshot.unusable(site)? }));
    snapshot.config.sites.iter().filter_map(of).collect()
}

fn left(trial: &Trial) -> u64 {
    trial.until.saturating_duration_since(tokio::time::Instant::now()).as_secs()
}

fn stamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).replace_nanosecond(0).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
