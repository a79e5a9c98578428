//! What the kernel says of a connection: its state on either side, read from `/proc/net/tcp` and `tcp6`.

use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The state of one side of a connection (RFC 9293 section 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// The kernel's number of the state.
    state: u8,
    /// Until the kernel's timer for it fires; in TIME_WAIT: until it is over.
    pub timer: Duration,
}

impl Side {
    pub fn is_time_wait(self) -> bool {
        self.state == 6
    }

    /// The state as `ss` names it.
    pub fn name(self) -> &'static str {
        match self.state {
            1 => "ESTAB",
            2 => "SYN-SENT",
            3 => "SYN-RECV",
            4 => "FIN-WAIT-1",
            5 => "FIN-WAIT-2",
            6 => "TIME-WAIT",
            7 => "UNCONN",
            8 => "CLOSE-WAIT",
            9 => "LAST-ACK",
            10 => "LISTEN",
            11 => "CLOSING",
            _ => "unknown",
        }
    }
}

/// Both sides of a connection as this machine's network namespace knows them. `None`: no such socket here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sides {
    pub client: Option<Side>,
    pub server: Option<Side>,
}

/// Looks both sides of a connection up.
///
/// # Errors
/// The kernel's tables cannot be read (no `/proc`).
pub fn sides(client: SocketAddr, server: SocketAddr) -> io::Result<Sides> {
    let mut found = Sides::default();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let file = match std::fs::File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines().skip(1) {
            let line = line?;
            let Some((local, remote, side)) = parse(&line) else { continue };
            if (local, remote) == (canonical(client), canonical(server)) {
                found.client = Some(side);
            } else if (local, remote) == (canonical(server), canonical(client)) {
                found.server = Some(side);
            }
        }
    }
    Ok(found)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A line of the table: local and remote address, state, timer.
fn parse(line: &str) -> Option<(SocketAddr, SocketAddr, Side)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (_, when) = words.nth(1)?.split_once(':')?;
    // Hundredths of a second, whatever the kernel's own tick is (USER_HZ).
    let timer = Duration::from_millis(u64::from_str_radix(when, 16).ok()?.saturating_mul(10));
    Some((local, remote, Side { state, timer }))
}

/// `0100007F:1F90`: the address in 32-bit words of the machine's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let mut octets = [0; 16];
        for (index, chunk) in octets.chunks_mut(4).enumerate() {
            chunk.copy_from_slice(&word(index * 8)?);
        }
        Ipv6Addr::from(octets).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "  12: 0100007F:1F90 0100007F:C350 06 00000000:00000000 03:0000176F 00000000 0 0 0 3 00000000";
        let (local, remote, side) = parse(line).unwrap();
        assert_eq!((local, remote), ("127.0.0.1:8080".parse().unwrap(), "127.0.0.1:50000".parse().unwrap()));
        assert!(side.is_time_wait());
        assert_eq!(side.timer, Duration::from_millis(59_990));
        let mapped = "1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0051 01 0:0 00:0";
        let (local, remote, side) = parse(mapped).unwrap();
        assert_eq!((local, remote), ("127.0.0.1:80".parse().unwrap(), "[::1]:81".parse().unwrap()));
        assert_eq!(side.name(), "ESTAB");
    }

    #[test]
    fn a_live_connection_is_found_on_both_sides() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(server).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let local = client.local_addr().unwrap();
        let names = |sides: Sides| (sides.client.map(Side::name), sides.server.map(Side::name));
        assert_eq!(names(sides(local, server).unwrap()), (Some("ESTAB"), Some("ESTAB")));
        client.shutdown(std::net::Shutdown::Write).unwrap();
        drop(accepted);
        drop(client);
        assert_eq!(names(sides(local, server).unwrap()), (Some("TIME-WAIT"), None));
    }
}
