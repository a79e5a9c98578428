//! Field names the proxy acts on, recognised once when a head is read, so that later checks compare a byte.

/// A field name the proxy treats in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// A name the proxy only passes on.
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
    KeepAlive,
    Http2Settings,
    ProxyConnection,
    Te,
    Expect,
    Via,
    Date,
    Server,
    Cookie,
    Location,
    ContentType,
    Accept,
    UserAgent,
    Referer,
    XRequestedWith,
    UpgradeInsecureRequests,
    StrictTransportSecurity,
    IdempotencyKey,
    ProxyStatus,
    ProxyAuthorization,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPort,
    Forwarded,
    /// Another member of the forwarding family: a fact about the client that only a proxy may state.
    ForwardingFamily,
    /// A name that a CGI or WSGI server would fold onto one of the names above (`X_Forwarded_For`).
    Folded,
}

impl Known {
    /// Recognises a field name, whatever its case.
    pub fn classify(name: &[u8]) -> Known {
        let known = exact(name);
        if matches!(known, Known::Other | Known::ForwardingFamily)
            && name.iter().any(|b| !b.is_ascii_alphanumeric() && *b != b'-')
        {
            // The family is known by its prefix, and what follows may fold onto another member.
            return if known == Known::ForwardingFamily { Known::Folded } else { folded(name) };
        }
        known
    }

    /// Says something about the client that only a proxy in front may say: dropped from untrusted clients.
    pub fn is_forwarding(self) -> bool {
        matches!(
            self,
            Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
                | Known::XForwardedPort
                | Known::Forwarded
                | Known::ForwardingFamily
        )
    }

    /// May stand in a trailer section: it says nothing about framing, routing, the client or the content (RFC 9110 section
    /// 6.5.1).
    pub fn is_trailer(self) -> bool {
        let head_only = matches!(
            self,
            Known::Host | Known::ContentLength | Known::Expect | Known::Cookie | Known::Folded | Known::ContentType
        );
        !head_only && !self.is_hop_by_hop() && !self.is_forwarding()
    }

    /// Concerns one connection only and never crosses a proxy (RFC 9110 section 7.6.1, and what HTTP/1.0 left behind).
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::KeepAlive
                | Known::Http2Settings
                | Known::ProxyConnection
                | Known::Te
                | Known::ProxyAuthorization
        )
    }
}

fn exact(name: &[u8]) -> Known {
    match whole(name) {
        Known::Other => family(name),
        known => known,
    }
}

/// The names that are known whole.
fn whole(name: &[u8]) -> Known {
    let is = |other: &str, known: Known| if name.eq_ignore_ascii_case(other.as_bytes()) { known } else { Known::Other };
    let one_of = |names: &[(&str, Known)]| {
        let found = names.iter().find(|(other, _)| name.eq_ignore_ascii_case(other.as_bytes()));
        found.map_or(Known::Other, |(_, known)| *known)
    };
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Known::Other };
    match (name.len(), first) {
        (2, b't') => is("te", Known::Te),
        (3, b'v') => is("via", Known::Via),
        (4, b'h') => is("host", Known::Host),
        (4, b'd') => is("date", Known::Date),
        (5, b'p') => is("proxy", Known::ForwardingFamily),
        (6, b'a') => is("accept", Known::Accept),
        (6, b'c') => is("cookie", Known::Cookie),
        (6, b'e') => is("expect", Known::Expect),
        (6, b's') => is("server", Known::Server),
        (7, b'u') => is("upgrade", Known::Upgrade),
        (7, b'r') => is("referer", Known::Referer),
        (8, b'l') => is("location", Known::Location),
        (9, b'f') => is("forwarded", Known::Forwarded),
        (9, b'x') => is("x-real-ip", Known::ForwardingFamily),
        (10, b'c') => is("connection", Known::Connection),
        (10, b'k') => is("keep-alive", Known::KeepAlive),
        (10, b'u') => is("user-agent", Known::UserAgent),
        (12, b'c') => is("content-type", Known::ContentType),
        (12, b'p') => is("proxy-status", Known::ProxyStatus),
        (13, b'x') => is("x-rewrite-url", Known::ForwardingFamily),
        (14, b'h') => is("http2-settings", Known::Http2Settings),
        (14, b'c') => is("content-length", Known::ContentLength),
        (14, b'x') => is("x-original-url", Known::ForwardingFamily),
        (15, b'x') => is("x-forwarded-for", Known::XForwardedFor),
        (15, b'i') => is("idempotency-key", Known::IdempotencyKey),
        (16, b'p') => is("proxy-connection", Known::ProxyConnection),
        (16, b'x') => one_of(&[
            ("x-forwarded-host", Known::XForwardedHost),
            ("x-forwarded-port", Known::XForwardedPort),
            ("x-requested-with", Known::XRequestedWith),
        ]),
        (17, b't') => is("transfer-encoding", Known::TransferEncoding),
        (17, b'x') => is("x-forwarded-proto", Known::XForwardedProto),
        (19, b'p') => is("proxy-authorization", Known::ProxyAuthorization),
        (25, b'u') => is("upgrade-insecure-requests", Known::UpgradeInsecureRequests),
        (25, b's') => is("strict-transport-security", Known::StrictTransportSecurity),
        _ => Known::Other,
    }
}

