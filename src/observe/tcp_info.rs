//! What the kernel counts for one side of a connection (TCP_INFO), asked of it by sock_diag: no privilege is needed, and the
//! other side can be asked for as well where it is on this machine.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use socket2::{Domain, Protocol, Socket, Type};

use super::packet::canonical;

/// linux/netlink.h
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
/// The kernel answers at once, or not at all.
const PATIENCE: Duration = Duration::from_millis(200);
/// Any socket of these addresses.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// The kernel's numbers of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Segments sent and received, acknowledgements among them.
    pub segments_out: u32,
    pub segments_in: u32,
    /// Segments sent again.
    pub retransmitted: u32,
    /// The congestion window, in segments, and their size.
    pub window: u32,
    pub segment: u32,
    /// How many bytes the other side lets us send.
    pub peer_window: u32,
}

/// Asks for the side of a connection that is at `local`.
///
/// # Errors
/// The kernel knows no such socket here, or has no sock_diag.
pub fn of(local: SocketAddr, remote: SocketAddr) -> io::Result<TcpInfo> {
    let (local, remote) = (canonical(local), canonical(remote));
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: scope(local),
            cookie: NO_COOKIE,
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&bytes)?;
    let mut answer = vec![0; 4096];
    let length = socket.read(&mut answer)?;
    read(answer.get(..length).unwrap_or_default(), remote.port())
}

fn scope(address: SocketAddr) -> u32 {
    match (address, address.ip()) {
        (SocketAddr::V6(address), IpAddr::V6(_)) => address.scope_id(),
        _ => 0,
    }
}

fn read(answer: &[u8], remote: u16) -> io::Result<TcpInfo> {
    let no = |text: &'static str| io::Error::new(io::ErrorKind::NotFound, text);
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(answer)
        .map_err(|_| no("the kernel's answer is not understood"))?;
    let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) = message.payload else {
        return Err(no("no such socket"));
    };
    // Where there is no such connection the kernel answers with the socket that listens there.
    if response.header.socket_id.destination_port != remote {
        return Err(no("no such connection"));
    }
    let info = response.nlas.iter().find_map(|attribute| match attribute {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    });
    let info = info.ok_or_else(|| no("the socket has no TCP_INFO any more"))?;
    Ok(TcpInfo {
        rtt: Duration::from_micros(info.rtt.into()),
        segments_out: info.segs_out,
        segments_in: info.segs_in,
        retransmitted: info.total_retrans,
        window: info.snd_cwnd,
        segment: info.snd_mss,
        peer_window: info.snd_wnd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn both_sides_of_a_live_connection_have_numbers_and_a_strange_one_has_none() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let server = SocketAddr::new("127.0.0.1".parse().unwrap(), listener.local_addr().unwrap().port());
            let mut client = TcpStream::connect(server).unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            accepted.read_exact(&mut [0; 5]).unwrap();
            let local = client.local_addr().unwrap();
            let (ours, theirs) = (of(local, server).unwrap(), of(server, local).unwrap());
            assert!(ours.segments_out >= 3 && theirs.segments_in >= 3, "{ours:?} {theirs:?}");
            assert!(ours.window >= 10 && ours.segment > 500, "{ours:?}");
            assert!(of(server, server).is_err());
        }
    }
}
