//! One client connection from its first byte to its last.

use std::rc::Rc;

use super::connections::Speaks;
use super::serve_h1::{self, Outcome};
use super::wire::Wire;
use super::{ConnInfo, Handler, Shared, serve_h2};

/// Which protocols a door speaks.
#[derive(Debug, Clone, Copy)]
pub struct Protocols {
    pub h1: bool,
    pub h2: bool,
}

/// Serves a connection whose bytes are in clear: a plain one, or one whose TLS handshake is over.
///
/// On a TLS connection ALPN has chosen the protocol. On a plain one the first bytes do: HTTP/1.1, or HTTP/2 by prior
/// knowledge (RFC 9113 section 3.3); a TLS handshake on the plain door gets an alert and a log line.
pub async fn connection<H: Handler>(wire: Wire, conn: Rc<ConnInfo>, shared: &Rc<Shared<H>>, protocols: Protocols) {
    let h2 = match &conn.tls {
        Some(facts) => facts.h2,
        None => !protocols.h1,
    };
    if h2 {
        let _counted = shared.connections.speaks(Speaks::Http2);
        return Box::pin(serve_h2::serve(wire, conn, shared)).await;
    }
    let sniff = conn.tls.is_none();
    match serve_h1::serve(wire, conn.clone(), shared, sniff, protocols.h2).await {
        Outcome::Closed => {}
        Outcome::Http2(wire) => {
            let _counted = shared.connections.speaks(Speaks::Http2);
            Box::pin(serve_h2::serve(wire, conn, shared)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Defaults;
    use crate::error::Why;
    use crate::http::respond::{self, Format};
    use crate::http::{Request, Response, Settings};
    use crate::net::{Io, Socket};

    /// Has a defect on one path.
    struct Defective;

    impl Handler for Defective {
        async fn handle(&self, request: Request) -> Box<Response> {
            assert_ne!(request.head.target(), b"/defect", "a defect");
            respond::own(200, "text/plain", "fine".into())
        }

        fn refuse(&self, _: &Rc<ConnInfo>, why: Why) -> Box<Response> {
            respond::error(why, Format::Text, "-")
        }
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = tcp.read_to_string(&mut answer).await;
        answer
    }

    #[test]
    fn a_panic_ends_its_own_connection_and_no_other() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let Defaults { timeouts, limits, .. } = Defaults::default();
            let settings = Settings { timeouts, limits, h2_keep_alive: std::time::Duration::from_secs(60) };
            let shared = Rc::new(Shared::new(Defective, settings));
            let registry = shared.connections.clone();
            tokio::task::spawn_local(async move {
                while let Ok((tcp, peer)) = listener.accept().await {
                    let shared = shared.clone();
                    tokio::task::spawn_local(async move {
                        let _place = shared.connections.enter();
                        let conn = Rc::new(ConnInfo::new(peer, address, 0, None));
                        connection(
                            Wire::new(Io::Tcp(Socket::new(tcp))),
                            conn,
                            &shared,
                            Protocols { h1: true, h2: true },
                        )
                        .await;
                    });
                }
            });
            let mut open = TcpStream::connect(address).await.unwrap();
            open.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let mut buffer = [0; 1024];
            assert!(open.read(&mut buffer).await.unwrap() > 0);
            assert_eq!(ask(address, "/defect").await, "");
            assert!(ask(address, "/2").await.ends_with("fine"));
            open.write_all(b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            assert!(open.read(&mut buffer).await.unwrap() > 0);
            drop(open);
            while registry.open() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
