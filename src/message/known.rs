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

/// Some of the known names: to ask a head about all of them at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownSet(u64);

impl KnownSet {
    /// Concern one connection only and never cross a proxy (RFC 9110 section 7.6.1, and what HTTP/1.0 left behind).
    pub const HOP_BY_HOP: KnownSet = KnownSet::of(&[
        Known::Connection,
        Known::TransferEncoding,
        Known::Upgrade,
        Known::KeepAlive,
        Known::Http2Settings,
        Known::ProxyConnection,
        Known::Te,
        Known::ProxyAuthorization,
    ]);
    /// Say something about the client that only a proxy in front may say: dropped from untrusted clients.
    pub const FORWARDING: KnownSet = KnownSet::of(&[
        Known::XForwardedFor,
        Known::XForwardedProto,
        Known::XForwardedHost,
        Known::XForwardedPort,
        Known::Forwarded,
        Known::ForwardingFamily,
    ]);

    pub const fn of(known: &[Known]) -> KnownSet {
        let (mut bits, mut at) = (0, 0);
        while at < known.len() {
            bits |= 1 << known[at] as u8;
            at += 1;
        }
        KnownSet(bits)
    }

    pub const fn with(self, known: Known) -> KnownSet {
        KnownSet(self.0 | 1 << known as u8)
    }

    pub const fn contains(self, known: Known) -> bool {
        self.0 & 1 << known as u8 != 0
    }

    /// The two have a name in common.
    pub const fn meets(self, other: KnownSet) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a name may hold without being folded by a CGI server.
static UNFOLDED: [bool; 256] = {
    let mut unfolded = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        unfolded[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'-';
        byte += 1;
    }
    unfolded
};

impl Known {
    /// Recognises a field name, whatever its case.
    pub fn classify(name: &[u8]) -> Known {
        let known = exact(name);
        if matches!(known, Known::Other | Known::ForwardingFamily)
            && !name.iter().all(|byte| UNFOLDED[usize::from(*byte)])
        {
            // The family is known by its prefix, and what follows may fold onto another member.
            return if known == Known::ForwardingFamily { Known::Folded } else { folded(name) };
        }
        known
    }

    /// Says something about the client that only a proxy in front may say: dropped from untrusted clients.
    pub fn is_forwarding(self) -> bool {
        KnownSet::FORWARDING.contains(self)
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

    /// Concerns one connection only, as [`KnownSet::HOP_BY_HOP`].
    pub fn is_hop_by_hop(self) -> bool {
        KnownSet::HOP_BY_HOP.contains(self)
    }
}

fn exact(name: &[u8]) -> Known {
    match whole(name) {
        Known::Other => family(name),
        known => known,
    }
}

/// A name to compare with, whatever the case: in lower case, and the bit in which letters differ by case.
struct Name<const N: usize> {
    lower: [u8; N],
    case: [u8; N],
}

impl<const N: usize> Name<N> {
    const fn new(lower: &[u8; N]) -> Name<N> {
        let (mut case, mut at) = ([0; N], 0);
        while at < N {
            if lower[at].is_ascii_lowercase() {
                case[at] = 0x20;
            }
            at += 1;
        }
        Name { lower: *lower, case }
    }

    /// The octets of a word that differ. Words overlap where the length is no multiple of theirs.
    #[inline(always)]
    fn differs(&self, name: &[u8; N], at: usize) -> u64 {
        let word = |bytes: &[u8; N]| {
            let eight = bytes.get(at..).and_then(<[u8]>::first_chunk).map(|eight| u64::from_le_bytes(*eight));
            let four = || bytes.get(at..).and_then(<[u8]>::first_chunk).map(|four| u32::from_le_bytes(*four).into());
            eight.or_else(four).unwrap_or_default()
        };
        (word(name) | word(&self.case)) ^ word(&self.lower)
    }

