//! The PROXY protocol header of an accepted connection, before TLS and before HTTP.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::ProxyProtocol;
use crate::error::Why;
use crate::http::connections::Connections;
use crate::net::proxy_protocol::{self, Addresses, HeaderError, Parsed};

/// Bytes looked at at once: most headers are shorter.
const PEEK: usize = 256;

/// Whether this peer speaks for others. A peer that may sends a header on every connection; of any other, the same bytes
/// are no header but a faulty request.
pub(super) fn is_expected(rules: &ProxyProtocol, peer: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    rules.trust.iter().any(|net| net.contains(&ip))
}

/// Reads the header off the connection and nothing behind it. `Ok(None)`: the balancer speaks for itself.
///
/// # Errors
/// `None` when the peer left without a byte, or when the worker is draining: there is nothing to say then.
pub(super) async fn take(
    tcp: &mut TcpStream,
    rules: &ProxyProtocol,
    connections: &Connections,
) -> Result<Option<Addresses>, Option<Why>> {
    let mut reading = pin!(tokio::time::timeout(rules.timeout, read(tcp)));
    poll_fn(|cx| match reading.as_mut().poll(cx) {
        Poll::Ready(Ok(read)) => Poll::Ready(read),
        Poll::Ready(Err(_)) => Poll::Ready(Err(Some(Why::ProxyHeaderTimeout))),
        Poll::Pending if connections.is_hasty() => Poll::Ready(Err(None)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// What stands behind the header is the client's and stays in the socket, for TLS or HTTP to read: so bytes are looked at
/// first, and only those of the header are taken.
async fn read(tcp: &mut TcpStream) -> Result<Option<Addresses>, Option<Why>> {
    let mut header = Vec::new();
    loop {
        let taken = header.len();
        header.resize(taken + PEEK, 0);
        let peeked = match tcp.peek(&mut header[taken..]).await {
            Ok(0) if taken == 0 => return Err(None),
            Ok(0) => return Err(Some(Why::ProxyHeaderMalformed)),
            Ok(peeked) => peeked,
            Err(_) => return Err(None),
        };
        header.truncate(taken + peeked);
        let (addresses, length) = match proxy_protocol::read(&header) {
            Ok(Parsed::Header(addresses, length)) => (Some(addresses), length),
            Ok(Parsed::Partial) => (None, header.len()),
            Err(HeaderError::Missing) => return Err(Some(Why::ProxyHeaderMissing)),
            Err(HeaderError::Malformed | HeaderError::Checksum) => return Err(Some(Why::ProxyHeaderMalformed)),
        };
        // They are there: this does not wait.
        if tcp.read_exact(&mut header[taken..length]).await.is_err() {
            return Err(None);
        }
        if let Some(addresses) = addresses {
            return Ok(addresses);
        }
    }
}
