//! What a backend is told about the client: nothing that the client chose, unless a trusted proxy sent it.
//!
//! The first byte chooses the peer, the style and whether the peer is trusted; the rest is a request head.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use vestibule::config::{ForwardedStyle, Forwarding};
use vestibule::h1::{Limits, Parsed, parse_request};
use vestibule::http::ConnInfo;
use vestibule::http::headers::prepare_request;
use vestibule::message::RequestHead;

use crate::{assert_fields, folded, list, split_control};

/// What is stated, in the alphabet of CGI.
const STATED: &[&str] = &["X_FORWARDED_FOR", "X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_FORWARDED_PORT", "FORWARDED"];
const HOP_BY_HOP: &[&str] = &[
    "CONNECTION",
    "KEEP_ALIVE",
    "PROXY_CONNECTION",
    "TE",
    "TRANSFER_ENCODING",
    "UPGRADE",
    "HTTP2_SETTINGS",
    "PROXY_AUTHORIZATION",
];

/// # Panics
/// A field of the client's own passes that only a proxy may state.
pub fn check(data: &[u8]) {
    let (control, input) = split_control(data);
    let limits = Limits { bytes: 32 << 10, fields: 100, target: 16 << 10 };
    let Ok(Parsed::Head(mut head, _)) = parse_request(input, &limits) else { return };
    let peer: IpAddr = match control & 3 {
        0 => [203, 0, 113, 9].into(),
        1 => "2001:db8::9".parse().expect("an address"),
        2 => "::ffff:203.0.113.9".parse().expect("an address"),
        _ => [10, 0, 0, 1].into(),
    };
    let trusted = control & 4 == 4;
    let style = match control >> 3 & 3 {
        0 => ForwardedStyle::XForwarded,
        1 => ForwardedStyle::Rfc7239,
        2 => ForwardedStyle::Both,
        _ => ForwardedStyle::Off,
    };
    let nets = ["203.0.113.0/24", "2001:db8::/32", "10.0.0.0/8"].map(|net| net.parse::<IpNet>().expect("a network"));
    let rules = Forwarding { trusted_proxies: if trusted { nets.to_vec() } else { Vec::new() }, style };
    let conn = ConnInfo::new(SocketAddr::new(peer, 5000), ([127, 0, 0, 1], 8080).into(), 0, None);

    let before = head.clone();
    let client = prepare_request(&mut head, &conn, &rules);
    assert_fields(&head.fields);
    client.ip.parse::<IpAddr>().expect("the client is an address");
    assert_nothing_chosen(&head, trusted, style);
    assert_passed(&before, &head);
    assert_chain(&head, &conn, &rules.trusted_proxies);
    if !trusted {
        assert_eq!((&*client.ip, client.https), (&*conn.peer_ip, false));
    }
    if let Some(value) = head.fields.get_name(b"Forwarded") {
        assert_rfc7239(std::str::from_utf8(value).expect("text"));
    }
}

fn assert_nothing_chosen(head: &RequestHead, trusted: bool, style: ForwardedStyle) {
    let (x, rfc) = (
        matches!(style, ForwardedStyle::XForwarded | ForwardedStyle::Both),
        matches!(style, ForwardedStyle::Rfc7239 | ForwardedStyle::Both),
    );
    for stated in STATED {
        let fields: Vec<_> = head.fields.iter().filter(|field| folded(field.name) == *stated).collect();
        let expected = usize::from(if *stated == "FORWARDED" { rfc } else { x });
        assert_eq!(fields.len(), expected, "{stated}");
        assert!(fields.iter().all(|field| !field.name.contains(&b'_')));
    }
    for field in head.fields.iter() {
        let name = folded(field.name);
        assert!(!HOP_BY_HOP.contains(&name.as_str()), "{field:?}");
        assert!(!name.starts_with("CLIENT_CERT") && name != "PROXY", "{field:?}");
        let family = name.starts_with("X_FORWARDED_") && !STATED.contains(&name.as_str())
            || matches!(name.as_str(), "X_REAL_IP" | "X_ORIGINAL_URL" | "X_REWRITE_URL");
        assert!(!family || trusted && !field.name.contains(&b'_'), "{field:?}");
        // Names the message's meaning hangs on come in their own spelling or not at all.
        if matches!(name.as_str(), "HOST" | "CONTENT_LENGTH" | "CONTENT_TYPE" | "COOKIE" | "EXPECT") {
            assert!(field.name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-'), "{field:?}");
        }
    }
}

/// What concerns nobody here passes as it came, unless `Connection` named it.
fn assert_passed(before: &RequestHead, after: &RequestHead) {
    let named: Vec<Vec<u8>> = before
        .fields
        .iter()
        .filter(|field| folded(field.name) == "CONNECTION")
        .flat_map(|field| field.value.split(|b| *b == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    let plain = |head: &RequestHead| -> Vec<_> {
        let others = list(&head.fields).into_iter();
        others
            .filter(|(name, _)| name.to_ascii_lowercase().starts_with(b"x-a") || name.eq_ignore_ascii_case(b"accept"))
            .filter(|(name, _)| !named.contains(&name.to_ascii_lowercase()))
            .filter(|(name, _)| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-'))
            .collect()
    };
    assert_eq!(plain(before), plain(after));
    assert_eq!(before.target(), after.target());
    assert_eq!(before.authority(), after.authority());
}

/// From right to left: the peer, then proxies that are trusted, and at the left one that need not be.
fn assert_chain(head: &RequestHead, conn: &ConnInfo, trusted: &[IpNet]) {
    let Some(value) = head.fields.get_name(b"X-Forwarded-For") else { return };
    let hops: Vec<&str> = std::str::from_utf8(value).expect("text").split(", ").collect();
    let (peer, told) = hops.split_last().expect("the peer");
    assert_eq!(*peer, &*conn.peer_ip);
    for (at, hop) in told.iter().enumerate() {
        let ip = address(hop).unwrap_or_else(|| panic!("{hop} is no address"));
        assert!(at == 0 || trusted.iter().any(|net| net.contains(&ip)), "{hop} is no trusted proxy");
    }
}

/// An address alone or with a port, with or without the quotes of a list.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let bare = hop.trim_start_matches('[').trim_end_matches(']').parse();
    bare.or_else(|_| hop.parse().map(|address: SocketAddr| address.ip())).ok().map(|ip: IpAddr| ip.to_canonical())
}

/// `for=NODE` pairs, NODE an address or a quoted one in brackets (RFC 7239 section 4).
fn assert_rfc7239(value: &str) {
    for element in value.split(", ") {
        let node = element.split(';').next().and_then(|pair| pair.strip_prefix("for=")).expect("for=");
        let quoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
        let valid = match quoted {
            None => node.parse::<std::net::Ipv4Addr>().is_ok(),
            Some(quoted) => match quoted.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => quoted.parse::<SocketAddr>().is_ok(),
            },
        };
        assert!(valid, "{value}");
    }
}
