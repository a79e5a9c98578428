//! The process: sockets, workers, signals, the orderly end.
//!
//! One worker a core, each with its own runtime, listening sockets, pools and view of the configuration; the control
//! thread is the one that called [`Bound::serve`]. A program that has the proxy inside it, as tests do, calls
//! [`Bound::start`] and [`Running::stop`] instead.

mod accept;
mod admin;
mod capability;
mod changes;
mod control;
mod doors;
mod outputs;
mod proxy_header;
mod scrape;
mod show;
mod signals;
mod status;
mod watch;
mod worker;
mod wrong_door;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::admin::socket_path;
use self::control::Control;
pub use self::control::Source;
use self::outputs::Outputs;
use crate::config::{BindAddress, Config, Diagnostic, Loaded, UpstreamAddress};
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
}

/// One address that is listened on.
struct BoundDoor {
    /// Given when the workers are told of it.
    id: Option<usize>,
    /// Index into the config's listeners.
    listener: usize,
    address: BindAddress,
    local: SocketAddr,
    /// One a worker, until they have them.
    sockets: Vec<TcpListener>,
}

impl BoundDoor {
    fn new(listener: usize, address: BindAddress, sockets: Vec<TcpListener>) -> Result<BoundDoor, BindError> {
        match sockets[0].local_addr() {
            Ok(local) => Ok(BoundDoor { id: None, listener, address, local, sockets }),
            Err(source) => Err(BindError { address, source }),
        }
    }

    /// The same door for the next generation; the workers have its sockets.
    fn without_sockets(&self) -> BoundDoor {
        BoundDoor { sockets: Vec::new(), ..*self }
    }
}

/// Opens every listening socket, or none.
///
/// # Errors
/// All ports that cannot be had, not only the first.
pub fn bind(config: &Config) -> Result<Bound, StartError> {
    capability::raise_bind_service();
    let workers = config.server.workers.unwrap_or_else(cores);
    let (mut doors, mut errors) = (Vec::new(), Vec::new());
    for (index, door) in config.listeners.iter().enumerate() {
        for address in &door.addresses {
            match listener::bind(*address, workers).and_then(|sockets| BoundDoor::new(index, *address, sockets)) {
                Ok(door) => doors.push(door),
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(Bound { workers, doors }) } else { Err(StartError::Bind(errors)) }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Bound {
    /// The address of each listener, in the config's order.
    pub fn addresses(&self) -> impl Iterator<Item = (usize, SocketAddr)> {
        self.doors.iter().map(|door| (door.listener, door.local))
    }

    /// Serves until a signal ends it. `source` reads the configuration again, where there is one to read; `announce` runs
    /// when connections are accepted.
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
        self,
        loaded: Loaded,
        dev: Arc<DevAuthority>,
        began: Instant,
        source: Option<Source>,
        announce: impl FnOnce(&Snapshot),
    ) -> Result<(), StartError> {
        let signals = signals::Signals::install().map_err(|error| StartError::Io("signal handlers".into(), error))?;
        let control = Control::start(loaded, dev, self.doors, self.workers, source)?;
        tracing::debug!("started in {:?}", began.elapsed());
        announce(control.snapshot());
        signals.serve(control);
        Ok(())
    }

    /// Starts the workers and comes back. No signal is handled, and nothing is read again.
    ///
    /// # Errors
    /// Certificates, keys, the log file, or the system's resources.
    pub fn start(self, loaded: Loaded) -> Result<Running, StartError> {
        let (workers, outputs) = Control::start(loaded, Arc::default(), self.doors, self.workers, None)?.let_go();
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
        self.workers.iter().for_each(worker::Handle::drain);
        let finished = async {
            for worker in self.workers {
                worker.finished().await;
            }
        };
        let finished = runtime.block_on(async { tokio::time::timeout(grace, finished).await.is_ok() });
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
