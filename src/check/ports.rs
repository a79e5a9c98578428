//! Whether every port of a config can be had. The sockets are opened as a start would open them, and closed at once.

use crate::config::{BindAddress, Config, Diagnostic};
use crate::net::holder;
use crate::net::listener::BindError;
use crate::server::{self, StartError};

/// Tries every listener. A port that a vestibule holds is free for the one that takes over.
pub fn ports(config: &Config) -> Vec<Diagnostic> {
    match server::try_ports(config) {
        Ok(_) => Vec::new(),
        Err(StartError::Bind(errors)) => errors.iter().filter_map(|error| problem(config, error)).collect(),
        Err(_) => Vec::new(),
    }
}

fn problem(config: &Config, error: &BindError) -> Option<Diagnostic> {
    let port = error.address.port();
    let listener = config.listeners.iter().find(|listener| listener.addresses.contains(&error.address))?;
    let name = &listener.name;
    let found = match error.source.kind() {
        std::io::ErrorKind::AddrInUse => match holder::of_port(port) {
            Some(holder) if holder.name == "vestibule" => return None,
            Some(holder) => {
                let message = format!("cannot listen on {}, {holder} already does", error.address);
                Diagnostic::error("port-in-use", message).label("taken").help(format!(
                    "stop it, or choose another port: listeners.{name} = \"{}\"",
                    with_port(error.address, if port < 1024 { port + 8000 } else { port.saturating_add(1) })
                ))
            }
            None => Diagnostic::warning("port-in-use", format!("another program listens on {}", error.address))
                .label("taken")
                .note("its process cannot be seen by this user; a running vestibule may be it")
                .help(format!("find it with `ss -ltnp 'sport = :{port}'`")),
        },
        std::io::ErrorKind::PermissionDenied => {
            Diagnostic::warning("port-needs-privilege", format!("this user may not listen on port {port}"))
                .label("needs a privilege")
                .note("ports below net.ipv4.ip_unprivileged_port_start (1024 unless changed) need a capability")
                .help("sudo setcap cap_net_bind_service=+ep $(command -v vestibule)")
                .help(format!(
                    "or a service manager that gives it, or listeners.{name} = \"{}\"",
                    with_port(error.address, port.saturating_add(8000))
                ))
        }
        std::io::ErrorKind::AddrNotAvailable => {
            let message = format!("cannot listen on {}: this machine does not have the address", error.address);
            Diagnostic::error("address-not-here", message)
                .label("not here")
                .help(format!("`ip address` lists those it has; \":{port}\" listens on all of them"))
        }
        _ => Diagnostic::error("listen", format!("cannot listen on {}: {}", error.address, error.source)).label("here"),
    };
    Some(match listener.origin.line {
        0 => found.note(format!("`{name}` has this address by default")),
        _ => found.at(&listener.origin),
    })
}

fn with_port(address: BindAddress, port: u16) -> BindAddress {
    match address {
        BindAddress::Any(_) => BindAddress::Any(port),
        BindAddress::Exact(mut address) => {
            address.set_port(port);
            BindAddress::Exact(address)
        }
    }
}
