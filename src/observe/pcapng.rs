//! The comparison as a pcapng file (draft-ietf-opsawg-pcapng), with the TLS secrets of these connections, so that Wireshark
//! opens it decrypted.
//!
//! Where packets were captured they are the packets of the file. Elsewhere packets are made from the tapped bytes, on an
//! interface that is called so: bytes and times are observed then, and sequence numbers, acknowledgements and the handshake
//! and close steps of TCP are made, since a socket does not show them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::compare::Comparison;
use super::leg::Leg;
use super::secrets::key_log;
use crate::net::tap::Way;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;
/// The secrets are a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Packets start with an IP header.
const LINKTYPE_RAW: u16 = 101;
/// Numbers of the interfaces, in the order of their blocks.
const CAPTURED: u32 = 0;
const SYNTHESISED: u32 = 1;
/// What one packet carries at most.
const SEGMENT: usize = 1460;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// The bytes of the file.
pub fn bytes(comparison: &Comparison) -> Vec<u8> {
    let mut out = Vec::new();
    let mut section = vec![];
    section.extend(0x1A2B_3C4D_u32.to_le_bytes());
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    option(
        &mut section,
        1,
        b"Made by vestibule compare. Interface captured: packets as they were. Interface synthesised: data and times are \
          observed on its own sockets, TCP headers, handshake and close are made from them.",
    );
    option(&mut section, 4, b"vestibule compare");
    option(&mut section, 0, b"");
    block(&mut out, SECTION, &section);
    for name in [&b"captured"[..], b"synthesised"] {
        let mut interface = vec![];
        interface.extend(LINKTYPE_RAW.to_le_bytes());
        interface.extend([0; 6]);
        option(&mut interface, 2, name);
        // Times count nanoseconds.
        option(&mut interface, 9, &[9]);
        option(&mut interface, 0, b"");
        block(&mut out, INTERFACE, &interface);
    }
    let legs = || comparison.exchanges.iter().flat_map(|exchange| &exchange.legs);
    for leg in legs().filter(|leg| !leg.secrets.is_empty()) {
        let text = key_log(&leg.secrets);
        let mut secrets = vec![];
        secrets.extend(TLS_KEY_LOG.to_le_bytes());
        secrets.extend((text.len() as u32).to_le_bytes());
        pad(&mut secrets, text.as_bytes());
        block(&mut out, SECRETS, &secrets);
    }
    for leg in legs() {
        for packet in &leg.packets {
            packet_block(&mut out, CAPTURED, packet.at, &packet.bytes);
        }
        if let (Some(local), true) = (leg.local, leg.packets.is_empty()) {
            connection(&mut out, leg, local);
        }
    }
    out
}

fn packet_block(out: &mut Vec<u8>, interface: u32, at: SystemTime, packet: &[u8]) {
    let time = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut body = interface.to_le_bytes().to_vec();
    body.extend(((time >> 32) as u32).to_le_bytes());
    body.extend((time as u32).to_le_bytes());
    body.extend((packet.len() as u32).to_le_bytes());
    body.extend((packet.len() as u32).to_le_bytes());
    pad(&mut body, packet);
    block(out, PACKET, &body);
}

/// One connection, from SYN to the last ACK.
struct Talk {
    ends: [SocketAddr; 2],
    /// The next sequence number of each end.
    next: [u32; 2],
    started: SystemTime,
}

impl Talk {
    fn packet(&mut self, out: &mut Vec<u8>, from: usize, at: Duration, flags: u8, data: &[u8]) {
        let to = 1 - from;
        let acknowledges = if flags & ACK != 0 { self.next[to] } else { 0 };
        let packet = ip(self.ends[from], self.ends[to], self.next[from], acknowledges, flags, data);
        let grown = data.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[from] = self.next[from].wrapping_add(grown);
        packet_block(out, SYNTHESISED, self.started + at, &packet);
    }
}

fn connection(out: &mut Vec<u8>, leg: &Leg, local: SocketAddr) {
    let mut talk = Talk { ends: [local, leg.peer], next: [0, 0], started: leg.started };
    let connected = leg.connected.unwrap_or_default();
    talk.packet(out, 0, Duration::ZERO, SYN, b"");
    talk.packet(out, 1, connected, SYN | ACK, b"");
    talk.packet(out, 0, connected, ACK, b"");
    for event in &leg.wire.events {
        let from = usize::from(event.way == Way::Received);
        if event.len == 0 {
            talk.packet(out, from, event.at, FIN | ACK, b"");
            talk.packet(out, 1 - from, event.at, ACK, b"");
            continue;
        }
        let bytes = leg.wire.bytes(event.way);
        let start = (event.start as usize).min(bytes.len());
        let end = start.saturating_add(event.len as usize).min(bytes.len());
        for segment in bytes[start..end].chunks(SEGMENT) {
            talk.packet(out, from, event.at, PUSH | ACK, segment);
        }
    }
}

/// An IP packet with a TCP segment, checksums included.
fn ip(from: SocketAddr, to: SocketAddr, sequence: u32, acknowledges: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut tcp = vec![];
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledges.to_be_bytes());
    tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(data);
    let length = tcp.len() as u16;
    let (mut pseudo, mut packet) = (vec![], vec![]);
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + length).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            pseudo.extend(from.octets());
            pseudo.extend(to.octets());
        }
        (from, to) => {
            let six = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([6, 64]);
            packet.extend(six(from));
            packet.extend(six(to));
            pseudo.extend(six(from));
            pseudo.extend(six(to));
        }
    }
    pseudo.extend([0, 6]);
    pseudo.extend(length.to_be_bytes());
    pseudo.extend_from_slice(&tcp);
    let sum = checksum(&pseudo).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    packet.extend(tcp);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len().next_multiple_of(4) + 12) as u32;
    out.extend(kind.to_le_bytes());
    out.extend(length.to_le_bytes());
    pad(out, body);
    out.extend(length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    pad(out, value);
}

/// Appends bytes and zeros up to a multiple of four.
fn pad(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len() + (bytes.len().next_multiple_of(4) - bytes.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_a_packet_add_up_to_zero() {
        let packet = ip("127.0.0.1:80".parse().unwrap(), "127.0.0.1:9".parse().unwrap(), 1, 2, ACK, b"odd");
        assert_eq!(checksum(&packet[..20]), 0);
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, 6, 0, 23]);
        pseudo.extend(&packet[20..]);
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn blocks_are_padded_and_say_their_length_twice() {
        let mut out = Vec::new();
        block(&mut out, 6, b"abcde");
        assert_eq!(out.len(), 20);
        assert_eq!(out[4..8], out[16..20]);
    }
}
