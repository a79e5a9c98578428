//! The process: sockets, workers, signals, the orderly end.
//!
//! One worker a core, each with its own runtime, listening sockets, pools and view of the configuration; the control
//! thread is the one that called [`Bound::serve`]. A program that has the proxy inside it, as tests do, calls
//! [`Bound::start`] and [`Running::stop`] instead.

mod accept;
mod admin;
mod build;
mod capability;
mod changes;
mod control;
mod doors;
mod endings;
mod explain;
mod handover;
mod inherited;
mod outputs;
mod panics;
mod proxy_header;
mod rollback;
mod scrape;
mod show;
mod signals;
mod status;
mod systemd;
mod unusable;
mod upgrade;
mod watch;
mod worker;
mod workers;
mod wrong_door;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::admin::{Asker, Seen, socket_path};
use self::control::Control;
pub use self::control::Source;
pub use self::inherited::Inherited;
use tokio::sync::mpsc;

use self::outputs::Outputs;
use crate::config::{BindAddress, Config, Diagnostic, Loaded, Sources, UpstreamAddress};
use crate::http::connections::Haste;
use crate::net::listener::{self, BindError};
use crate::snapshot::Snapshot;
use crate::tls::DevAuthority;

/// Why the proxy did not start.
#[derive(Debug)]
pub enum StartError {
    Bind(Vec<BindError>),
    /// Problems with certificates and keys.
    Config(Vec<Diagnostic>),
    Io(String, io::Error),
    Tls(rustls::Error),
}

/// The listening sockets of a config: one for each address and worker.
pub struct Bound {
    workers: usize,
    doors: Vec<BoundDoor>,
    inherited: Inherited,
    asker: Asker,
    questions: mpsc::Receiver<admin::Ask>,
}

/// One address that is listened on.
#[derive(Clone)]
struct BoundDoor {
    /// The same in every generation; given when the workers are told of it.
    id: usize,
    /// The workers do not have it yet.
    fresh: bool,
    /// Index into the config's listeners.
    listener: usize,
    address: BindAddress,
    local: SocketAddr,
    /// The workers have copies; these are for one that begins anew, and for the process that takes our place.
    sockets: Arc<[TcpListener]>,
}

impl BoundDoor {
    fn new(listener: usize, address: BindAddress, sockets: Vec<TcpListener>) -> Result<BoundDoor, BindError> {
        match sockets[0].local_addr() {
            Ok(local) => {
                Ok(BoundDoor { id: usize::MAX, fresh: true, listener, address, local, sockets: sockets.into() })
            }
            Err(source) => Err(BindError { address, source }),
        }
    }
}

/// Opens every listening socket, or none.
///
/// # Errors
/// All ports that cannot be had, not only the first.
pub fn bind(config: &Config) -> Result<Bound, StartError> {
    bind_or_inherit(config, Inherited::default())
}

/// Opens every port of a config once, and closes it again.
///
/// # Errors
/// All ports that cannot be had.
pub fn try_ports(config: &Config) -> Result<(), StartError> {
    bind_for(config, Inherited::default(), 1).map(drop)
}

/// As [`bind`], but for addresses whose sockets come from somebody else.
///
/// # Errors
/// As for [`bind`]; the process that waits for this one is told.
pub fn bind_or_inherit(config: &Config, inherited: Inherited) -> Result<Bound, StartError> {
    let workers = config.server.workers.unwrap_or_else(cores);
    bind_for(config, inherited, workers)
}

