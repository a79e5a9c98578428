//! Questions to the running proxy over its administration socket.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{ConfigFile, find};
use crate::server;

/// A reload of ten thousand sites takes a second; a new process has a minute to serve.
const TIMEOUT: Duration = Duration::from_secs(70);

/// Sends one request and returns the status and the body of the answer.
pub(super) fn ask(file: &ConfigFile, method: &str, target: &str) -> anyhow::Result<(u16, String)> {
    let source = find::find(file).ok_or_else(find::none_found)?;
    // The socket's place is in the config; one that is broken now was good when the proxy read it.
    let setting = find::load(&source).map(|loaded| loaded.config.admin.socket).unwrap_or_default();
    let path = server::socket_path(&setting, &source.name())
        .ok_or_else(|| anyhow::anyhow!("this config has no administration socket: see `socket` under [admin]"))?;
    exchange(&path, method, target).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("no vestibule runs with {}: nobody listens at {}", source.name(), path.display())
        }
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{} belongs to another user: ask as the one who runs the proxy", path.display())
        }
        _ => anyhow::anyhow!("{}: {error}", path.display()),
    })
}

fn exchange(path: &Path, method: &str, target: &str) -> std::io::Result<(u16, String)> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}
