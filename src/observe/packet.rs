//! A TCP packet as it was on the wire.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::net::tap::Way;

/// The flags of a TCP header (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub psh: bool,
    pub ack: bool,
}

impl std::fmt::Display for Flags {
    /// `SYN, ACK`: in the order that Wireshark uses.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [(self.fin, "FIN"), (self.syn, "SYN"), (self.rst, "RST"), (self.psh, "PSH"), (self.ack, "ACK")];
        let names: Vec<&str> = all.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        f.write_str(&names.join(", "))
    }
}

/// One captured packet.
#[derive(Debug, Clone)]
pub struct Packet {
    pub at: SystemTime,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: Flags,
    /// As on the wire, not relative to the start.
    pub seq: u32,
    pub ack: u32,
    /// The window field, not scaled.
    pub window: u16,
    /// Bytes of payload.
    pub len: u64,
    /// The packet from its IP header on.
    pub bytes: Vec<u8>,
    /// Index of the interface it was seen on.
    interface: usize,
}

impl Packet {
    pub(super) fn is_of(&self, (client, server): (SocketAddr, SocketAddr)) -> bool {
        (self.from, self.to) == (client, server) || (self.from, self.to) == (server, client)
    }
}

/// Takes an IP packet with a TCP segment apart. `None` for anything else, and for what is cut off.
pub(super) fn parse(bytes: &[u8], at: SystemTime, interface: usize) -> Option<Packet> {
    let sliced = SlicedPacket::from_ip(bytes).ok()?;
    let (from, to): (IpAddr, IpAddr) = match sliced.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    Some(Packet {
        at,
        from: canonical(SocketAddr::new(from, tcp.source_port())),
        to: canonical(SocketAddr::new(to, tcp.destination_port())),
        flags: Flags { syn: tcp.syn(), fin: tcp.fin(), rst: tcp.rst(), psh: tcp.psh(), ack: tcp.ack() },
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        window: tcp.window_size(),
        len: tcp.payload().len() as u64,
        bytes: bytes.to_vec(),
        interface,
    })
}

pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The packets of one connection, as the interface that saw its first one saw them. None if the SYN is not among them:
/// then they are not the whole.
pub(super) fn of_connection(packets: Vec<Packet>, ends: (SocketAddr, SocketAddr)) -> Vec<Packet> {
    let mut of: Vec<Packet> = packets.into_iter().filter(|packet| packet.is_of(ends)).collect();
    // A port that was used before may have packets of its last connection in front.
    let Some(start) = of.iter().rposition(|packet| packet.flags.syn && !packet.flags.ack) else { return Vec::new() };
    let Some(first) = of.iter().position(|packet| packet.flags.syn && packet.seq == of[start].seq) else {
        return Vec::new();
    };
    of.drain(..first);
    let interface = of.first().map(|packet| packet.interface);
    of.retain(|packet| Some(packet.interface) == interface);
    of
}

/// A packet in terms of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub way: Way,
    /// Sequence and acknowledgement number since the connection's first, as Wireshark counts them.
    pub seq: u32,
    /// 0 where there is none.
    pub ack: u32,
    /// Offset of its first payload byte among those of its way.
    pub start: u64,
    /// It carries bytes that had been sent before.
    pub again: bool,
}

/// Where the packets of a connection stand in it.
pub fn placed(packets: &[Packet]) -> Vec<Placed> {
    let Some(client) = packets.first().map(|packet| packet.from) else { return Vec::new() };
    let first = |mine: bool| {
        let syn = packets.iter().find(|packet| packet.flags.syn && (packet.from == client) == mine);
        syn.map_or(0, |packet| packet.seq)
    };
    let (ours, theirs) = (first(true), first(false));
    let mut sent = [0_u64; 2];
    packets
        .iter()
        .map(|packet| {
            let mine = packet.from == client;
            let (own, other) = if mine { (ours, theirs) } else { (theirs, ours) };
            let seq = packet.seq.wrapping_sub(own);
            let start = u64::from(seq).saturating_sub(1);
            let reached = &mut sent[usize::from(mine)];
            let again = packet.len > 0 && start < *reached;
            *reached = (*reached).max(start + packet.len);
            Placed {
                way: if mine { Way::Sent } else { Way::Received },
                seq,
                ack: if packet.flags.ack { packet.ack.wrapping_sub(other) } else { 0 },
                start,
                again,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn packet(mine: bool, seq: u32, ack: Option<u32>, syn: bool, payload: &[u8]) -> Packet {
        let ends = if mine { ([10, 0, 0, 1], [10, 0, 0, 2]) } else { ([10, 0, 0, 2], [10, 0, 0, 1]) };
        let ports = if mine { (50_000, 80) } else { (80, 50_000) };
        let mut builder = PacketBuilder::ipv4(ends.0, ends.1, 64).tcp(ports.0, ports.1, seq, 1000);
        if let Some(ack) = ack {
            builder = builder.ack(ack);
        }
        if syn {
            builder = builder.syn();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        parse(&bytes, SystemTime::UNIX_EPOCH, 1).unwrap()
    }

    #[test]
    fn numbers_count_from_the_syn_and_what_is_sent_again_is_named() {
        let packets = [
            packet(true, u32::MAX, None, true, b""),
            packet(false, 70, Some(0), true, b""),
            packet(true, 0, Some(71), false, b"abc"),
            packet(true, 0, Some(71), false, b"abc"),
        ];
        let seen: Vec<_> = placed(&packets).into_iter().map(|p| (p.way, p.seq, p.ack, p.start, p.again)).collect();
        assert_eq!(
            seen,
            [
                (Way::Sent, 0, 0, 0, false),
                (Way::Received, 0, 1, 0, false),
                (Way::Sent, 1, 1, 0, false),
                (Way::Sent, 1, 1, 0, true)
            ]
        );
        assert_eq!(packets[1].flags.to_string(), "SYN, ACK");
        let ends = (packets[0].from, packets[0].to);
        assert_eq!(of_connection(packets.to_vec(), ends).len(), 4);
        assert_eq!(of_connection(packets[1..].to_vec(), ends).len(), 0);
    }

    #[test]
    fn what_is_no_whole_tcp_packet_is_nothing() {
        let whole = packet(true, 1, Some(1), false, b"abc").bytes;
        for end in 0..whole.len() {
            assert!(parse(&whole[..end], SystemTime::UNIX_EPOCH, 1).is_none(), "{end}");
        }
    }
}
