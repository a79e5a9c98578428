//! What the whole process knows of the health of one server: active checks, failures of requests, and how long it has been back.
//!
//! Workers and the keeper's thread share it by atomics; nothing here waits.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::Outlier;

/// The doubled time grows no further than this, unless `outlier.eject` itself is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A server that is back begins with this share of its weight, in percent.
const FIRST_SHARE: u32 = 10;
/// The whole share.
pub(super) const WHOLE: u32 = 100;

/// Where the milliseconds of this file begin.
static BEGIN: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));

/// Milliseconds since the process began; never zero, which is "never".
pub(super) fn millis(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*BEGIN).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What is known of one server.
#[derive(Debug)]
pub struct Health {
    /// Active checks say that it is down.
    down: AtomicBool,
    /// It is left out for its failures until then.
    ejected_until: AtomicU64,
    /// Times in a row that it was left out.
    ejections: AtomicU32,
    /// Requests are answered again since it was left out; said once.
    answers: AtomicBool,
    /// When active checks found it up again.
    up_since: AtomicU64,
    /// Times of the last failures, `outlier.failures` of them.
    recent: Box<[AtomicU64]>,
    next: AtomicUsize,
}

/// The health of a server in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    /// It is back, and its share grows.
    Starting,
    /// Left out for its failures.
    Ejected,
    /// Active checks fail.
    Down,
}

