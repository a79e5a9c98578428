//! Whether the servers of a config are there: their names resolved, their ports dialled. A start waits for none of them,
//! so what is not there is a warning.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::config::{Config, Diagnostic, Origin, UpstreamAddress};

/// Servers dialled at once.
const DIALLERS: usize = 16;
/// Time for one address to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// Time for all of them: a check ends.
const ALL: Duration = Duration::from_secs(6);

/// Dials every server of a config once.
pub fn dial(config: &Config) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    let servers: Arc<Vec<(UpstreamAddress, Origin)>> = Arc::new(
        config
            .upstreams
            .iter()
            .flat_map(|upstream| {
                upstream.servers.iter().map(|server| (server.address.clone(), upstream.origin.clone()))
            })
            .filter(|(address, _)| seen.insert(address.clone()))
            .collect(),
    );
    let (results, found) = mpsc::channel();
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..DIALLERS.min(servers.len()) {
        let (servers, next, results) = (servers.clone(), next.clone(), results.clone());
        // A resolver may hang for longer than anybody waits: such a thread ends with the process.
        std::thread::spawn(move || {
            while let Some((address, origin)) = servers.get(next.fetch_add(1, Ordering::Relaxed)) {
                let problem = one(address).map(|problem| problem.at(origin));
                if results.send(problem).is_err() {
                    return;
                }
            }
        });
    }
    drop(results);
    let deadline = Instant::now() + ALL;
    let mut problems = Vec::new();
    let mut open = servers.len();
    while open > 0 {
        match found.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(problem) => problems.extend(problem),
            Err(_) => break,
        }
        open -= 1;
    }
    if open > 0 {
        let message = format!("{open} servers were not asked: there was no time left");
        problems.push(Diagnostic::warning("upstream-not-asked", message).note("`--offline` asks none"));
    }
    problems
}

fn one(address: &UpstreamAddress) -> Option<Diagnostic> {
    match address {
        // Where SRV records lead is known to a proxy that runs.
        UpstreamAddress::Builtin | UpstreamAddress::Srv(_) => None,
        UpstreamAddress::Unix(path) => match UnixStream::connect(path) {
            Ok(_) => None,
            Err(error) => Some(unreachable(address, &error)),
        },
        UpstreamAddress::Tcp { host, port } => {
            let addresses = match resolve(host, *port) {
                Ok(addresses) if !addresses.is_empty() => addresses,
                Ok(_) => return Some(unresolved(host, "no address")),
                Err(error) => return Some(unresolved(host, &error.to_string())),
            };
            let mut last = None;
            for there in addresses {
                match TcpStream::connect_timeout(&there, CONNECT) {
                    Ok(_) => return None,
                    Err(error) => last = Some(error),
                }
            }
            last.map(|error| unreachable(address, &error))
        }
    }
}

/// As the data plane does: `localhost` is both loopback addresses whatever the system says.
fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

fn unresolved(host: &str, why: &str) -> Diagnostic {
    Diagnostic::warning("upstream-unresolved", format!("`{host}` does not resolve"))
        .label(why.trim_start_matches("failed to lookup address information: ").to_owned())
        .note("a start does not wait for it: it is asked again on every try, and requests get 502 until then")
}

fn unreachable(address: &UpstreamAddress, error: &std::io::Error) -> Diagnostic {
    let (code, message) = match error.kind() {
        ErrorKind::ConnectionRefused => ("upstream-refused", format!("nothing listens on {address}")),
        ErrorKind::NotFound => ("upstream-refused", format!("there is no socket {address}")),
        ErrorKind::PermissionDenied => ("upstream-unreachable", format!("this user may not connect to {address}")),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            ("upstream-unreachable", format!("{address} did not accept a connection within {} s", CONNECT.as_secs()))
        }
        _ => ("upstream-unreachable", format!("{address} cannot be reached: {error}")),
    };
    Diagnostic::warning(code, message)
        .label("asked for here")
        .note("a start does not wait for it; requests get 502 until it is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_named_and_one_that_is_there_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = |host: &str, port| UpstreamAddress::Tcp { host: host.to_owned(), port };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(one(&tcp("localhost", port)), None);
        drop(listener);
        assert_eq!(one(&tcp("127.0.0.1", port)).unwrap().code, "upstream-refused");
        assert_eq!(one(&tcp("no-such-name.invalid", 80)).unwrap().code, "upstream-unresolved");
        let socket = UpstreamAddress::Unix("/nonexistent/app.sock".into());
        assert_eq!(one(&socket).unwrap().message, "there is no socket unix:/nonexistent/app.sock");
    }
}
