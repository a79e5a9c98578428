//! One column of a comparison: connect, handshake, one exchange, a half-close, and what the kernel says afterwards.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::capture::Capture;
use super::exchange::{self, Lent};
use super::kernel::{self, Side, Sides};
use super::packet::Packet;
use super::records::{self, Conversation};
use super::request::{Answer, Column, Doors, Request};
use super::secrets::Secret;
use super::tcp_info::{self, TcpInfo};
use super::tls_client::TlsClient;
use super::trips::{self, Marks};
use crate::net::tap::{Tap, Tape, Way};

/// How long one column may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the kernel may take to settle the states of a closed connection.
const SETTLING: Duration = Duration::from_secs(1);

/// What TLS agreed on.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    pub version: String,
    pub cipher: String,
    pub group: Option<String>,
    pub alpn: Option<String>,
    pub resumed: bool,
    /// Leaf first; of a resumed connection those of the session it resumes.
    pub chain: Vec<CertificateDer<'static>>,
    /// What a client that believes our roots says.
    pub verdict: Option<Result<(), String>>,
}

/// How the connection ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Close {
    /// The server closed too, rather than leaving us waiting.
    pub by_server: bool,
    /// The sides after the close, as the kernel knows them.
    pub after: Sides,
    /// The server's socket was in this network namespace while the connection lived, so its end can be judged.
    pub server_here: bool,
    /// The kernel let us look.
    pub looked: bool,
}

impl Close {
    /// Who keeps TIME_WAIT.
    pub fn holder(&self) -> &'static str {
        let waits = |side: Option<Side>| side.is_some_and(Side::is_time_wait);
        match (self.looked, waits(self.after.client), waits(self.after.server), self.server_here) {
            (false, ..) => "not seen",
            (_, true, true, _) => "both",
            (_, true, false, _) => "client",
            (_, false, true, _) => "server",
            (_, false, false, true) => "nobody",
            (_, false, false, false) => "not client",
        }
    }
}

/// One observed column.
#[derive(Debug, Clone)]
pub struct Leg {
    pub column: Column,
    pub authority: String,
    pub local: Option<SocketAddr>,
    pub peer: SocketAddr,
    pub started: SystemTime,
    /// What was on the wire.
    pub wire: Tape,
    /// What it meant, above TLS; of a plain connection the same.
    pub clear: Tape,
    pub talk: Option<Conversation>,
    pub secrets: Vec<Secret>,
    pub connected: Option<Duration>,
    pub secured: Option<Duration>,
    pub first_byte: Option<Duration>,
    /// Processor time of our side of the TLS handshake.
    pub handshake_cpu: Option<Duration>,
    pub tls: Option<TlsFacts>,
    pub answer: Option<Answer>,
    /// Why there is no answer.
    pub failure: Option<String>,
    pub trips: Option<u32>,
    pub close: Close,
    /// The packets, where a packet socket could be opened and saw all of them.
    pub packets: Vec<Packet>,
    /// What the kernel counted on our side and, where it is on this machine, on the server's, before the close.
    pub tcp: [Option<TcpInfo>; 2],
}

impl Leg {
    /// Who reset the connection, if anybody did.
    pub fn reset_by(&self) -> Option<Way> {
        let packet = self.packets.iter().find(|packet| packet.flags.rst);
        match packet {
            Some(packet) => Some(self.way_of(packet)),
            None => self.wire.reset.then_some(Way::Received),
        }
    }

    pub fn way_of(&self, packet: &Packet) -> Way {
        // The first packet is our SYN.
        let ours = self.packets.first().is_some_and(|first| first.from == packet.from);
        if ours { Way::Sent } else { Way::Received }
    }
}

/// What a leg fills in while it runs, so that a failure keeps what was seen before it.
struct Running {
    leg: Leg,
    wire: Rc<RefCell<Tape>>,
    clear: Rc<RefCell<Tape>>,
}

