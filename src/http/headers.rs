//! What a gateway does to header fields: pure functions over one head.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::OnceLock;

use ipnet::IpNet;

use super::ConnInfo;
use crate::config::{ForwardedStyle, Forwarding};
use crate::message::{Field, Fields, Known, KnownSet, RequestHead};

/// The protocol that is spoken to servers, as `Via` has it in front of a name.
const PROTOCOL: &str = "1.1 ";

/// This process in `Via`: a name no other process has, so that a request that comes back is known.
pub fn via() -> &'static str {
    &via_value()[PROTOCOL.len()..]
}

fn via_value() -> &'static str {
    static VIA: OnceLock<String> = OnceLock::new();
    VIA.get_or_init(|| format!("{PROTOCOL}vestibule-{:08x}", fastrand::u32(..)))
}

/// Says that the request went through here (RFC 9110 section 7.6.3).
pub fn push_via(fields: &mut Fields) {
    fields.push_known(Known::Via, b"Via: ", via_value().as_bytes());
}

/// Who asked, as far as it can be believed.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address of the client itself: the peer, or what trusted proxies in front say.
    pub ip: Rc<str>,
    /// The same, for comparing.
    pub address: IpAddr,
    /// The client's own connection was https.
    pub https: bool,
}

/// Removes what concerns one connection only: the fixed names and those that `Connection` lists (RFC 9110 section 7.6.1).
pub fn remove_hop_by_hop(fields: &mut Fields, nominates: bool) {
    if nominates {
        let named: Vec<Vec<u8>> = fields
            .all(Known::Connection)
            .flat_map(|value| value.split(|b| *b == b','))
            .map(|name| name.trim_ascii().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        fields.retain(|field| {
            !named.iter().any(|name| may_be_nominated(field.known) && field.name.eq_ignore_ascii_case(name))
        });
    }
    fields.remove_all(KnownSet::HOP_BY_HOP);
}

/// A client may not use `Connection` to take away what gives the message its meaning, or what a proxy states.
fn may_be_nominated(known: Known) -> bool {
    !matches!(known, Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Expect)
        && !known.is_forwarding()
}

/// Makes the fields of a client's request those a backend should see, and says who the client is.
///
/// From a client that is not a trusted proxy the whole forwarding family is dropped and stated anew from the socket.
pub fn prepare_request(head: &mut RequestHead, conn: &ConnInfo, rules: &Forwarding) -> Client {
    let trusted = !rules.trusted_proxies.is_empty() && contains(&rules.trusted_proxies, conn.ip());
    let told = if trusted { Told::read(&head.fields, &rules.trusted_proxies) } else { Told::default() };
    let https = told.https.unwrap_or(conn.tls.is_some());
    let address = told.client.as_deref().and_then(|client| client.parse().ok()).unwrap_or_else(|| conn.ip());
    let client = Client { ip: told.client.clone().unwrap_or_else(|| conn.peer_ip.clone()), address, https };
    let keep_family = |field: Field<'_>| trusted && field.known == Known::ForwardingFamily && !is_identity(field.name);
    head.takes_trailers = head.fields.all(Known::Te).any(lists_trailers);
    remove_hop_by_hop(&mut head.fields, head.nominates);
    if head.fields.may_have(KnownSet::FORWARDING.with(Known::Folded)) {
        head.fields
            .retain(|field| field.known != Known::Folded && (!field.known.is_forwarding() || keep_family(field)));
    }
    state(head, conn, rules.style, &told, https);
    if let Some(cert) = conn.tls.as_ref().and_then(|tls| tls.client.as_deref()) {
        head.fields.push(b"Client-Cert", cert.field.as_bytes());
        if let Some(chain) = &cert.chain_field {
            head.fields.push(b"Client-Cert-Chain", chain.as_bytes());
        }
    }
    client
}

/// `TE: trailers` is about one connection too; it is kept as a fact, and said anew to the server (RFC 9110 section 10.1.4).
fn lists_trailers(te: &[u8]) -> bool {
    te.split(|b| *b == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The client's address, as [`prepare_request`] finds it, of a head that has not been prepared.
pub fn client_address(fields: &Fields, conn: &ConnInfo, rules: &Forwarding) -> IpAddr {
    let peer = conn.ip();
    if rules.trusted_proxies.is_empty() || !contains(&rules.trusted_proxies, peer) {
        return peer;
    }
    let told = Told::read(fields, &rules.trusted_proxies);
    told.client.and_then(|client| client.parse().ok()).unwrap_or(peer)
}

/// Facts that never come from a client or another proxy: certificates are verified here or not at all.
fn is_identity(name: &[u8]) -> bool {
    name.len() >= 11 && name[..11].eq_ignore_ascii_case(b"client-cert") || name.eq_ignore_ascii_case(b"proxy")
}

/// What a trusted proxy in front says.
#[derive(Default)]
struct Told {
    /// The trusted part of X-Forwarded-For: the client and the proxies behind it.
    chain: Option<String>,
    client: Option<Rc<str>>,
    https: Option<bool>,
    host: Option<Vec<u8>>,
    port: Option<Vec<u8>>,
}

impl Told {
    fn read(fields: &Fields, trusted: &[IpNet]) -> Told {
        let mut hops: Vec<&str> = fields
            .all(Known::XForwardedFor)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        // Right to left: the first address that is no trusted proxy is the client; what stands left of it is hearsay.
        let mut keep = hops.len();
        while keep > 0 {
            let Some(ip) = address(hops[keep - 1]) else { break };
            keep -= 1;
            if !contains(trusted, ip) {
                break;
            }
        }
        hops.drain(..keep);
        let client = hops.first().and_then(|hop| address(hop)).map(|ip| ip.to_string().into());
        let last = |known| fields.all(known).last().map(<[u8]>::to_vec);
        Told {
            chain: (!hops.is_empty()).then(|| hops.join(", ")),
            client,
            https: fields.all(Known::XForwardedProto).last().map(|proto| proto.eq_ignore_ascii_case(b"https")),
            host: last(Known::XForwardedHost),
            port: last(Known::XForwardedPort),
        }
    }
}

/// An address as forwarding fields write it: bare, bracketed, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    text.parse()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|ip: IpAddr| ip.to_canonical())
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

/// States the client's world to the backend.
fn state(head: &mut RequestHead, conn: &ConnInfo, style: ForwardedStyle, told: &Told, https: bool) {
    let peer = conn.peer_ip.as_bytes();
    let proto: &[u8] = if https { b"https" } else { b"http" };
    if matches!(style, ForwardedStyle::XForwarded | ForwardedStyle::Both) {
        match &told.chain {
            Some(chain) => head.fields.push_parts(b"X-Forwarded-For", &[chain.as_bytes(), b", ", peer]),
            None => head.fields.push_known(Known::XForwardedFor, b"X-Forwarded-For: ", peer),
        }
        head.fields.push_known(Known::XForwardedProto, b"X-Forwarded-Proto: ", proto);
        match &told.host {
            Some(host) => head.fields.push_known(Known::XForwardedHost, b"X-Forwarded-Host: ", host),
            None => head.push_authority(Known::XForwardedHost, b"X-Forwarded-Host: "),
        }
        match &told.port {
            Some(port) => head.fields.push_known(Known::XForwardedPort, b"X-Forwarded-Port: ", port),
            None => head.fields.push_known(Known::XForwardedPort, b"X-Forwarded-Port: ", conn.local_port.as_bytes()),
        }
    }
    if matches!(style, ForwardedStyle::Rfc7239 | ForwardedStyle::Both) {
        let mut value = String::new();
        for hop in told.chain.iter().flat_map(|chain| chain.split(", ")) {
            value += &format!("for={}, ", node(hop));
        }
        let host = String::from_utf8_lossy(head.authority()).into_owned();
        value += &format!("for={};host=\"{host}\";proto={}", node(&conn.peer_ip), if https { "https" } else { "http" });
        head.fields.push(b"Forwarded", value.as_bytes());
    }
}

/// An address of X-Forwarded-For as a node of RFC 7239 section 6: IPv6 in brackets, and in quotes with them or with a port.
fn node(hop: &str) -> String {
    let hop = hop.trim_matches('"');
    if let Ok(addr) = hop.parse::<std::net::SocketAddr>() {
        return format!("\"{addr}\"");
    }
    match hop.trim_matches(['[', ']']) {
        v6 if v6.contains(':') => format!("\"[{v6}]\""),
        v4 => v4.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{Limits, Parsed, parse_request};

    fn head(raw: &str) -> RequestHead {
        let limits = Limits { bytes: 32 << 10, fields: 100, target: 8 << 10 };
        match parse_request(raw.as_bytes(), &limits) {
            Ok(Parsed::Head(head, _)) => head,
            other => panic!("{other:?}"),
        }
    }

    fn conn() -> ConnInfo {
        ConnInfo::new(([203, 0, 113, 9], 5000).into(), ([127, 0, 0, 1], 8443).into(), 0, None)
    }

    fn prepared(raw: &str, rules: &Forwarding) -> (RequestHead, Client) {
        let mut head = head(raw);
        let client = prepare_request(&mut head, &conn(), rules);
        (head, client)
    }

    fn value<'a>(head: &'a RequestHead, name: &str) -> &'a str {
        std::str::from_utf8(head.fields.get_name(name.as_bytes()).unwrap_or(b"-")).unwrap()
    }

    #[test]
    fn an_untrusted_client_cannot_state_who_it_is() {
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
                   X_Forwarded_For: 1.2.3.4\r\nX.Forwarded.Proto: https\r\nClient-Cert: x\r\nProxy: x\r\nX-Original-URL: /x\r\n\
                   X-Forwarded-Client-Cert: x\r\nX-Forwarded-Proto: https\r\n\r\n";
        let (head, client) = prepared(raw, &Forwarding::default());
        let names: Vec<_> = head.fields.iter().map(|f| String::from_utf8(f.name.to_vec()).unwrap()).collect();
        assert_eq!(names, ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"]);
        assert_eq!(value(&head, "x-forwarded-for"), "203.0.113.9");
        assert_eq!(value(&head, "x-forwarded-proto"), "http");
        assert_eq!(value(&head, "x-forwarded-port"), "8443");
        assert_eq!(&*client.ip, "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_is_believed_up_to_the_first_stranger() {
        let rules = Forwarding {
            trusted_proxies: vec!["203.0.113.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            ..Default::default()
        };
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-For: 10.1.1.1\r\n\
                   X-Forwarded-Proto: https\r\nClient-Cert: x\r\n\r\n";
        let (head, client) = prepared(raw, &rules);
        assert_eq!(value(&head, "x-forwarded-for"), "198.51.100.7, 10.1.1.1, 203.0.113.9");
        assert_eq!(value(&head, "x-forwarded-proto"), "https");
        assert_eq!(value(&head, "client-cert"), "-");
        assert_eq!((&*client.ip, client.https), ("198.51.100.7", true));
    }

    #[test]
    fn fields_named_by_connection_stop_here_but_not_host_or_framing() {
        let raw = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret, host, content-length, x-forwarded-for\r\n\
                   X-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Kept: 1\r\nContent-Length: 3\r\n\r\n";
        let (head, _) = prepared(raw, &Forwarding::default());
        assert_eq!(value(&head, "x-secret"), "-");
        assert_eq!(value(&head, "keep-alive"), "-");
        assert_eq!((value(&head, "te"), head.takes_trailers), ("-", true));
        assert_eq!((value(&head, "host"), value(&head, "content-length"), value(&head, "x-kept")), ("a", "3", "1"));
        assert_eq!(value(&head, "x-forwarded-for"), "203.0.113.9");
    }

    #[test]
    fn rfc_7239_is_sent_on_request_with_quoted_addresses() {
        let rules = Forwarding { style: ForwardedStyle::Rfc7239, ..Default::default() };
        let mut head = head("GET / HTTP/1.1\r\nHost: a:81\r\n\r\n");
        let conn = ConnInfo::new("[2001:db8::1]:5".parse().unwrap(), ([127, 0, 0, 1], 80).into(), 0, None);
        prepare_request(&mut head, &conn, &rules);
        assert_eq!(value(&head, "forwarded"), "for=\"[2001:db8::1]\";host=\"a:81\";proto=http");
        assert_eq!(value(&head, "x-forwarded-for"), "-");
    }

    #[test]
    fn an_address_with_a_port_or_in_quotes_is_a_valid_node_of_rfc_7239() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("\"192.0.2.1\"", "192.0.2.1"),
            ("192.0.2.1:81", "\"192.0.2.1:81\""),
            ("2001:db8::5", "\"[2001:db8::5]\""),
            ("[2001:db8::5]", "\"[2001:db8::5]\""),
            ("\"[2001:db8::5]:443\"", "\"[2001:db8::5]:443\""),
        ];
        for (hop, expected) in table {
            assert_eq!(node(hop), expected);
        }
    }
}
