//! One scrape as text: OpenMetrics 1.0, which Prometheus reads.

use std::fmt::Error;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::{Process, seconds};
use super::shard::{GROUPS, HANDSHAKE_FAILURES, TLS_VERSIONS};
use super::{Metrics, WorkerShard, text};
use crate::error::TABLE;

/// What is known beside the counters, at one moment.
#[derive(Debug)]
pub struct Facts {
    pub generation: u64,
    pub started: SystemTime,
    /// Reloads that were served, and that were refused.
    pub reloads: (u64, u64),
    /// The last reload: when, and whether it was served.
    pub last_reload: Option<(SystemTime, bool)>,
    /// Of each worker: it answers.
    pub workers: Vec<bool>,
    pub connections: u64,
    pub max_connections: u64,
    pub servers: Vec<Server>,
    pub certificates: Vec<Certificate>,
    /// Problems with certificate files that cannot be used.
    pub certificate_errors: u64,
    /// Sites that are refused for them.
    pub unusable: Vec<String>,
    pub acme: Vec<Acme>,
    /// Of the access log: lines taken, lines lost, bytes that wait.
    pub log: Option<(u64, u64, u64)>,
    /// Of the traces: spans sent, spans lost, spans that wait.
    pub spans: Option<(u64, u64, u64)>,
}

/// One server of an upstream, summed over the workers.
#[derive(Debug)]
pub struct Server {
    pub upstream: String,
    pub address: String,
    pub in_flight: u64,
    pub idle: u64,
    /// Workers that leave it out.
    /// 1 while requests go there; 0 while it is down or left out after failures.
    pub up: u64,
    /// Pooled connections that were found closed when they were wanted.
    pub stale: u64,
}

/// The certificate of a site, from a file or an ACME server.
#[derive(Debug)]
pub struct Certificate {
    pub site: String,
    pub source: &'static str,
    /// Seconds since the epoch.
    pub not_after: i64,
}

/// A certificate that ACME looks after.
#[derive(Debug)]
pub struct Acme {
    pub site: String,
    pub ready: bool,
    /// Orders that succeeded, and that failed.
    pub orders: (u64, u64),
}

/// Counters and facts on their way into text.
#[derive(Debug)]
pub struct Scrape {
    pub metrics: Arc<Metrics>,
    pub facts: Facts,
}

impl Scrape {
    /// What OpenMetrics calls itself.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    pub fn text(self) -> String {
        let mut text = String::with_capacity(64 << 10);
        text::routes(&self.metrics, &mut text);
        text::upstreams(&self.metrics, &self.facts.servers, &mut text);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let out = &mut encoder;
        self.errors(out)?;
        self.tls(out)?;
        self.process(out)?;
        self.certificates(out)?;
        self.sinks(out)
    }
}

type Done = Result<(), Error>;

fn counter<'a>(out: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &str) -> Result<MetricEncoder<'a>, Error> {
    out.encode_descriptor(name, help, None, MetricType::Counter)
}

fn gauge<'a>(out: &'a mut DescriptorEncoder<'_>, name: &'a str, help: &str) -> Result<MetricEncoder<'a>, Error> {
    out.encode_descriptor(name, help, None, MetricType::Gauge)
}

