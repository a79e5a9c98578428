//! Who the server is, by its certificates: names, issuer, days left, and who vouches for it.

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use super::leg::TlsFacts;
use super::trust::Trust;

/// One certificate of the chain.
#[derive(Debug, Clone)]
pub struct Card {
    pub subject: String,
    /// The names it is for.
    pub names: Vec<String>,
    pub issuer: String,
    pub not_after: OffsetDateTime,
    pub days_left: i64,
    pub bytes: usize,
}

/// The identity that a server proved.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<Card>,
    /// Where the root that vouches for it comes from.
    pub vouched_by: Option<String>,
    /// What a client that believes the same roots says.
    pub verdict: Result<(), String>,
}

/// `None` where no certificate came.
pub fn of(facts: &TlsFacts, trust: &Trust) -> Option<Identity> {
    let chain: Vec<Card> = facts.chain.iter().filter_map(card).collect();
    let last = facts.chain.last()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(last).ok()?;
    let vouched_by = trust.source_of(certificate.issuer().as_raw()).map(str::to_string);
    Some(Identity { chain, vouched_by, verdict: facts.verdict.clone().unwrap_or(Ok(())) })
}

fn card(der: &CertificateDer<'static>) -> Option<Card> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let not_after = certificate.validity().not_after.to_datetime();
    Some(Card {
        subject: common_name(certificate.subject()),
        names: names(&certificate),
        issuer: common_name(certificate.issuer()),
        not_after,
        days_left: (not_after - OffsetDateTime::now_utc()).whole_days(),
        bytes: der.len(),
    })
}

/// The common name, or the whole name where there is none.
fn common_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_string)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_string()),
            GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
                ref bytes => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
            },
            _ => None,
        })
        .collect()
}
