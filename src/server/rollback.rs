//! The way back: generations that were served before, and a reload on trial that is undone unless it is confirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::control::Control;
use super::status::Outcome;
use crate::config::{Loaded, Sources, Values};
use crate::snapshot::Snapshot;

/// Generations that are kept besides the one that is served.
const KEPT: usize = 3;

/// A generation that was served before.
pub(super) struct Kept {
    pub generation: u64,
    pub snapshot: Arc<Snapshot>,
    pub sources: Sources,
    pub values: Values,
}

/// The last generations, the youngest at the back.
#[derive(Default)]
pub(super) struct History {
    kept: VecDeque<Kept>,
}

impl History {
    pub fn keep(&mut self, old: Kept) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(old);
    }

    /// Their numbers, the oldest first.
    pub fn generations(&self) -> Vec<u64> {
        self.kept.iter().map(|kept| kept.generation).collect()
    }

    fn find(&self, generation: Option<u64>) -> Option<&Kept> {
        match generation {
            Some(generation) => self.kept.iter().find(|kept| kept.generation == generation),
            None => self.kept.back(),
        }
    }
}

/// A generation that waits to be confirmed.
pub(super) struct Trial {
    /// When it is undone.
    pub until: Instant,
    /// What is served again then.
    pub back_to: u64,
    limit: Duration,
}

impl Trial {
    pub fn new(limit: Duration, back_to: u64) -> Trial {
        Trial { until: Instant::now() + limit, back_to, limit }
    }

    /// What whoever asked for it is told.
    pub fn text(&self) -> String {
        let Trial { limit, back_to, .. } = self;
        format!("\ngeneration {back_to} comes back in {limit:?} unless you say `vestibule confirm`")
    }
}

impl Control {
    /// A reload between another one and its confirmation would leave nobody sure of what is undone.
    pub(super) fn no_trial(&self) -> Result<(), String> {
        match &self.trial {
            None => Ok(()),
            Some(_) => Err(format!(
                "generation {} waits to be confirmed: `vestibule confirm` or `vestibule rollback` first\n",
                self.generation
            )),
        }
    }

    /// Keeps the generation that is on trial.
    pub(super) fn confirm(&mut self) -> Result<String, String> {
        match self.trial.take() {
            Some(_) => {
                tracing::info!("generation {} is confirmed", self.generation);
                Ok(format!("generation {} stays", self.generation))
            }
            None => Err("nothing waits to be confirmed\n".into()),
        }
    }

    /// When the generation on trial is undone; never, where there is none.
    pub(super) async fn trial_ends(&self) {
        match &self.trial {
            Some(trial) => tokio::time::sleep_until(trial.until).await,
            None => std::future::pending().await,
        }
    }

    /// Undoes the generation on trial, which nobody has confirmed.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            tracing::warn!("generation {} was not confirmed", self.generation);
            // The log says how it went.
            let _ = self.roll_back(Some(trial.back_to));
        }
    }

    /// Serves a generation again that was served before: the last one, or the one with this number. Its certificates are
    /// read anew; where they cannot be used it has those of that time. The config file stays as it is.
    pub(super) fn roll_back(&mut self, to: Option<u64>) -> Result<String, String> {
        let outcome = match self.history.find(to.or(self.trial.as_ref().map(|trial| trial.back_to))) {
            Some(kept) => {
                let (config, sources) = (kept.snapshot.config.clone(), kept.sources.clone());
                let values = kept.values.clone();
                let (back_to, back) = (kept.generation, kept.snapshot.clone());
                let loaded = Loaded { config, sources, warnings: Vec::new(), values };
                self.replace(loaded, Some(&back)).map(|changes| (back_to, changes))
            }
            None => {
                let kept: Vec<String> = self.history.generations().iter().map(u64::to_string).collect();
                let kept = if kept.is_empty() { "none".into() } else { kept.join(", ") };
                return Err(format!("there is no such generation to go back to; kept: {kept}\n"));
            }
        };
        self.last_reload = Some(Outcome { at: SystemTime::now(), error: outcome.as_ref().err().cloned() });
        match outcome {
            Ok((back_to, changes)) => {
                self.trial = None;
                tracing::warn!("reloaded: generation {} is generation {back_to} again, {changes}", self.generation);
                self.systemd.ready(&self.one_line());
                Ok(format!(
                    "generation {} is generation {back_to} again: {changes}\nthe config file is as it was: a reload \
                     serves it",
                    self.generation
                ))
            }
            Err(problems) => {
                tracing::error!("not rolled back, generation {} stays:\n{problems}", self.generation);
                Err(problems)
            }
        }
    }
}
