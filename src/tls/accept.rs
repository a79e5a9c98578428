//! The handshake of one connection: ClientHello, the question who it is for, the rest.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::SystemTime;

use rustls::server::{Accepted, Acceptor as HelloReader, ClientHello};
use rustls::{CertificateError, CipherSuite, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::client_auth::{Asks, Policy};
use super::handshake_error::HandshakeError;
use super::managed::ACME_TLS;
use super::{CIPHER_SUITES, CertStore, ClientCert, PolicyId, Tickets, server_config};
use crate::config;

/// Bytes taken from the socket at once while the ClientHello is read: one with a post-quantum share has about 1,800.
const HELLO_CHUNK: usize = 4096;
/// Bytes of TLS records waiting for a slow client before writing stops: twice the library's 64 KiB, so that a body read
/// from an upstream goes out in fewer writes.
const SEND_BUFFER: usize = 128 << 10;
/// The first byte of a TLS handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// RFC 8446 section 6.2: a message that cannot be read.
const DECODE_ERROR: u8 = 50;
/// RFC 8446 section 6.2: the server cannot go on for a reason of its own.
const INTERNAL_ERROR: u8 = 80;
/// RFC 6066 section 3: the server name is one nobody serves.
const UNRECOGNIZED_NAME: u8 = 112;
/// RFC 8446 section 9.2: a server name is needed.
const MISSING_EXTENSION: u8 = 109;

/// What was agreed on in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// "TLS 1.3" or "TLS 1.2".
    pub version: &'static str,
    /// The IANA name, such as "TLS_AES_128_GCM_SHA256".
    pub cipher: &'static str,
    /// The key exchange group, such as "X25519MLKEM768"; empty where a TLS 1.2 session was resumed without one.
    pub group: &'static str,
    /// HTTP/2 by ALPN; otherwise HTTP/1.1.
    pub h2: bool,
    /// The server name asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// An earlier session was taken up, without a certificate.
    pub resumed: bool,
    /// What was asked of the client.
    pub policy: Option<PolicyId>,
    /// What it proved.
    pub client: Option<Arc<ClientCert>>,
}

/// Does the TLS handshakes of one listener.
#[derive(Debug, Clone)]
pub struct Acceptor {
    open: Parameters,
    /// In the order of the store's policies about client certificates.
    by_policy: Arc<[Parameters]>,
    certs: Arc<CertStore>,
}

/// The parameters for the hosts of one policy.
#[derive(Debug, Clone)]
struct Parameters {
    /// The cipher suite is chosen in our order.
    our_order: Arc<ServerConfig>,
    /// The same but for that: for clients that want ChaCha20 first, as they have no AES in hardware.
    client_order: Arc<ServerConfig>,
}

impl Acceptor {
    /// An acceptor for one listener: its protocols become the ALPN list, HTTP/2 first.
    ///
    /// # Errors
    /// The TLS library refuses the parameters.
    pub fn new(
        certs: Arc<CertStore>,
        tls: &config::Tls,
        listener: &config::Listener,
        tickets: &Tickets,
    ) -> Result<Acceptor, rustls::Error> {
        let protocols = [(listener.h2, "h2"), (listener.h1, "http/1.1")];
        let alpn = protocols.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.as_bytes().to_vec());
        let alpn: Vec<Vec<u8>> = alpn.collect();
        let parameters = |policy: Option<&Policy>| {
            let our_order = server_config(certs.clone(), tls.only_tls13, alpn.clone(), tickets, policy)?;
            let mut client_order = our_order.clone();
            client_order.ignore_client_order = false;
            Ok(Parameters { our_order: Arc::new(our_order), client_order: Arc::new(client_order) })
        };
        let by_policy = certs.policies.all.iter().map(|policy| parameters(Some(policy)));
        let by_policy = by_policy.collect::<Result<_, rustls::Error>>()?;
        Ok(Acceptor { open: parameters(None)?, by_policy, certs })
    }

    /// Reads the ClientHello, refuses a server name nobody serves, and finishes the handshake. The deadline is the
    /// caller's: dropping the future closes the connection.
    ///
    /// # Errors
    /// A [`HandshakeError`] and the connection, on which the alert that belongs to it has been sent. Bytes that are not TLS
    /// are in the error, nothing sent, for an answer in clear.
    pub async fn accept<IO>(&self, mut io: IO) -> Result<(TlsStream<IO>, TlsFacts), (HandshakeError, IO)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = match read_hello(&mut io).await {
            Ok(accepted) => accepted,
            Err(Hello::NotTls(read)) => return Err((HandshakeError::NotTls { read }, io)),
            Err(Hello::Broken(error, alert)) => {
                // The connection is over; whether the alert arrives changes nothing.
                let _ = io.write_all(&alert).await;
                return Err((HandshakeError::of_tls(error), io));
            }
            Err(Hello::Io(error)) => return Err((HandshakeError::of_io(error), io)),
        };
        let hello = accepted.client_hello();
        if let Some(config) = self.challenge(&hello) {
            return Err(Box::pin(show_challenge(accepted, io, config)).await);
        }
        if !self.certs.serves(hello.server_name()) {
            let (alert, error) = match hello.server_name() {
                Some(name) => match (self.certs.pending(name), self.certs.unusable(name)) {
                    (Some(state), _) => (INTERNAL_ERROR, HandshakeError::NoCertificateYet { name: name.into(), state }),
                    (None, Some(why)) => {
                        (UNRECOGNIZED_NAME, HandshakeError::UnusableCertificate { name: name.into(), why })
                    }
                    (None, None) => (UNRECOGNIZED_NAME, HandshakeError::UnknownHost(name.into())),
                },
                None => (MISSING_EXTENSION, HandshakeError::NoServerName),
            };
            let _ = io.write_all(&fatal(alert)).await;
            return Err((error, io));
        }
        let policy = match self.certs.policies.find(hello.server_name()) {
            Asks::Policy(policy) => Some(policy),
            // Closed ones were refused above.
            Asks::Nothing | Asks::Closed(_) => None,
        };
        let parameters = policy.and_then(|policy| self.by_policy.get(policy)).unwrap_or(&self.open);
        let chacha = wants_chacha(hello.cipher_suites());
        let config = if chacha { &parameters.client_order } else { &parameters.our_order };
        let finish = StartHandshake::from_parts(accepted, io)
            .into_stream_with(config.clone(), |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
        let stream = finish.into_fallible().await.map_err(|(error, io)| (HandshakeError::of_io(error), io))?;
        let mut facts = facts(stream.get_ref().1);
        if let Some(policy) = policy
            && let Err(error) = self.meet(policy, stream.get_ref().1, &mut facts)
        {
            return Err((error, stream.into_inner().0));
        }
        Ok((stream, facts))
    }

    /// Notes what was asked of the client and what it proved. A session that is resumed shows the certificate of the first
    /// one, which may have run out since.
    fn meet(
        &self,
        policy: usize,
        connection: &rustls::ServerConnection,
        facts: &mut TlsFacts,
    ) -> Result<(), HandshakeError> {
        facts.policy = self.certs.policies.all.get(policy).map(|policy| policy.id);
        let Some(client) = connection.peer_certificates().and_then(ClientCert::of) else { return Ok(()) };
        if facts.resumed && client.expires < unix_now() {
            return Err(HandshakeError::of_tls(CertificateError::Expired.into()));
        }
        facts.client = Some(Arc::new(client));
        Ok(())
    }

    /// The answer to a challenge tls-alpn-01, where this is one and it is open: such a client offers `acme-tls/1` alone
    /// (RFC 8737 section 3).
    fn challenge(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let challenges = self.certs.challenges()?;
        let mut offered = hello.alpn()?;
        let alone = offered.next() == Some(ACME_TLS) && offered.next().is_none();
        if alone { challenges.tls(hello.server_name()?) } else { None }
    }
}

