//! The control thread's side of a running proxy: which generation is served, and how the next one takes its place.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use super::admin::{AdminSocket, Question, Reply, Seen, socket_path};
use super::build::{acceptors, build, generation, open_log, site_names, text};
use super::changes::Changes;
use super::inherited::Inherited;
use super::rollback::{History, Kept, Trial};
use super::status::{self, Outcome};
use super::systemd::Systemd;
use super::watch::Watch;
use super::worker::{Generation, Handle};
use super::{BoundDoor, StartError, worker};
use crate::acme::Manager;
use crate::config::{self, Config, Loaded, Sources, Values};
use crate::http::connections::Haste;
use crate::net::listener;
use crate::proxy::access_log::{AccessLog, Writer};
use crate::snapshot::Snapshot;
use crate::tls::{Acceptor, DevAuthority, Managed, Tickets};
use crate::upstream::Keeper;

/// Where a configuration comes from.
pub struct Source {
    /// What tells it from others on this machine: the path of its file.
    pub name: String,
    /// Reads it again: without errors, or every problem in text for a person.
    pub read: Box<dyn Fn() -> Result<Loaded, String>>,
}

/// What outlives a generation, and the generation that is served.
pub(super) struct Control {
    pub(super) snapshot: Arc<Snapshot>,
    /// The text the config came from, for problems found later.
    pub(super) sources: Sources,
    /// Where each value stands, for `explain`.
    pub(super) values: Values,
    pub(super) generation: u64,
    pub(super) doors: Vec<BoundDoor>,
    /// The id of the next door.
    next_id: usize,
    pub(super) workers: Vec<Handle>,
    pub(super) count: usize,
    pub(super) dev: Arc<DevAuthority>,
    pub(super) tickets: Tickets,
    pub(super) managed: Managed,
    acme: Manager,
    keeper: Keeper,
    pub(super) log: Option<AccessLog>,
    writer: Option<Writer>,
    pub(super) source: Option<Source>,
    pub(super) watch: Watch,
    /// The config's files, where `server.watch_config` is on.
    pub(super) config_watch: Option<Watch>,
    started: (SystemTime, Instant),
    pub(super) last_reload: Option<Outcome>,
    pub(super) history: History,
    /// A generation that is undone unless somebody confirms it.
    pub(super) trial: Option<Trial>,
    pub(super) systemd: Systemd,
    /// Numbers of workers that have panicked, and how many have begun anew.
    pub(super) fallen: mpsc::UnboundedReceiver<usize>,
    pub(super) restarts: u64,
}

impl Control {
    /// Builds the first generation and starts the workers on it.
    pub fn start(
        loaded: Loaded,
        dev: Arc<DevAuthority>,
        doors: Vec<BoundDoor>,
        count: usize,
        source: Option<Source>,
    ) -> Result<Control, StartError> {
        let tickets = Tickets::new().map_err(StartError::Tls)?;
        let Loaded { config, sources, values, warnings: _ } = loaded;
        let managed = Managed::default();
        let snapshot = build(config, None, &doors, &dev, &managed)?;
        let (log, writer) = open_log(&snapshot.config)?;
        let (falls, fallen) = mpsc::unbounded_channel();
        let mut control = Control {
            watch: Watch::new(&snapshot.config),
            config_watch: snapshot.config.server.watch_config.then(|| Watch::of_sources(&sources)),
            snapshot,
            sources,
            values,
            generation: 1,
            doors,
            next_id: 0,
            workers: Vec::new(),
            count,
            dev,
            tickets,
            managed,
            acme: Manager::default(),
            keeper: Keeper::default(),
            log,
            writer,
            source,
            started: (SystemTime::now(), Instant::now()),
            last_reload: None,
            history: History::default(),
            trial: None,
            systemd: Systemd::from_environment(),
            fallen,
            restarts: 0,
        };
        control.manage();
        control.number_doors();
        let acceptors = acceptors(&control.snapshot, &control.doors, &control.tickets)?;
        let generations = control.generations(&acceptors, true).map_err(sockets)?;
        let max = super::capability::max_connections(&control.snapshot.config.server, count);
        control.workers = worker::spawn_all(generations, max, &falls)
            .map_err(|error| StartError::Io("a worker thread".into(), error))?;
        control.doors.iter_mut().for_each(|door| door.fresh = false);
        Ok(control)
    }

