//! What is asked over the administration socket, and by the inspector.

use super::{BoundDoor, Changes, Control, Loaded, text};
use crate::server::admin::{Question, Reply, Seen};
use crate::server::{status, unusable};

impl Control {
    /// Answers a question of the administration socket.
    pub async fn answer(&mut self, question: Question) -> Reply {
        let outcome = match question {
            Question::Status => return Reply::Json(self.status().await),
            Question::Look => return Reply::Seen(Box::new(self.look().await)),
            Question::Reload => self.reload(None),
            Question::Trial(limit) => self.reload(Some(limit)),
            Question::DryRun => self.dry_run().await,
            Question::Confirm => self.confirm(),
            Question::Rollback(to) => self.roll_back(to),
            Question::Explain(asked) => return asked.answer(&self.snapshot, &self.values, &self.sources),
            // Takes its time: the loop of signals answers it.
            Question::Upgrade => Err("an upgrade cannot be asked for here\n".into()),
        };
        match outcome {
            Ok(done) => Reply::Done(done + "\n"),
            Err(problems) => Reply::Refused(problems),
        }
    }

    /// What a reload would change. Ports that it would open are opened and closed again.
    async fn dry_run(&self) -> Result<String, String> {
        let Loaded { config, sources, .. } = self.read()?;
        let changes = Changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        let next = self.build(config, &doors, None).and_then(|next| unusable::refuse_new(&next, &self.snapshot));
        next.map_err(|error| text(&error, &sources))?;
        let affected = changes.affected(&self.reports().await);
        Ok(format!("would become generation {}: {changes}{affected}", self.generation + 1))
    }

    async fn status(&self) -> String {
        let reports = self.reports().await;
        let config = &self.snapshot.config;
        let listener = |door: &BoundDoor| (config.listeners[door.listener].name.clone(), door.local.to_string());
        let facts = status::Facts {
            config,
            shared: &self.snapshot.shared,
            generation: self.generation,
            started: self.started.0,
            running: self.started.1.elapsed(),
            last_reload: self.last_reload.as_ref(),
            listeners: self.doors.iter().map(listener).collect(),
            log: self.outputs.log_stats(),
            spans: self.outputs.trace_stats(),
            metrics: self.metrics.address(),
            restarts: self.restarts,
            trial: self.trial.as_ref(),
            kept: self.history.generations(),
            snapshot: &self.snapshot,
        };
        status::json(&facts, &reports)
    }

    async fn look(&self) -> Seen {
        Seen {
            snapshot: self.snapshot.clone(),
            // It is JSON that this process has just written.
            status: serde_json::from_str(&self.status().await).unwrap_or_default(),
            doors: self.doors.iter().map(|door| (door.listener, door.local)).collect(),
            dev_root: self.dev.root(),
        }
    }
}
