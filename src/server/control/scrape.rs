//! What a scrape of the metrics gets.

use tokio::sync::mpsc;

use super::Control;
use crate::metrics::{Facts, Scrape};
use crate::net::listener::BindError;
use crate::server::scrape::{self, Asked};

impl Control {
    /// Answers the listener of `[metrics]` from now on; scrapes come out of the returned queue.
    pub fn serve_metrics(&mut self) -> Option<mpsc::Receiver<Asked>> {
        self.metrics.serve();
        self.scrapes.take()
    }

    /// Opens the listener of `[metrics]` where it could not be had before: after an upgrade the old process has it for a
    /// while, and a scrape is not worth a start that fails.
    pub fn open_metrics(&mut self) {
        if self.metrics.address().is_none() && self.bind_metrics().is_ok() && self.metrics.address().is_some() {
            self.metrics.serve();
            tracing::info!("metrics are served");
        }
    }

    /// Whoever connects from now on waits until scrapes are answered.
    pub(super) fn bind_metrics(&mut self) -> Result<(), BindError> {
        let bound = self.metrics.bind(&self.snapshot.config)?;
        self.metrics.adopt(&self.snapshot.config, bound);
        Ok(())
    }

    /// Everything as OpenMetrics text.
    pub async fn scrape(&mut self) -> String {
        let Some(metrics) = self.snapshot.metrics.clone() else { return String::new() };
        let reports = self.reports().await;
        let config = &self.snapshot.config;
        let certs = self.snapshot.certs.as_deref();
        let facts = Facts {
            generation: self.generation,
            started: self.started.0,
            reloads: self.reloads,
            last_reload: self.last_reload.as_ref().map(|last| (last.at, last.error.is_none())),
            workers: reports.iter().map(Option::is_some).collect(),
            connections: reports.iter().flatten().map(|report| report.connections as u64).sum(),
            max_connections: (self.max_connections * self.count) as u64,
            servers: scrape::servers(config, &self.snapshot.shared, &reports),
            certificates: self.expiry.certificates(config, certs),
            certificate_errors: certs.map_or(0, |certs| certs.errors().len() as u64),
            unusable: scrape::unusable(&self.snapshot),
            acme: scrape::acme(certs),
            log: self.outputs.log_stats().map(|stats| (stats.lines, stats.lost, stats.waiting)),
            spans: self.outputs.trace_stats().map(|stats| (stats.sent, stats.lost, stats.waiting)),
        };
        Scrape { metrics, facts }.text()
    }
}
