//! What the process tells of requests, and where: the access log, the traces, the counters. Each goes on over a reload
//! that does not change it.

use std::sync::Arc;

use super::StartError;
use crate::config::{AccessLog as LogConfig, Config};
use crate::proxy::access_log::{self, AccessLog, Writer};
use crate::proxy::trace::{self, Exporter, Tracer};
use crate::proxy::{Names, Sinks};
use crate::snapshot::Snapshot;

type Log = Option<(AccessLog, Writer)>;
type Traces = Option<(Tracer, Exporter)>;

/// What is open.
#[derive(Default)]
pub(super) struct Outputs {
    log: Log,
    traces: Traces,
}

/// What the next generation opens anew; `None`: as it is.
pub(super) struct Change {
    log: Option<Log>,
    traces: Option<Traces>,
}

impl Outputs {
    /// Opens what `config` asks for and `before` has not.
    ///
    /// # Errors
    /// The log file, or a thread.
    pub fn open(config: &Config, before: Option<&Config>, workers: usize) -> Result<Change, StartError> {
        let log = match before.is_some_and(|before| before.access_log == config.access_log) {
            true => None,
            false => Some(open_log(config, workers)?),
        };
        let traces = match before.is_some_and(|before| before.tracing == config.tracing) {
            true => None,
            false => Some(match &config.tracing {
                Some(settings) => Some(
                    Tracer::start(settings).map_err(|error| StartError::Io("the thread of traces".into(), error))?,
                ),
                None => None,
            }),
        };
        Ok(Change { log, traces })
    }

    /// Puts a change in place, and returns what undoes it. Requests that are on their way tell the old ones, which end after
    /// the last of them.
    pub fn adopt(&mut self, change: Change) -> Change {
        Change {
            log: change.log.map(|log| std::mem::replace(&mut self.log, log)),
            traces: change.traces.map(|traces| std::mem::replace(&mut self.traces, traces)),
        }
    }

    /// What the workers tell requests to in a generation.
    pub fn sinks(&self, snapshot: &Snapshot) -> Sinks {
        let log = self.log.as_ref().map(|(log, _)| log.clone());
        let tracer = self.traces.as_ref().map(|(tracer, _)| tracer.clone());
        // Metrics have names of their own.
        let names = if log.is_some() || tracer.is_some() { Names::of(&snapshot.config) } else { Names::default() };
        Sinks { log, metrics: snapshot.metrics.clone(), tracer, names: Arc::new(names), worker: 0 }
    }

    /// Opens the access log's file anew, after something has moved the old one.
    pub fn reopen_log(&self) {
        match &self.log {
            Some((_, writer)) => writer.reopen(),
            None => tracing::warn!("SIGUSR1: there is no access log to open again"),
        }
    }

    pub fn log_stats(&self) -> Option<access_log::Stats> {
        self.log.as_ref().map(|(log, _)| log.stats())
    }

    pub fn trace_stats(&self) -> Option<trace::Stats> {
        self.traces.as_ref().map(|(tracer, _)| tracer.stats())
    }

    /// Hands over what is queued and ends.
    pub fn stop(self) {
        if let Some((_, writer)) = self.log {
            writer.stop();
        }
        if let Some((_, exporter)) = self.traces {
            exporter.stop();
        }
    }
}

fn open_log(config: &Config, workers: usize) -> Result<Log, StartError> {
    let LogConfig::On { format, output, redact, sample } = &config.access_log else { return Ok(None) };
    AccessLog::open(*format, output, redact, *sample, workers)
        .map(Some)
        .map_err(|error| StartError::Io(format!("the access log {output:?}"), error))
}