/// Finishes the handshake of an ACME server that checks a name; nothing is said on such a connection.
async fn show_challenge<IO>(accepted: Accepted, io: IO, config: Arc<ServerConfig>) -> (HandshakeError, IO)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let name = accepted.client_hello().server_name().unwrap_or_default().into();
    match StartHandshake::from_parts(accepted, io).into_stream(config).into_fallible().await {
        Ok(mut stream) => {
            // The other side has seen what it wanted.
            let _ = stream.shutdown().await;
            (HandshakeError::Challenge(name), stream.into_inner().0)
        }
        Err((error, io)) => (HandshakeError::of_io(error), io),
    }
}

/// Whether the first suite of a client that we know is a ChaCha20 one.
fn wants_chacha(offered: &[CipherSuite]) -> bool {
    let known = |offer: &&CipherSuite| CIPHER_SUITES.iter().any(|ours| ours.suite() == **offer);
    matches!(
        offered.iter().find(known),
        Some(
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    )
}

/// A record with a fatal alert, in clear: no keys are agreed on yet.
fn fatal(alert: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert]
}

/// How reading a ClientHello ends otherwise.
enum Hello {
    NotTls(Vec<u8>),
    /// With the alert record to send.
    Broken(rustls::Error, Vec<u8>),
    Io(std::io::Error),
}

/// The socket is read into a buffer on the stack, so that a connection that waits for its ClientHello holds none. The TLS
/// library bounds a ClientHello at 64 KiB.
async fn read_hello<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Accepted, Hello> {
    let mut reader = HelloReader::default();
    let mut first = true;
    loop {
        let accepted = poll_fn(|cx| {
            let mut space = [0u8; HELLO_CHUNK];
            let mut chunk = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut chunk)).map_err(Hello::Io)?;
            let chunk = chunk.filled();
            if std::mem::take(&mut first) && chunk.first().is_some_and(|&byte| byte != HANDSHAKE_RECORD) {
                return Err(Hello::NotTls(chunk.to_vec())).into();
            }
            feed(&mut reader, chunk).into()
        });
        if let Some(accepted) = accepted.await? {
            return Ok(accepted);
        }
    }
}

fn feed(reader: &mut HelloReader, mut chunk: &[u8]) -> Result<Option<Accepted>, Hello> {
    if chunk.is_empty() {
        return Err(Hello::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    while !chunk.is_empty() {
        reader.read_tls(&mut chunk).map_err(Hello::Io)?;
    }
    reader.accept().map_err(|(error, mut alert)| {
        let mut record = Vec::new();
        // Writing into a vector cannot fail.
        let _ = alert.write_all(&mut record);
        if record.is_empty() {
            // The library leaves out the alert of a handshake message that declares itself too large.
            record.extend(fatal(DECODE_ERROR));
        }
        Hello::Broken(error, record)
    })
}

fn facts(connection: &rustls::ServerConnection) -> TlsFacts {
    let group = connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
    TlsFacts {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        },
        cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        group: group.unwrap_or(""),
        h2: connection.alpn_protocol() == Some(b"h2"),
        sni: connection.server_name().map(Box::from),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        policy: None,
        client: None,
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The library spells the suites of TLS 1.3 its own way.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}
