//! HTTP towards clients: connections become requests, a [`Handler`] makes responses of them.
//!
//! The protocols (HTTP/1.1 in `serve_h1`, HTTP/2 in `serve_h2`) hold no policy: what to answer is the handler's.

pub mod batch;
pub mod body;
pub mod connections;
pub mod headers;
mod rare;
pub mod respond;
pub mod serve;
mod serve_h1;
mod serve_h2;
pub mod term;
pub mod tunnel;
pub mod websocket;
pub mod wire;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Limits, Timeouts};
use crate::error::Why;
use crate::message::{Fields, RequestHead};
use crate::net::Deadline;
use crate::tls::TlsFacts;
use body::Body;
use connections::Connections;
pub use rare::Rare;
use term::{Standing, Term};
use tunnel::Tunnel;

/// What is known of a client connection before its first request.
#[derive(Debug)]
pub struct ConnInfo {
    /// The client as the socket says.
    pub peer: SocketAddr,
    /// The client's address in text, as forwarding fields and logs want it: IPv4 in IPv6 is written as IPv4.
    pub peer_ip: Rc<str>,
    pub local: SocketAddr,
    /// The port the client connected to, in text.
    pub local_port: Box<str>,
    /// Index into the config's listeners.
    pub listener: usize,
    pub tls: Option<TlsFacts>,
    /// How long the TLS handshake took, from accept; zero without one.
    pub handshake: Duration,
    /// The term of the listener, where a reload may close it.
    pub door: Option<Rc<Term>>,
}

impl ConnInfo {
    pub fn new(peer: SocketAddr, local: SocketAddr, listener: usize, tls: Option<TlsFacts>) -> ConnInfo {
        ConnInfo {
            peer,
            peer_ip: text(canonical(peer)),
            local,
            local_port: itoa::Buffer::new().format(local.port()).into(),
            listener,
            tls,
            handshake: Duration::ZERO,
            door: None,
        }
    }

    /// The client's address, IPv4-mapped ones as IPv4.
    pub fn ip(&self) -> IpAddr {
        canonical(self.peer)
    }

    /// The listener is gone, and the time of those that came in by it is over.
    pub fn is_over(&self) -> bool {
        self.door.as_ref().is_some_and(|door| door.is_over())
    }
}

fn canonical(addr: SocketAddr) -> IpAddr {
    addr.ip().to_canonical()
}

/// An address in text. Of IPv4 without the formatter, which takes a tenth of the instructions of a short connection.
fn text(ip: IpAddr) -> Rc<str> {
    let IpAddr::V4(ip) = ip else { return ip.to_string().into() };
    let (mut text, mut end) = ([b'.'; 15], 0);
    for octet in ip.octets() {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(octet).as_bytes();
        text[end..end + digits.len()].copy_from_slice(digits);
        end += digits.len() + 1;
    }
    String::from_utf8_lossy(&text[..end - 1]).into()
}

/// A request on its way to the handler.
#[derive(Debug)]
pub struct Request {
    /// On the heap, since a request goes through many hands.
    pub head: Box<RequestHead>,
    pub body: Body,
    pub conn: Rc<ConnInfo>,
    /// The timer of the task this request runs in; the handler moves it to what it waits for.
    pub deadline: Rc<Deadline>,
    /// Sends interim responses (103) where the protocol can.
    pub interim: Option<Interim>,
}

/// A response on its way to the client. Hop-by-hop fields are the protocol's to add. It is on the heap, since it goes through
/// many hands.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Fields,
    pub body: Body,
    /// The connection becomes a tunnel after this head (101).
    pub tunnel: Option<Box<Tunnel>>,
    /// The connection cannot be used for another request.
    pub close: bool,
    /// How long its body may stand still, where the route says so; else what `[defaults]` says.
    pub idle: Option<Option<Duration>>,
    /// What it depends on; a tunnel has its own.
    pub standing: Standing,
    pub on_end: Option<OnEnd>,
}

impl Response {
    pub fn new(status: u16) -> Box<Response> {
        Box::new(Response {
            status,
            fields: Fields::default(),
            body: Body::Empty,
            tunnel: None,
            close: false,
            idle: None,
            standing: Standing::default(),
            on_end: None,
        })
    }
}

/// Runs once when the response is over: its last byte written, or given up.
pub struct OnEnd(pub Box<dyn WhenOver>);

/// What is done when a response is over.
pub trait WhenOver {
    fn over(self: Box<Self>, ended: Ended);
}

impl<F: FnOnce(Ended)> WhenOver for F {
    fn over(self: Box<Self>, ended: Ended) {
        self(ended);
    }
}

impl OnEnd {
    /// Runs both.
    pub fn both(first: Option<OnEnd>, second: Option<OnEnd>) -> Option<OnEnd> {
        match (first, second) {
            (Some(first), Some(second)) => Some(OnEnd(Box::new(move |ended| {
                first.0.over(ended);
                second.0.over(ended);
            }))),
            (first, second) => first.or(second),
        }
    }
}

impl std::fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnEnd")
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Body bytes handed to the connection.
    pub bytes: u64,
    /// Why the body is not whole.
    pub cut: Option<Why>,
}

/// Writes an interim response: status and fields.
pub trait SendInterim {
    fn send(&self, status: u16, fields: &Fields);
}

impl<F: Fn(u16, &Fields)> SendInterim for F {
    fn send(&self, status: u16, fields: &Fields) {
        self(status, fields);
    }
}

/// Sends an interim response on the connection of one request.
#[derive(Clone)]
pub struct Interim(pub Rc<dyn SendInterim>);

impl std::fmt::Debug for Interim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interim")
    }
}

/// Makes responses: the one seam between protocols and policy.
pub trait Handler: 'static {
    /// Answers a request. Failures are answers too.
    fn handle(&self, request: Request) -> impl Future<Output = Box<Response>>;

    /// Answers what never became a request: bytes that were refused.
    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Box<Response>;
}

/// What the protocols need to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub timeouts: Timeouts,
    pub limits: Limits,
    /// Idle time of an HTTP/2 connection without streams.
    pub h2_keep_alive: Duration,
}

/// What every connection of a worker shares. A reload makes a new one with the new settings, over the same handler and the
/// same registry: connections that are open keep the settings they began with.
pub struct Shared<H> {
    pub handler: Rc<H>,
    pub settings: Settings,
    pub connections: Rc<Connections>,
    calls: serve_h1::Spares<H>,
}

impl<H> Shared<H> {
    /// The first one, without connections.
    pub fn new(handler: H, settings: Settings) -> Shared<H> {
        Shared { handler: Rc::new(handler), settings, connections: Rc::default(), calls: Default::default() }
    }

    /// The same with other settings, for the connections that come from here on.
    pub fn with(&self, settings: Settings) -> Shared<H> {
        let (handler, connections) = (self.handler.clone(), self.connections.clone());
        Shared { handler, settings, connections, calls: Default::default() }
    }

    /// The same with another registry.
    pub fn counted_in(self, connections: Rc<Connections>) -> Shared<H> {
        Shared { connections, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_address_reads_as_the_standard_library_writes_it(ip: IpAddr) {
            prop_assert_eq!(&*text(ip), ip.to_string());
        }
    }

    #[test]
    fn the_longest_and_the_shortest_address_fit() {
        for ip in ["255.255.255.255", "0.0.0.0", "10.200.3.40", "::1"] {
            assert_eq!(&*text(ip.parse().unwrap()), ip);
        }
    }
}
