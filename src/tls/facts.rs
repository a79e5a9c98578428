//! What a person wants to know of a certificate.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use x509_parser::certificate::X509Certificate;

use super::CertNames;

/// The facts of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFacts {
    pub names: CertNames,
    /// Common name or organisation of the issuer.
    pub issuer: String,
    /// Validity, in seconds since the epoch.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

impl CertFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It does not decode.
    pub fn of(der: &CertificateDer<'_>) -> Result<CertFacts, String> {
        let (_, cert) = x509_parser::parse_x509_certificate(der).map_err(|_| "the certificate does not decode")?;
        Ok(CertFacts::of_parsed(&cert))
    }

    pub(super) fn of_parsed(cert: &X509Certificate<'_>) -> CertFacts {
        let validity = cert.validity();
        CertFacts {
            names: CertNames::of(cert),
            issuer: issuer_of(cert),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            fingerprint: sha256(cert.as_raw()),
        }
    }

    /// The certificates of a PEM text, in its order.
    ///
    /// # Errors
    /// There is none, or one of them does not decode.
    pub fn of_pem(text: &str) -> Result<Vec<CertFacts>, String> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .map(|der| der.map_err(|error| error.to_string()).and_then(|der| CertFacts::of(&der)))
            .collect::<Result<_, _>>()?;
        if all.is_empty() { Err("there is no certificate".into()) } else { Ok(all) }
    }
}

/// Common name or organisation of the issuer.
pub(super) fn issuer_of(cert: &X509Certificate<'_>) -> String {
    let issuer = cert.issuer();
    let issuer = issuer.iter_common_name().chain(issuer.iter_organization()).next();
    // A name of the file goes to a terminal: no control characters.
    let issuer = issuer.and_then(|name| name.as_str().ok()).unwrap_or("unnamed");
    issuer.chars().filter(|c| !c.is_control()).collect()
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else { return String::new() };
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_certificate() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(CertFacts::of_pem("no certificate").is_err());
    }
}
