//! Certificates of servers: verified by the library, explained by us.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::load::date;
use super::names::CertNames;

/// Seconds between two lines about certificates of one upstream: each connection would say the same.
const SAY_AGAIN: u64 = 10;

/// The library's verifier, which says in the process log what it did not accept.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    upstream: Box<str>,
    /// When something was said last, in seconds since the epoch.
    said: AtomicU64,
}

impl Verifier {
    pub fn new(webpki: Arc<WebPkiServerVerifier>, upstream: &str) -> Verifier {
        Verifier { webpki, upstream: upstream.into(), said: AtomicU64::new(0) }
    }

    fn say(&self, leaf: &CertificateDer<'_>, expected: &ServerName<'_>, error: &Error) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if now.saturating_sub(self.said.swap(now, Ordering::Relaxed)) >= SAY_AGAIN {
            tracing::warn!(
                "upstream {:?}: the server's certificate is not accepted: {}. Expected is {:?}; the certificate {}",
                self.upstream,
                reason(error),
                expected.to_str(),
                holds(leaf)
            );
        }
    }
}

/// Names, issuer and dates of a certificate.
fn holds(leaf: &CertificateDer<'_>) -> String {
    match x509_parser::parse_x509_certificate(leaf) {
        Ok((_, cert)) => {
            let (from, to) = (cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp());
            let (names, issuer) = (CertNames::of(&cert), cert.issuer());
            format!("is for {names}, issued by {:?}, valid {} to {}", issuer.to_string(), date(from), date(to))
        }
        Err(_) => "does not decode".into(),
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name (tls.server_name says which is expected)".into()
            }
            CertificateError::UnknownIssuer => "its issuer is not trusted (tls.ca names the root)".into(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(leaf, intermediates, name, ocsp, now);
        verified.inspect_err(|error| self.say(leaf, name, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// `verify = false`: any certificate will do, but its key must be the server's.
#[derive(Debug)]
pub(super) struct Unverified(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
