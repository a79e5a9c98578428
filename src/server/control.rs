//! The control thread's side of a running proxy: which generation is served, and how the next one takes its place.

mod answers;
mod scrape;

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use super::admin::{AdminSocket, socket_path};
use super::build::{acceptors, build, generation, text};
use super::changes::Changes;
use super::inherited::Inherited;
use super::outputs::{Change, Outputs};
use super::rollback::{History, Kept, Trial};
use super::scrape::{Asked, Door as MetricsDoor, Expiry};
use super::status::Outcome;
use super::systemd::Systemd;
use super::watch::Watch;
use super::worker::{Generation, Handle};
use super::{BoundDoor, StartError, unusable, worker};
use crate::acme::Manager;
use crate::config::{self, Config, Loaded, Sources, Values};
use crate::http::connections::Haste;
use crate::net::listener;
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
    pub(super) outputs: Outputs,
    pub(super) metrics: MetricsDoor,
    /// Scrapes that wait, until somebody takes them.
    scrapes: Option<mpsc::Receiver<Asked>>,
    expiry: Expiry,
    /// Connections of one worker at most.
    max_connections: usize,
    pub(super) source: Option<Source>,
    pub(super) watch: Watch,
    /// The config's files, where `server.watch_config` is on.
    pub(super) config_watch: Option<Watch>,
    started: (SystemTime, Instant),
    pub(super) last_reload: Option<Outcome>,
    /// Reloads that were served, and that were refused.
    reloads: (u64, u64),
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
        takes_over: bool,
    ) -> Result<Control, StartError> {
        let tickets = Tickets::new().map_err(StartError::Tls)?;
        let Loaded { config, sources, values, warnings: _ } = loaded;
        let managed = Managed::default();
        let snapshot = build(config, None, None, &doors, &dev, &managed, count)?;
        unusable::may_start(&snapshot, takes_over)?;
        unusable::say(&snapshot, None, &sources);
        let (mut outputs, (metrics, scrapes)) = (Outputs::default(), MetricsDoor::new());
        outputs.adopt(Outputs::open(&snapshot.config, None, count)?);
        let max_connections = super::capability::max_connections(&snapshot.config.server, count);
        let (falls, fallen) = mpsc::unbounded_channel();
        let mut control = Control {
            watch: Watch::new(&snapshot),
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
            outputs,
            metrics,
            scrapes: Some(scrapes),
            expiry: Expiry::default(),
            max_connections,
            source,
            started: (SystemTime::now(), Instant::now()),
            last_reload: None,
            reloads: (0, 0),
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
        control.workers = worker::spawn_all(generations, max_connections, &falls)
            .map_err(|error| StartError::Io("a worker thread".into(), error))?;
        control.doors.iter_mut().for_each(|door| door.fresh = false);
        if let Err(error) = control.bind_metrics() {
            tracing::error!("metrics are not served until the address is free:\n{error}");
        }
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

    /// Reads the configuration and serves it, or says why the old one stays. With `trial` it is undone after that time
    /// unless it is confirmed.
    ///
    /// # Errors
    /// Every problem; nothing was changed.
    pub fn reload(&mut self, trial: Option<std::time::Duration>) -> Result<String, String> {
        let began = Instant::now();
        self.systemd.reloading();
        let before = self.generation;
        let outcome = self.no_trial().and_then(|()| self.read()).and_then(|loaded| self.replace(loaded, None));
        match &outcome {
            Ok(changes) => {
                tracing::info!("reloaded in {:.0?}: generation {}, {changes}", began.elapsed(), self.generation);
                self.trial = trial.map(|limit| Trial::new(limit, before));
            }
            Err(problems) => tracing::error!("not reloaded, generation {} stays:\n{problems}", self.generation),
        }
        *(if outcome.is_ok() { &mut self.reloads.0 } else { &mut self.reloads.1 }) += 1;
        self.last_reload = Some(Outcome { at: SystemTime::now(), error: outcome.as_ref().err().cloned() });
        self.systemd.ready(&self.one_line());
        let undone = self.trial.as_ref().map_or_else(String::new, |trial| trial.text());
        outcome.map(|changes| format!("generation {}: {changes}{undone}", self.generation))
    }

    /// What is served, for the service manager.
    pub fn one_line(&self) -> String {
        let served = format!("generation {} is served", self.generation);
        let errors = self.snapshot.certs.as_ref().map_or(&[][..], |certs| certs.errors());
        let failed = self.last_reload.as_ref().and_then(|last| last.error.as_deref());
        match (failed.and_then(|problem| problem.lines().next()), errors) {
            (Some(first), _) => format!("{served}, the last reload failed: {first}"),
            (None, [first, ..]) => format!("{served}, but for files that cannot be used: {}", first.line()),
            (None, []) => served,
        }
    }

    pub(super) fn read(&self) -> Result<Loaded, String> {
        match &self.source {
            Some(source) => (source.read)(),
            None => Err("this command has no config file to read again\n".into()),
        }
    }

    /// Opens the access log's file anew, after something has moved the old one.
    pub fn reopen_log(&self) {
        self.outputs.reopen_log();
    }

    /// Leaves the workers to themselves: there is no next generation.
    pub fn let_go(self) -> (Vec<Handle>, Outputs) {
        (self.workers, self.outputs)
    }

    /// Health checks hear that this process goes; requests are served as before.
    pub fn not_ready(&self) {
        self.workers.iter().for_each(Handle::not_ready);
    }

    /// Ends: the workers to wait for, and the log to close after them.
    pub fn stop(mut self, haste: Haste) -> (Vec<Handle>, Outputs) {
        self.metrics.close();
        // A socket that is still open here would let connections wait for nobody.
        drop(self.doors);
        self.workers.iter().for_each(|worker| worker.drain(haste));
        (self.workers, self.outputs)
    }

    /// Everything that can fail comes first; the workers are told at the end. Files of certificates that cannot be used refuse
    /// it, but for those that could not be used before either; on the way `back` to an earlier generation nothing is lost that
    /// it had.
    pub(super) fn replace(&mut self, loaded: Loaded, back: Option<&Snapshot>) -> Result<String, String> {
        let Loaded { config, sources, values, warnings } = loaded;
        if !warnings.is_empty() {
            tracing::warn!("{}", config::render_diagnostics(&warnings, &sources, false).trim_end());
        }
        let changes = Changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        let render = |error: &StartError| text(error, &sources);
        let snapshot = self.build(config, &doors, back).map_err(|error| render(&error))?;
        if back.is_none() {
            unusable::refuse_new(&snapshot, &self.snapshot).map_err(|error| render(&error))?;
        }
        unusable::say(&snapshot, self.snapshot.certs.as_deref(), &sources);
        let bound = self.metrics.bind(&snapshot.config).map_err(|error| format!("{error}\n"))?;
        let change =
            Outputs::open(&snapshot.config, Some(&self.snapshot.config), self.count).map_err(|error| render(&error))?;
        if snapshot.config.admin.inspector != self.snapshot.config.admin.inspector {
            tracing::warn!("admin.inspector has changed: the page itself opens, moves or closes with a restart");
        }
        let old = Kept {
            generation: self.generation,
            snapshot: self.snapshot.clone(),
            sources: self.sources.clone(),
            values: self.values.clone(),
        };
        self.adopt(snapshot, doors, Some(change)).map_err(|error| render(&error))?;
        self.history.keep(old);
        self.metrics.adopt(&self.snapshot.config, bound);
        self.metrics.serve();
        self.watch = Watch::new(&self.snapshot);
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
        change: Option<Change>,
    ) -> Result<(), StartError> {
        let acceptors = acceptors(&snapshot, &doors, &self.tickets)?;
        let before = (self.snapshot.clone(), self.doors.clone());
        (self.snapshot, self.doors) = (snapshot, doors);
        let undo = change.map(|change| self.outputs.adopt(change));
        self.number_doors();
        let generations = match self.generations(&acceptors, false) {
            Ok(generations) => generations,
            Err(error) => {
                (self.snapshot, self.doors) = before;
                undo.into_iter().for_each(|change| drop(self.outputs.adopt(change)));
                return Err(sockets(error));
            }
        };
        self.generation += 1;
        self.expiry.forget();
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
        let sinks = self.outputs.sinks(&self.snapshot);
        let of = |worker| {
            let place = (worker, self.count);
            generation(&self.snapshot, &sinks, &self.doors, acceptors, place, first)
        };
        (0..self.count).map(of).collect()
    }

    /// What the next generation would be. Certificate files that cannot be read now are as they were in this one, or in the
    /// generation to go `back` to.
    pub(super) fn build(
        &self,
        config: Config,
        doors: &[BoundDoor],
        back: Option<&Snapshot>,
    ) -> Result<Arc<Snapshot>, StartError> {
        let last = back.unwrap_or(&self.snapshot).certs.as_deref();
        build(config, Some(&self.snapshot), last, doors, &self.dev, &self.managed, self.count)
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
        let holds = |cert| self.snapshot.certs.as_ref().is_some_and(|store| store.holds(cert));
        certs.iter().for_each(|cert| cert.hold(holds(cert)));
        self.acme.adopt(self.snapshot.config.acme.as_ref(), certs, self.managed.challenges());
    }
}

/// No descriptors were left for one more copy of a socket.
pub(super) fn sockets(error: io::Error) -> StartError {
    StartError::Io("the listening sockets".into(), error)
}
