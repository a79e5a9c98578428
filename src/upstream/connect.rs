//! Opening a connection to a server.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::endpoint::{Channel, Connection, Endpoint};
use super::happy_eyeballs;
use super::names::Following;
use crate::config::UpstreamAddress;
use crate::error::Why;
use crate::net::proxy_protocol::{self, Addresses};
use crate::net::{Io, Socket, choose_congestion_control};
use crate::tls::Connector;

/// Connects to a server within `timeout`: its name's lookup, the PROXY protocol header and the TLS handshake included.
/// `upgrade`: the request asks to switch protocols, which HTTP/2 does not do, so it gets a connection of HTTP/1.1. `ends`: whom
/// the header names.
///
/// # Errors
/// The cause of the last try.
pub async fn connect(
    endpoint: &Endpoint,
    upgrade: bool,
    timeout: Option<Duration>,
    ends: Addresses,
) -> Result<Channel, Why> {
    match &endpoint.h2 {
        Some(pool) if !upgrade => {
            let connector = endpoint.tls.as_ref().map(|tls| &tls.h2);
            pool.connect(dial(endpoint, connector, timeout, ends)).await.map(Channel::Http2)
        }
        // By prior knowledge the server speaks HTTP/2, and nothing else.
        Some(_) if endpoint.tls.is_none() => Err(Why::UpstreamNoUpgrade),
        _ => {
            let connector = endpoint.tls.as_ref().map(|tls| &tls.h1);
            let io = dial(endpoint, connector, timeout, ends).await?;
            Ok(Channel::Http1(Connection::new(io, endpoint.name.is_some())))
        }
    }
}

/// A connection's bytes in clear.
async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Connector>,
    timeout: Option<Duration>,
    ends: Addresses,
) -> Result<Io, Why> {
    let opening = async {
        let io = open(endpoint, ends).await?;
        if endpoint.protocol.is_tls() { secure(endpoint, tls, io).await } else { Ok(io) }
    };
    let opened = match timeout {
        None => opening.await,
        Some(timeout) => tokio::time::timeout(timeout, opening).await.unwrap_or(Err(Why::UpstreamConnectTimeout)),
    };
    if opened.is_err()
        && let Some(name) = &endpoint.name
    {
        // It may have moved.
        name.borrow().ask_again();
    }
    opened
}

async fn open(endpoint: &Endpoint, ends: Addresses) -> Result<Io, Why> {
    let io = match &endpoint.address {
        UpstreamAddress::Unix(path) => UnixStream::connect(path).await.map(Io::Unix),
        UpstreamAddress::Tcp { host, port } => match (host.parse(), &endpoint.name) {
            (Ok(ip), _) => tcp(&[SocketAddr::new(ip, *port)]).await,
            (Err(_), Some(name)) => tcp(&addresses(name).await?).await,
            // `localhost` is both loopback addresses whatever the system says: development servers listen on either.
            (Err(_), None) => tcp(&[(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]).await,
        },
        UpstreamAddress::Srv(_) => match &endpoint.name {
            Some(name) => tcp(&addresses(name).await?).await,
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        },
        UpstreamAddress::Builtin => match endpoint.builtin() {
            Some(addr) => tcp(&[addr]).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        },
    };
    let io = match (io, endpoint.proxy_protocol) {
        (Ok(mut io), Some(version)) => {
            // The first bytes of all, before any handshake (PROXY protocol, section 2).
            let mut header = Vec::new();
            proxy_protocol::write(&mut header, version, ends);
            io.write_all(&header).await.map(|()| io)
        }
        (io, _) => io,
    };
    io.map_err(|error| {
        tracing::debug!("connecting to {}: {error}", endpoint.label);
        cause(&error)
    })
}

/// The TLS handshake. A server that needs one is never spoken to in clear.
async fn secure(endpoint: &Endpoint, connector: Option<&Connector>, io: Io) -> Result<Io, Why> {
    let (Some(tls), Some(connector), Io::Tcp(socket)) = (&endpoint.tls, connector, io) else {
        return Err(Why::UpstreamTlsHandshake);
    };
    connector.connect(socket, tls.name.clone()).await.map(|stream| Io::Tls(Box::new(stream.into())))
}

fn cause(error: &io::Error) -> Why {
    match error.kind() {
        // A missing socket file is a server that is not there.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Why::UpstreamRefused,
        io::ErrorKind::TimedOut => Why::UpstreamConnectTimeout,
        _ => Why::UpstreamUnreachable,
    }
}

async fn tcp(addresses: &[SocketAddr]) -> io::Result<Io> {
    let tcp = happy_eyeballs::connect(addresses).await?;
    tcp.set_nodelay(true)?;
    if let Ok(server) = tcp.peer_addr() {
        choose_congestion_control(&tcp, server.ip());
    }
    Ok(Io::Tcp(Socket::new(tcp)))
}

/// The last good answer for the server's name. The first one is waited for, which the caller bounds.
async fn addresses(name: &RefCell<Following>) -> Result<Vec<SocketAddr>, Why> {
    let mut receiver = name.borrow().receiver();
    let answer = match receiver.wait_for(|answer| answer.asked).await {
        Ok(answer) => answer.ordered(),
        // The keeper lives as long as somebody asks it.
        Err(_) => Vec::new(),
    };
    if answer.is_empty() { Err(Why::UpstreamDns) } else { Ok(answer) }
}
