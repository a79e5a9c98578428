//! Doors for one machine: loopback, on the usual ports where they can be had and on high ones where not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{BindAddress, Config};
use crate::server::{self, Bound, StartError};

/// The ports of the two doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub http: u16,
    pub https: u16,
}

/// Where http and https belong.
pub(super) const USUAL: Ports = Ports { http: 80, https: 443 };
/// Where they go without the privilege or the room.
pub(super) const HIGH: Ports = Ports { http: 8080, https: 8443 };

/// Binds both doors on loopback, and on `lan` too where it is there: the first pair of ports that can be had whole.
///
/// # Errors
/// What stood in the way of the last pair.
pub(super) fn bind(config: &mut Config, choices: &[Ports], lan: Option<IpAddr>) -> Result<(Bound, Ports), StartError> {
    let mut last = StartError::Bind(Vec::new());
    for ports in choices {
        for listener in &mut config.listeners {
            let port = if listener.tls { ports.https } else { ports.http };
            listener.addresses = loopback(port);
            listener.addresses.extend(lan.map(|ip| BindAddress::Exact(SocketAddr::new(ip, port))));
        }
        match server::bind(config) {
            Ok(bound) => return Ok((bound, *ports)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Both loopback addresses, as browsers try either for `localhost`; IPv4 alone where the machine has no IPv6.
fn loopback(port: u16) -> Vec<BindAddress> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    let mut addresses = vec![BindAddress::Exact((Ipv4Addr::LOCALHOST, port).into())];
    if port != 0 && std::net::TcpListener::bind(v6).is_ok() {
        addresses.push(BindAddress::Exact(SocketAddr::new(v6.ip(), port)));
    }
    addresses
}

/// `https://name` with the port where it is not the scheme's own.
pub(super) fn url(scheme: &str, name: &str, port: u16) -> String {
    match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{name}"),
        _ => format!("{scheme}://{name}:{port}"),
    }
}
