//! Sockets that this process did not open itself: from the process whose place it takes, or from systemd (socket
//! activation, sd_listen_fds(3)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::handover::Handover;
use crate::config::BindAddress;
use crate::net::listener;

/// The name of the administration socket among the addresses.
pub(super) const ADMIN: &str = "admin ";

/// What was inherited, until it is taken.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<TcpListener>,
    admin: Vec<(String, UnixListener)>,
    handover: Option<Handover>,
    /// What was wrong, for the log, which is not open yet.
    problems: Vec<String>,
}

impl Inherited {
    /// Looks at the environment. Call it before any thread is made.
    pub fn from_environment() -> Inherited {
        let mut all = Inherited::default();
        if let Some(handover) = Handover::inherited() {
            match handover.take() {
                Ok(listening) => listening.into_iter().for_each(|(name, sockets)| all.sort(&name, sockets)),
                Err(error) => all.problems.push(format!("no sockets came from the process before: {error}")),
            }
            all.handover = Some(handover);
            return all;
        }
        let mut given = listenfd::ListenFd::from_env();
        for index in 0..given.len() {
            match given.take_tcp_listener(index) {
                Ok(Some(socket)) => all.tcp.push(socket),
                Ok(None) => {}
                Err(error) => {
                    all.problems.push(format!("socket {index} of LISTEN_FDS is not for this program: {error}"))
                }
            }
        }
        all
    }

    /// A process that still runs has handed over its place.
    pub(super) fn is_given(&self) -> bool {
        self.handover.is_some()
    }

    fn sort(&mut self, name: &str, sockets: Vec<OwnedFd>) {
        match name.strip_prefix(ADMIN) {
            Some(path) => self.admin.extend(sockets.into_iter().map(|socket| (path.to_owned(), socket.into()))),
            None => self.tcp.extend(sockets.into_iter().map(TcpListener::from)),
        }
    }

    /// The sockets that listen on an address; none when it has to be bound.
    pub(super) fn take(&mut self, address: BindAddress) -> io::Result<Vec<TcpListener>> {
        let fits = |socket: &TcpListener| socket.local_addr().is_ok_and(|local| is_same(address, local));
        let (taken, rest) = std::mem::take(&mut self.tcp).into_iter().partition(fits);
        self.tcp = rest;
        let taken: Vec<TcpListener> = taken;
        for socket in &taken {
            listener::prepare(socket)?;
        }
        Ok(taken)
    }

    /// The administration socket at a path, where the process before had it open.
    pub(super) fn take_admin(&mut self, path: &Path) -> Option<UnixListener> {
        let index = self.admin.iter().position(|(name, _)| Path::new(name) == path)?;
        Some(self.admin.swap_remove(index).1)
    }

    /// Says that this process serves, where another one waits for that. What nobody has taken is closed.
    pub(super) fn ready(self) {
        for problem in &self.problems {
            tracing::warn!("{problem}");
        }
        for socket in &self.tcp {
            if let Ok(local) = socket.local_addr() {
                tracing::warn!("nothing in [listeners] listens on {local}, whose socket was handed over: it is closed");
            }
        }
        if let Some(handover) = self.handover
            && handover.say_ready().is_err()
        {
            tracing::warn!("the process before has gone without waiting for this one");
        }
    }

    /// Says why this process does not start, where another one waits for it.
    pub fn refuse(&self, problems: &str) {
        if let Some(handover) = &self.handover {
            // It is gone, and nothing more can be done about that.
            let _ = handover.say(problems);
        }
    }
}

/// Whether a socket with this local address is what an address of the config would be bound to.
fn is_same(wanted: BindAddress, local: SocketAddr) -> bool {
    match wanted {
        BindAddress::Exact(wanted) => wanted == local,
        BindAddress::Any(port) => {
            let every = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            local.port() == port && every.contains(&local.ip())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_all_its_sockets_and_no_other() {
        let sockets: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let twice = sockets[1].try_clone().unwrap();
        let mut all = Inherited { tcp: sockets.into_iter().chain([twice]).collect(), ..Inherited::default() };
        assert!(all.take(BindAddress::Any(addresses[1].port())).unwrap().is_empty());
        let taken = all.take(BindAddress::Exact(addresses[1])).unwrap();
        assert_eq!(taken.len(), 2);
        assert!(taken.iter().all(|socket| socket.local_addr().unwrap() == addresses[1]));
        assert_eq!(all.tcp.len(), 1);
    }

    #[test]
    fn every_address_is_either_family() {
        let local = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_same(BindAddress::Any(80), local("[::]:80")));
        assert!(is_same(BindAddress::Any(80), local("0.0.0.0:80")));
        assert!(!is_same(BindAddress::Any(80), local("127.0.0.1:80")));
        assert!(!is_same(BindAddress::Any(80), local("[::]:81")));
    }
}
