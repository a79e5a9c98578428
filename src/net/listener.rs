//! Listening sockets: one per address and worker, over the same port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::choose_congestion_control;
use crate::config::BindAddress;

/// Connections the kernel holds ready between two accepts.
const BACKLOG: i32 = 4096;

/// Silence after which the kernel asks the peer for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Why a port cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    pub address: BindAddress,
    pub source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.address.port();
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                let holder = super::holder::of_port(port).map_or("another program".to_owned(), |h| h.to_string());
                write!(
                    f,
                    "error[port-in-use]: cannot listen on {}, {holder} already does\n\
                     help: find it with `ss -ltnp 'sport = :{port}'` and stop it, or choose another port in [listeners]",
                    self.address
                )
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "error[port-needs-privilege]: this user may not listen on port {port}\n\
                 note: ports below net.ipv4.ip_unprivileged_port_start (1024 unless changed) need a capability\n\
                 help: one of: `sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}`;\n\
                 help: `sudo setcap cap_net_bind_service=+ep $(command -v vestibule)`;\n\
                 help: a port above 1023 in [listeners], for example \":8080\" and \":8443\""
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "error[address-not-here]: cannot listen on {}: this machine does not have the address\n\
                 help: `ip address` lists those it has; \":{port}\" listens on all of them",
                self.address
            ),
            _ => write!(f, "error[listen]: cannot listen on {}: {}", self.address, self.source),
        }
    }
}

impl std::error::Error for BindError {}

/// Opens `count` sockets over one port, for as many workers, after making sure that nobody else holds it.
///
/// `":80"` is one dual-stack socket where the machine has IPv6, else IPv4 alone.
///
/// # Errors
/// [`BindError`] names the port and the cure.
pub fn bind(address: BindAddress, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let fail = |source| BindError { address, source };
    let addr = match address {
        BindAddress::Exact(addr) => addr,
        BindAddress::Any(port) => any(port),
    };
    // Without SO_REUSEPORT this fails when any other process holds the port, even one that would share it: two programs
    // that split a port's connections between them is what nobody wants.
    let probe = open(addr, false).map_err(fail)?;
    let addr = probe.local_addr().map_err(fail)?;
    if count == 1 {
        return Ok(vec![probe]);
    }
    drop(probe);
    (0..count).map(|_| open(addr, true).map_err(fail)).collect()
}

fn any(port: u16) -> SocketAddr {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    match Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)) {
        Ok(_) => v6,
        Err(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
    }
}

fn open(addr: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // Lets a restart bind while connections of the last run are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let listener = socket.into();
    prepare(&listener)?;
    Ok(listener)
}

/// Gives a listening socket, also one that somebody else has opened, the options that the workers count on.
///
/// # Errors
/// It is no listening TCP socket.
pub fn prepare(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: heads and bodies are written together, so Nagle's algorithm would only delay.
    socket.set_tcp_nodelay(true)?;
    choose_congestion_control(listener, listener.local_addr()?.ip());
    // Finds dead peers of upgraded connections, which have no timeout of their own.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> BindAddress {
        BindAddress::Exact(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    #[test]
    fn a_port_that_another_socket_shares_is_still_in_use() {
        let first = bind(loopback(0), 2).unwrap();
        let port = first[0].local_addr().unwrap().port();
        assert!(first.iter().all(|l| l.local_addr().unwrap().port() == port));
        let error = bind(loopback(port), 2).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
    }

    #[test]
    fn accepted_sockets_have_no_nagle_delay_and_local_ones_no_pacing() {
        let listener = bind(loopback(0), 1).unwrap().remove(0);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(rustix::net::sockopt::tcp_congestion(&accepted).unwrap(), "reno");
    }
}