fn bind_for(config: &Config, mut inherited: Inherited, workers: usize) -> Result<Bound, StartError> {
    capability::raise_bind_service();
    let (mut doors, mut errors) = (Vec::new(), Vec::new());
    for (index, door) in config.listeners.iter().enumerate() {
        for address in &door.addresses {
            let sockets = match inherited.take(*address) {
                Ok(sockets) if sockets.is_empty() => listener::bind(*address, workers),
                Ok(sockets) => Ok(sockets),
                Err(source) => Err(BindError { address: *address, source }),
            };
            match sockets.and_then(|sockets| BoundDoor::new(index, *address, sockets)) {
                Ok(door) => doors.push(door),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() {
        let (asker, questions) = admin::questions();
        return Ok(Bound { workers, doors, inherited, asker, questions });
    }
    let error = StartError::Bind(errors);
    inherited.refuse(&build::text(&error, &Sources::default()));
    Err(error)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Bound {
    /// The address of each listener, in the config's order.
    pub fn addresses(&self) -> impl Iterator<Item = (usize, SocketAddr)> {
        self.doors.iter().map(|door| (door.listener, door.local))
    }

    /// For threads beside the workers that want to know how the process is, while it is served with a `serve`.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Sockets come from a process that still runs: what is not handed over may be in use by it.
    pub fn takes_over(&self) -> bool {
        self.inherited.is_given()
    }

    /// Serves until a signal ends it. `source` reads the configuration again, where there is one to read; `announce` runs
    /// when connections are accepted and commands can ask the process.
    ///
    /// # Errors
    /// Certificates, keys, the log file, or the system's resources.
    pub fn serve(
        self,
        loaded: Loaded,
        began: Instant,
        source: Option<Source>,
        announce: impl FnOnce(&Snapshot),
    ) -> Result<(), StartError> {
        self.serve_with(loaded, Arc::default(), began, source, announce)
    }

    /// As [`Bound::serve`], with a development CA that the caller knows too.
    ///
    /// # Errors
    /// As for [`Bound::serve`].
    pub fn serve_with(
        mut self,
        loaded: Loaded,
        dev: Arc<DevAuthority>,
        began: Instant,
        source: Option<Source>,
        announce: impl FnOnce(&Snapshot),
    ) -> Result<(), StartError> {
        let signals = signals::Signals::install().map_err(|error| StartError::Io("signal handlers".into(), error))?;
        panics::watch();
        let sources = loaded.sources.clone();
        let takes_over = self.inherited.is_given();
        let control = match Control::start(loaded, dev, self.doors, self.workers, source, takes_over) {
            Ok(control) => control,
            Err(error) => {
                self.inherited.refuse(&build::text(&error, &sources));
                return Err(error);
            }
        };
        let admin = control.open_admin(&mut self.inherited);
        tracing::debug!("started in {:?}", began.elapsed());
        announce(control.snapshot());
        signals.serve(control, admin, self.inherited, (self.asker, self.questions));
        Ok(())
    }

    /// Starts the workers and comes back. No signal is handled, and nothing is read again.
    ///
    /// # Errors
    /// Certificates, keys, the log file, or the system's resources.
    pub fn start(self, loaded: Loaded) -> Result<Running, StartError> {
        let (workers, outputs) =
            Control::start(loaded, Arc::default(), self.doors, self.workers, None, false)?.let_go();
        Ok(Running { workers, outputs })
    }
}

/// A proxy that serves inside another program.
pub struct Running {
    workers: Vec<worker::Handle>,
    outputs: Outputs,
}

impl Running {
    /// Stops accepting, gives open requests `grace` to finish, and says whether all did. Blocks; not for use inside a
    /// runtime.
    ///
    /// # Errors
    /// The system has no room for a runtime to wait in.
    pub fn stop(self, grace: Duration) -> io::Result<bool> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut workers = self.workers;
        workers.iter().for_each(|worker| worker.drain(Haste::Now));
        let finished = runtime.block_on(async {
            let all = async {
                for worker in &mut workers {
                    worker.finished().await;
                }
            };
            let finished = tokio::time::timeout(grace, all).await.is_ok();
            if !finished {
                worker::cut(&mut workers).await;
            }
            finished
        });
        self.outputs.stop();
        Ok(finished)
    }
}

fn uses_builtin(config: &Config) -> bool {
    config
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.servers)
        .any(|server| server.address == UpstreamAddress::Builtin)
}
