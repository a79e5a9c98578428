//! Host names: which ones a certificate covers, and which ones are local.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::config::HostPattern;

/// Domains that never leave a machine or a private network: RFC 6761 (localhost, test), RFC 8375 (home.arpa) and
/// `internal`, which ICANN reserved for private use in 2024.
pub(super) const LOCAL_DOMAINS: [&str; 4] = ["localhost", "test", "internal", "home.arpa"];

/// The domain of names that machines of one network give themselves (RFC 6762 section 3). The development root permits it,
/// for `dev --lan`; a site under it is a local one only where it says so (`tls = "dev"`), since anybody there may answer.
pub(super) const LINK_DOMAIN: &str = "local";

/// The names of a certificate: the DNS names and addresses of its SAN. The common name is not one of them (RFC 9525
/// section 2), as no browser reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertNames {
    /// Lower case, without a trailing dot; `*.example.com` stays as it is.
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

impl CertNames {
    /// Reads the SAN. A certificate without one, or with a damaged one, has no names.
    pub(super) fn of(cert: &X509Certificate<'_>) -> CertNames {
        let mut names = CertNames::default();
        let Ok(Some(san)) = cert.subject_alternative_name() else { return names };
        for name in &san.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.dns.push(normalize(dns).into_owned()),
                GeneralName::IPAddress(bytes) => names.ips.extend(ip_of(bytes)),
                _ => {}
            }
        }
        names
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ips.is_empty()
    }

    /// Every one as a text, names before addresses.
    pub fn texts(&self) -> Vec<String> {
        self.dns.iter().cloned().chain(self.ips.iter().map(IpAddr::to_string)).collect()
    }

    /// True where every name of the pattern that one certificate can cover is covered: an exact host, or `*.base`
    /// itself. No certificate covers `"*"`.
    pub fn covers(&self, host: &HostPattern) -> bool {
        match host {
            HostPattern::Exact(name) => match parse_ip(name) {
                Some(ip) => self.ips.contains(&ip),
                None => self.dns.iter().any(|pattern| dns_matches(pattern, name)),
            },
            HostPattern::Wildcard(base) => {
                self.dns.iter().any(|pattern| pattern.strip_prefix("*.").is_some_and(|b| b == base))
            }
            HostPattern::Any => false,
        }
    }
}

impl std::fmt::Display for CertNames {
    /// At most five names: a certificate may have thousands.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 5;
        let total = self.dns.len() + self.ips.len();
        if total == 0 {
            return f.write_str("no name at all");
        }
        let ips: Vec<String> = self.ips.iter().map(IpAddr::to_string).collect();
        let shown: Vec<&str> = self.dns.iter().chain(&ips).take(SHOWN).map(String::as_str).collect();
        f.write_str(&shown.join(", "))?;
        if total > SHOWN { write!(f, " and {} more", total - SHOWN) } else { Ok(()) }
    }
}

pub(super) fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Host names compare without case, and a trailing dot means nothing.
pub fn normalize(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a SAN entry covers a host. A wildcard is the whole left-most label and stands for exactly one label (RFC 9525
/// section 6.3); `*.localhost` and the like cover nothing, as browsers refuse a wildcard over a single label. Both sides
/// are normalised names.
pub fn dns_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(base) => base.contains('.') && split_label(host).is_some_and(|(_, rest)| rest == base),
        None => pattern == host,
    }
}

/// `("www", "example.com")` of `www.example.com`; `None` where there is no first label or nothing after it.
pub(super) fn split_label(host: &str) -> Option<(&str, &str)> {
    host.split_once('.').filter(|(label, rest)| !label.is_empty() && !rest.is_empty())
}

/// Whether `name` is `domain` or below it.
pub(super) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Whether a normalised host is a local one: under [`LOCAL_DOMAINS`], or a loopback, link-local or private address.
pub fn is_local(host: &str) -> bool {
    match parse_ip(host) {
        Some(ip) => is_local_ip(ip),
        None => LOCAL_DOMAINS.iter().any(|domain| is_within(host, domain)),
    }
}

/// An address as a host, with or without the brackets of an IPv6 literal.
pub(super) fn parse_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// The ranges the development root's name constraints permit (RFC 1918, RFC 4193, loopback and link-local).
fn is_local_ip(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let table = [
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "wwwexample.com", false),
            ("w*.example.com", "www.example.com", false),
            ("*", "localhost", false),
            ("*.localhost", "app.localhost", false),
            ("www.example.com", "www.example.com", true),
            ("www.example.com", "WWW.example.com.", true),
            ("example.com", "www.example.com", false),
        ];
        for (pattern, host, expected) in table {
            assert_eq!(dns_matches(pattern, &normalize(host)), expected, "{pattern} against {host}");
        }
    }

    #[test]
    fn local_names_are_the_reserved_domains_and_private_addresses() {
        let local = [
            "localhost",
            "app.localhost",
            "a.b.test",
            "test",
            "db.internal",
            "nas.home.arpa",
            "127.0.0.1",
            "127.8.9.1",
            "::1",
            "[::1]",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.20",
            "169.254.1.1",
            "fd00::1",
            "fe80::1",
        ];
        let public = [
            "example.com",
            "notlocalhost",
            "localhost.example.com",
            "mytest",
            "arpa",
            "8.8.8.8",
            "172.32.0.1",
            "2001:db8::1",
            "",
        ];
        for name in local {
            assert!(is_local(name), "{name}");
        }
        for name in public {
            assert!(!is_local(name), "{name}");
        }
    }

    #[test]
    fn a_certificate_covers_its_names_and_addresses_and_its_own_wildcard() {
        let names = CertNames {
            dns: vec!["example.com".into(), "*.example.com".into()],
            ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };
        let exact = |name: &str| HostPattern::Exact(name.into());
        assert!(names.covers(&exact("example.com")) && names.covers(&exact("a.example.com")));
        assert!(names.covers(&exact("127.0.0.1")) && names.covers(&exact("[::1]")));
        assert!(!names.covers(&exact("127.0.0.2")) && !names.covers(&exact("example.org")));
        assert!(names.covers(&HostPattern::Wildcard("example.com".into())));
        assert!(!names.covers(&HostPattern::Wildcard("a.example.com".into())));
        assert!(!names.covers(&HostPattern::Any));
    }

    proptest! {
        #[test]
        fn a_wildcard_match_differs_from_its_base_by_one_label(
            base in "[a-z]{1,5}(\\.[a-z]{1,5}){1,3}", front in "[a-z.]{0,8}", other in "[a-z.]{0,16}",
        ) {
            let pattern = format!("*.{base}");
            for host in [format!("{front}.{base}"), format!("{front}{base}"), other] {
                let one_label_more = host.strip_suffix(&base).and_then(|h| h.strip_suffix('.'))
                    .is_some_and(|label| !label.is_empty() && !label.contains('.'));
                prop_assert_eq!(dns_matches(&pattern, &host), one_label_more);
            }
        }

        #[test]
        fn normalising_twice_changes_nothing_more_and_matching_ignores_case(name in "[a-zA-Z0-9-]{1,8}(\\.[a-zA-Z0-9-]{1,8}){0,3}") {
            let once = normalize(&name).into_owned();
            prop_assert_eq!(normalize(&once), once.as_str());
            let dotted = format!("{}.", name.to_ascii_uppercase());
            let upper = normalize(&dotted);
            prop_assert!(dns_matches(&once, &upper));
        }
    }
}
