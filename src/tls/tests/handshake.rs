//! Handshakes over loopback sockets, with `openssl s_client` and a rustls client on the other side.

use std::future::Future;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::support::*;
use crate::config::{Config, SiteTls, UnknownHost};
use crate::tls::{Acceptor, CertStore, DevAuthority, HandshakeError, Managed, Tickets, TlsFacts};

type Outcome = Result<TlsFacts, HandshakeError>;

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// One TLS listener on a port of the kernel's choice.
struct Server {
    socket: TcpListener,
    acceptor: Acceptor,
}

impl Server {
    async fn start(config: &Config, tickets: &Tickets) -> Server {
        let certs = Arc::new(CertStore::build(config, &DevAuthority::default(), &Managed::default()).unwrap());
        let acceptor = Acceptor::new(certs, &config.tls, &config.listeners[0], tickets).unwrap();
        Server { socket: TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), acceptor }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// One handshake; a good one is followed by a line and the end.
    async fn one(&self) -> Outcome {
        let (tcp, _) = self.socket.accept().await.unwrap();
        let (mut stream, facts) = self.acceptor.accept(tcp).await.map_err(|(error, _)| error)?;
        // A client may leave before it reads.
        let _ = stream.write_all(b"hello\n").await;
        let _ = stream.shutdown().await;
        Ok(facts)
    }

    /// One handshake with `openssl s_client` and what that printed.
    async fn openssl(&self, args: &[&str]) -> (Outcome, String) {
        let mut command = tokio::process::Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.port()), "-ign_eof"]).args(args);
        let client = command.stdin(Stdio::null()).output();
        let (outcome, output) = tokio::join!(self.one(), client);
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (outcome, String::from_utf8_lossy(&text).into_owned())
    }

    /// One handshake with a rustls client, which reads to the end.
    async fn rustls(&self, name: &str, client: &Arc<ClientConfig>) -> (Outcome, std::io::Result<String>) {
        let connect = async {
            let tcp = TcpStream::connect(("127.0.0.1", self.port())).await?;
            let name = ServerName::try_from(name.to_string()).unwrap();
            let mut stream = TlsConnector::from(client.clone()).connect(name, tcp).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok(text)
        };
        tokio::join!(self.one(), connect)
    }
}

fn tickets() -> Tickets {
    Tickets::new().unwrap()
}

