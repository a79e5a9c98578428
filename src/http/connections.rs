//! The open connections of one worker: how many there are, and how they hear that it is time to go.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// How connections are asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// They are not.
    #[default]
    No,
    /// After what they do, and what an idle one is asked next: another process accepts on the same sockets, and no request
    /// may be lost on the way there.
    Gently,
    /// After what they do; idle ones at once.
    Now,
}

/// A registry of connection tasks. Telling them costs nothing until it happens.
#[derive(Debug, Default)]
pub struct Connections {
    haste: Cell<Haste>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<usize>,
    /// Open connections by what is spoken on them.
    speaking: [Cell<usize>; 3],
    stirs: Cell<u64>,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
    /// Bytes in both directions, after an upgrade.
    Tunnel,
}

/// A connection that is counted by what it speaks, until it is dropped.
#[derive(Debug)]
pub struct Counted<'a>(&'a Cell<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One connection's place in the registry; dropping it leaves.
#[derive(Debug)]
pub struct Place<'a> {
    connections: &'a Connections,
    index: usize,
}

impl Connections {
    /// Enters a connection.
    pub fn enter(&self) -> Place<'_> {
        let mut wakers = self.wakers.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        self.open.set(self.open.get() + 1);
        Place { connections: self, index }
    }

    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Counts a connection by what is spoken on it.
    pub fn speaks(&self, what: Speaks) -> Counted<'_> {
        let count = &self.speaking[what as usize];
        count.set(count.get() + 1);
        Counted(count)
    }

    /// How many connections speak HTTP/1.1, HTTP/2, and whatever a tunnel carries.
    pub fn speaking(&self) -> [usize; 3] {
        [0, 1, 2].map(|what: usize| self.speaking[what].get())
    }

    /// Connections finish what they are doing and close.
    pub fn is_draining(&self) -> bool {
        self.haste.get() != Haste::No
    }

    /// What has not begun is given up: idle connections, handshakes.
    pub fn is_hasty(&self) -> bool {
        self.haste.get() == Haste::Now
    }

    /// How often all were woken: a connection with tasks of its own passes it on.
    pub fn stirs(&self) -> u64 {
        self.stirs.get()
    }

    /// Tells every connection to finish. What was said before in more haste holds.
    pub fn drain(&self, haste: Haste) {
        self.haste.set(self.haste.get().max(haste));
        self.stir();
    }

    /// Wakes every connection, so that each looks whether what it depends on is over.
    pub fn stir(&self) {
        self.stirs.set(self.stirs.get() + 1);
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

impl Place<'_> {
    /// Notes the task to wake; call it once from the task itself.
    pub fn register(&self, cx: &Context<'_>) {
        if let Some(slot) = self.connections.wakers.borrow_mut().get_mut(self.index) {
            *slot = Some(cx.waker().clone());
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.connections.wakers.borrow_mut().get_mut(self.index) {
            *slot = None;
        }
        self.connections.free.borrow_mut().push(self.index);
        self.connections.open.set(self.connections.open.get() - 1);
    }
}
