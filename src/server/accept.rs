//! From a listening socket to a served connection.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::SendError;

use super::doors::{Arriving, Facts, Hall};
use super::proxy_header;
use super::worker::Command;
use super::wrong_door;
use crate::http::serve;
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Shared};
use crate::metrics::{HandshakeFailure, WorkerShard};
use crate::net::proxy_protocol::Addresses;
use crate::net::{Accepting, Io, Socket, clock};
use crate::proxy::Proxy;
use crate::tls::{Acceptor, HandshakeError, TlsFacts};

/// How long accepting rests when there are no descriptors or no room.
const REST: Duration = Duration::from_millis(20);
/// How long a connection whose handshake failed is read for its client to have the alert, and how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

/// An accepted connection on its way to another worker.
pub(super) struct Handed {
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    door: usize,
}

impl Handed {
    pub fn door(&self) -> usize {
        self.door
    }
}

/// Accepts on one socket until the door is closed.
pub(super) async fn accept(socket: TcpListener, id: usize, local: SocketAddr, hall: Rc<Hall>) {
    let listener = match Accepting::new(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("listening on {local}: {error}"),
    };
    let seat = &hall.seat;
    let mut full = false;
    loop {
        if hall.busy() >= seat.max {
            if !full {
                tracing::warn!("{} connections are open on this worker: new ones wait", seat.max);
            }
            full = true;
            tokio::time::sleep(REST).await;
            continue;
        }
        match listener.accept().await {
            Ok((tcp, peer)) => {
                full = false;
                spread(tcp, peer, id, &hall);
            }
            Err(error) if is_shortage(&error) => {
                if !full {
                    tracing::warn!("cannot accept: {error}: new connections wait");
                }
                full = true;
                tokio::time::sleep(REST).await;
            }
            // The client went away before it was accepted.
            Err(_) => {}
        }
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM: accepting again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

/// Serves a connection here, or hands it to a worker with clearly fewer: a few long HTTP/2 connections must not all land
/// on one worker, and many short ones must not pay for a hand-over.
fn spread(tcp: TcpStream, peer: SocketAddr, id: usize, hall: &Rc<Hall>) {
    let seat = &hall.seat;
    let own = hall.shared().connections.open();
    let busy = seat.peers.open.iter().map(|open| open.load(Ordering::Relaxed)).enumerate();
    if seat.peers.open.len() > 1
        && let Some((least, open)) = busy.min_by_key(|(_, open)| *open)
        && least != seat.index
        && own > open + open / 8
    {
        // The count is raised here already, so that a burst is not handed to one worker.
        seat.peers.open[least].fetch_add(1, Ordering::Relaxed);
        if let Ok(tcp) = tcp.into_std()
            && let Err(SendError(Command::Take(back))) =
                seat.peers.commands[least].send(Command::Take(Handed { tcp, peer, door: id }))
        {
            // That worker has ended.
            take(back, hall);
        }
        return;
    }
    begin(tcp, peer, id, hall);
}

/// Starts the task of a connection. A task moves its future four times in its life (into the task, and at the end with each
/// change of its stage): boxed, the state of a connection is moved once.
fn begin(tcp: TcpStream, peer: SocketAddr, id: usize, hall: &Rc<Hall>) {
    if let Some(facts) = hall.facts(id) {
        let arriving = hall.arriving();
        tokio::task::spawn_local(Box::pin(connection(tcp, peer, facts, hall.clone(), arriving)));
    }
}

/// Serves a connection that another worker accepted.
pub(super) fn take(handed: Handed, hall: &Rc<Hall>) {
    if hall.facts(handed.door).is_none() {
        return hall.keep(handed);
    }
    if let Ok(tcp) = TcpStream::from_std(handed.tcp) {
        begin(tcp, handed.peer, handed.door, hall);
    }
}

/// One connection, from accept to close.
async fn connection(tcp: TcpStream, peer: SocketAddr, door: Rc<Facts>, hall: Rc<Hall>, arriving: Arriving) {
    let (seat, shared) = (&hall.seat, hall.shared());
    let place = shared.connections.enter();
    drop(arriving);
    count(&shared, |counters| counters.accepted.add(1));
    seat.publish(shared.connections.open());
    poll_fn(|cx| {
        place.register(cx);
        Poll::Ready(())
    })
    .await;
    serve_client(tcp, peer, &door, &shared).await;
    drop(place);
    seat.publish(shared.connections.open());
}

async fn serve_client(mut tcp: TcpStream, peer: SocketAddr, door: &Facts, shared: &Rc<Shared<Proxy>>) {
    let accepted = clock::now();
    let Some(ends) = ends(&mut tcp, peer, door, shared).await else { return };
    let established = match &door.acceptor {
        None => Some((Io::Tcp(Socket::new(tcp)), None)),
        Some(acceptor) => {
            // The handshake's state is large and short-lived: it does not stay in the connection's task.
            let mut shaking = Box::pin(handshake(tcp, ends, acceptor, door, shared));
            poll_fn(|cx| match shaking.as_mut().poll(cx) {
                Poll::Pending if shared.connections.is_hasty() => Poll::Ready(None),
                shaken => shaken,
            })
            .await
        }
    };
    if let Some((io, tls)) = established {
        let mut conn = ConnInfo::new(ends.source, ends.destination, door.index, tls);
        if conn.tls.is_some() {
            conn.handshake = clock::now() - accepted;
        }
        conn.door = Some(door.term.clone());
        let conn = Rc::new(conn);
        serve::connection(Wire::new(io), conn, shared, door.protocols).await;
    }
}

/// Who is connected to what: as the socket says, or as a trusted balancer in front says of the client it stands for.
/// `None`: the connection is over.
async fn ends(tcp: &mut TcpStream, peer: SocketAddr, door: &Facts, shared: &Shared<Proxy>) -> Option<Addresses> {
    let local = if door.exact_local { tcp.local_addr().unwrap_or(door.local) } else { door.local };
    let own = Addresses { source: peer, destination: local };
    let Some(rules) = door.proxy_protocol.as_ref().filter(|rules| proxy_header::is_expected(rules, peer)) else {
        return Some(own);
    };
    match Box::pin(proxy_header::take(tcp, rules, &shared.connections)).await {
        Ok(told) => Some(told.unwrap_or(own)),
        Err(Some(why)) => {
            count(shared, |counters| counters.error(why));
            tracing::warn!("{peer}: connection to {} closed: {why}: {}", door.local, why.row().cause);
            None
        }
        Err(None) => None,
    }
}

/// Counts something of this worker's, where metrics are on.
fn count(shared: &Shared<Proxy>, add: impl FnOnce(&WorkerShard)) {
    if let Some(sinks) = shared.handler.sinks()
        && let Some(counters) = sinks.worker_metrics()
    {
        add(counters);
    }
}

async fn handshake(
    tcp: TcpStream,
    ends: Addresses,
    acceptor: &Acceptor,
    door: &Facts,
    shared: &Shared<Proxy>,
) -> Option<(Io, Option<TlsFacts>)> {
    let peer = ends.source;
    let mut socket = Socket::new(tcp);
    socket.hold_tickets();
    let accepting = acceptor.accept(socket);
    let accepted = match shared.settings.timeouts.handshake {
        None => accepting.await,
        Some(limit) => match tokio::time::timeout(limit, accepting).await {
            Ok(accepted) => accepted,
            Err(_) => {
                count(shared, |counters| counters.handshake_failed(HandshakeFailure::Timeout));
                tracing::debug!("{peer}: no TLS handshake within {limit:?}");
                return None;
            }
        },
    };
    let (error, mut io) = match accepted {
        Ok((mut tls, facts)) => {
            count(shared, |counters| counters.handshake(facts.version, facts.group, facts.resumed));
            tls.get_mut().0.hold_nothing();
            return Some((Io::Tls(Box::new(tls.into())), Some(facts)));
        }
        Err(failed) => failed,
    };
    if let Some(failure) = error.counted_as() {
        count(shared, |counters| counters.handshake_failed(failure));
    }
    let has_last_word = error.has_last_word();
    match error {
        HandshakeError::NotTls { read } => {
            io.hold_nothing();
            let mut wire = Wire::new(Io::Tcp(io));
            wire.input = BytesMut::from(&read[..]);
            if let Some(wrong_door) = &door.wrong_door {
                Box::pin(wrong_door::serve(wire, peer, ends.destination, door.index, wrong_door)).await;
            }
            return None;
        }
        HandshakeError::Closed => {}
        HandshakeError::Challenge(_) => tracing::debug!("{peer}: {error}"),
        error => tracing::info!("{peer}: TLS handshake on {}: {error}", door.local),
    }
    if has_last_word {
        // Over after a second at most, however it ends.
        let _ = tokio::time::timeout(LINGER, part(io)).await;
    }
    None
}

/// Ends the stream and reads what the client has sent with its handshake, such as a first request: a socket closed over
/// unread bytes is reset, and the alert lost on its way.
async fn part(mut io: Socket) -> io::Result<()> {
    io.shutdown().await?;
    let mut unread = io.take(LINGER_BYTES);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.map(drop)
}
