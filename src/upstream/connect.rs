//! Opening a connection to a server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::endpoint::{Channel, Connection, Endpoint};
use super::happy_eyeballs;
use crate::config::UpstreamAddress;
use crate::error::Why;
use crate::http::wire::Wire;
use crate::net::proxy_protocol::{self, Addresses};
use crate::net::{Io, clock};
use crate::tls::Connector;

/// How long an answer for a name is used. The system's resolver does not tell the record's own time.
const NAME_LIFE: Duration = Duration::from_secs(30);

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
            Ok(Channel::Http1(Connection { wire: Wire::new(io), reused: false, keep: None }))
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
    if opened.is_err() {
        // The name may have moved: ask again next time.
        endpoint.resolved.borrow_mut().until = None;
    }
    opened
}

async fn open(endpoint: &Endpoint, ends: Addresses) -> Result<Io, Why> {
    let io = match &endpoint.address {
        UpstreamAddress::Unix(path) => UnixStream::connect(path).await.map(Io::Unix),
        UpstreamAddress::Tcp { host, port } => match host.parse() {
            Ok(ip) => tcp(&[SocketAddr::new(ip, *port)]).await,
            Err(_) => tcp(&addresses(endpoint, host, *port).await?).await,
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
    let (Some(tls), Some(connector), Io::Tcp(tcp)) = (&endpoint.tls, connector, io) else {
        return Err(Why::UpstreamTlsHandshake);
    };
    connector.connect(tcp, tls.name.clone()).await.map(|stream| Io::Tls(Box::new(stream.into())))
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
    Ok(Io::Tcp(tcp))
}

/// The addresses of a server. `localhost` is both loopback addresses whatever the system says: development servers listen
/// on either.
async fn addresses(endpoint: &Endpoint, host: &str, port: u16) -> Result<Vec<SocketAddr>, Why> {
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
