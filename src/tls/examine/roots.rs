//! The lists of roots that clients believe, and what a client with one of them says of a chain.

use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::asn1_rs::{Any, FromDer};

use crate::tls::provider;

/// A list of roots.
pub struct RootList {
    pub name: &'static str,
    store: RootCertStore,
    /// Browsers of this machine believe it.
    pub(super) decides: bool,
    /// It is the development root alone.
    pub(super) development: bool,
}

impl RootList {
    /// What browsers of this machine believe by themselves, and what programs built elsewhere do. `development` is the
    /// development root, with whether a store of this machine has it.
    pub fn all(development: Option<(CertificateDer<'static>, bool)>) -> Vec<RootList> {
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut mozilla = RootCertStore::empty();
        mozilla.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        // As for servers behind the proxy: where the system has no list, Mozilla's stands for it.
        let none = system.is_empty();
        let mut all = vec![
            RootList { name: "the system's roots", store: system, decides: true, development: false },
            RootList { name: "Mozilla's roots", store: mozilla, decides: none, development: false },
        ];
        if let Some((root, trusted)) = development {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates([root]);
            all.push(RootList { name: "the development root", store, decides: trusted, development: true });
        }
        all
    }

    /// Whether a root of this name is in it. `name` is a whole DER name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        // Anchors keep what is inside the SEQUENCE.
        let Ok((_, sequence)) = Any::from_der(name) else { return false };
        self.store.roots.iter().any(|anchor| anchor.subject.as_ref() == sequence.data)
    }

    /// What a client that believes this list says at a time, in seconds since the epoch. Names are not looked at.
    pub(super) fn believes(&self, chain: &[CertificateDer<'_>], at: i64) -> Result<(), Doubt> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Err(Doubt::Issuer) };
        let leaf = ParsedCertificate::try_from(leaf).map_err(Doubt::from)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or_default()));
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.store, intermediates, at, algorithms)
            .map_err(Doubt::from)
    }
}

/// Why a chain is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// No root of the list vouches for it.
    Issuer,
    /// One of the certificates above the leaf has expired, or is not valid yet.
    Date,
    /// Another rule; the library's words.
    Rule(String),
}

impl From<Error> for Doubt {
    fn from(error: Error) -> Doubt {
        match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Doubt::Issuer
            }
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Doubt::Date,
            Error::InvalidCertificate(CertificateError::Other(other)) => Doubt::Rule(other.to_string()),
            Error::InvalidCertificate(error) => Doubt::Rule(error.to_string()),
            error => Doubt::Rule(error.to_string()),
        }
    }
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::Issuer => f.write_str("none of them vouches for it"),
            Doubt::Date => f.write_str("a certificate above the leaf is out of its dates"),
            Doubt::Rule(words) => f.write_str(words),
        }
    }
}
