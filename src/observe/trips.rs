//! Round trips before the first byte of the answer, counted by cause and not by changes of direction.
//!
//! A flight of ours is as deep as the deepest message of the server that had been read when it was written; a message of
//! the server is one deeper than the flight it answers. Tickets and HTTP/2 housekeeping answer nothing, so they do not
//! count, even where they slip in between: the number is the same on loopback as across an ocean.

use super::h2_frames;
use super::records::{Conversation, Message, Role};
use crate::net::tap::{Tape, Way};

/// Where the request ends and the answer begins, in the bytes that the two ends mean (above TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Offset behind the request's last byte.
    pub request_end: u64,
    /// Offset of the answer's first byte.
    pub response_start: u64,
}

/// The marks of an HTTP/2 connection with one request: past the frames that keep house.
pub fn h2_marks(clear: &Tape) -> Option<Marks> {
    let request = h2_frames::client(&clear.sent).filter(|frame| frame.carries_message()).last()?;
    let response = h2_frames::server(&clear.received).find(|frame| frame.carries_message())?;
    Some(Marks { request_end: request.end, response_start: response.start })
}

/// Round trips from the SYN to the first byte of the answer, the TCP handshake included. `None` where the answer never
/// came, or the tape does not hold it.
pub fn count(wire: &Tape, talk: Option<&Conversation>, marks: Marks) -> Option<u32> {
    let server = talk.map_or_else(Vec::new, |talk| server_depths(wire, talk));
    let request_end = match talk {
        None => marks.request_end,
        Some(talk) => on_the_wire(talk, Way::Sent, marks.request_end)?.end,
    };
    match talk {
        None => wire.event_of(Way::Received, marks.response_start + 1).map(|_| ())?,
        Some(talk) => on_the_wire(talk, Way::Received, marks.response_start + 1).map(|_| ())?,
    }
    Some(1 + depth(wire, &server, request_end)?)
}

/// The depth of our write that ends at `end`, given the server's messages as (end, depth). The SYN-ACK is 1.
fn depth(wire: &Tape, server: &[(u64, u32)], end: u64) -> Option<u32> {
    let (index, _) = wire.event_of(Way::Sent, end)?;
    let read: u64 =
        wire.events.iter().take(index).filter(|event| event.way == Way::Received).map(|event| event.len).sum();
    Some(server.iter().filter(|(end, _)| *end <= read).map(|(_, depth)| *depth).max().unwrap_or(1))
}

/// The server's handshake messages, each one deeper than what it answers: the n-th hello our n-th hello, and what follows
/// ServerHelloDone (TLS 1.2) our Finished.
fn server_depths(wire: &Tape, talk: &Conversation) -> Vec<(u64, u32)> {
    let ours = |name: &str, nth: usize| {
        talk.of(Way::Sent).filter(|message| message.name == name).nth(nth).map(|message| message.end)
    };
    let tls12 = talk.server_hello.is_some_and(|hello| hello.version < 0x0304);
    let (mut depths, mut hellos, mut done) = (Vec::new(), 0usize, false);
    for message in talk.of(Way::Received) {
        match (message.role, message.name) {
            (Role::Handshake, "ServerHello" | "HelloRetryRequest") => hellos += 1,
            (Role::Handshake | Role::ChangeCipherSpec, _) => {}
            (Role::Ticket, _) if tls12 => {}
            _ => continue,
        }
        let answered = if done { ours("Finished", 0) } else { ours("ClientHello", hellos.saturating_sub(1)) };
        if let Some(depth) = answered.and_then(|end| depth(wire, &depths, end)) {
            depths.push((message.end, depth + 1));
        }
        done |= message.name == "ServerHelloDone";
    }
    depths
}

/// The message that carries the byte before offset `end` of the application's data.
fn on_the_wire(talk: &Conversation, way: Way, end: u64) -> Option<&Message> {
    let mut passed = 0;
    talk.of(way).filter(|message| message.role == Role::Application).find(|message| {
        passed += message.size as u64;
        end <= passed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tap::Event;
    use crate::observe::hello::ServerHello;
    use std::time::{Duration, Instant};

    fn tape(events: &[(Way, u64)]) -> Tape {
        let mut tape = Tape::new(Instant::now());
        let (mut sent, mut received) = (0, 0);
        for (way, len) in events {
            let total = if *way == Way::Sent { &mut sent } else { &mut received };
            tape.events.push(Event { way: *way, at: Duration::ZERO, start: *total, len: *len });
            *total += len;
        }
        tape
    }

    fn message(way: Way, name: &'static str, role: Role, start: u64, end: u64) -> Message {
        Message { way, name, role, size: (end - start) as usize, start, end, sealed: false }
    }

    #[test]
    fn a_plain_exchange_is_two() {
        let wire = tape(&[(Way::Sent, 10), (Way::Received, 5)]);
        assert_eq!(count(&wire, None, Marks { request_end: 10, response_start: 0 }), Some(2));
        assert_eq!(count(&wire, None, Marks { request_end: 10, response_start: 5 }), None);
    }

    #[test]
    fn tickets_between_handshake_and_request_do_not_make_tls13_deeper() {
        use Role::*;
        let talk = Conversation {
            server_hello: Some(ServerHello { version: 0x304, cipher_suite: 0x1301, retry: false }),
            messages: vec![
                message(Way::Sent, "ClientHello", Handshake, 0, 100),
                message(Way::Sent, "Finished", Handshake, 100, 150),
                message(Way::Sent, "application data", Application, 150, 200),
                message(Way::Received, "ServerHello", Handshake, 0, 90),
                message(Way::Received, "Finished", Handshake, 90, 500),
                message(Way::Received, "NewSessionTicket", Ticket, 500, 600),
                message(Way::Received, "application data", Application, 600, 700),
            ],
            ..Conversation::default()
        };
        let marks = Marks { request_end: 50, response_start: 0 };
        let early = [(Way::Sent, 100), (Way::Received, 500), (Way::Sent, 100), (Way::Received, 200)];
        assert_eq!(count(&tape(&early), Some(&talk), marks), Some(3));
        let slipped_in = [
            (Way::Sent, 100),
            (Way::Received, 500),
            (Way::Sent, 50),
            (Way::Received, 100),
            (Way::Sent, 50),
            (Way::Received, 100),
        ];
        assert_eq!(count(&tape(&slipped_in), Some(&talk), marks), Some(3));
    }

    #[test]
    fn tls12_waits_for_the_servers_finished_and_is_four() {
        use Role::*;
        let talk = Conversation {
            server_hello: Some(ServerHello { version: 0x303, cipher_suite: 0xc02b, retry: false }),
            messages: vec![
                message(Way::Sent, "ClientHello", Handshake, 0, 100),
                message(Way::Sent, "Finished", Handshake, 100, 150),
                message(Way::Sent, "application data", Application, 150, 200),
                message(Way::Received, "ServerHello", Handshake, 0, 90),
                message(Way::Received, "ServerHelloDone", Handshake, 90, 500),
                message(Way::Received, "Finished", Handshake, 500, 600),
                message(Way::Received, "application data", Application, 600, 700),
            ],
            ..Conversation::default()
        };
        let events = [
            (Way::Sent, 100),
            (Way::Received, 500),
            (Way::Sent, 50),
            (Way::Received, 100),
            (Way::Sent, 50),
            (Way::Received, 100),
        ];
        assert_eq!(count(&tape(&events), Some(&talk), Marks { request_end: 50, response_start: 0 }), Some(4));
    }
}