fn client(roots: &[&str], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    for pem in roots {
        store.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A development site `app.localhost` and its root.
fn dev_config(folder: &Folder) -> Config {
    config(folder.0.path(), vec![], vec![site("app.localhost", SiteTls::Dev)])
}

fn root_of(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path("ca/root.crt")).unwrap()
}

#[test]
fn every_key_kind_serves_both_versions_and_the_facts_say_what_was_agreed() {
    run(async {
        let folder = Folder::new();
        let (rsa, ecdsa) =
            (Made::with(&["rsa.example.com"], &PKCS_RSA_SHA256, |_| {}), Made::new(&["ecdsa.example.com"]));
        let ed25519 = Made::with(&["ed25519.example.com"], &PKCS_ED25519, |_| {});
        let certs =
            vec![folder.pair_of("rsa", &rsa), folder.pair_of("ecdsa", &ecdsa), folder.pair_of("ed25519", &ed25519)];
        let server = Server::start(&config(folder.0.path(), certs, vec![]), &tickets()).await;
        for (kind, tls12_cipher) in [
            ("rsa", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ("ecdsa", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
            ("ed25519", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ] {
            let name = format!("{kind}.example.com");
            let root = folder.path(&format!("{kind}.pem")).display().to_string();
            let common = ["-servername", &name, "-verify_hostname", &name, "-CAfile", &root, "-verify_return_error"];
            let (outcome, text) = server.openssl(&[&common[..], &["-tls1_2", "-groups", "P-256"]].concat()).await;
            let facts = outcome.unwrap();
            assert!(text.contains("Verify return code: 0 (ok)") && text.contains("hello"), "{text}");
            assert_eq!((facts.version, facts.cipher, facts.group), ("TLS 1.2", tls12_cipher, "secp256r1"));
            let (outcome, text) = server.openssl(&[&common[..], &["-tls1_3", "-groups", "X25519"]].concat()).await;
            assert!(text.contains("Verify return code: 0 (ok)") && text.contains("hello"), "{text}");
            let expected = TlsFacts {
                version: "TLS 1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                group: "X25519",
                h2: false,
                sni: Some(name.as_str().into()),
                resumed: false,
                policy: None,
                client: None,
            };
            assert_eq!(outcome.unwrap(), expected);
        }
    });
}

#[test]
fn only_aead_suites_and_tls_1_2_or_later_are_served() {
    run(async {
        let folder = Folder::new();
        let mut config = dev_config(&folder);
        let server = Server::start(&config, &tickets()).await;
        let name = ["-servername", "app.localhost"];
        for args in [
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA"][..],
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "AES256-GCM-SHA384"],
        ] {
            let (outcome, text) = server.openssl(&[&name[..], args].concat()).await;
            assert!(matches!(outcome, Err(HandshakeError::Protocol(_))), "{args:?}: {outcome:?} {text}");
        }
        let groups = server.openssl(&[&name[..], &["-tls1_3", "-groups", "P-384"]].concat()).await;
        assert_eq!(groups.0.unwrap().group, "secp384r1");
        config.tls.only_tls13 = true;
        let strict = Server::start(&config, &tickets()).await;
        let (outcome, text) = strict.openssl(&[&name[..], &["-tls1_2"]].concat()).await;
        assert!(outcome.is_err() && text.contains("alert protocol version"), "{text}");
        assert!(strict.openssl(&[&name[..], &["-tls1_3"]].concat()).await.0.is_ok());
    });
}

#[test]
fn aes_128_is_taken_first_unless_the_client_wants_chacha20() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let (aes256, aes128, chacha) =
            ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256");
        for (offer, taken) in [
            (vec![aes256, chacha, aes128], aes128),
            (vec![aes256, chacha], aes256),
            (vec![chacha, aes128], chacha),
            (vec![aes256], aes256),
        ] {
            let offer = offer.join(":");
            let args = ["-servername", "app.localhost", "-tls1_3", "-ciphersuites", &offer];
            assert_eq!(server.openssl(&args).await.0.unwrap().cipher, taken, "{offer}");
        }
        let args = ["-servername", "app.localhost", "-tls1_2", "-cipher", "CHACHA20:AESGCM"];
        let cipher = server.openssl(&args).await.0.unwrap().cipher;
        assert_eq!(cipher, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    });
}

#[test]
fn http_2_is_agreed_on_first_and_an_unknown_protocol_is_refused() {
    run(async {
        let folder = Folder::new();
        let mut config = dev_config(&folder);
        let server = Server::start(&config, &tickets()).await;
        let name = ["-servername", "app.localhost", "-alpn"];
        for (offer, h2, said) in
            [("http/1.1,h2", true, "ALPN protocol: h2"), ("http/1.1", false, "ALPN protocol: http/1.1")]
        {
            let (outcome, text) = server.openssl(&[&name[..], &[offer]].concat()).await;
            assert_eq!(outcome.unwrap().h2, h2);
            assert!(text.contains(said), "{text}");
        }
        let (outcome, text) = server.openssl(&[&name[..], &["spdy/3"]].concat()).await;
        assert!(text.contains("no application protocol"), "{text}");
        assert!(outcome.unwrap_err().to_string().contains("no_application_protocol"));
        config.listeners = vec![listener(false, true)];
        let h1 = Server::start(&config, &tickets()).await;
        assert!(!h1.openssl(&[&name[..], &["h2,http/1.1"]].concat()).await.0.unwrap().h2);
    });
}

#[test]
fn a_name_nobody_serves_gets_the_alert_unrecognized_name() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        for version in ["-tls1_2", "-tls1_3"] {
            let (outcome, text) = server.openssl(&["-servername", "other.test", version]).await;
            assert!(text.contains("unrecognized name"), "{text}");
            assert!(matches!(outcome, Err(HandshakeError::UnknownHost(name)) if &*name == "other.test"));
        }
        let (_, text) = server.rustls("other.test", &client(&[&root_of(&folder)], &[])).await;
        let error = text.unwrap_err();
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()).cloned();
        assert_eq!(inner, Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)));
    });
}

#[test]
fn an_unknown_name_is_served_where_the_config_says_default() {
    run(async {
        let folder = Folder::new();
        let mut config = config(folder.0.path(), vec![folder.pair("first", &["first.example.com"])], vec![]);
        config.tls.unknown_host = UnknownHost::Default;
        let server = Server::start(&config, &tickets()).await;
        let root = folder.path("first.pem").display().to_string();
        let (outcome, text) = server.openssl(&["-servername", "x.test", "-CAfile", &root]).await;
        assert!(outcome.is_ok() && text.contains("Verify return code: 0 (ok)"), "{text}");
    });
}

