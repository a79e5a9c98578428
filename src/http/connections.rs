//! The open connections of one worker: how many there are, and how they hear that it is time to go.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// A registry of connection tasks. Telling them costs nothing until it happens.
#[derive(Debug, Default)]
pub struct Connections {
    draining: Cell<bool>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<usize>,
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

    /// Connections finish what they are doing and close.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Tells every connection to finish.
    pub fn drain(&self) {
        self.draining.set(true);
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
