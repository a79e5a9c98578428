//! The connections to one server that streams share.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;

use super::connection::{Connection, State};
use crate::error::Why;
use crate::net::{Io, clock};

/// Connections to one server at most, by one worker. Beyond their streams, requests wait for one to end.
const MAX_CONNECTIONS: usize = 8;

/// The HTTP/2 connections of a worker to one server.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Pool {
    open: RefCell<Vec<Connection>>,
    /// A connection is being opened: requests that come meanwhile wait for it.
    attempt: RefCell<Option<Rc<Attempt>>>,
}

#[derive(Debug, Default)]
struct Attempt {
    over: Notify,
    failed: Cell<Option<Why>>,
}

/// The right to one stream, counted until it is dropped.
#[derive(Debug)]
pub struct Lease {
    pub(super) sender: SendRequest<Bytes>,
    pub(super) state: Rc<State>,
    /// The connection has answered before: the server may close it at any moment.
    pub(super) reused: bool,
}

impl Pool {
    /// A stream on a connection that is there.
    pub fn lease(&self) -> Option<Lease> {
        let mut open = self.open.borrow_mut();
        let mut at = 0;
        // The first with room, so that those behind it may rest and be closed.
        while let Some(connection) = open.get(at) {
            if !connection.has_room() {
                at += 1;
            } else if let Some(lease) = Lease::new(connection) {
                return Some(lease);
            } else {
                open.remove(at);
            }
        }
        None
    }

    /// Connections without streams.
    pub fn idle(&self) -> usize {
        self.open.borrow().iter().filter(|connection| connection.state.streams.get() == 0).count()
    }

    /// A stream on a connection that is opened now, by this request or by another one that began before. `dial` makes
    /// the connection's bytes.
    ///
    /// # Errors
    /// The cause, which those who waited get too.
    pub async fn connect(&self, dial: impl Future<Output = Result<Io, Why>>) -> Result<Lease, Why> {
        loop {
            let other = self.attempt.borrow().clone();
            let Some(other) = other else { break };
            other.over.notified().await;
            if let Some(why) = other.failed.get() {
                return Err(why);
            }
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
        }
        if let Some(lease) = self.crowd() {
            return Ok(lease);
        }
        let attempt = Attempting::begin(self);
        let opened = match dial.await {
            Ok(io) => Connection::open(io).await,
            Err(why) => Err(why),
        };
        let connection = opened.inspect_err(|why| attempt.attempt.failed.set(Some(*why)))?;
        let lease = Lease::new(&connection).ok_or(Why::UpstreamClosed)?;
        self.open.borrow_mut().push(connection);
        Ok(lease)
    }

    /// Lets go of the connections to other addresses: those with streams end with the last of them.
    pub fn keep_peers(&self, addresses: &[SocketAddr]) {
        self.open.borrow_mut().retain(|connection| connection.peer.is_none_or(|peer| addresses.contains(&peer)));
    }

    /// The least busy connection, when no further one may be opened.
    fn crowd(&self) -> Option<Lease> {
        let mut open = self.open.borrow_mut();
        if open.len() < MAX_CONNECTIONS {
            return None;
        }
        open.retain(Connection::is_open);
        if open.len() < MAX_CONNECTIONS {
            return None;
        }
        open.iter().min_by_key(|connection| connection.state.streams.get()).and_then(Lease::new)
    }

    /// Closes connections that are over, and those without streams for `idle_timeout` or beyond `idle` of them.
    pub fn sweep(&self, idle: usize, idle_timeout: Duration) {
        let now = clock::now();
        let mut kept = 0;
        self.open.borrow_mut().retain(|connection| {
            if !connection.is_open() {
                return false;
            }
            if connection.state.streams.get() > 0 {
                return true;
            }
            kept += 1;
            kept <= idle && now.saturating_duration_since(connection.state.idle_since.get()) < idle_timeout
        });
    }
}

impl Lease {
    fn new(connection: &Connection) -> Option<Lease> {
        let sender = connection.sender()?;
        let state = connection.state.clone();
        state.streams.set(state.streams.get() + 1);
        let reused = state.answered.get();
        Some(Lease { sender, state, reused })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.streams.set(self.state.streams.get() - 1);
        self.state.idle_since.set(clock::now());
    }
}

/// The one attempt of a pool. When the request behind it goes away, one of those that wait takes over.
struct Attempting<'p> {
    pool: &'p Pool,
    attempt: Rc<Attempt>,
}

impl<'p> Attempting<'p> {
    fn begin(pool: &'p Pool) -> Attempting<'p> {
        let attempt = Rc::new(Attempt::default());
        *pool.attempt.borrow_mut() = Some(attempt.clone());
        Attempting { pool, attempt }
    }
}

impl Drop for Attempting<'_> {
    fn drop(&mut self) {
        *self.pool.attempt.borrow_mut() = None;
        self.attempt.over.notify_waiters();
    }
}
