//! The PROXY protocol: one header in front of everything else on a connection, in which a balancer says whom it stands
//! for. Reading and writing of both versions, sans-io.
//!
//! Source: "The PROXY protocol, versions 1 & 2", haproxy.org/download/3.0/doc/proxy-protocol.txt (sections 2.1 and 2.2).

mod crc32c;
mod read;
mod write;

use std::net::SocketAddr;

pub use read::read;
pub use write::write;

/// The twelve bytes a version 2 header begins with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest version 1 header with its line end (section 2.1).
pub const MAX_V1: usize = 107;

/// The longest version 2 header that is read. The specification asks for 536 bytes of addresses and leaves room for fields
/// behind them; what balancers put there (names of certificates, ids of endpoints) stays far below this.
pub const MAX_V2: usize = 4096;

/// Both ends of the connection that a balancer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole header: what it says, and its length in bytes. `None`: the addresses of the connection itself hold, because
    /// the balancer speaks for itself (`LOCAL`) or knows no IP addresses (`UNKNOWN`, unix sockets).
    Header(Option<Addresses>, usize),
    /// Every byte so far belongs to a header that goes on.
    Partial,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// They begin in another way.
    Missing,
    /// They begin like one, and break its rules.
    Malformed,
    /// The checksum in the header is not that of its bytes.
    Checksum,
}