    /// There is a config file that can be read again.
    pub fn is_readable(&self) -> bool {
        self.source.is_some()
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Opens the administration socket, where the config has one.
    pub fn open_admin(&self, inherited: &mut Inherited) -> Option<AdminSocket> {
        let path = socket_path(&self.snapshot.config.admin.socket, &self.source.as_ref()?.name)?;
        let opened = match inherited.take_admin(&path) {
            Some(socket) => AdminSocket::adopt(&path, socket),
            None => AdminSocket::open(&path),
        };
        match opened {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("no administration socket at {}: {error}", path.display());
                None
            }
        }
    }

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

    /// Reads the configuration and serves it, or says why the old one stays. With `trial` it is undone after that time
    /// unless it is confirmed.
    ///
    /// # Errors
    /// Every problem; nothing was changed.
    pub fn reload(&mut self, trial: Option<std::time::Duration>) -> Result<String, String> {
        let began = Instant::now();
        self.systemd.reloading();
        let before = self.generation;
        let outcome = self.no_trial().and_then(|()| self.read()).and_then(|loaded| self.replace(loaded));
        match &outcome {
            Ok(changes) => {
                tracing::info!("reloaded in {:.0?}: generation {}, {changes}", began.elapsed(), self.generation);
                self.trial = trial.map(|limit| Trial::new(limit, before));
            }
            Err(problems) => tracing::error!("not reloaded, generation {} stays:\n{problems}", self.generation),
        }
        self.last_reload = Some(Outcome { at: SystemTime::now(), error: outcome.as_ref().err().cloned() });
        self.systemd.ready(&self.one_line());
        let undone = self.trial.as_ref().map_or_else(String::new, |trial| trial.text());
        outcome.map(|changes| format!("generation {}: {changes}{undone}", self.generation))
    }

    /// What is served, for the service manager.
    pub fn one_line(&self) -> String {
        match self.last_reload.as_ref().and_then(|last| last.error.as_deref()) {
            None => format!("generation {} is served", self.generation),
            Some(problem) => {
                let first = problem.lines().next().unwrap_or_default();
                format!("generation {} is served, the last reload failed: {first}", self.generation)
            }
        }
    }

    pub(super) fn read(&self) -> Result<Loaded, String> {
        match &self.source {
            Some(source) => (source.read)(),
            None => Err("this command has no config file to read again\n".into()),
        }
    }

