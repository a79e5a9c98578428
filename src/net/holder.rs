//! Who holds a port: the process behind a listening socket, as far as this user may see it (Linux, /proc).

use std::fs;
use std::path::Path;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    pub pid: u32,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The state LISTEN in /proc/net/tcp.
const LISTEN: &str = "0A";

/// The process that listens on a TCP port of this machine; `None` where there is none, or where it is another user's.
pub fn of_port(port: u16) -> Option<Holder> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let folder = Path::new("/proc").join(pid.to_string());
        let mut open = fs::read_dir(folder.join("fd")).ok()?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        open.find(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))?;
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        Some(Holder { name: name.trim().to_owned(), pid })
    })
}

/// The inode of a line of /proc/net/tcp, when it listens on the port: `sl local remote state queues timer retransmits uid
/// timeout inode`.
fn inode(line: &str, port: u16) -> Option<String> {
    let parts: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = parts.get(1)?.rsplit_once(':')?;
    let here = u16::from_str_radix(local, 16).ok()? == port && *parts.get(3)? == LISTEN;
    here.then(|| parts.get(9).map(|inode| (*inode).to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = of_port(port).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.name.is_empty());
        drop(listener);
        assert_eq!(of_port(port), None);
    }
}
