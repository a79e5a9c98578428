//! The rows of the comparison, as text: the same for the terminal and for the page.

use std::time::Duration;

use super::compare::{Comparison, Exchange};
use super::cost::{self, DISTANCES};
use super::hello::{group_name, version_name};
use super::identity::{self, Identity};
use super::leg::Leg;
use super::readable;
use crate::net::tap::Way;

/// A label, and one text a column.
pub type Row = (String, Vec<String>);

const NOTHING: &str = "-";

/// What was agreed on and what it cost.
pub fn rows(exchange: &Exchange) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row = |label: &str, cell: &dyn Fn(&Leg) -> Option<String>| {
        let cells = exchange.legs.iter().map(|leg| cell(leg).unwrap_or_else(|| NOTHING.into())).collect();
        rows.push((label.into(), cells));
    };
    row("port", &|leg| Some(leg.peer.port().to_string()));
    row("answer", &|leg| Some(leg.answer.as_ref()?.status.to_string()));
    row("protocol", &|leg| Some(leg.answer.as_ref()?.version.to_string()));
    row("TLS", &|leg| Some(version_name(leg.talk.as_ref()?.server_hello?.version)));
    row("key exchange", &|leg| {
        let group = leg.tls.as_ref()?.group.as_deref()?;
        Some(if group == group_name(0x11ec) { "hybrid PQ".into() } else { group.to_lowercase() })
    });
    row("resumed", &|leg| Some(if leg.tls.as_ref()?.resumed { "yes".into() } else { "no".into() }));
    row("round trips", &|leg| leg.trips.map(|trips| trips.to_string()));
    row("bytes sent", &|leg| Some(cost::bytes(leg).sent.to_string()));
    row("  of these HTTP", &|leg| Some(cost::bytes(leg).http_sent.to_string()));
    row("bytes received", &|leg| Some(cost::bytes(leg).received.to_string()));
    row("  of these HTTP", &|leg| Some(cost::bytes(leg).http_received.to_string()));
    row("TLS adds", &|leg| {
        leg.talk.as_ref()?;
        let bytes = cost::bytes(leg);
        Some((bytes.sent + bytes.received).saturating_sub(bytes.http_sent + bytes.http_received).to_string())
    });
    row("  certificates", &|leg| leg.talk.as_ref().map(|_| cost::bytes(leg).certificates.to_string()));
    row("  tickets", &|leg| leg.talk.as_ref().map(|_| cost::bytes(leg).tickets.to_string()));
    row("TLS records", &|leg| {
        let talk = leg.talk.as_ref()?;
        Some(format!("{} + {}", talk.sent.len(), talk.received.len()))
    });
    row("TCP packets", &|leg| {
        if !leg.packets.is_empty() {
            let sent = leg.packets.iter().filter(|packet| leg.way_of(packet) == Way::Sent).count();
            return Some(format!("{sent} + {}", leg.packets.len() - sent));
        }
        // Until the close, as the kernel counted them.
        leg.tcp[0].map(|info| format!("{} + {}*", info.segments_out, info.segments_in))
    });
    row("  sent again", &|leg| {
        let counted = leg.tcp.iter().flatten().map(|info| info.retransmitted).sum::<u32>();
        leg.tcp[0].map(|_| counted.to_string())
    });
    row("  window (segments)", &|leg| leg.tcp[0].map(|info| info.window.to_string()));
    row("  rtt (kernel)", &|leg| leg.tcp[0].map(|info| milliseconds(info.rtt)));
    row("handshake CPU", &|leg| leg.handshake_cpu.map(milliseconds));
    row("first byte here", &|leg| leg.first_byte.map(milliseconds));
    for distance in DISTANCES {
        row(&format!("  at {distance} ms"), &|leg| cost::at_distance(leg, distance).map(milliseconds));
    }
    // What the backend says, where it says it.
    for source in ["X-Forwarded-Proto", "wsgi.url_scheme"] {
        let of = |leg: &Leg| {
            let seen = readable::seen_by_backend(leg.answer.as_ref()?);
            seen.into_iter().find(|(found, _)| *found == source).map(|(_, scheme)| scheme)
        };
        if exchange.legs.iter().any(|leg| of(leg).is_some()) {
            row(source, &of);
        }
    }
    row("first FIN", &|leg| first_fin(leg).map(str::to_string));
    row("TIME_WAIT", &|leg| leg.answer.as_ref().map(|_| leg.close.holder().to_string()));
    rows
}

