//! The time as of the worker's last wake-up.
//!
//! A request would ask for the time half a dozen times; the runtime's hook asks once for each batch of events instead.
//! Deadlines are whole seconds, so a batch's worth of staleness does not matter.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// The time of the last [`tick`] on this thread, or the real time where nobody ticks.
pub fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// Notes the real time. A worker's runtime calls this each time it wakes up.
pub fn tick() {
    NOW.set(Some(Instant::now()));
    WALL.set(None);
}

/// The time of day, asked for at most once between two wake-ups, or the real one where nobody ticks.
pub fn wall() -> SystemTime {
    if let Some(wall) = WALL.get() {
        return wall;
    }
    let wall = SystemTime::now();
    if NOW.get().is_some() {
        WALL.set(Some(wall));
    }
    wall
}
