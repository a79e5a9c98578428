//! From a checked config to what workers serve from: everything that can fail on the way.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use super::doors::Door;
use super::worker::Generation;
use super::{BoundDoor, StartError, show, uses_builtin};
use crate::config::{self, Config, Diagnostic, Sources};
use crate::http::serve::Protocols;
use crate::proxy::Sinks;
use crate::snapshot::Snapshot;
use crate::tls::{Acceptor, CertStore, DevAuthority, Managed, Tickets};

/// Opens everything a config names. Files of certificates that cannot be used are left for the caller to judge: the snapshot
/// serves those of `last` on, and refuses hosts that have none.
pub(super) fn build(
    config: Config,
    before: Option<&Snapshot>,
    last: Option<&CertStore>,
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
    let opened = Snapshot::open(config, dev, managed, https, builtin, last);
    let mut snapshot = opened.map_err(StartError::Config)?;
    if let Some(before) = before {
        snapshot.inherit(before);
    }
    snapshot.count(before, workers);
    Ok(Arc::new(snapshot))
}

pub(super) fn text(error: &StartError, sources: &Sources) -> String {
    let diagnostics = |found: &[Diagnostic]| config::render_diagnostics(found, sources, false);
    match error {
        StartError::Config(found) => diagnostics(found),
        StartError::Bind(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
        StartError::Io(what, error) => format!("{what}: {error}\n"),
        StartError::Tls(error) => format!("TLS: {error}\n"),
    }
}

/// The acceptor of each door.
pub(super) fn acceptors(
    snapshot: &Snapshot,
    doors: &[BoundDoor],
    tickets: &Tickets,
) -> Result<Vec<Option<Acceptor>>, StartError> {
    let acceptor = |door: &BoundDoor| {
        let listener = &snapshot.config.listeners[door.listener];
        match (&snapshot.certs, listener.tls) {
            (Some(certs), true) => Acceptor::new(certs.clone(), &snapshot.config.tls, listener, tickets).map(Some),
            _ => Ok(None),
        }
    };
    doors.iter().map(acceptor).collect::<Result<_, _>>().map_err(StartError::Tls)
}

/// A generation as worker number `worker` of `count` gets it. Doors that are new to it bring their sockets; all do where
/// `first` says that it begins with this one.
///
/// # Errors
/// No descriptors are left.
pub(super) fn generation(
    snapshot: &Arc<Snapshot>,
    sinks: &Sinks,
    doors: &[BoundDoor],
    acceptors: &[Option<Acceptor>],
    (worker, count): (usize, usize),
    first: bool,
) -> io::Result<Generation> {
    // A header for a server names both ends; a socket bound to every address does not know its own.
    let exact_local = snapshot.config.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some());
    let mut all = Vec::with_capacity(doors.len());
    for (door, acceptor) in doors.iter().zip(acceptors) {
        let listener = &snapshot.config.listeners[door.listener];
        let fresh = first || door.fresh;
        all.push(Door {
            id: door.id,
            sockets: if fresh { share(&door.sockets, worker, count)? } else { Vec::new() },
            index: door.listener,
            local: door.local,
            acceptor: acceptor.clone(),
            protocols: Protocols { h1: listener.h1, h2: listener.h2 },
            proxy_protocol: listener.proxy_protocol.clone().map(Arc::new),
            exact_local,
        });
    }
    Ok(Generation { snapshot: snapshot.clone(), sinks: sinks.for_worker(worker), doors: all, first })
}

/// A worker's part of a door's sockets. Where there are fewer than workers, as systemd gives one, several share it; where
/// there are more, as another process had more workers, none may be left alone: connections wait in each.
fn share(sockets: &[TcpListener], worker: usize, count: usize) -> io::Result<Vec<TcpListener>> {
    if sockets.len() <= count {
        return sockets.get(worker % sockets.len().max(1)).map(TcpListener::try_clone).into_iter().collect();
    }
    sockets.iter().skip(worker).step_by(count).map(TcpListener::try_clone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = |worker, count| -> Vec<u16> {
            let part = share(&sockets, worker, count).unwrap();
            part.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
        };
        let all: Vec<u16> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert_eq!([ports(0, 2), ports(1, 2)], [vec![all[0], all[2]], vec![all[1]]]);
        assert_eq!((0..4).flat_map(|worker| ports(worker, 4)).collect::<Vec<_>>(), [all[0], all[1], all[2], all[0]]);
    }
}
