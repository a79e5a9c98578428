//! The time as of the worker's last wake-up.
//!
//! A request would ask for the time half a dozen times; the runtime's hook asks once for each batch of events instead.
//! Deadlines are whole seconds, so a batch's worth of staleness does not matter.

use std::cell::Cell;
use std::time::Instant;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time of the last [`tick`] on this thread, or the real time where nobody ticks.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// Notes the real time. A worker's runtime calls this each time it wakes up.
pub fn tick() {
    NOW.set(Some(Instant::now()));
}