/// Who closed first: by who keeps TIME_WAIT where the kernel says it, else by the order of our calls and reads.
pub fn first_fin(leg: &Leg) -> Option<&'static str> {
    if let Some(closed) = first_fin_packet(leg) {
        return Some(closed);
    }
    match leg.close.holder() {
        "client" => return Some("client"),
        "server" => return Some("server"),
        "both" => return Some("both at once"),
        _ => {}
    }
    match (leg.wire.ended(Way::Sent), leg.wire.ended(Way::Received)) {
        (Some(ours), Some(theirs)) if theirs < ours => Some("server"),
        (Some(_), _) => Some("client"),
        (None, Some(_)) => Some("server"),
        (None, None) => None,
    }
}

/// The same by the packets: at once, if neither had the other's when it sent its own.
fn first_fin_packet(leg: &Leg) -> Option<&'static str> {
    let fins: Vec<_> = leg.packets.iter().filter(|packet| packet.flags.fin).collect();
    let first = fins.first()?;
    let after = first.seq.wrapping_add(first.len as u32).wrapping_add(1);
    if fins.iter().any(|other| other.from != first.from && other.ack != after) {
        return Some("both at once");
    }
    Some(if leg.way_of(first) == Way::Sent { "client" } else { "server" })
}

/// The sentences below the table: what the numbers mean, each only where it is true of this run.
pub fn lessons(exchange: &Exchange) -> Vec<String> {
    let mut lessons = Vec::new();
    let trips = |column| exchange.legs.iter().find(|leg| leg.column == column).and_then(|leg| leg.trips);
    use super::request::Column::{Plain, Resumed, Tls12, Tls13};
    if let (Some(plain), Some(tls13), Some(tls12)) = (trips(Plain), trips(Tls13), trips(Tls12)) {
        lessons.push(format!(
            "Round trips before the first byte, the TCP handshake included: {plain} plain, {tls13} with TLS 1.3, {tls12} \
             with TLS 1.2."
        ));
    }
    if let (Some(full), Some(resumed)) = (trips(Tls13), trips(Resumed))
        && full == resumed
    {
        lessons.push(
            "Resumption in TLS 1.3 saves the certificate and its checks, not a round trip: bytes and processor time."
                .into(),
        );
    }
    if exchange.legs.iter().any(cost::long_flight) {
        lessons.push(
            "The server's first flight is longer than ten segments: far away it costs one round trip more (counted in \
             the table of distances)."
                .into(),
        );
    }
    for leg in &exchange.legs {
        if leg.answer.is_some() && leg.close.holder() == "nobody" {
            let why = match leg.reset_by() {
                Some(Way::Received) => "the server's RST ended it",
                Some(Way::Sent) => "our RST ended it: the server's data met a closed socket",
                None => "a RST ended it, or it has passed",
            };
            lessons.push(format!("{}: nobody keeps TIME_WAIT: {why}.", leg.column.title()));
        }
    }
    if let Some(answer) = exchange.legs.first().and_then(|leg| leg.answer.as_ref())
        && (300..400).contains(&answer.status)
    {
        let to = answer.field("Location").unwrap_or("elsewhere");
        let keeps = match answer.status {
            307 | 308 => "method and body are kept",
            _ => "a POST becomes a GET and loses its body",
        };
        lessons.push(format!(
            "Port 80 redirects to {to} ({}: {keeps}). The request above had crossed in clear before: HSTS makes a browser \
             skip this step.",
            answer.status
        ));
    }
    lessons
}

/// The identity that the doors proved, from the first column that has one.
pub fn identity(comparison: &Comparison) -> Option<Identity> {
    let legs = comparison.exchanges.iter().flat_map(|exchange| &exchange.legs);
    legs.filter_map(|leg| leg.tls.as_ref()).find_map(|tls| identity::of(tls, &comparison.trust))
}

/// The identity in sentences.
pub fn identity_lines(identity: &Identity) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, card) in identity.chain.iter().enumerate() {
        let role = if index == 0 { "certificate" } else { "issuer's own" };
        let names = if card.names.is_empty() { card.subject.clone() } else { card.names.join(", ") };
        lines.push(format!(
            "{role}: {names}; issued by {}; {} days left (until {}); {} bytes",
            card.issuer,
            card.days_left,
            card.not_after.date(),
            card.bytes
        ));
    }
    lines.push(match &identity.vouched_by {
        Some(source) => format!("vouched for by {source}"),
        None => "vouched for by nobody that is known here".into(),
    });
    lines.push(match &identity.verdict {
        Ok(()) => "a client that trusts this root accepts it; any other refuses".into(),
        Err(why) => format!("a browser would refuse it: {why}"),
    });
    lines
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