/// Sends the request through one door. Failures are part of what is observed.
pub(super) async fn run(column: Column, doors: Doors, request: &Request, tls: Option<&TlsClient>) -> Leg {
    let peer = if tls.is_some() { doors.https } else { doors.http };
    // Without the privilege there are no packets, and TCP is derived.
    let capture = Capture::start(peer.port()).ok();
    let began = Instant::now();
    let tape = || Rc::new(RefCell::new(Tape::new(began)));
    let mut running = Running {
        leg: Leg {
            column,
            authority: request.authority(peer, tls.is_some()),
            local: None,
            peer,
            started: SystemTime::now(),
            wire: Tape::new(began),
            clear: Tape::new(began),
            talk: None,
            secrets: Vec::new(),
            connected: None,
            secured: None,
            first_byte: None,
            handshake_cpu: None,
            tls: None,
            answer: None,
            failure: None,
            trips: None,
            close: Close::default(),
            packets: Vec::new(),
            tcp: [None, None],
        },
        wire: tape(),
        clear: tape(),
    };
    match tokio::time::timeout(PATIENCE, exchange(&mut running, began, request, tls, capture.as_ref())).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => running.leg.failure = Some(failure),
        Err(_) => running.leg.failure = Some(format!("no end after {} s", PATIENCE.as_secs())),
    }
    let mut leg = finish(running, tls).await;
    leg.packets = capture.map(Capture::finish).unwrap_or_default();
    leg
}

async fn exchange(
    running: &mut Running,
    began: Instant,
    request: &Request,
    tls: Option<&TlsClient>,
    capture: Option<&Capture>,
) -> Result<(), String> {
    let leg = &mut running.leg;
    let tcp = TcpStream::connect(leg.peer).await.map_err(|error| format!("{} does not accept: {error}", leg.peer))?;
    leg.connected = Some(began.elapsed());
    // A small write goes out at once: a delay of Nagle's would look like a round trip.
    let _ = tcp.set_nodelay(true);
    leg.local = tcp.local_addr().ok();
    if let (Some(capture), Some(local)) = (capture, leg.local) {
        capture.only(local, leg.peer);
    }
    let mut tcp = Tap::new(tcp, running.wire.clone());
    let Some(tls) = tls else {
        leg.answer = Some(exchange::h1(&mut tcp, request, &leg.authority).await?);
        look_for_server(leg);
        leg.close.by_server = exchange::half_close(&mut tcp).await;
        return Ok(());
    };
    let name = ServerName::try_from(request.host.trim_matches(['[', ']']).to_string())
        .map_err(|_| "the host is no name for TLS")?;
    let before = thread_cpu();
    let connected = TlsConnector::from(tls.config.clone()).connect(name, tcp).await;
    leg.handshake_cpu = Some(thread_cpu().saturating_sub(before));
    let stream = connected.map_err(|error| format!("TLS: {error}"))?;
    leg.secured = Some(began.elapsed());
    leg.tls = Some(facts(stream.get_ref().1, tls));
    let mut stream = Tap::new(stream, running.clear.clone());
    if leg.column == Column::Http2 {
        if leg.tls.as_ref().and_then(|tls| tls.alpn.as_deref()) != Some("h2") {
            return Err("the server speaks no HTTP/2 here".into());
        }
        let stream = Rc::new(RefCell::new(stream));
        let authority = leg.authority.clone();
        let before_end = || {
            look_for_server(leg);
            cork(stream.borrow().get_ref().get_ref().0);
        };
        let answer = exchange::h2(Lent(stream.clone()), request, &authority, before_end).await;
        leg.answer = Some(answer?);
        exchange::read_out(&mut Lent(stream.clone())).await;
        leg.close.by_server = exchange::read_out(&mut Below(stream)).await;
        return Ok(());
    }
    leg.answer = Some(exchange::h1(&mut stream, request, &leg.authority).await?);
    look_for_server(leg);
    cork(stream.get_ref().get_ref().0);
    exchange::half_close(&mut stream).await;
    // TLS has ended with the server's close_notify; TCP ends with its FIN.
    leg.close.by_server = exchange::read_out(stream.get_mut().get_mut().0).await;
    Ok(())
}