    /// What a reload would change. Ports that it would open are opened and closed again.
    async fn dry_run(&self) -> Result<String, String> {
        let Loaded { config, sources, .. } = self.read()?;
        let changes = Changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        build(config, Some(&self.snapshot), &doors, &self.dev, &self.managed)
            .map_err(|error| text(&error, &sources))?;
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
            restarts: self.restarts,
            trial: self.trial.as_ref(),
            kept: self.history.generations(),
            certs: self.snapshot.certs.as_deref(),
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

    /// Opens the access log's file anew, after something has moved the old one.
    pub fn reopen_log(&self) {
        match &self.writer {
            Some(writer) => writer.reopen(),
            None => tracing::warn!("SIGUSR1: there is no access log to open again"),
        }
    }

    /// Leaves the workers to themselves: there is no next generation.
    pub fn let_go(self) -> (Vec<Handle>, Option<Writer>) {
        (self.workers, self.writer)
    }

    /// Health checks hear that this process goes; requests are served as before.
    pub fn not_ready(&self) {
        self.workers.iter().for_each(Handle::not_ready);
    }

    /// Ends: the workers to wait for, and the log to close after them.
    pub fn stop(self, haste: Haste) -> (Vec<Handle>, Option<Writer>) {
        // A socket that is still open here would let connections wait for nobody.
        drop(self.doors);
        self.workers.iter().for_each(|worker| worker.drain(haste));
        (self.workers, self.writer)
    }

    /// Everything that can fail comes first; the workers are told at the end.
    pub(super) fn replace(&mut self, loaded: Loaded) -> Result<String, String> {
        let Loaded { config, sources, values, warnings } = loaded;
        if !warnings.is_empty() {
            tracing::warn!("{}", config::render_diagnostics(&warnings, &sources, false).trim_end());
        }
        let changes = Changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        let render = |error: &StartError| text(error, &sources);
        let snapshot =
            build(config, Some(&self.snapshot), &doors, &self.dev, &self.managed).map_err(|error| render(&error))?;
        let (log, writer) = match snapshot.config.access_log == self.snapshot.config.access_log {
            true => (self.log.as_ref().map(|log| log.with_sites(site_names(&snapshot.config))), None),
            false => open_log(&snapshot.config).map_err(|error| render(&error))?,
        };
        if snapshot.config.admin.inspector != self.snapshot.config.admin.inspector {
            tracing::warn!("admin.inspector has changed: the page itself opens, moves or closes with a restart");
        }
        let new_log = snapshot.config.access_log != self.snapshot.config.access_log;
        let old = Kept {
            generation: self.generation,
            snapshot: self.snapshot.clone(),
            sources: self.sources.clone(),
            values: self.values.clone(),
        };
        self.adopt(snapshot, doors, log).map_err(|error| render(&error))?;
        self.history.keep(old);
        if new_log {
            // Requests that are on their way write their lines to the old one, which ends after the last of them.
            self.writer = writer;
        }
        self.watch = Watch::new(&self.snapshot.config);
        self.config_watch = self.snapshot.config.server.watch_config.then(|| Watch::of_sources(&sources));
        (self.sources, self.values) = (sources, values);
        Ok(changes.to_string())
    }

    /// The doors of a config: those that are open already, and new ones bound.
    fn open_doors(&self, config: &Config) -> Result<Vec<BoundDoor>, String> {
        let mut known: Vec<Option<BoundDoor>> = self.doors.iter().cloned().map(Some).collect();
        let (mut doors, mut problems) = (Vec::new(), String::new());
        for (index, listener) in config.listeners.iter().enumerate() {
            for address in &listener.addresses {
                let open = known.iter_mut().find(|door| door.as_ref().is_some_and(|door| door.address == *address));
                if let Some(door) = open.and_then(Option::take) {
                    doors.push(BoundDoor { listener: index, ..door });
                    continue;
                }
                match listener::bind(*address, self.count).and_then(|sockets| BoundDoor::new(index, *address, sockets))
                {
                    Ok(door) => doors.push(door),
                    Err(error) => problems += &format!("{error}\n"),
                }
            }
        }
        if problems.is_empty() { Ok(doors) } else { Err(problems) }
    }

    pub(super) fn adopt(
        &mut self,
        snapshot: Arc<Snapshot>,
        doors: Vec<BoundDoor>,
        log: Option<AccessLog>,
    ) -> Result<(), StartError> {
        let acceptors = acceptors(&snapshot, &doors, &self.tickets)?;
        let before = (self.snapshot.clone(), self.doors.clone(), self.log.clone());
        (self.snapshot, self.doors, self.log) = (snapshot, doors, log);
        self.number_doors();
        let generations = match self.generations(&acceptors, false) {
            Ok(generations) => generations,
            Err(error) => {
                (self.snapshot, self.doors, self.log) = before;
                return Err(sockets(error));
            }
        };
        self.generation += 1;
        self.manage();
        for (worker, generation) in self.workers.iter().zip(generations) {
            worker.adopt(generation);
        }
        // The workers have them now.
        self.doors.iter_mut().for_each(|door| door.fresh = false);
        Ok(())
    }

    /// A door keeps its number in every generation.
    fn number_doors(&mut self) {
        for door in self.doors.iter_mut().filter(|door| door.fresh) {
            door.id = self.next_id;
            self.next_id += 1;
        }
    }

    /// What is served, for each worker.
    fn generations(&self, acceptors: &[Option<Acceptor>], first: bool) -> io::Result<Vec<Generation>> {
        let of = |worker| {
            let place = (worker, self.count);
            generation(&self.snapshot, self.log.as_ref(), &self.doors, acceptors, place, first)
        };
        (0..self.count).map(of).collect()
    }

    pub(super) fn text(&self, error: &StartError) -> String {
        text(error, &self.sources)
    }

    /// Hands servers to the thread that looks after them, and the certificates of ACME to its own; certificates of the state
    /// folder are served at once.
    fn manage(&mut self) {
        self.keeper.adopt(self.snapshot.watched(), self.snapshot.builtin);
        let certs = self.snapshot.certs.as_ref().map_or(&[][..], |certs| certs.managed());
        self.managed.retain(certs);
        self.acme.adopt(self.snapshot.config.acme.as_ref(), certs, self.managed.challenges());
    }
}

/// No descriptors were left for one more copy of a socket.
pub(super) fn sockets(error: io::Error) -> StartError {
    StartError::Io("the listening sockets".into(), error)
}
