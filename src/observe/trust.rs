//! Whose certificates are believed, and what a client that believes them says of a server's.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Where Debian, Alpine and their kin keep the certificates of public authorities.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The root certificates a comparison believes.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    roots: Vec<Root>,
}

#[derive(Debug, Clone)]
struct Root {
    der: CertificateDer<'static>,
    source: String,
}

impl Trust {
    /// Believes the certificates of a PEM file.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or holds no certificate.
    pub fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let before = self.roots.len();
        for der in CertificateDer::pem_slice_iter(&text).flatten() {
            self.roots.push(Root { der, source: path.display().to_string() });
        }
        if self.roots.len() == before { Err(format!("{} holds no certificate", path.display())) } else { Ok(()) }
    }

    /// Believes one certificate; `source` says whose it is.
    pub fn add(&mut self, der: CertificateDer<'static>, source: &str) {
        self.roots.push(Root { der, source: source.into() });
    }

    /// Believes what the system believes, where it says so.
    pub fn add_system(&mut self) {
        // A machine without the file believes nobody, and the verdict says so.
        let _ = self.add_file(Path::new(SYSTEM));
    }

    /// The source of the root that issued `certificate`, by name.
    pub fn source_of(&self, issuer: &[u8]) -> Option<&str> {
        let root = self.roots.iter().find(|root| {
            x509_parser::parse_x509_certificate(&root.der).is_ok_and(|(_, cert)| cert.subject().as_raw() == issuer)
        })?;
        Some(&root.source)
    }

    /// A verifier that notes its verdict. With `proceed` the handshake goes on whatever the verdict.
    pub(super) fn verifier(&self, provider: &Arc<CryptoProvider>, proceed: bool) -> Arc<Verifier> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.roots.iter().map(|root| root.der.clone()));
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build().ok();
        Arc::new(Verifier { inner, provider: provider.clone(), proceed, verdict: Mutex::default() })
    }
}

/// Asks the library's verifier and keeps what it said.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: nobody is believed.
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    proceed: bool,
    verdict: Mutex<Option<Result<(), String>>>,
}

impl Verifier {
    /// What the last certificate was worth; `None` before one came (a resumed connection sends none).
    pub fn verdict(&self) -> Option<Result<(), String>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let said = match &self.inner {
            Some(inner) => inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now),
            None => Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        };
        let verdict = said.as_ref().map(|_| ()).map_err(ToString::to_string);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        if self.proceed { Ok(ServerCertVerified::assertion()) } else { said }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_nobody_ends_the_handshake_unless_told_to_go_on() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["a.localhost".into()]).unwrap();
        let name = ServerName::try_from("a.localhost").unwrap();
        for proceed in [false, true] {
            let verifier = Trust::default().verifier(&provider, proceed);
            assert_eq!(verifier.verdict(), None);
            let said = verifier.verify_server_cert(made.cert.der(), &[], &name, &[], UnixTime::now());
            assert_eq!(said.is_ok(), proceed);
            assert!(verifier.verdict().unwrap().is_err());
        }
        let mut trust = Trust::default();
        trust.add(made.cert.der().clone(), "this test");
        let verifier = trust.verifier(&provider, false);
        verifier.verify_server_cert(made.cert.der(), &[], &name, &[], UnixTime::now()).unwrap();
        assert_eq!(verifier.verdict(), Some(Ok(())));
    }
}
