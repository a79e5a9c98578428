//! The time as of a moment ago: a request would ask the system half a dozen times.
//!
//! The runtime's hook asks once for each batch of events, and in a worker that never rests, whose hook is not called, each
//! few dozen questions. So the time is late by what a worker does between them, at most a few milliseconds; deadlines are
//! whole seconds.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

/// How many questions one answer of the system serves.
const QUESTIONS: u32 = 32;

thread_local! {
    /// The last answer, where somebody ticks, and how many questions it still serves.
    static NOW: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
    static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// The time of the last [`tick`] on this thread, or the real time where nobody ticks.
pub fn now() -> Instant {
    match NOW.get() {
        Some((now, left @ 1..)) => {
            NOW.set(Some((now, left - 1)));
            now
        }
        Some((_, 0)) => ask(),
        None => Instant::now(),
    }
}

/// Notes the real time. A worker's runtime calls this each time it wakes up.
pub fn tick() {
    ask();
}

fn ask() -> Instant {
    let now = Instant::now();
    NOW.set(Some((now, QUESTIONS)));
    WALL.set(None);
    now
}

/// The time of day, asked for at most once between two ticks, or the real one where nobody ticks.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_goes_on_where_a_worker_never_rests() {
        tick();
        let began = now();
        assert_eq!(now(), began);
        let wall_then = wall();
        let real = Instant::now();
        // Nobody ticks from here on.
        while real.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let asked = (1..=QUESTIONS).find(|_| now() >= began + Duration::from_millis(20));
        assert!(asked.is_some(), "{QUESTIONS} questions later it is still the same time");
        assert!(wall() > wall_then);
    }
}