/// Asks the kernel for the other side while the connection lives: if it is here now, its end can be judged later. Not
/// earlier, since the question takes longer than the answer from a server near by.
fn look_for_server(leg: &mut Leg) {
    let Some(local) = leg.local else { return };
    leg.tcp = [tcp_info::of(local, leg.peer).ok(), tcp_info::of(leg.peer, local).ok()];
    let in_tables = || kernel::sides(local, leg.peer).is_ok_and(|sides| sides.server.is_some());
    leg.close.server_here = leg.tcp[1].is_some() || in_tables();
}

/// Lets the last bytes and the FIN leave in one packet. Apart, a server that answers close_notify with its own FIN would
/// sometimes be first.
fn cork(tcp: &Tap<TcpStream>) {
    // Without it the close is a race, which the kernel's states tell as well.
    let _ = socket2::SockRef::from(tcp.get_ref()).set_tcp_cork(true);
}

/// The socket below a shared TLS stream.
struct Below(Rc<RefCell<Tap<TlsStream<Tap<TcpStream>>>>>);

impl AsyncRead for Below {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.borrow_mut().get_mut().get_mut().0).poll_read(cx, buf)
    }
}

fn facts(connection: &rustls::ClientConnection, tls: &TlsClient) -> TlsFacts {
    let suite = |text: String| text.replace("TLS13_", "TLS_");
    TlsFacts {
        version: connection.protocol_version().map_or_else(String::new, |v| records_version(v.into())),
        cipher: connection.negotiated_cipher_suite().map_or_else(String::new, |s| suite(format!("{:?}", s.suite()))),
        group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        chain: connection.peer_certificates().unwrap_or_default().to_vec(),
        verdict: tls.verifier.verdict(),
    }
}

fn records_version(version: u16) -> String {
    super::hello::version_name(version)
}

/// Reads the tapes again, now that everything has passed.
async fn finish(running: Running, tls: Option<&TlsClient>) -> Leg {
    let Running { mut leg, wire, clear } = running;
    leg.wire = wire.borrow().clone();
    leg.clear = if tls.is_some() { clear.borrow().clone() } else { leg.wire.clone() };
    if let Some(tls) = tls {
        let first = records::read(&leg.wire.sent, &[], &[]);
        leg.secrets = first.client_hello.map(|hello| tls.secrets.of(&hello.random)).unwrap_or_default();
        leg.talk = Some(records::read(&leg.wire.sent, &leg.wire.received, &leg.secrets));
    }
    if leg.answer.is_some() {
        let marks = match leg.column {
            Column::Http2 => trips::h2_marks(&leg.clear),
            _ => Some(Marks { request_end: leg.clear.sent_total, response_start: 0 }),
        };
        leg.trips = marks.and_then(|marks| trips::count(&leg.wire, leg.talk.as_ref(), marks));
        leg.first_byte = marks
            .and_then(|marks| leg.clear.event_of(Way::Received, marks.response_start + 1))
            .map(|(_, event)| event.at);
    }
    if let Some(local) = leg.local {
        (leg.close.after, leg.close.looked) = settled(local, leg.peer).await;
    }
    leg
}

/// The states after the close, when neither side is on its way any more.
async fn settled(local: SocketAddr, peer: SocketAddr) -> (Sides, bool) {
    let began = Instant::now();
    loop {
        let Ok(sides) = kernel::sides(local, peer) else { return (Sides::default(), false) };
        let over = |side: Option<Side>| side.is_none_or(Side::is_time_wait);
        if (over(sides.client) && over(sides.server)) || began.elapsed() > SETTLING {
            return (sides, true);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // Both parts are never negative for this clock.
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}
