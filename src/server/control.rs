//! The control thread's side of a running proxy: which generation is served, and how the next one takes its place.

mod scrape;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use super::admin::{AdminSocket, Question, Reply, socket_path};
use super::doors::Door;
use super::outputs::{Change, Outputs};
use super::scrape::{Asked, Door as MetricsDoor, Expiry};
use super::status::{self, Outcome};
use super::watch::Watch;
use super::worker::{Generation, Handle};
use super::{BoundDoor, StartError, show, uses_builtin, worker};
use crate::acme::Manager;
use crate::config::{self, Config, Diagnostic, Loaded, Sources};
use crate::http::serve::Protocols;
use crate::net::listener;
use crate::snapshot::Snapshot;
use crate::tls::{Acceptor, DevAuthority, Managed, Tickets};

/// Where a configuration comes from.
pub struct Source {
    /// What tells it from others on this machine: the path of its file.
    pub name: String,
    /// Reads it again: without errors, or every problem in text for a person.
    pub read: Box<dyn Fn() -> Result<Loaded, String>>,
}

/// What outlives a generation, and the generation that is served.
pub(super) struct Control {
    snapshot: Arc<Snapshot>,
    /// The text the config came from, for problems found later.
    sources: Sources,
    generation: u64,
    doors: Vec<BoundDoor>,
    /// The id of the next door.
    next_id: usize,
    workers: Vec<Handle>,
    count: usize,
    dev: Arc<DevAuthority>,
    tickets: Tickets,
    managed: Managed,
    acme: Manager,
    outputs: Outputs,
    metrics: MetricsDoor,
    /// Scrapes that wait, until somebody takes them.
    scrapes: Option<mpsc::Receiver<Asked>>,
    expiry: Expiry,
    /// Connections of one worker at most.
    max_connections: usize,
    source: Option<Source>,
    watch: Watch,
    started: (SystemTime, Instant),
    last_reload: Option<Outcome>,
    /// Reloads that were served, and that were refused.
    reloads: (u64, u64),
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
        let Loaded { config, sources, .. } = loaded;
        let managed = Managed::default();
        let snapshot = build(config, None, &doors, &dev, &managed, count)?;
        let (mut outputs, (mut metrics, scrapes)) = (Outputs::default(), MetricsDoor::new());
        outputs.adopt(Outputs::open(&snapshot.config, None, count)?);
        let bound = metrics.bind(&snapshot.config).map_err(|error| StartError::Bind(vec![error]))?;
        metrics.adopt(&snapshot.config, bound);
        let max_connections = super::capability::max_connections(&snapshot.config.server, count);
        let mut control = Control {
            watch: Watch::new(&snapshot.config),
            snapshot,
            sources,
            generation: 1,
            doors,
            next_id: 0,
            workers: Vec::new(),
            count,
            dev,
            tickets,
            managed,
            acme: Manager::default(),
            outputs,
            metrics,
            scrapes: Some(scrapes),
            expiry: Expiry::default(),
            max_connections,
            source,
            started: (SystemTime::now(), Instant::now()),
            last_reload: None,
            reloads: (0, 0),
        };
        control.manage();
        let acceptors = control.acceptors(&control.snapshot, &control.doors)?;
        let generations = control.generations(acceptors);
        control.workers = worker::spawn_all(generations, max_connections)
            .map_err(|error| StartError::Io("a worker thread".into(), error))?;
        Ok(control)
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Opens the administration socket, where the config has one.
    pub fn open_admin(&self) -> Option<AdminSocket> {
        let path = socket_path(&self.snapshot.config.admin.socket, &self.source.as_ref()?.name)?;
        match AdminSocket::open(&path) {
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
            Question::Reload => self.reload(),
            Question::DryRun => self.dry_run(),
        };
        match outcome {
            Ok(done) => Reply::Done(done + "\n"),
            Err(problems) => Reply::Refused(problems),
        }
    }

    /// Reads the configuration and serves it, or says why the old one stays.
    ///
    /// # Errors
    /// Every problem; nothing was changed.
    pub fn reload(&mut self) -> Result<String, String> {
        let began = Instant::now();
        let outcome = self.read().and_then(|loaded| self.replace(loaded));
        match &outcome {
            Ok(changes) => {
                tracing::info!("reloaded in {:.0?}: generation {}, {changes}", began.elapsed(), self.generation);
            }
            Err(problems) => tracing::error!("not reloaded, generation {} stays:\n{problems}", self.generation),
        }
        *(if outcome.is_ok() { &mut self.reloads.0 } else { &mut self.reloads.1 }) += 1;
        self.last_reload = Some(Outcome { at: SystemTime::now(), error: outcome.as_ref().err().cloned() });
        outcome.map(|changes| format!("generation {}: {changes}", self.generation))
    }

