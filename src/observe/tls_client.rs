//! TLS towards the proxy: one configuration for each column that needs its own.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::secrets::Collector;
use super::trust::{Trust, Verifier};

/// A client configuration with what it collects. Connections that share one can resume each other's sessions.
pub(super) struct TlsClient {
    pub config: Arc<ClientConfig>,
    pub secrets: Arc<Collector>,
    pub verifier: Arc<Verifier>,
}

/// What a configuration speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaks {
    Tls13,
    Tls12,
    Http2,
}

impl TlsClient {
    /// # Errors
    /// The provider and the version do not fit together, which the tests rule out.
    pub fn new(speaks: Speaks, trust: &Trust, proceed: bool) -> Result<TlsClient, rustls::Error> {
        let provider = Arc::new(default_provider());
        let verifier = trust.verifier(&provider, proceed);
        let version: &'static SupportedProtocolVersion = if matches!(speaks, Speaks::Tls12) { &TLS12 } else { &TLS13 };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        let secrets = Arc::new(Collector::default());
        config.key_log = secrets.clone();
        let alpn: &[u8] = if matches!(speaks, Speaks::Http2) { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = match speaks {
            Speaks::Tls13 => Resumption::in_memory_sessions(8),
            Speaks::Tls12 | Speaks::Http2 => Resumption::disabled(),
        };
        Ok(TlsClient { config: Arc::new(config), secrets, verifier })
    }
}
