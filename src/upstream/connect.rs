//! Opening a connection to a server.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::endpoint::{Channel, Connection, Endpoint};
use crate::config::UpstreamAddress;
use crate::error::Why;
use crate::http::wire::Wire;
use crate::net::{Io, clock};
use crate::tls::Connector;

/// How long an answer for a name is used. The system's resolver does not tell the record's own time.
const NAME_LIFE: Duration = Duration::from_secs(30);

/// Connects to a server: every address of its name is tried, in order, until one accepts, each within `timeout`; a TLS
/// handshake has as long again. `upgrade`: the request asks to switch protocols, which HTTP/2 does not do, so it gets a
/// connection of HTTP/1.1.
///
/// # Errors
/// The cause of the last try.
pub async fn connect(endpoint: &Endpoint, upgrade: bool, timeout: Option<Duration>) -> Result<Channel, Why> {
    match &endpoint.h2 {
        Some(pool) if !upgrade => {
            let connector = endpoint.tls.as_ref().map(|tls| &tls.h2);
            pool.connect(dial(endpoint, connector, timeout)).await.map(Channel::Http2)
        }
        // By prior knowledge the server speaks HTTP/2, and nothing else.
        Some(_) if endpoint.tls.is_none() => Err(Why::UpstreamNoUpgrade),
        _ => {
            let connector = endpoint.tls.as_ref().map(|tls| &tls.h1);
            let io = dial(endpoint, connector, timeout).await?;
            Ok(Channel::Http1(Connection { wire: Wire::new(io), reused: false, keep: None }))
        }
    }
}

/// A connection's bytes in clear, and a note of how it went.
async fn dial(endpoint: &Endpoint, tls: Option<&Connector>, timeout: Option<Duration>) -> Result<Io, Why> {
    let opened = match open(endpoint, timeout).await {
        Ok(io) if endpoint.protocol.is_tls() => secure(endpoint, tls, io, timeout).await,
        opened => opened,
    };
    endpoint.note_connect(opened.is_ok());
    opened
}

async fn open(endpoint: &Endpoint, timeout: Option<Duration>) -> Result<Io, Why> {
    let io = match &endpoint.address {
        UpstreamAddress::Unix(path) => within(timeout, UnixStream::connect(path)).await.map(Io::Unix),
        UpstreamAddress::Tcp { host, port } => {
            let addresses = addresses(endpoint, host, *port).await?;
            let connected = tcp(&addresses, timeout).await;
            if connected.is_err() {
                // The name may have moved: ask again next time.
                endpoint.resolved.borrow_mut().until = None;
            }
            connected
        }
        UpstreamAddress::Builtin => match endpoint.builtin() {
            Some(addr) => tcp(&[addr], timeout).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        },
    };
    io.map_err(|error| {
        tracing::debug!("connecting to {}: {error}", endpoint.label);
        cause(&error)
    })
}

/// The TLS handshake. A server that needs one is never spoken to in clear.
async fn secure(
    endpoint: &Endpoint,
    connector: Option<&Connector>,
    io: Io,
    timeout: Option<Duration>,
) -> Result<Io, Why> {
    let (Some(tls), Some(connector), Io::Tcp(tcp)) = (&endpoint.tls, connector, io) else {
        return Err(Why::UpstreamTlsHandshake);
    };
    let handshake = connector.connect(tcp, tls.name.clone());
    let shaken = match timeout {
        None => handshake.await,
        Some(timeout) => tokio::time::timeout(timeout, handshake).await.unwrap_or(Err(Why::UpstreamConnectTimeout)),
    };
    shaken.map(|stream| Io::Tls(Box::new(stream.into())))
}

fn cause(error: &io::Error) -> Why {
    match error.kind() {
        // A missing socket file is a server that is not there.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Why::UpstreamRefused,
        io::ErrorKind::TimedOut => Why::UpstreamConnectTimeout,
        _ => Why::UpstreamUnreachable,
    }
}

async fn tcp(addresses: &[SocketAddr], timeout: Option<Duration>) -> io::Result<Io> {
    let mut last = io::ErrorKind::ConnectionRefused.into();
    for address in addresses {
        match within(timeout, TcpStream::connect(address)).await {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(Io::Tcp(tcp));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(timeout: Option<Duration>, connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout {
        None => connecting.await,
        Some(timeout) => match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        },
    }
}

/// The addresses of a server. `localhost` is both loopback addresses whatever the system says: development servers listen
/// on either.
async fn addresses(endpoint: &Endpoint, host: &str, port: u16) -> Result<Vec<SocketAddr>, Why> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let now = clock::now();
    {
        let resolved = endpoint.resolved.borrow();
        if resolved.until.is_some_and(|until| now < until) {
            return Ok(resolved.addresses.clone());
        }
    }
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => {
            let mut resolved = endpoint.resolved.borrow_mut();
            resolved.addresses = found.collect();
            resolved.until = Some(now + NAME_LIFE);
            Ok(resolved.addresses.clone())
        }
        Err(error) => {
            tracing::debug!("resolving {host}: {error}");
            let resolved = endpoint.resolved.borrow();
            // The last good answer is better than none.
            if resolved.addresses.is_empty() { Err(Why::UpstreamDns) } else { Ok(resolved.addresses.clone()) }
        }
    }
}
