//! The verified certificate of a client, in the forms that servers and rules want.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use super::facts::sha256;
use super::load::date_time;
use super::names;

/// Alternative names shown at most.
const MAX_NAMES: usize = 64;

/// A certificate that a client proved to be its own, signed by a root of the site. Texts are fit for a header field: visible
/// ASCII and spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// RFC 4514, such as `CN=alice,O=Example`.
    pub subject: Box<str>,
    pub issuer: Box<str>,
    /// Hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: Box<str>,
    /// SHA-256, hexadecimal.
    pub fingerprint: Box<str>,
    /// The subject alternative names, such as `DNS:a.example, URI:spiffe://a/b, email:a@example`; empty without any.
    pub san: Box<str>,
    /// The end of its validity (RFC 3339), and in seconds since the epoch.
    pub not_after: Box<str>,
    pub expires: i64,
    /// The value of `Client-Cert` (RFC 9440 section 2.2).
    pub field: Box<str>,
    /// The value of `Client-Cert-Chain` (RFC 9440 section 2.3), where the client sent more than its own certificate.
    pub chain_field: Option<Box<str>>,
}

impl ClientCert {
    /// Reads a chain as a client sent it, its own certificate first. `None` for one that does not decode, which the
    /// verifier refuses before.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<ClientCert> {
        let (leaf, others) = chain.split_first()?;
        let (_, cert) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let expires = cert.validity().not_after.timestamp();
        let listed: Vec<String> = others.iter().map(|der| bytes(der)).collect();
        Some(ClientCert {
            subject: distinguished_name(cert.subject()),
            issuer: distinguished_name(cert.issuer()),
            serial: cert
                .raw_serial()
                .iter()
                .fold(String::new(), |mut hex, byte| {
                    // Writing into a text cannot fail.
                    let _ = write!(hex, "{byte:02X}");
                    hex
                })
                .into(),
            fingerprint: sha256(leaf).into(),
            san: alternative_names(&cert),
            not_after: date_time(expires).into(),
            expires,
            field: bytes(leaf).into(),
            chain_field: (!listed.is_empty()).then(|| listed.join(", ").into()),
        })
    }
}

/// A byte sequence of structured fields (RFC 8941 section 3.3.5).
fn bytes(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// A comma in a name, and what is not visible ASCII, is percent-encoded: names cannot run into each other.
fn alternative_names(cert: &X509Certificate<'_>) -> Box<str> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else { return Box::from("") };
    let mut out = String::new();
    for name in extension.value.general_names.iter().take(MAX_NAMES) {
        let (kind, text) = match name {
            GeneralName::DNSName(text) => ("DNS:", (*text).to_owned()),
            GeneralName::URI(text) => ("URI:", (*text).to_owned()),
            GeneralName::RFC822Name(text) => ("email:", (*text).to_owned()),
            GeneralName::IPAddress(octets) => match names::ip_of(octets) {
                Some(ip) => ("IP:", ip.to_string()),
                None => continue,
            },
            _ => continue,
        };
        if !out.is_empty() {
            out.push_str(", ");
        }
        out.push_str(kind);
        for byte in text.bytes() {
            match byte {
                b'!'..=b'~' if byte != b',' => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
    }
    out.into()
}

/// A name as RFC 4514 writes it: the last part first, and what could be taken for structure escaped.
fn distinguished_name(name: &X509Name<'_>) -> Box<str> {
    let mut out = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            out.push(',');
        }
        for (index, pair) in part.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            match short_name(&pair.attr_type().to_id_string()) {
                Some(short) => out.push_str(short),
                None => out.push_str(&pair.attr_type().to_id_string()),
            }
            out.push('=');
            match pair.as_str() {
                Ok(text) => escape(text, &mut out),
                // RFC 4514 section 2.4: `#` and the bytes.
                Err(_) => {
                    out.push('#');
                    pair.as_slice().iter().for_each(|byte| {
                        let _ = write!(out, "{byte:02x}");
                    });
                }
            }
        }
    }
    out.into()
}

/// RFC 4514 section 3, with the address of RFC 2985 that certificates of people often have.
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "2.5.4.5" => "serialNumber",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 section 2.4. What is not visible ASCII is escaped byte by byte, so that the text fits into a header field.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if index == 0 => out.push_str("\\#"),
            b' ' if index == 0 || index == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape(text, &mut out);
        out
    }

    #[test]
    fn a_name_cannot_pretend_to_be_two() {
        let table = [
            ("alice", "alice"),
            ("alice,O=admin", "alice\\,O=admin"),
            ("a+b;c<d>\"e\"\\", "a\\+b\\;c\\<d\\>\\\"e\\\"\\\\"),
            ("#1 ", "\\#1\\ "),
            (" ", "\\ "),
            ("x\r\nEvil: 1", "x\\0D\\0AEvil: 1"),
            ("Jürgen", "J\\C3\\BCrgen"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_decode_is_no_certificate() {
        assert_eq!(ClientCert::of(&[]), None);
        assert_eq!(ClientCert::of(&[CertificateDer::from(vec![0x30, 0])]), None);
    }
}
