//! The packets of one connection, from a packet socket: real flags, sequence and acknowledgement numbers and times.
//!
//! A packet socket needs `CAP_NET_RAW`. Without it there is none, and what is said of TCP is derived and marked so.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::packet::{self, Packet};

/// Every kind of packet, in the byte order of the network (linux/if_ether.h).
const ETH_P_ALL: i32 = 0x0003_u16.to_be() as i32;
/// The loopback interface's kind of hardware (linux/if_arp.h).
const ARPHRD_LOOPBACK: u16 = 772;
/// A packet that leaves this machine (linux/if_packet.h).
const PACKET_OUTGOING: u8 = 4;
/// The longest packet: segmentation offload makes them as long as IP allows.
const LONGEST: usize = 64 << 10;
/// Packets and bytes kept of one connection; with more the whole is not there, and is not shown.
const PACKETS: usize = 16 << 10;
const BYTES: usize = 4 << 20;
/// What the kernel keeps until we read, if it lets us have that much.
const BUFFER: usize = 8 << 20;

/// What was captured so far.
#[derive(Debug, Default)]
struct Kept {
    packets: Vec<Packet>,
    bytes: usize,
    /// Something was left out.
    lost: bool,
    /// The connection, once its addresses are known.
    ends: Option<(SocketAddr, SocketAddr)>,
}

/// A packet socket that is being read.
pub(super) struct Capture {
    socket: Rc<UdpSocket>,
    kept: Rc<RefCell<Kept>>,
    reader: JoinHandle<()>,
}

impl Capture {
    /// Sees the TCP packets from and to a port from now on.
    ///
    /// # Errors
    /// The process may not open packet sockets, or the system has none.
    pub fn start(port: u16) -> io::Result<Capture> {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ETH_P_ALL)))?;
        socket.attach_filter(&filter(port))?;
        socket.set_nonblocking(true)?;
        // Without the larger buffer a burst may be lost, which is noticed.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER));
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // tokio's own type for any descriptor is unsafe; it watches this one as well, and nothing else is asked of it.
        let socket = Rc::new(UdpSocket::from_std(socket.into())?);
        let kept = Rc::<RefCell<Kept>>::default();
        let (reading, keeping) = (socket.clone(), kept.clone());
        let reader = tokio::task::spawn_local(async move {
            let mut buffer = vec![0; LONGEST];
            while reading.readable().await.is_ok() {
                // Everything is read, so that the next packet wakes us.
                let _ = reading.try_io(Interest::READABLE, || -> io::Result<()> {
                    drain(&reading, &keeping, &mut buffer);
                    Err(io::ErrorKind::WouldBlock.into())
                });
            }
        });
        Ok(Capture { socket, kept, reader })
    }

    /// Only this connection counts from now on.
    pub fn only(&self, client: SocketAddr, server: SocketAddr) {
        self.kept.borrow_mut().ends = Some((packet::canonical(client), packet::canonical(server)));
    }

    /// Ends the capture: the packets in their order, if all of them were seen.
    pub fn finish(self) -> Vec<Packet> {
        self.reader.abort();
        drain(&self.socket, &self.kept, &mut vec![0; LONGEST]);
        let mut kept = self.kept.borrow_mut();
        let packets = std::mem::take(&mut kept.packets);
        let Some(ends) = kept.ends else { return Vec::new() };
        if kept.lost { Vec::new() } else { packet::of_connection(packets, ends) }
    }
}

/// Reads what is there.
fn drain(socket: &UdpSocket, kept: &RefCell<Kept>, buffer: &mut [u8]) {
    let mut control = nix::cmsg_space!(TimeSpec);
    loop {
        let mut pieces = [IoSliceMut::new(buffer)];
        let received =
            match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(received) => received,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
            };
        let (length, from) = (received.bytes, received.address);
        let at = received.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            })
        });
        let Some(from) = from else { continue };
        // Loopback shows each packet as it leaves and as it arrives.
        if from.hatype() == ARPHRD_LOOPBACK && from.pkttype() == PACKET_OUTGOING {
            continue;
        }
        let at = at.map_or_else(SystemTime::now, |since| UNIX_EPOCH + since);
        let Some(packet) = buffer.get(..length).and_then(|bytes| packet::parse(bytes, at, from.ifindex())) else {
            continue;
        };
        kept.borrow_mut().keep(packet);
    }
}

impl Kept {
    fn keep(&mut self, packet: Packet) {
        if self.ends.is_some_and(|ends| !packet.is_of(ends)) {
            return;
        }
        if self.packets.len() >= PACKETS || self.bytes + packet.bytes.len() > BYTES {
            self.lost = true;
            return;
        }
        self.bytes += packet.bytes.len();
        self.packets.push(packet);
    }
}

/// A classic BPF program: TCP over IPv4 or IPv6, from or to a port. The packet begins with its IP header.
fn filter(port: u16) -> [SockFilter; 19] {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_HALF_AT_X: u16 = 0x48;
    /// X = 4 * (byte & 15): the length of an IPv4 header.
    const X_IS_HEADER: u16 = 0xb1;
    const AND: u16 = 0x54;
    const EQUALS: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const TCP: u32 = 6;
    let port = u32::from(port);
    let op = SockFilter::new;
    [
        op(LOAD_BYTE, 0, 0, 0),
        op(AND, 0, 0, 0xf0),
        op(EQUALS, 0, 7, 0x40),
        op(LOAD_BYTE, 0, 0, 9),
        op(EQUALS, 0, 13, TCP),
        op(X_IS_HEADER, 0, 0, 0),
        op(LOAD_HALF_AT_X, 0, 0, 0),
        op(EQUALS, 9, 0, port),
        op(LOAD_HALF_AT_X, 0, 0, 2),
        op(EQUALS, 7, 8, port),
        op(EQUALS, 0, 7, 0x60),
        op(LOAD_BYTE, 0, 0, 6),
        op(EQUALS, 0, 5, TCP),
        op(LOAD_HALF, 0, 0, 40),
        op(EQUALS, 2, 0, port),
        op(LOAD_HALF, 0, 0, 42),
        op(EQUALS, 0, 1, port),
        op(RETURN, 0, 0, u32::MAX),
        op(RETURN, 0, 0, 0),
    ]
}
