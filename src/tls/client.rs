//! TLS towards servers: the parameters of an upstream, built once, and the handshake.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::verify::{Unverified, Verifier};
use super::{ALL_VERSIONS, load, provider};
use crate::config::{Diagnostic, ServerAddress, Upstream, UpstreamAddress, srv_domain};
use crate::error::Why;
use crate::net::Socket;

/// Sessions remembered for resumption, by a worker for one upstream.
const SESSIONS: usize = 64;
/// A worker says what is wrong with an upstream no more often than this: each connection would say the same.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// The roots of the system, read when the first upstream asks for them.
#[derive(Default)]
pub struct Roots(Option<Arc<RootCertStore>>);

impl Roots {
    fn system(&mut self) -> Arc<RootCertStore> {
        self.0.get_or_insert_with(|| Arc::new(system_roots())).clone()
    }
}

/// The system's store; where it is empty, as in an image from scratch, the roots of Mozilla's program that this program
/// was built with.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        for error in found.errors {
            tracing::debug!("roots of the system: {error}");
        }
        tracing::info!("the system has no root certificates: servers are verified by the built-in ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// What decides whom we trust and who we are, to tell two generations apart.
#[derive(Debug)]
struct Identity {
    roots: Arc<RootCertStore>,
    chain: Option<Vec<CertificateDer<'static>>>,
    verify: bool,
}

/// What all connections to the servers of one upstream share.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: ClientConfig,
    identity: Arc<Identity>,
    upstream: Arc<str>,
}

impl ClientTls {
    /// Opens the files of an upstream. `None` where a problem that went into `out` is an error.
    pub fn build(upstream: &Upstream, roots: &mut Roots, out: &mut Vec<Diagnostic>) -> Option<ClientTls> {
        let settings = &upstream.tls;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let client = settings.client.as_ref().map(|files| load::load(files, now, out));
        let trusted = match &settings.ca {
            None if settings.verify => roots.system(),
            None => Arc::new(RootCertStore::empty()),
            Some((path, origin)) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(load::roots(path, origin, out)?);
                if store.is_empty() {
                    let message = format!("`{}` holds no certificate that can be a root", path.display());
                    out.push(Diagnostic::error("bad-root", message).at(origin).label("nothing to trust here"));
                }
                Arc::new(store)
            }
        };
        for server in upstream.servers.iter().filter(|server| server.protocol.is_tls()) {
            if server_name(upstream, server).is_none() {
                let message = format!("no certificate can cover the name of the server {}", server.address);
                let found = Diagnostic::error("bad-host", message).at(&upstream.origin).label("a server of this");
                out.push(found.help("name the one it has in tls.server_name"));
                return None;
            }
        }
        if client.as_ref().is_some_and(Option::is_none) || (trusted.is_empty() && settings.verify) {
            return None;
        }
        let client = client.flatten();
        let chain = client.as_ref().map(|client| client.key.cert.clone());
        let identity = Arc::new(Identity { roots: trusted.clone(), chain, verify: settings.verify });
        match build(&upstream.name, trusted, client, settings.verify) {
            Ok(config) => Some(ClientTls { config, identity, upstream: upstream.name.as_str().into() }),
            Err(error) => {
                let message = format!("TLS to this upstream cannot be set up: {error}");
                out.push(Diagnostic::error("bad-tls", message).at(&upstream.origin).label("defined here"));
                None
            }
        }
    }

    /// A connector of one worker, with a memory for sessions of its own: workers share no lock.
    pub fn connector(&self, alpn: &'static [u8]) -> Connector {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let (identity, upstream) = (self.identity.clone(), self.upstream.clone());
        Connector { config: Arc::new(config), identity, alpn, upstream, said: Rc::default() }
    }
}

/// The name a server's certificate must cover: `tls.server_name`, else the host of its address.
pub fn server_name(upstream: &Upstream, server: &ServerAddress) -> Option<ServerName<'static>> {
    let name = match (&upstream.tls.server_name, &server.address) {
        (Some(name), _) | (None, UpstreamAddress::Tcp { host: name, .. }) => name.clone(),
        (None, UpstreamAddress::Srv(name)) => srv_domain(name).to_owned(),
        (None, UpstreamAddress::Unix(_) | UpstreamAddress::Builtin) => return None,
    };
    ServerName::try_from(name).ok()
}

fn build(
    upstream: &str,
    roots: Arc<RootCertStore>,
    client: Option<load::Loaded>,
    verify: bool,
) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(provider());
    let verifier: Arc<dyn ServerCertVerifier> = if verify {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()?;
        Arc::new(Verifier::new(webpki, upstream))
    } else {
        Arc::new(Unverified(provider.clone()))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match client {
        Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client.key))),
        None => builder.with_no_client_auth(),
    })
}

/// Makes TLS of connections to the servers of one upstream.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    identity: Arc<Identity>,
    alpn: &'static [u8],
    upstream: Arc<str>,
    said: Rc<Cell<Option<Instant>>>,
}

impl Connector {
    /// The handshake. `name` goes into SNI, unless it is an address, and must be covered by the certificate.
    ///
    /// # Errors
    /// The cause, after a line in the process log.
    pub async fn connect(&self, socket: Socket, name: ServerName<'static>) -> Result<TlsStream<Socket>, Why> {
        let expected = name.to_str().into_owned();
        let connecting = TlsConnector::from(self.config.clone()).connect(name, socket);
        let stream = connecting.await.map_err(|error| self.failed(&expected, &error))?;
        let chosen = stream.get_ref().1.alpn_protocol();
        // A server of HTTP/1.1 need not know ALPN; HTTP/2 is spoken only where it was agreed on (RFC 9113 section 3.2).
        if self.alpn == b"h2" && chosen != Some(self.alpn) {
            self.say(format_args!("{expected} does not agree to HTTP/2 by ALPN"));
            return Err(Why::UpstreamTlsAlpn);
        }
        Ok(stream)
    }

    /// Whether the other, perhaps of another generation, trusts the same roots and shows the same certificate.
    pub fn is_same(&self, other: &Connector) -> bool {
        let (a, b) = (&self.identity, &other.identity);
        let shown = a.chain == b.chain && a.verify == b.verify && self.alpn == other.alpn;
        shown && a.roots.roots == b.roots.roots
    }

    /// Says what is wrong, unless something was said a moment ago.
    pub fn say(&self, what: fmt::Arguments<'_>) {
        let now = Instant::now();
        if self.said.get().is_none_or(|said| now.saturating_duration_since(said) >= SAY_AGAIN) {
            self.said.set(Some(now));
            tracing::warn!("upstream {:?}: {what}", self.upstream);
        }
    }

    fn failed(&self, expected: &str, error: &io::Error) -> Why {
        match tls_error(error) {
            // The verifier has said what is wrong with it.
            Some(rustls::Error::InvalidCertificate(_)) => Why::UpstreamTlsCertificate,
            Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
                self.say(format_args!("{expected} refuses the protocol offered by ALPN"));
                Why::UpstreamTlsAlpn
            }
            _ => {
                self.say(format_args!("TLS handshake with {expected} failed: {error}"));
                Why::UpstreamTlsHandshake
            }
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

/// The server ended the connection with an alert: with TLS 1.3 that is how a certificate of ours that is missing or not
/// accepted shows, after the handshake.
pub fn is_alert(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::AlertReceived(_)))
}
