//! When a certificate is renewed, and when a failed order is tried again.

use std::time::Duration;

/// Seconds between two tries after a failure that counts against rate limits; the last one goes on. The first is followed
/// by a try on the staging server, where there is one.
const LASTING: [u64; 16] = [60, 120, 120, 300, 600, 600, 600, 1200, 1200, 1200, 1200, 1800, 1800, 3600, 10_800, 21_600];
/// The same after a failure that costs nobody anything, such as a server that cannot be reached.
const PASSING: [u64; 10] = [2, 4, 8, 16, 32, 60, 120, 300, 600, 1800];

/// Validity of a certificate, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    fn lifetime(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }

    /// When to renew: at the moment chosen in the server's window (RFC 9773), else when a third of the lifetime is left.
    /// A window cannot move it so late that less than a twentieth is left.
    pub fn renew_at(self, chosen: Option<i64>) -> i64 {
        let last = self.not_after - self.lifetime() / 20;
        chosen.unwrap_or(self.not_after - self.lifetime() / 3).min(last)
    }
}

/// A moment in the window a server suggests, all equally likely (RFC 9773 section 4.2); a window that has passed is now.
pub(super) fn choose(start: i64, end: i64, now: i64, random: f64) -> i64 {
    if end <= now || end <= start {
        return start.min(now);
    }
    // Windows are days long: the rounding of a float is far below a second.
    start + ((end - start) as f64 * random.clamp(0.0, 1.0)) as i64
}

/// How long to wait after a number of failures in a row, at least one, give or take a tenth.
pub(super) fn backoff(failures: u32, passing: bool, random: f64) -> Duration {
    let table: &[u64] = if passing { &PASSING } else { &LASTING };
    let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(table.len() - 1);
    Duration::from_secs(table[index]).mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_third_of_the_real_lifetime_is_left_at_a_renewal() {
        for (days, expected) in [(90, 60), (6, 4), (3, 2)] {
            let validity = Validity { not_before: 1000, not_after: 1000 + days * DAY };
            assert_eq!(validity.renew_at(None), 1000 + expected * DAY);
        }
        let odd = Validity { not_before: 10, not_after: 5 };
        assert_eq!(odd.renew_at(None), 5, "a certificate that was never valid is renewed at once");
    }

    #[test]
    fn the_servers_window_moves_a_renewal_both_ways_but_not_past_the_end() {
        let validity = Validity { not_before: 0, not_after: 100 * DAY };
        assert_eq!(validity.renew_at(Some(DAY)), DAY);
        assert_eq!(validity.renew_at(Some(80 * DAY)), 80 * DAY);
        assert_eq!(validity.renew_at(Some(99 * DAY)), 95 * DAY);
    }

    #[test]
    fn the_moment_lies_in_the_window_and_a_window_that_has_passed_is_now() {
        assert_eq!([0.0, 0.5, 1.0].map(|random| choose(100, 200, 50, random)), [100, 150, 200]);
        assert_eq!(choose(100, 200, 300, 0.5), 100);
        assert_eq!(choose(200, 100, 50, 0.5), 50, "a window that ends before it begins");
    }

    #[test]
    fn waits_grow_and_end_at_six_hours() {
        let middle = |failures, passing| backoff(failures, passing, 0.5).as_secs_f64().round() as u64;
        assert_eq!([1, 2, 3, 4].map(|failures| middle(failures, false)), [60, 120, 120, 300]);
        assert_eq!(middle(1000, false), 21_600);
        assert_eq!([1, 2, 1000].map(|failures| middle(failures, true)), [2, 4, 1800]);
        assert!(backoff(1, false, 0.0) < backoff(1, false, 1.0));
        assert_eq!(middle(0, false), 60);
    }
}
