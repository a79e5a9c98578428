//! The lines of a worker between two of its waits: one handing over serves them all, since it takes a lock, and they are
//! written where the worker's cache has them.

use std::cell::RefCell;
use std::sync::Arc;

use super::queue::Sender;

/// Bytes that are handed over by a worker that does not come to wait.
const FULL: usize = 16 << 10;

/// The lines of this thread.
#[derive(Default)]
struct Gathered {
    /// Somebody hands over before each wait.
    keeps: bool,
    /// Whose lines these are.
    to: Option<(Arc<Sender>, usize)>,
    lines: Vec<u8>,
    count: u64,
}

thread_local! {
    static GATHERED: RefCell<Gathered> = RefCell::default();
}

/// From here on this thread calls [`hand_over`] before each of its waits, and at its end.
pub fn gather() {
    GATHERED.with_borrow_mut(|gathered| gathered.keeps = true);
}

/// Hands over the lines of this thread.
pub fn hand_over() {
    GATHERED.with_borrow_mut(Gathered::hand_over);
}

/// Adds a line of a worker: `write` appends it with its line end.
pub(super) fn add(sender: &Arc<Sender>, worker: usize, write: impl FnOnce(&mut Vec<u8>)) {
    GATHERED.with_borrow_mut(|gathered| {
        if gathered.to.as_ref().is_none_or(|(to, of)| !Arc::ptr_eq(to, sender) || *of != worker) {
            gathered.hand_over();
            gathered.to = Some((sender.clone(), worker));
        }
        write(&mut gathered.lines);
        gathered.count += 1;
        if !gathered.keeps || gathered.lines.len() >= FULL {
            gathered.hand_over();
        }
    });
}

impl Gathered {
    /// Lets go of the log too, which may have been replaced.
    fn hand_over(&mut self) {
        if let Some((sender, worker)) = self.to.take() {
            sender.push(worker, &self.lines, self.count);
            self.lines.clear();
            self.count = 0;
        }
    }
}