/// The names of the forwarding family that are known by their beginning, whatever follows it.
fn family(name: &[u8]) -> Known {
    let begins = |with: &[u8]| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'x') if begins(b"x-forwarded-") => Known::ForwardingFamily,
        Some(b'c') if begins(b"client-cert") => Known::ForwardingFamily,
        _ => Known::Other,
    }
}

/// CGI (RFC 3875 section 4.1.18) maps every character outside letters and digits to `_`: `X_Forwarded_For` and
/// `X.Forwarded.For` would reach an application as the same variable as `X-Forwarded-For`.
fn folded(name: &[u8]) -> Known {
    let mut dashed = [0u8; 32];
    let Some(dashed) = dashed.get_mut(..name.len()) else {
        // Longer than every whole name.
        let start: Vec<u8> = name.iter().take(12).map(|b| if b.is_ascii_alphanumeric() { *b } else { b'-' }).collect();
        return if family(&start) == Known::Other { Known::Other } else { Known::Folded };
    };
    for (to, from) in dashed.iter_mut().zip(name) {
        *to = if from.is_ascii_alphanumeric() { *from } else { b'-' };
    }
    if exact(dashed) == Known::Other { Known::Other } else { Known::Folded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case() {
        for (name, known) in [
            ("Host", Known::Host),
            ("CONTENT-LENGTH", Known::ContentLength),
            ("transfer-encoding", Known::TransferEncoding),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("x-forwarded-client-cert", Known::ForwardingFamily),
            ("X-Forwarded-Prefix", Known::ForwardingFamily),
            ("Client-Cert-Chain", Known::ForwardingFamily),
            ("Proxy", Known::ForwardingFamily),
            ("X-Real-IP", Known::ForwardingFamily),
            ("X-Original-URL", Known::ForwardingFamily),
            ("x-requested-with", Known::XRequestedWith),
            ("X-Custom", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::classify(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn a_family_is_known_by_its_beginning_at_every_length() {
        for end in 0..40 {
            for begin in ["X-Forwarded-", "Client-Cert"] {
                let name = format!("{begin}{}", "z".repeat(end));
                assert_eq!(Known::classify(name.as_bytes()), Known::ForwardingFamily, "{name}");
                let name = name.replace('-', "_");
                assert_eq!(Known::classify(name.as_bytes()), Known::Folded, "{name}");
            }
        }
    }

    #[test]
    fn names_that_a_cgi_server_folds_onto_known_ones_are_told_apart() {
        for name in [
            "X_Forwarded_For",
            "x.forwarded.proto",
            "Content_Length",
            "X-Forwarded_Host",
            "Client_Cert",
            "X-Forwarded-Client_Cert",
        ] {
            assert_eq!(Known::classify(name.as_bytes()), Known::Folded, "{name}");
        }
        let long = format!("X_Forwarded_{}", "a".repeat(40));
        assert_eq!(Known::classify(long.as_bytes()), Known::Folded);
        assert_eq!(Known::classify(b"my_header"), Known::Other);
    }
}
