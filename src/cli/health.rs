//! `health`: is the running proxy ready? No TLS and no certificate: a container asks every few seconds.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{ConfigFile, find, report};
use crate::config::{BindAddress, Config, ProxyProtocol};
use crate::proxy::HEALTH_PATH;

const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn main(file: &ConfigFile, color: bool) -> anyhow::Result<ExitCode> {
    let source = find::find(file).ok_or_else(find::none_found)?;
    let config = match find::load(&source) {
        Ok(loaded) => loaded.config,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let Door { address, tls, header } =
        door(&config).ok_or_else(|| anyhow::anyhow!("the config has no listener to ask"))?;
    let mut tcp = TcpStream::connect_timeout(&address, TIMEOUT)
        .map_err(|error| anyhow::anyhow!("not ready: {address}: {error}"))?;
    if tls {
        // A TLS door that accepts connections is ready: its certificates were opened before.
        report::data("ready\n");
        return Ok(ExitCode::SUCCESS);
    }
    tcp.set_read_timeout(Some(TIMEOUT))?;
    if header {
        // On behalf of nobody: the address of the connection itself holds.
        tcp.write_all(b"PROXY UNKNOWN\r\n")?;
    }
    tcp.write_all(format!("GET {HEALTH_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    tcp.take(4096).read_to_end(&mut answer)?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not ready: {address} does not answer as a vestibule would");
    report::data("ready\n");
    Ok(ExitCode::SUCCESS)
}

struct Door {
    address: SocketAddr,
    tls: bool,
    /// The door waits for a PROXY protocol header from us.
    header: bool,
}

/// The door to ask: a plain one where there is one, over loopback where it listens on every address.
fn door(config: &Config) -> Option<Door> {
    let mut listeners: Vec<_> = config.listeners.iter().filter(|listener| !listener.addresses.is_empty()).collect();
    listeners.sort_by_key(|listener| listener.tls);
    let listener = listeners.first()?;
    let address = match listener.addresses.first()? {
        BindAddress::Any(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
        BindAddress::Exact(address) if address.ip().is_unspecified() => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
        }
        BindAddress::Exact(address) => *address,
    };
    let trusted = |rules: &ProxyProtocol| rules.trust.iter().any(|net| net.contains(&address.ip().to_canonical()));
    Some(Door { address, tls: listener.tls, header: listener.proxy_protocol.as_ref().is_some_and(trusted) })
}
