//! One client connection from its first byte to its last.

use std::rc::Rc;

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
        return serve_h2::serve(wire, conn, shared).await;
    }
    let sniff = conn.tls.is_none();
    match serve_h1::serve(wire, conn.clone(), shared, sniff, protocols.h2).await {
        Outcome::Closed => {}
        Outcome::Http2(wire) => serve_h2::serve(wire, conn, shared).await,
    }
}
