//! Certificates that ACME looks after, and the answers to its challenges: what outlives a generation of the config.
//!
//! The control side writes here, handshakes read. A certificate that is not there yet is nobody's certificate: its names
//! get an alert.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{CertFacts, names};

/// The protocol a server names by ALPN when it checks a name (RFC 8737 section 4).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// One certificate that ACME looks after: what is served now, and what is being done about it.
#[derive(Debug)]
pub struct ManagedCert {
    names: Box<[String]>,
    /// Orders that succeeded, and that failed.
    orders: (AtomicU64, AtomicU64),
    held: AtomicBool,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    key: Option<Arc<CertifiedKey>>,
    state: Arc<str>,
}

impl ManagedCert {
    fn new(names: &[String]) -> ManagedCert {
        let current = Current { key: None, state: "it has not been ordered yet".into() };
        ManagedCert {
            names: names.into(),
            orders: Default::default(),
            held: false.into(),
            current: RwLock::new(current),
        }
    }

    /// The names it is for: hosts in lower case, wildcards as `*.example.com`. The first is the site's own.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What handshakes get; `None` until the first order has succeeded.
    pub fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }

    pub(super) fn is_there(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).key.is_some()
    }

    /// What is being done about it, in the words of a log line.
    pub fn state(&self) -> Arc<str> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// Counts an order that is over.
    pub fn note_order(&self, issued: bool) {
        (if issued { &self.orders.0 } else { &self.orders.1 }).fetch_add(1, Ordering::Relaxed);
    }

    /// Orders that succeeded, and that failed, since the start.
    pub fn orders(&self) -> (u64, u64) {
        (self.orders.0.load(Ordering::Relaxed), self.orders.1.load(Ordering::Relaxed))
    }

    /// Whether the first order waits, since a file that cannot be used may be for these names.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Serves a certificate from the next handshake on.
    pub fn serve(&self, key: Arc<CertifiedKey>) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).key = Some(key);
    }

    /// Says what is being done about it.
    pub fn say(&self, state: &str) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).state = state.into();
    }
}

type ByNames = HashMap<Box<[String]>, Arc<ManagedCert>>;

/// All managed certificates of a process, and the open challenges. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Managed {
    certs: Arc<Mutex<ByNames>>,
    challenges: Arc<Challenges>,
}

impl Managed {
    /// The certificate for exactly these names: the same one in every generation.
    pub(super) fn cert(&self, names: &[String]) -> Arc<ManagedCert> {
        let mut certs = self.certs.lock().unwrap_or_else(PoisonError::into_inner);
        certs.entry(names.into()).or_insert_with(|| Arc::new(ManagedCert::new(names))).clone()
    }

    /// Forgets those that no generation uses any more.
    pub fn retain(&self, used: &[Arc<ManagedCert>]) {
        let mut certs = self.certs.lock().unwrap_or_else(PoisonError::into_inner);
        certs.retain(|_, cert| used.iter().any(|other| Arc::ptr_eq(cert, other)));
    }

    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }
}

/// Answers to the challenges of orders that are under way.
#[derive(Debug, Default)]
pub struct Challenges {
    /// Token to key authorization.
    http: RwLock<HashMap<Box<str>, Box<str>>>,
    /// Name to a config that shows the certificate of RFC 8737 section 3.
    tls: RwLock<HashMap<Box<str>, Arc<ServerConfig>>>,
}

