//! Passive health: a server that fails again and again is left out for a while.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Outlier;
use crate::net::clock;

/// The doubled time grows no further than this, unless `outlier.eject` itself is longer.
const LONGEST: Duration = Duration::from_secs(60);

/// What one worker knows about the failures of one server.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The last ones, at most `outlier.failures`.
    recent: RefCell<VecDeque<Instant>>,
    ejected_until: Cell<Option<Instant>>,
    /// Times in a row that the server was left out.
    ejections: Cell<u32>,
}

impl Failures {
    /// Left out for the time being.
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected_until.get().is_some_and(|until| clock::now() < until)
    }

    /// Notes a failure; true when there were so many within the window that the server should be left out.
    pub(super) fn add(&self, rules: &Outlier) -> bool {
        let now = clock::now();
        let mut recent = self.recent.borrow_mut();
        if recent.len() >= rules.failures {
            recent.pop_front();
        }
        recent.push_back(now);
        let first = recent.front().copied().unwrap_or(now);
        recent.len() >= rules.failures && now.saturating_duration_since(first) <= rules.window && !self.is_ejected()
    }

    /// Leaves the server out, twice as long as the last time; gives how long.
    pub(super) fn eject(&self, rules: &Outlier) -> Duration {
        let times = self.ejections.get();
        let out = rules.eject.saturating_mul(1 << times.min(16)).min(LONGEST.max(rules.eject));
        self.ejections.set(times.saturating_add(1));
        self.ejected_until.set(Some(clock::now() + out));
        // It comes back with a clean slate.
        self.recent.borrow_mut().clear();
        out
    }

    /// Notes an answer: a server that is back and has not failed for a whole window is like any other again.
    pub(super) fn answered(&self, rules: &Outlier) {
        if self.ejections.get() > 0
            && let Some(until) = self.ejected_until.get()
            && clock::now() > until + rules.window
            && self.recent.borrow().back().is_none_or(|last| clock::now() > *last + rules.window)
        {
            self.ejections.set(0);
            self.ejected_until.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(window: Duration) -> Outlier {
        Outlier { failures: 3, window, ..Outlier::default() }
    }

    #[test]
    fn only_failures_within_the_window_count() {
        let failures = Failures::default();
        let none = rules(Duration::ZERO);
        for _ in 0..10 {
            // Without a runtime's ticks the clock is the real one, which moves.
            std::thread::sleep(Duration::from_millis(1));
            assert!(!failures.add(&none));
        }
        assert!(failures.add(&rules(Duration::from_secs(3600))));
    }

    #[test]
    fn the_time_out_doubles_up_to_a_minute() {
        let failures = Failures::default();
        let rules = rules(Duration::from_secs(10));
        let seconds: Vec<_> = (0..6).map(|_| failures.eject(&rules).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 60, 60, 60]);
        assert!(failures.is_ejected() && !failures.add(&rules));
        let long = Outlier { eject: Duration::from_secs(300), ..rules };
        assert_eq!(Failures::default().eject(&long).as_secs(), 300);
    }

    #[test]
    fn a_server_that_answers_for_a_window_after_its_return_starts_again() {
        let failures = Failures::default();
        let rules = Outlier { eject: Duration::from_millis(2), window: Duration::from_millis(2), ..Outlier::default() };
        failures.eject(&rules);
        failures.answered(&rules);
        assert_eq!(failures.ejections.get(), 1);
        std::thread::sleep(Duration::from_millis(20));
        failures.answered(&rules);
        assert_eq!(failures.ejections.get(), 0);
    }
}
