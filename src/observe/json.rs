//! The comparison as JSON, for programs. Names are stable.

use serde_json::{Value, json};

use super::compare::{Comparison, Exchange};
use super::cost::{self, DISTANCES};
use super::hello::{group_name, version_name};
use super::ladder::{self, Step};
use super::leg::{Close, Leg};
use super::records::Conversation;
use super::tcp_info::TcpInfo;
use super::{readable, table};
use crate::net::tap::Way;

/// The whole comparison.
pub fn value(comparison: &Comparison) -> Value {
    let identity = table::identity(comparison).map(|identity| {
        let chain: Vec<_> = identity
            .chain
            .iter()
            .map(|card| {
                json!({"subject": card.subject, "names": card.names, "issuer": card.issuer,
                    "not_after": card.not_after.date().to_string(), "days_left": card.days_left, "bytes": card.bytes})
            })
            .collect();
        json!({"chain": chain, "vouched_by": identity.vouched_by, "trusted": identity.verdict.is_ok(),
            "verdict": identity.verdict.err()})
    });
    json!({
        "doors": {"http": comparison.doors.http.to_string(), "https": comparison.doors.https.to_string()},
        "identity": identity,
        "exchanges": comparison.exchanges.iter().map(exchange).collect::<Vec<_>>(),
    })
}

fn exchange(exchange: &Exchange) -> Value {
    json!({
        "method": exchange.request.method.as_str(),
        "host": exchange.request.host,
        "target": exchange.request.target,
        "columns": exchange.legs.iter().map(leg).collect::<Vec<_>>(),
        "lessons": table::lessons(exchange),
    })
}

fn leg(leg: &Leg) -> Value {
    let bytes = cost::bytes(leg);
    let at: serde_json::Map<String, Value> = DISTANCES
        .iter()
        .filter_map(|ms| Some((ms.to_string(), cost::at_distance(leg, *ms)?.as_secs_f64().into())))
        .collect();
    json!({
        "column": leg.column.id(),
        "client": leg.local.map(|address| address.to_string()),
        "server": leg.peer.to_string(),
        "failure": leg.failure,
        "status": leg.answer.as_ref().map(|answer| answer.status),
        "protocol": leg.answer.as_ref().map(|answer| answer.version),
        "body_bytes": leg.answer.as_ref().map(|answer| answer.body_total),
        "round_trips": leg.trips,
        "seconds": {
            "connected": leg.connected.map(|d| d.as_secs_f64()),
            "secured": leg.secured.map(|d| d.as_secs_f64()),
            "first_byte": leg.first_byte.map(|d| d.as_secs_f64()),
            "handshake_cpu": leg.handshake_cpu.map(|d| d.as_secs_f64()),
            "first_byte_at_ms": at,
        },
        "bytes": {
            "sent": bytes.sent, "received": bytes.received,
            "http_sent": bytes.http_sent, "http_received": bytes.http_received,
            "handshake": bytes.handshake, "tickets": bytes.tickets, "certificates": bytes.certificates,
            "whole": leg.wire.is_whole(),
        },
        "tls": leg.tls.as_ref().map(|tls| json!({
            "version": tls.version, "cipher": tls.cipher, "group": tls.group, "alpn": tls.alpn, "resumed": tls.resumed,
        })),
        "client_hello": leg.talk.as_ref().and_then(client_hello),
        "messages": leg.talk.as_ref().map(messages),
        "readable": readable::parts(leg).iter().map(|part| json!([part.what, part.text])).collect::<Vec<_>>(),
        "ladder": ladder::steps(leg).iter().map(step).collect::<Vec<_>>(),
        "backend_saw": leg.answer.as_ref().map(|answer| {
            readable::seen_by_backend(answer).into_iter().map(|(source, scheme)| (source.to_string(), scheme.into()))
                .collect::<serde_json::Map<_, Value>>()
        }),
        "tcp": {"captured": !leg.packets.is_empty(), "client": leg.tcp[0].as_ref().map(tcp_info),
            "server": leg.tcp[1].as_ref().map(tcp_info)},
        "environ": leg.answer.as_ref().and_then(readable::environ),
        "close": close(leg, &leg.close),
    })
}

fn tcp_info(info: &TcpInfo) -> Value {
    json!({
        "rtt_seconds": info.rtt.as_secs_f64(), "segments_out": info.segments_out, "segments_in": info.segments_in,
        "retransmitted": info.retransmitted, "window_segments": info.window, "segment_bytes": info.segment,
        "peer_window_bytes": info.peer_window,
    })
}

fn client_hello(talk: &Conversation) -> Option<Value> {
    let hello = talk.client_hello.as_ref()?;
    let names = |numbers: &[u16], name: fn(u16) -> String| numbers.iter().map(|n| name(*n)).collect::<Vec<_>>();
    Some(json!({
        "server_name": hello.server_name, "alpn": hello.alpn, "versions": names(&hello.versions, version_name),
        "groups": names(&hello.groups, group_name), "key_shares": names(&hello.key_shares, group_name),
        "resumes": hello.resumes,
    }))
}

fn messages(talk: &Conversation) -> Value {
    let list: Vec<_> = talk
        .messages
        .iter()
        .map(|m| json!({"from": side(m.way), "name": m.name, "bytes": m.size, "encrypted": m.sealed}))
        .collect();
    list.into()
}

fn step(step: &Step) -> Value {
    json!({
        "seconds": step.at.as_secs_f64(), "from": side(step.way), "bytes": step.bytes, "derived": step.derived,
        "tcp": step.tcp.as_ref().map(|tcp| json!({
            "flags": tcp.flags.to_string(), "seq": tcp.raw_seq, "ack": tcp.raw_ack, "seq_relative": tcp.seq,
            "ack_relative": tcp.ack, "window": tcp.window, "again": tcp.again,
        })),
        "messages": step.items.iter().map(|item| json!({
            "name": item.name, "bytes": item.size, "encrypted": item.sealed,
        })).collect::<Vec<_>>(),
    })
}

fn close(leg: &Leg, close: &Close) -> Value {
    json!({
        "first_fin": table::first_fin(leg),
        "by_server": close.by_server,
        "reset": leg.wire.reset,
        "reset_by": leg.reset_by().map(side),
        "time_wait": close.holder(),
        "client_state": close.after.client.map(|side| side.name()),
        "server_state": close.after.server.map(|side| side.name()),
        "seconds_left": close.after.client.or(close.after.server).map(|side| side.timer.as_secs_f64()),
    })
}

fn side(way: Way) -> &'static str {
    match way {
        Way::Sent => "client",
        Way::Received => "server",
    }
}