impl State {
    /// Requests go there.
    pub fn is_up(self) -> bool {
        matches!(self, State::Up | State::Starting)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Starting => "starting",
            State::Ejected => "ejected",
            State::Down => "down",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Health {
    /// A server that is well. `failures`: how many of them are remembered.
    pub(super) fn new(failures: usize) -> Health {
        Health {
            down: AtomicBool::new(false),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            answers: AtomicBool::new(true),
            up_since: AtomicU64::new(0),
            recent: (0..failures.max(1)).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// How many failures are remembered.
    pub(super) fn memory(&self) -> usize {
        self.recent.len()
    }

    /// What another one knows, but for the failures that have not led to anything.
    pub(super) fn inherit(&self, old: &Health) {
        self.down.store(old.down.load(Ordering::Relaxed), Ordering::Relaxed);
        self.ejected_until.store(old.ejected_until.load(Ordering::Relaxed), Ordering::Relaxed);
        self.ejections.store(old.ejections.load(Ordering::Relaxed), Ordering::Relaxed);
        self.answers.store(old.answers.load(Ordering::Relaxed), Ordering::Relaxed);
        self.up_since.store(old.up_since.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// It gets requests only when no other server does.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.is_down() || self.is_ejected(now)
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }

    /// The share of its weight that it gets, in percent: less in the time after its return.
    pub(super) fn share(&self, now: Instant, slow_start: Option<Duration>) -> u32 {
        let (ejected, up) = (self.ejected_until.load(Ordering::Relaxed), self.up_since.load(Ordering::Relaxed));
        let back = ejected.max(up);
        // The common case asks no clock.
        let Some(slow_start) = slow_start.filter(|_| back != 0) else { return WHOLE };
        let since = millis(now).saturating_sub(back);
        let percent =
            since.saturating_mul(u64::from(WHOLE)) / u64::try_from(slow_start.as_millis()).unwrap_or(1).max(1);
        u32::try_from(percent).unwrap_or(WHOLE).clamp(FIRST_SHARE, WHOLE)
    }

    pub(super) fn state(&self, now: Instant, slow_start: Option<Duration>) -> State {
        if self.is_down() {
            State::Down
        } else if self.is_ejected(now) {
            State::Ejected
        } else if self.share(now, slow_start) < WHOLE {
            State::Starting
        } else {
            State::Up
        }
    }

    /// Notes what active checks found; true when that is news.
    pub(super) fn set_down(&self, down: bool, now: Instant) -> bool {
        let news = self.down.swap(down, Ordering::Relaxed) != down;
        if news && !down {
            self.up_since.store(millis(now), Ordering::Relaxed);
        }
        news
    }

    /// Nobody checks the server any more.
    pub(super) fn forget_checks(&self) {
        self.down.store(false, Ordering::Relaxed);
    }

    /// Notes a failure; true when there were so many within the window that the server should be left out.
    pub(super) fn add_failure(&self, rules: &Outlier, now: Instant) -> bool {
        let (at, window) = (millis(now), u64::try_from(rules.window.as_millis()).unwrap_or(u64::MAX));
        let place = self.next.fetch_add(1, Ordering::Relaxed) % self.recent.len();
        let (Some(slot), Some(oldest)) = (self.recent.get(place), self.recent.get((place + 1) % self.recent.len()))
        else {
            return false;
        };
        slot.store(at, Ordering::Relaxed);
        let oldest = oldest.load(Ordering::Relaxed);
        oldest != 0 && at.saturating_sub(oldest) <= window && !self.is_ejected(now)
    }

    /// Leaves the server out, twice as long as the last time; gives how long.
    pub(super) fn eject(&self, rules: &Outlier, now: Instant) -> Duration {
        let times = self.ejections.load(Ordering::Relaxed);
        let out = rules.eject.saturating_mul(1 << times.min(16)).min(LONGEST.max(rules.eject));
        self.ejections.store(times.saturating_add(1), Ordering::Relaxed);
        // It comes back with a clean slate.
        self.recent.iter().for_each(|time| time.store(0, Ordering::Relaxed));
        self.answers.store(false, Ordering::Relaxed);
        self.ejected_until.store(millis(now + out), Ordering::Relaxed);
        out
    }

    /// Notes an answer; true when it is the first one since the server was left out. A server that has not failed for a
    /// whole window after its return is like any other again.
    pub(super) fn answered(&self, rules: &Outlier, slow_start: Option<Duration>, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let at = millis(now);
        if at < until {
            return false;
        }
        let window = u64::try_from(rules.window.as_millis()).unwrap_or(u64::MAX);
        let quiet = window.max(slow_start.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        let last = self.recent.iter().map(|time| time.load(Ordering::Relaxed)).max().unwrap_or(0);
        if at > until.saturating_add(quiet) && (last == 0 || at > last.saturating_add(window)) {
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
        !self.answers.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(window: u64) -> Outlier {
        Outlier { failures: 3, window: Duration::from_secs(window), ..Outlier::default() }
    }

    fn at(begin: Instant, seconds: u64) -> Instant {
        // Past the parts of a millisecond that are cut off.
        begin + Duration::from_millis(seconds * 1000 + 5)
    }

    #[test]
    fn only_failures_within_the_window_count() {
        let (health, begin) = (Health::new(3), Instant::now());
        for seconds in 0..10 {
            assert!(!health.add_failure(&rules(5), at(begin, seconds * 3)), "{seconds}");
        }
        assert!(health.add_failure(&rules(5), at(begin, 28)), "24, 27, 28");
    }

    #[test]
    fn the_time_out_doubles_up_to_a_minute() {
        let (health, begin) = (Health::new(3), Instant::now());
        let seconds: Vec<_> = (0..6).map(|_| health.eject(&rules(10), begin).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 60, 60, 60]);
        assert!(health.is_out(begin) && !health.is_out(at(begin, 61)));
        let long = Outlier { eject: Duration::from_secs(300), ..rules(10) };
        assert_eq!(Health::new(3).eject(&long, begin).as_secs(), 300);
    }

    #[test]
    fn a_server_that_answers_for_a_window_after_its_return_starts_again() {
        let (health, begin, rules) = (Health::new(3), Instant::now(), rules(10));
        health.eject(&rules, begin);
        assert!(!health.answered(&rules, None, at(begin, 5)), "an answer to what was sent before");
        assert!(health.answered(&rules, None, at(begin, 12)) && !health.answered(&rules, None, at(begin, 13)));
        assert_eq!(health.ejections.load(Ordering::Relaxed), 1);
        health.answered(&rules, None, at(begin, 21));
        assert_eq!(health.ejections.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_share_of_a_server_that_is_back_grows_from_a_tenth_to_all() {
        let (health, begin, slow) = (Health::new(3), Instant::now(), Some(Duration::from_secs(10)));
        assert_eq!((health.share(begin, slow), health.state(begin, slow)), (100, State::Up));
        health.set_down(true, begin);
        assert_eq!(health.state(begin, slow), State::Down);
        assert!(health.set_down(false, begin) && !health.set_down(false, begin));
        let shares = [0, 5, 9, 10, 60].map(|seconds| health.share(at(begin, seconds), slow));
        assert_eq!(shares, [10, 50, 90, 100, 100]);
        assert_eq!(health.state(at(begin, 5), slow), State::Starting);
        assert_eq!(health.share(begin, None), 100);
        health.eject(&rules(10), at(begin, 60));
        assert_eq!(health.state(at(begin, 61), slow), State::Ejected);
        assert_eq!(health.share(at(begin, 75), slow), 50);
    }
}