fn count(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> Done {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn level(family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> Done {
    family.encode_family(labels)?.encode_gauge(&value)
}

impl Scrape {
    fn errors(&self, out: &mut DescriptorEncoder<'_>) -> Done {
        let mut family =
            counter(out, "vestibule_errors", "Requests that ended with a why-code (`vestibule why CODE`)")?;
        for row in TABLE {
            let value = self.workers(|worker| worker.errors[row.why as usize].get());
            if value > 0 {
                count(&mut family, &[("why", row.code)], value)?;
            }
        }
        Ok(())
    }

    fn tls(&self, out: &mut DescriptorEncoder<'_>) -> Done {
        let mut family = counter(out, "vestibule_tls_handshakes", "TLS handshakes with clients that succeeded")?;
        for (index, version) in TLS_VERSIONS.iter().enumerate() {
            for (resumed, word) in ["false", "true"].into_iter().enumerate() {
                for (g, group) in GROUPS.iter().enumerate() {
                    let value = self.workers(|worker| worker.handshakes[index * 2 + resumed][g].get());
                    if value > 0 {
                        let labels = [("version", *version), ("group", *group), ("resumed", word)];
                        count(&mut family, &labels, value)?;
                    }
                }
            }
        }
        let help = "TLS handshakes with clients that came to nothing";
        let mut family = counter(out, "vestibule_tls_handshake_failures", help)?;
        for (index, reason) in HANDSHAKE_FAILURES.iter().enumerate() {
            let value = self.workers(|worker| worker.failures[index].get());
            if value > 0 {
                count(&mut family, &[("reason", *reason)], value)?;
            }
        }
        let mut family = counter(out, "vestibule_connections", "Connections accepted")?;
        let accepted = self.workers(|worker| worker.accepted.get());
        family.encode_counter::<NoLabelSet, _, f64>(&accepted, None)?;
        gauge(out, "vestibule_open_connections", "Client connections that are open")?
            .encode_gauge(&self.facts.connections)?;
        gauge(out, "vestibule_max_connections", "Client connections that may be open")?
            .encode_gauge(&self.facts.max_connections)
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> Done {
        let facts = &self.facts;
        gauge(out, "vestibule_build_info", "The version that runs")?
            .encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?
            .encode_gauge(&1u64)?;
        gauge(out, "vestibule_generation", "The generation of the config that is served")?
            .encode_gauge(&facts.generation)?;
        let mut family = counter(out, "vestibule_reloads", "Reloads, by whether the new config was served")?;
        count(&mut family, &[("outcome", "served")], facts.reloads.0)?;
        count(&mut family, &[("outcome", "refused")], facts.reloads.1)?;
        let help = "Requests and tunnels that were ended, since a reload had changed what they began under";
        let mut family = counter(out, "vestibule_reload_ended", help)?;
        family.encode_counter::<NoLabelSet, _, f64>(&self.workers(|worker| worker.ended.get()), None)?;
        if let Some((at, served)) = facts.last_reload {
            gauge(out, "vestibule_last_reload_served", "The last reload was served")?
                .encode_gauge(&u64::from(served))?;
            gauge(out, "vestibule_last_reload_timestamp_seconds", "When the last reload was")?
                .encode_gauge(&seconds(at))?;
        }
        let mut family = gauge(out, "vestibule_workers", "Workers, by whether they answer")?;
        let answer = facts.workers.iter().filter(|answers| **answers).count() as u64;
        level(&mut family, &[("state", "up")], answer)?;
        level(&mut family, &[("state", "stuck")], facts.workers.len() as u64 - answer)?;

        let process = Process::read();
        if let Some(count) = process.open_fds {
            gauge(out, "process_open_fds", "Number of open file descriptors")?.encode_gauge(&count)?;
        }
        if let Some(count) = process.max_fds {
            gauge(out, "process_max_fds", "Maximum number of open file descriptors")?.encode_gauge(&count)?;
        }
        if let Some(bytes) = process.resident_bytes {
            gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes")?.encode_gauge(&bytes)?;
        }
        gauge(out, "process_start_time_seconds", "Start time of the process since unix epoch in seconds")?
            .encode_gauge(&seconds(facts.started))?;
        if let Some(time) = process.cpu_seconds {
            counter(out, "process_cpu_seconds", "Total user and system CPU time spent in seconds")?
                .encode_counter::<NoLabelSet, _, f64>(&time, None)?;
        }
        Ok(())
    }

    fn certificates(&self, out: &mut DescriptorEncoder<'_>) -> Done {
        let help = "When the certificate of a site ends; those of the development CA are made anew and left out";
        let mut family = gauge(out, "vestibule_certificate_not_after_seconds", help)?;
        for cert in &self.facts.certificates {
            let labels = [("site", cert.site.as_str()), ("source", cert.source)];
            family.encode_family(&labels)?.encode_gauge(&cert.not_after)?;
        }
        let help =
            "Problems with certificate files that cannot be used: the one before is served on, or the site is refused";
        gauge(out, "vestibule_certificate_errors", help)?.encode_gauge(&self.facts.certificate_errors)?;
        let mut family = gauge(out, "vestibule_site_unusable", "The site is refused: its files cannot be used")?;
        for site in &self.facts.unusable {
            level(&mut family, &[("site", site.as_str())], 1)?;
        }
        if self.facts.acme.is_empty() {
            return Ok(());
        }
        let mut family = gauge(out, "vestibule_acme_certificate_ready", "A certificate by ACME is there")?;
        for cert in &self.facts.acme {
            level(&mut family, &[("site", cert.site.as_str())], u64::from(cert.ready))?;
        }
        let mut family = counter(out, "vestibule_acme_orders", "Orders of certificates, by how they ended")?;
        for cert in &self.facts.acme {
            for (outcome, value) in [("issued", cert.orders.0), ("failed", cert.orders.1)] {
                count(&mut family, &[("site", cert.site.as_str()), ("outcome", outcome)], value)?;
            }
        }
        Ok(())
    }

    /// The access log and the traces.
    fn sinks(&self, out: &mut DescriptorEncoder<'_>) -> Done {
        let mut total = |name: &str, help: &str, value: u64| {
            counter(out, name, help)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
        };
        if let Some((lines, lost, _)) = self.facts.log {
            total("vestibule_access_log_lines", "Lines of the access log that were taken", lines)?;
            total(
                "vestibule_access_log_lost_lines",
                "Lines lost: the output is slower than the traffic, or full",
                lost,
            )?;
        }
        if let Some((sent, lost, _)) = self.facts.spans {
            total("vestibule_spans", "Spans the collector has taken", sent)?;
            total("vestibule_lost_spans", "Spans lost: the queue was full, or the collector did not take them", lost)?;
        }
        if let Some((_, _, waiting)) = self.facts.log {
            gauge(out, "vestibule_access_log_queue_bytes", "Bytes of the access log that wait to be written")?
                .encode_gauge(&waiting)?;
        }
        if let Some((_, _, waiting)) = self.facts.spans {
            gauge(out, "vestibule_span_queue", "Spans that wait to be sent")?.encode_gauge(&waiting)?;
        }
        Ok(())
    }

    fn workers(&self, count: impl Fn(&WorkerShard) -> u64) -> u64 {
        self.metrics.workers.iter().map(count).sum()
    }
}