    /// A few instructions on words, as the length is known to the compiler.
    #[inline(always)]
    fn is(&self, name: &[u8]) -> bool {
        let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
        let size = match N {
            8.. => 8,
            4.. => 4,
            _ => return name.eq_ignore_ascii_case(&self.lower),
        };
        let mut differs = self.differs(name, N - size);
        let mut at = 0;
        while at + size < N {
            differs |= self.differs(name, at);
            at += size;
        }
        differs == 0
    }
}

/// The names that are known whole.
fn whole(name: &[u8]) -> Known {
    macro_rules! is {
        ($lower:literal) => {{
            const NAME: Name<{ $lower.len() }> = Name::new($lower);
            NAME.is(name)
        }};
        ($lower:literal, $known:expr) => {
            if is!($lower) { $known } else { Known::Other }
        };
    }
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return Known::Other };
    match (name.len(), first) {
        (2, b't') => is!(b"te", Known::Te),
        (3, b'v') => is!(b"via", Known::Via),
        (4, b'h') => is!(b"host", Known::Host),
        (4, b'd') => is!(b"date", Known::Date),
        (5, b'p') => is!(b"proxy", Known::ForwardingFamily),
        (6, b'a') => is!(b"accept", Known::Accept),
        (6, b'c') => is!(b"cookie", Known::Cookie),
        (6, b'e') => is!(b"expect", Known::Expect),
        (6, b's') => is!(b"server", Known::Server),
        (7, b'u') => is!(b"upgrade", Known::Upgrade),
        (7, b'r') => is!(b"referer", Known::Referer),
        (8, b'l') => is!(b"location", Known::Location),
        (9, b'f') => is!(b"forwarded", Known::Forwarded),
        (9, b'x') => is!(b"x-real-ip", Known::ForwardingFamily),
        (10, b'c') => is!(b"connection", Known::Connection),
        (10, b'k') => is!(b"keep-alive", Known::KeepAlive),
        (10, b'u') => is!(b"user-agent", Known::UserAgent),
        (12, b'c') => is!(b"content-type", Known::ContentType),
        (12, b'p') => is!(b"proxy-status", Known::ProxyStatus),
        (13, b'x') => is!(b"x-rewrite-url", Known::ForwardingFamily),
        (14, b'h') => is!(b"http2-settings", Known::Http2Settings),
        (14, b'c') => is!(b"content-length", Known::ContentLength),
        (14, b'x') => is!(b"x-original-url", Known::ForwardingFamily),
        (15, b'x') => is!(b"x-forwarded-for", Known::XForwardedFor),
        (15, b'i') => is!(b"idempotency-key", Known::IdempotencyKey),
        (16, b'p') => is!(b"proxy-connection", Known::ProxyConnection),
        (16, b'x') => {
            if is!(b"x-forwarded-host") {
                Known::XForwardedHost
            } else if is!(b"x-forwarded-port") {
                Known::XForwardedPort
            } else if is!(b"x-requested-with") {
                Known::XRequestedWith
            } else {
                Known::Other
            }
        }
        (17, b't') => is!(b"transfer-encoding", Known::TransferEncoding),
        (17, b'x') => is!(b"x-forwarded-proto", Known::XForwardedProto),
        (19, b'p') => is!(b"proxy-authorization", Known::ProxyAuthorization),
        (25, b'u') => is!(b"upgrade-insecure-requests", Known::UpgradeInsecureRequests),
        (25, b's') => is!(b"strict-transport-security", Known::StrictTransportSecurity),
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
    fn a_name_that_differs_in_one_octet_is_another() {
        for name in [
            "te",
            "via",
            "host",
            "proxy",
            "cookie",
            "upgrade",
            "location",
            "x-real-ip",
            "connection",
            "content-length",
            "transfer-encoding",
            "proxy-authorization",
            "strict-transport-security",
        ] {
            let known = whole(name.as_bytes());
            assert_ne!(known, Known::Other, "{name}");
            for at in 0..name.len() {
                for octet in 0..=255 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = octet;
                    let same = octet.eq_ignore_ascii_case(&name.as_bytes()[at]);
                    assert_eq!(whole(&other) == known, same, "{name}: {octet} at {at}");
                }
            }
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
