//! The process: sockets, workers, signals, the orderly end.
//!
//! One worker a core, each with its own runtime, listening sockets, pools and view of the configuration; the control
//! thread is the one that called [`Bound::serve`].

mod accept;
mod capability;
mod show;
mod signals;
mod worker;
mod wrong_door;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use crate::config::{AccessLog as LogConfig, Config, Diagnostic, Listener, UpstreamAddress};
use crate::net::listener::{self, BindError};
use crate::proxy::access_log::{AccessLog, Writer};
use crate::snapshot::Snapshot;
use crate::tls::{Acceptor, DevAuthority, Tickets};

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

struct BoundDoor {
    /// Index into the config's listeners.
    listener: usize,
    local: SocketAddr,
    /// One a worker.
    sockets: Vec<TcpListener>,
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
            match listener::bind(*address, workers) {
                Ok(sockets) => match sockets[0].local_addr() {
                    Ok(local) => doors.push(BoundDoor { listener: index, local, sockets }),
                    Err(source) => errors.push(BindError { address: *address, source }),
                },
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

    /// Serves until a signal ends it. `announce` runs when connections are accepted.
    ///
    /// # Errors
    /// Certificates, keys, the log file, or the system's resources.
    pub fn serve(self, config: Config, began: Instant, announce: impl FnOnce(&Snapshot)) -> Result<(), StartError> {
        let signals = signals::Signals::install().map_err(|error| StartError::Io("signal handlers".into(), error))?;
        let builtin = match uses_builtin(&config) {
            true => Some(show::start().map_err(|error| StartError::Io("the built-in backend".into(), error))?),
            false => None,
        };
        let https = self.doors.iter().find(|door| config.listeners[door.listener].tls).map(|door| door.local.port());
        let dev = DevAuthority::default();
        let snapshot = Arc::new(Snapshot::build(config, &dev, https, builtin).map_err(StartError::Config)?);
        for warning in snapshot.certs.iter().flat_map(|certs| certs.warnings()) {
            tracing::warn!("{}", warning.message);
        }
        let (log, writer) = open_log(&snapshot.config)?;
        let tickets = Tickets::new().map_err(StartError::Tls)?;
        let workers = self.spawn(&snapshot, &log, &tickets)?;
        drop(log);
        tracing::debug!("started in {:?}", began.elapsed());
        announce(&snapshot);
        signals.wait_and_drain(workers, snapshot.config.server.shutdown_grace);
        if let Some(writer) = writer {
            writer.stop();
        }
        Ok(())
    }

    fn spawn(
        self,
        snapshot: &Arc<Snapshot>,
        log: &Option<AccessLog>,
        tickets: &Tickets,
    ) -> Result<Vec<worker::Handle>, StartError> {
        let mut seats: Vec<Vec<accept::Door>> = (0..self.workers).map(|_| Vec::new()).collect();
        for door in self.doors {
            let listener: &Listener = &snapshot.config.listeners[door.listener];
            let acceptor = match (&snapshot.certs, listener.tls) {
                (Some(certs), true) => Some(
                    Acceptor::new(certs.clone(), &snapshot.config.tls, listener, tickets).map_err(StartError::Tls)?,
                ),
                _ => None,
            };
            for (seat, socket) in seats.iter_mut().zip(door.sockets) {
                seat.push(accept::Door {
                    socket,
                    index: door.listener,
                    local: door.local,
                    acceptor: acceptor.clone(),
                    protocols: crate::http::serve::Protocols { h1: listener.h1, h2: listener.h2 },
                });
            }
        }
        let max = capability::max_connections(&snapshot.config.server, self.workers);
        worker::spawn_all(seats, snapshot, log, max).map_err(|error| StartError::Io("a worker thread".into(), error))
    }
}

fn uses_builtin(config: &Config) -> bool {
    config
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.servers)
        .any(|server| server.address == UpstreamAddress::Builtin)
}

fn open_log(config: &Config) -> Result<(Option<AccessLog>, Option<Writer>), StartError> {
    let LogConfig::On { format, output, redact } = &config.access_log else { return Ok((None, None)) };
    let sites: Vec<String> = config.sites.iter().map(|site| site.host.to_string()).collect();
    let (log, writer) = AccessLog::open(*format, output, redact, sites.into())
        .map_err(|error| StartError::Io(format!("the access log {output:?}"), error))?;
    Ok((Some(log), Some(writer)))
}
