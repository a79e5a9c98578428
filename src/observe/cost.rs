//! What an exchange costs: bytes on the wire beside the bytes they carry, and what its round trips mean far away.

use std::time::Duration;

use super::leg::Leg;
use super::records::{Message, Role};
use crate::net::tap::Way;

/// The distances of the table, in milliseconds there and back.
pub const DISTANCES: [u64; 4] = [1, 20, 100, 200];

/// What a fresh TCP connection may send before the first acknowledgement (RFC 6928): ten segments of 1460 bytes.
pub const INITIAL_WINDOW: u64 = 14_600;

/// The bytes of one exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes of TCP payload each way.
    pub sent: u64,
    pub received: u64,
    /// Of these HTTP: what is left without TLS.
    pub http_sent: u64,
    pub http_received: u64,
    /// TLS handshake messages, and the tickets for a later connection.
    pub handshake: u64,
    pub tickets: u64,
    /// Certificates of the server, in the handshake.
    pub certificates: u64,
    /// TLS records each way.
    pub records_sent: usize,
    pub records_received: usize,
}

pub fn bytes(leg: &Leg) -> Bytes {
    let sum = |keep: fn(&Message) -> bool| -> u64 {
        let messages = leg.talk.iter().flat_map(|talk| &talk.messages);
        messages.filter(|message| keep(message)).map(|message| message.size as u64).sum()
    };
    Bytes {
        sent: leg.wire.sent_total,
        received: leg.wire.received_total,
        http_sent: leg.clear.sent_total,
        http_received: leg.clear.received_total,
        handshake: sum(|message| message.role == Role::Handshake),
        tickets: sum(|message| message.role == Role::Ticket),
        certificates: sum(|message| message.name == "Certificate" && message.way == Way::Received),
        records_sent: leg.talk.as_ref().map_or(0, |talk| talk.sent.len()),
        records_received: leg.talk.as_ref().map_or(0, |talk| talk.received.len()),
    }
}

/// The server's first flight is longer than what may be sent at once, so that far away it costs a round trip more than was
/// counted here.
pub fn long_flight(leg: &Leg) -> bool {
    let Some(talk) = &leg.talk else { return false };
    let flight = talk.of(Way::Received).filter(|m| m.role == Role::Handshake).map(|m| m.end).max().unwrap_or(0);
    flight > INITIAL_WINDOW
}

/// Time to the first byte at a distance: the round trips, and what passed here, where there is next to none.
pub fn at_distance(leg: &Leg, milliseconds: u64) -> Option<Duration> {
    let trips = leg.trips? + u32::from(long_flight(leg));
    let here = if leg.peer.ip().is_loopback() { leg.first_byte? } else { Duration::ZERO };
    Some(Duration::from_millis(milliseconds) * trips + here)
}