#[test]
fn a_client_without_a_server_name_gets_the_leaf_of_this_machine_or_the_alert_missing_extension() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let root = folder.path("ca/root.crt").display().to_string();
        let (outcome, text) = server
            .openssl(&["-noservername", "-verify_ip", "127.0.0.1", "-CAfile", &root, "-verify_return_error"])
            .await;
        assert_eq!(outcome.unwrap().sni, None);
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
        let nothing = config(folder.0.path(), vec![], vec![site("x.example.com", SiteTls::Off)]);
        let server = Server::start(&nothing, &tickets()).await;
        let (outcome, text) = server.openssl(&["-noservername"]).await;
        assert!(matches!(outcome, Err(HandshakeError::NoServerName)) && text.contains("missing extension"), "{text}");
    });
}

#[test]
fn a_session_is_resumed_by_ticket_in_both_versions_and_across_a_reload() {
    run(async {
        let folder = Folder::new();
        let (config, tickets) = (dev_config(&folder), tickets());
        let first = Server::start(&config, &tickets).await;
        let reloaded = Server::start(&config, &tickets).await;
        let stranger = Server::start(&config, &Tickets::new().unwrap()).await;
        let session = folder.path("session").display().to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            let common = ["-servername", "app.localhost", version];
            let (outcome, text) = first.openssl(&[&common[..], &["-sess_out", &session]].concat()).await;
            assert!(!outcome.unwrap().resumed && text.contains("New, TLSv1"), "{text}");
            for (server, resumed) in [(&first, true), (&reloaded, true), (&stranger, false)] {
                let (outcome, text) = server.openssl(&[&common[..], &["-sess_in", &session]].concat()).await;
                assert_eq!(outcome.unwrap().resumed, resumed, "{version}");
                assert_eq!(text.contains("Reused, TLSv1"), resumed, "{text}");
            }
        }
    });
}

#[test]
fn the_hybrid_group_is_agreed_on_with_a_client_that_has_it() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let (outcome, text) = server.rustls("app.localhost", &client(&[&root_of(&folder)], &["h2"])).await;
        let facts = outcome.unwrap();
        assert_eq!((facts.group, facts.h2, text.unwrap().as_str()), ("X25519MLKEM768", true, "hello\n"));
    });
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_named_as_such() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let other = Made::new(&["other.test"]);
        let (outcome, _) = server.rustls("app.localhost", &client(&[&other.cert], &[])).await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, HandshakeError::ClientAlert(AlertDescription::UnknownCA)), "{error}");
    });
}

#[test]
fn bytes_that_are_not_tls_come_back_with_the_connection_and_nothing_is_sent() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let client = async {
            let mut tcp = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
            tcp.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            tcp.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let (tcp, _) = server.socket.accept().await.unwrap();
            let Err((HandshakeError::NotTls { read }, mut io)) = server.acceptor.accept(tcp).await else {
                panic!("TLS?")
            };
            assert_eq!(read, b"GET / HTTP/1.1\r\n\r\n");
            io.write_all(b"in clear").await.unwrap();
        };
        let (answer, ()) = tokio::join!(client, serve);
        assert_eq!(answer, b"in clear");
    });
}

#[test]
fn a_client_that_leaves_or_sends_nonsense_is_told_apart() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        for (bytes, closed) in
            [(&b""[..], true), (&[22, 3, 1, 0, 200, 1], true), (&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9], false)]
        {
            let client = async {
                let mut tcp = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
                tcp.write_all(bytes).await.unwrap();
                tcp.shutdown().await.unwrap();
                let mut answer = Vec::new();
                let _ = tcp.read_to_end(&mut answer).await;
                answer
            };
            let (outcome, answer) = tokio::join!(server.one(), client);
            let error = outcome.unwrap_err();
            assert_eq!(matches!(error, HandshakeError::Closed), closed, "{bytes:?}: {error}");
            assert_eq!(answer.first(), if closed { None } else { Some(&21) }, "an alert where one is due: {error}");
        }
    });
}

#[test]
fn a_client_hello_in_many_pieces_is_read_whole() {
    run(async {
        let folder = Folder::new();
        let server = Server::start(&dev_config(&folder), &tickets()).await;
        let (near, mut far) = tokio::io::duplex(7);
        let relay = async {
            let mut tcp = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            // The duplex pipe passes seven bytes at a time.
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut far, &mut tcp, 7, 4096).await;
        };
        let config = client(&[&root_of(&folder)], &[]);
        let connect = async {
            let name = ServerName::try_from("app.localhost").unwrap();
            let mut stream = TlsConnector::from(config).connect(name, near).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let (outcome, text, ()) = tokio::join!(server.one(), connect, relay);
        assert_eq!((outcome.unwrap().version, text.as_str()), ("TLS 1.3", "hello\n"));
    });
}
