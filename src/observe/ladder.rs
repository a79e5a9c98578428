//! The ladder: who said what when, from the SYN to the last FIN.

use std::time::Duration;

use super::h2_frames;
use super::leg::Leg;
use super::packet::{self, Flags};
use super::readable;
use super::records::{Conversation, Message, Role};
use super::request::Column;
use crate::net::tap::Way;

/// A rung: what one side said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub way: Way,
    pub items: Vec<Item>,
    /// Bytes of TCP payload.
    pub bytes: u64,
    /// Not seen as a packet but known from calls to the kernel.
    pub derived: bool,
    /// The packet's own header, where packets were captured.
    pub tcp: Option<Tcp>,
}

/// What a captured packet says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    pub flags: Flags,
    /// As on the wire, and counted from the connection's first as Wireshark shows them.
    pub raw_seq: u32,
    pub raw_ack: u32,
    pub seq: u32,
    pub ack: u32,
    /// The window field, not scaled.
    pub window: u16,
    /// It was sent again.
    pub again: bool,
}

/// One message of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub name: String,
    pub size: Option<usize>,
    /// Encrypted on the wire.
    pub sealed: bool,
}

/// The rungs: one a packet where packets were captured, else one a flight, with the steps of TCP derived.
pub fn steps(leg: &Leg) -> Vec<Step> {
    let mut steps = if leg.packets.is_empty() { derived(leg) } else { captured(leg) };
    if leg.answer.as_ref().is_some_and(|answer| readable::environ(answer).is_some()) {
        call_of_wsgi(leg, &mut steps);
    }
    steps
}

/// What a WSGI server and its application say to each other between request and answer (PEP 3333): derived from the
/// environ that came back.
fn call_of_wsgi(leg: &Leg, steps: &mut Vec<Step>) {
    let Some(first_byte) = leg.first_byte else { return };
    // The packet was there a moment before it was read.
    let before = |step: &&Step| step.way == Way::Sent && step.bytes > 0 && step.at <= first_byte;
    let Some(request) = steps.iter().filter(before).map(|step| step.at).next_back() else { return };
    let Some(place) = steps.iter().rposition(|step| step.at == request && step.bytes > 0) else { return };
    let status = leg.answer.as_ref().map_or(0, |answer| answer.status);
    let call = |way, text: String| {
        let items = vec![item(&text)];
        Step { at: request, way, items, bytes: 0, derived: true, tcp: None }
    };
    let calls = [
        call(Way::Sent, "WSGI server calls application(environ, start_response)".into()),
        call(Way::Received, format!("application calls start_response({status}, headers)")),
        call(Way::Received, "application returns the body, piece by piece".into()),
    ];
    steps.splice(place + 1..place + 1, calls);
}

fn captured(leg: &Leg) -> Vec<Step> {
    let mut said = (false, false);
    let rungs = leg.packets.iter().zip(packet::placed(&leg.packets));
    rungs
        .map(|(packet, place)| {
            let tcp = Tcp {
                flags: packet.flags,
                raw_seq: packet.seq,
                raw_ack: packet.ack,
                seq: place.seq,
                ack: place.ack,
                window: packet.window,
                again: place.again,
            };
            let mut items = match &leg.talk {
                _ if packet.len == 0 || place.again => Vec::new(),
                None => plain(leg, place.way, &mut said),
                Some(talk) => messages(leg, talk, place.way, place.start, place.start + packet.len),
            };
            if packet.flags.rst {
                items.push(item("RST"));
            } else if packet.flags.fin {
                items.push(item("FIN"));
            } else if packet.len == 0 {
                items.push(item(&packet.flags.to_string()));
            }
            let at = packet.at.duration_since(leg.started).unwrap_or_default();
            Step { at, way: place.way, items, bytes: packet.len, derived: false, tcp: Some(tcp) }
        })
        .collect()
}

/// The messages that end within a piece of a way.
fn messages(leg: &Leg, talk: &Conversation, way: Way, start: u64, end: u64) -> Vec<Item> {
    let inside = talk.of(way).filter(|message| start < message.end && message.end <= end);
    inside.map(|message| sealed(leg, message)).collect()
}

fn derived(leg: &Leg) -> Vec<Step> {
    let mut steps = Vec::new();
    let tcp = |way, at, name: &str| Step { at, way, items: vec![item(name)], bytes: 0, derived: true, tcp: None };
    steps.push(tcp(Way::Sent, Duration::ZERO, "SYN"));
    if let Some(connected) = leg.connected {
        steps.push(tcp(Way::Received, connected, "SYN, ACK"));
        steps.push(tcp(Way::Sent, connected, "ACK"));
    }
    let mut said = (false, false);
    for event in &leg.wire.events {
        if event.len == 0 {
            steps.push(tcp(event.way, event.at, "FIN"));
            continue;
        }
        let end = event.start + event.len;
        let items = match &leg.talk {
            None => plain(leg, event.way, &mut said),
            Some(talk) => messages(leg, talk, event.way, event.start, end),
        };
        match steps.last_mut() {
            // Several reads of one flight are one rung.
            Some(last) if last.way == event.way && !last.derived && (items.is_empty() || leg.talk.is_none()) => {
                last.bytes += event.len;
                last.items.extend(items);
            }
            _ => steps.push(Step { at: event.at, way: event.way, items, bytes: event.len, derived: false, tcp: None }),
        }
    }
    if leg.wire.reset {
        let at = leg.wire.events.last().map_or(Duration::ZERO, |event| event.at);
        steps.push(tcp(Way::Received, at, "RST"));
    }
    steps
}

fn item(name: &str) -> Item {
    Item { name: name.into(), size: None, sealed: false }
}

/// What a piece of a plain exchange is: named once each way.
fn plain(leg: &Leg, way: Way, said: &mut (bool, bool)) -> Vec<Item> {
    let (said, bytes) = match way {
        Way::Sent => (&mut said.0, &leg.wire.sent),
        Way::Received => (&mut said.1, &leg.wire.received),
    };
    if std::mem::replace(said, true) { Vec::new() } else { vec![item(&first_line(bytes))] }
}

fn first_line(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len()).min(200);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn sealed(leg: &Leg, message: &Message) -> Item {
    let name = match message.role {
        Role::Application => application(leg, message),
        _ => message.name.to_string(),
    };
    Item { name, size: Some(message.size), sealed: message.sealed }
}

/// What a record of application data carries, as its two ends know.
fn application(leg: &Leg, message: &Message) -> String {
    let (way, tape) = (message.way, &leg.clear);
    let before = leg.talk.iter().flat_map(|talk| talk.of(way));
    let start: usize = before.filter(|m| m.role == Role::Application && m.end < message.end).map(|m| m.size).sum();
    let end = start + message.size;
    if leg.column == Column::Http2 {
        let bytes = tape.bytes(way);
        let inside = |frame: &h2_frames::Frame| (start as u64) < frame.end && frame.end <= end as u64;
        let mut names: Vec<&str> = match way {
            Way::Sent => h2_frames::client(bytes).filter(inside).map(|frame| frame.name()).collect(),
            Way::Received => h2_frames::server(bytes).filter(inside).map(|frame| frame.name()).collect(),
        };
        if way == Way::Sent && start == 0 {
            names.insert(0, "HTTP/2 preface");
        }
        return if names.is_empty() { "part of a frame".into() } else { names.join(" ") };
    }
    if start == 0 { first_line(tape.bytes(way)) } else { "more of it".into() }
}
