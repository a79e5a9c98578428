//! Opening a connection to a server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::endpoint::{Connection, Endpoint};
use super::happy_eyeballs;
use crate::config::UpstreamAddress;
use crate::error::Why;
use crate::http::wire::Wire;
use crate::net::proxy_protocol::{self, Addresses};
use crate::net::{Io, clock};

/// How long an answer for a name is used. The system's resolver does not tell the record's own time.
const NAME_LIFE: Duration = Duration::from_secs(30);

/// Connects to a server within `timeout`, its name's lookup and the PROXY protocol header included. `ends`: whom the header
/// names.
///
/// # Errors
/// The cause of the last try.
pub async fn connect(endpoint: &Endpoint, timeout: Option<Duration>, ends: Addresses) -> Result<Connection, Why> {
    let opened = match timeout {
        None => open(endpoint, ends).await,
        Some(timeout) => match tokio::time::timeout(timeout, open(endpoint, ends)).await {
            Ok(opened) => opened,
            Err(_) => Err(Why::UpstreamConnectTimeout),
        },
    };
    if opened.is_err() {
        // The name may have moved: ask again next time.
        endpoint.resolved.borrow_mut().until = None;
    }
    Ok(Connection { wire: Wire::new(opened?), reused: false, keep: None })
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