    fn read(&self) -> Result<Loaded, String> {
        match &self.source {
            Some(source) => (source.read)(),
            None => Err("this command has no config file to read again\n".into()),
        }
    }

    /// What a reload would change. Ports that it would open are opened and closed again.
    fn dry_run(&mut self) -> Result<String, String> {
        let Loaded { config, sources, .. } = self.read()?;
        let changes = super::changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        self.build(config, &doors).map_err(|error| text(&error, &sources))?;
        Ok(format!("would become generation {}: {changes}", self.generation + 1))
    }

    async fn status(&self) -> String {
        let reports = self.reports().await;
        let config = &self.snapshot.config;
        let listener = |door: &BoundDoor| (config.listeners[door.listener].name.clone(), door.local.to_string());
        let facts = status::Facts {
            config,
            generation: self.generation,
            started: self.started.0,
            running: self.started.1.elapsed(),
            last_reload: self.last_reload.as_ref(),
            listeners: self.doors.iter().map(listener).collect(),
            log: self.outputs.log_stats(),
            spans: self.outputs.trace_stats(),
            metrics: self.metrics.address(),
            managed: self.snapshot.certs.as_ref().map_or(&[][..], |certs| certs.managed()),
        };
        status::json(&facts, &reports)
    }

    /// Serves the certificate files as they are now, when they have changed. What is half written changes nothing.
    pub fn look_at_files(&mut self) {
        let Some(settled) = self.watch.changed() else { return };
        match self.build(self.snapshot.config.clone(), &self.doors) {
            Ok(snapshot) => {
                self.watch.settle();
                let doors = self.doors.iter().map(BoundDoor::without_sockets).collect();
                match self.adopt(snapshot, doors, None) {
                    Ok(()) => tracing::info!("certificate files have changed: generation {}", self.generation),
                    Err(error) => tracing::error!("certificate files have changed, but: {}", self.text(&error)),
                }
            }
            Err(error) if settled => {
                self.watch.settle();
                tracing::error!(
                    "certificate files have changed and cannot be served, the last good ones stay:\n{}",
                    self.text(&error)
                );
            }
            // Perhaps only one of two files is there yet.
            Err(_) => {}
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

    /// Ends: the workers to wait for, and the log to close after them.
    pub fn stop(self) -> (Vec<Handle>, Outputs) {
        self.workers.iter().for_each(Handle::drain);
        (self.workers, self.outputs)
    }

    /// Everything that can fail comes first; the workers are told at the end.
    fn replace(&mut self, loaded: Loaded) -> Result<String, String> {
        let Loaded { config, sources, warnings, .. } = loaded;
        if !warnings.is_empty() {
            tracing::warn!("{}", config::render_diagnostics(&warnings, &sources, false).trim_end());
        }
        let changes = super::changes::between(&self.snapshot.config, &config);
        let doors = self.open_doors(&config)?;
        let render = |error: &StartError| text(error, &sources);
        let snapshot = self.build(config, &doors).map_err(|error| render(&error))?;
        let bound = self.metrics.bind(&snapshot.config).map_err(|error| format!("{error}\n"))?;
        let change =
            Outputs::open(&snapshot.config, Some(&self.snapshot.config), self.count).map_err(|error| render(&error))?;
        self.adopt(snapshot, doors, Some(change)).map_err(|error| render(&error))?;
        self.metrics.adopt(&self.snapshot.config, bound);
        self.metrics.serve();
        self.watch = Watch::new(&self.snapshot.config);
        self.sources = sources;
        Ok(changes)
    }

    /// The doors of a config: those that are open already, and new ones bound.
    fn open_doors(&mut self, config: &Config) -> Result<Vec<BoundDoor>, String> {
        let mut known: Vec<Option<BoundDoor>> = self.doors.iter().map(|door| Some(door.without_sockets())).collect();
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

    fn adopt(
        &mut self,
        snapshot: Arc<Snapshot>,
        doors: Vec<BoundDoor>,
        change: Option<Change>,
    ) -> Result<(), StartError> {
        let acceptors = self.acceptors(&snapshot, &doors)?;
        (self.snapshot, self.doors) = (snapshot, doors);
        change.into_iter().for_each(|change| self.outputs.adopt(change));
        self.expiry.forget();
        self.generation += 1;
        self.manage();
        let generations = self.generations(acceptors);
        for (worker, generation) in self.workers.iter().zip(generations) {
            worker.adopt(generation);
        }
        Ok(())
    }

    /// Hands the certificates that ACME looks after to its thread; those of the state folder are served at once.
    fn manage(&mut self) {
        let certs = self.snapshot.certs.as_ref().map_or(&[][..], |certs| certs.managed());
        self.managed.retain(certs);
        self.acme.adopt(self.snapshot.config.acme.as_ref(), certs, self.managed.challenges());
    }

    /// The acceptor of each door.
    fn acceptors(&self, snapshot: &Snapshot, doors: &[BoundDoor]) -> Result<Vec<Option<Acceptor>>, StartError> {
        let acceptor = |door: &BoundDoor| {
            let listener = &snapshot.config.listeners[door.listener];
            match (&snapshot.certs, listener.tls) {
                (Some(certs), true) => {
                    Acceptor::new(certs.clone(), &snapshot.config.tls, listener, &self.tickets).map(Some)
                }
                _ => Ok(None),
            }
        };
        doors.iter().map(acceptor).collect::<Result<_, _>>().map_err(StartError::Tls)
    }

    /// The current generation for each worker. Sockets that were just bound go with it.
    fn generations(&mut self, acceptors: Vec<Option<Acceptor>>) -> Vec<Generation> {
        let sinks = self.outputs.sinks(&self.snapshot);
        let generation = |worker| {
            let (snapshot, sinks) = (self.snapshot.clone(), sinks.for_worker(worker));
            Generation { snapshot, sinks, doors: Vec::new() }
        };
        let mut generations: Vec<Generation> = (0..self.count).map(generation).collect();
        // A header for a server names both ends; a socket bound to every address does not know its own.
        let exact_local = self.snapshot.config.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some());
        for (door, acceptor) in self.doors.iter_mut().zip(acceptors) {
            let id = *door.id.get_or_insert_with(|| {
                self.next_id += 1;
                self.next_id - 1
            });
            let listener = &self.snapshot.config.listeners[door.listener];
            let proxy_protocol = listener.proxy_protocol.clone().map(Arc::new);
            let mut sockets = std::mem::take(&mut door.sockets).into_iter();
            for generation in &mut generations {
                generation.doors.push(Door {
                    id,
                    socket: sockets.next(),
                    index: door.listener,
                    local: door.local,
                    acceptor: acceptor.clone(),
                    protocols: Protocols { h1: listener.h1, h2: listener.h2 },
                    proxy_protocol: proxy_protocol.clone(),
                    exact_local,
                });
            }
        }
        generations
    }

    /// What the next generation would be.
    fn build(&self, config: Config, doors: &[BoundDoor]) -> Result<Arc<Snapshot>, StartError> {
        build(config, Some(&self.snapshot), doors, &self.dev, &self.managed, self.count)
    }

    fn text(&self, error: &StartError) -> String {
        text(error, &self.sources)
    }
}

/// Opens everything a config names.
fn build(
    config: Config,
    before: Option<&Snapshot>,
    doors: &[BoundDoor],
    dev: &DevAuthority,
    managed: &Managed,
    workers: usize,
) -> Result<Arc<Snapshot>, StartError> {
    let builtin = match before.and_then(|before| before.builtin) {
        Some(running) => Some(running),
        None if uses_builtin(&config) => {
            Some(show::start().map_err(|error| StartError::Io("the built-in backend".into(), error))?)
        }
        None => None,
    };
    let https = doors.iter().find(|door| config.listeners[door.listener].tls).map(|door| door.local.port());
    let mut snapshot = Snapshot::build(config, dev, managed, https, builtin).map_err(StartError::Config)?;
    if let Some(before) = before {
        snapshot.inherit(before);
    }
    snapshot.count(before, workers);
    for warning in snapshot.certs.iter().flat_map(|certs| certs.warnings()).chain(&snapshot.warnings) {
        tracing::warn!("{}", warning.message);
    }
    Ok(Arc::new(snapshot))
}

fn text(error: &StartError, sources: &Sources) -> String {
    let diagnostics = |found: &[Diagnostic]| config::render_diagnostics(found, sources, false);
    match error {
        StartError::Config(found) => diagnostics(found),
        StartError::Bind(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
        StartError::Io(what, error) => format!("{what}: {error}\n"),
        StartError::Tls(error) => format!("TLS: {error}\n"),
    }
}