impl Challenges {
    /// The key authorization of a token that is live (RFC 8555 section 8.3).
    pub fn http(&self, token: &str) -> Option<Box<str>> {
        self.http.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(super) fn tls(&self, name: &str) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).get(&*names::normalize(name)).cloned()
    }

    /// Answers a token until the returned value is dropped.
    pub fn answer_http(self: &Arc<Self>, token: &str, key_authorization: &str) -> Live {
        let mut http = self.http.write().unwrap_or_else(PoisonError::into_inner);
        http.insert(token.into(), key_authorization.into());
        Live { challenges: self.clone(), http: true, what: token.into() }
    }

    /// Shows the certificate of a challenge for a name until the returned value is dropped. `digest` is the SHA-256 of
    /// the key authorization.
    ///
    /// # Errors
    /// The name cannot stand in a certificate, or the TLS library refuses it.
    pub fn answer_tls(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Live, String> {
        let config = challenge_config(name, digest)?;
        self.tls.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(config));
        Ok(Live { challenges: self.clone(), http: false, what: name.into() })
    }
}

/// The answer of a challenge; it ends when this is dropped.
#[derive(Debug)]
pub struct Live {
    challenges: Arc<Challenges>,
    http: bool,
    what: Box<str>,
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.http {
            self.challenges.http.write().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
        } else {
            self.challenges.tls.write().unwrap_or_else(PoisonError::into_inner).remove(&self.what);
        }
    }
}

/// A self-signed certificate for the name with the digest in a critical extension, and ALPN `acme-tls/1` alone.
fn challenge_config(name: &str, digest: &[u8]) -> Result<ServerConfig, String> {
    if digest.len() != 32 {
        return Err("the digest is not a SHA-256".into());
    }
    let said = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new([name.to_owned()]).map_err(said)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(said)?;
    let cert = params.self_signed(&key).map_err(said)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = any_supported_type(&der).map_err(|error| error.to_string())?;
    // Not `with_single_cert`, which refuses the critical extension that this certificate is all about.
    let certified = SingleCertAndKey::from(CertifiedKey::new(vec![cert.der().clone()], signing));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

/// A certificate chain with its key as ACME gives them, ready to serve.
#[derive(Debug, Clone)]
pub struct ServedCert {
    pub key: Arc<CertifiedKey>,
    pub facts: CertFacts,
}

impl ServedCert {
    /// Reads a PEM text with one private key and its chain, the leaf first.
    ///
    /// # Errors
    /// It is damaged, or the key does not belong to the leaf.
    pub fn from_pem(text: &str) -> Result<ServedCert, String> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the chain does not decode: {error}"))?;
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| format!("no usable key: {error}"))?;
        let signing = any_supported_type(&der).map_err(|error| error.to_string())?;
        let leaf = chain.first().ok_or("there is no certificate")?;
        let (_, cert) = x509_parser::parse_x509_certificate(leaf).map_err(|_| "the certificate does not decode")?;
        if signing.public_key().as_deref() != Some(cert.public_key().raw) {
            return Err("the key does not belong to the certificate".into());
        }
        let facts = CertFacts::of(leaf)?;
        Ok(ServedCert { key: Arc::new(CertifiedKey::new(chain, signing)), facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_live_as_long_as_their_order() {
        let challenges = Arc::new(Challenges::default());
        let token = challenges.answer_http("token", "token.thumb");
        let name = challenges.answer_tls("a.example.com", &[7; 32]).unwrap();
        assert_eq!(challenges.http("token").as_deref(), Some("token.thumb"));
        assert!(challenges.tls("A.example.com").is_some() && challenges.tls("b.example.com").is_none());
        drop((token, name));
        assert!(challenges.http("token").is_none() && challenges.tls("a.example.com").is_none());
        assert!(challenges.answer_tls("a.example.com", b"short").is_err());
    }

    #[test]
    fn a_certificate_is_one_for_all_generations_until_none_uses_it() {
        let managed = Managed::default();
        let names = ["a.example.com".to_owned(), "b.example.com".to_owned()];
        let first = managed.cert(&names);
        managed.retain(std::slice::from_ref(&first));
        assert!(Arc::ptr_eq(&first, &managed.cert(&names)));
        assert!(!Arc::ptr_eq(&first, &managed.cert(&names[..1])));
        managed.retain(&[]);
        assert!(!Arc::ptr_eq(&first, &managed.cert(&names)));
    }
}
