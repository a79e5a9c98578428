//! TLS towards clients: which certificate, which parameters, and the handshake. TLS towards servers: [`ClientTls`].
//!
//! A generation of the config has one [`CertStore`]; every TLS listener has an [`Acceptor`] over it. What outlives a
//! generation is the [`Tickets`] (so that a reload costs no resumption), the [`DevAuthority`], and the certificates that ACME looks
//! after ([`Managed`]).

mod accept;
mod build;
mod certs;
mod choice;
mod chosen;
mod client;
mod client_auth;
mod client_cert;
mod crl;
mod dev_ca;
mod dev_leaves;
mod examine;
mod facts;
mod handshake_error;
mod hints;
mod issue;
mod load;
mod managed;
mod managed_hosts;
mod names;
mod pem;
pub mod private_files;
mod root_files;
#[cfg(test)]
mod tests;
mod told;
mod unusable;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite as suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use client_auth::Policy;

pub use accept::{Acceptor, TlsFacts};
pub use certs::CertStore;
pub use chosen::Choice;
pub use client::{ClientTls, Connector, Roots, is_alert, server_name};
pub use client_auth::PolicyId;
pub use client_cert::ClientCert;
pub use dev_ca::{Access, DevCa, root_path, root_pem};
pub use dev_leaves::DevAuthority;
pub use examine::{Examined, Link, RootList, Signed, Subject, examine};
pub use facts::CertFacts;
pub use handshake_error::HandshakeError;
pub use issue::{Issued, issue};
pub use managed::{Challenges, Live, Managed, ManagedCert, ServedCert};
pub use names::{CertNames, dns_matches, is_local, normalize};
pub use pem::certificate as certificate_pem;
pub use told::Provenance;

/// AEAD suites with forward secrecy only, in our order: AES-128 with SHA-256 first. A full handshake costs a quarter less
/// with it than with AES-256 and SHA-384, which OpenSSL's clients name first (94 against 125 microseconds, measured).
static CIPHER_SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The hybrid group, whose recorded conversations stay closed to quantum computers, then the classics. Of those a client
/// offers, its own first one is taken.
static KX_GROUPS: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

static ALL_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static ONLY_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// The keys of session tickets: random per process, replaced every 6 hours, good for 12. Cloning shares them; keep one
/// value for the life of the process and hand it to each generation.
///
/// Every policy about client certificates has keys of its own, so that a session of one is none of another: what it skips is
/// the verification. They live as long as some generation has the policy.
#[derive(Debug, Clone)]
pub struct Tickets {
    open: Arc<dyn ProducesTickets>,
    by_policy: Arc<Mutex<HashMap<PolicyId, Weak<dyn ProducesTickets>>>>,
}

impl Tickets {
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Tickets, rustls::Error> {
        Ok(Tickets { open: Ticketer::new()?, by_policy: Arc::default() })
    }

    fn of(&self, policy: Option<&Policy>) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let Some(policy) = policy else { return Ok(self.open.clone()) };
        let mut known = self.by_policy.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, tickets| tickets.strong_count() > 0);
        if let Some(tickets) = known.get(&policy.tickets).and_then(Weak::upgrade) {
            return Ok(tickets);
        }
        let tickets = Ticketer::new()?;
        known.insert(policy.tickets, Arc::downgrade(&tickets));
        Ok(tickets)
    }
}

/// Our suites and groups, for both sides.
fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: CIPHER_SUITES.to_vec(), kx_groups: KX_GROUPS.to_vec(), ..default_provider() }
}

/// The parameters of a listener for the hosts of one policy about client certificates.
///
/// # Errors
/// The provider and the versions do not fit together, which the tests rule out for both sets of versions.
fn server_config(
    certs: Arc<CertStore>,
    only_tls13: bool,
    alpn: Vec<Vec<u8>>,
    tickets: &Tickets,
    policy: Option<&Policy>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[_] = if only_tls13 { &ONLY_TLS13 } else { &ALL_VERSIONS };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(versions)?;
    let builder = match policy {
        Some(policy) => builder.with_client_cert_verifier(policy.verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certs);
    config.alpn_protocols = alpn;
    config.ticketer = tickets.of(policy)?;
    // Resumption is by ticket alone: a session store would be one lock for all workers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 2;
    // A request in early data can be replayed (RFC 8446 section 8).
    config.max_early_data_size = 0;
    config.ignore_client_order = true;
    Ok(config)
}
