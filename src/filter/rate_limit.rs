//! `rate_limit`: GCRA (the generic cell rate algorithm) on a table of fixed size that all workers share without a lock.
//!
//! A key's whole state is one time, TAT, at which it would be as if it had never come: each request moves it by one
//! interval, and a request that would move it further ahead than the burst is refused.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::{RateKey, RateLimit};
use crate::message::Fields;

/// Keys looked after at once; 1 MiB. When there are more, those that are nearest to being forgotten anyway go first.
const SLOTS: usize = 1 << 16;
/// Slots a key may be in.
const WAYS: usize = 8;

/// The limiter of one `rate_limit`, shared by workers and by the routes that take it from one place.
#[derive(Debug)]
pub struct Limiter {
    /// Nanoseconds.
    interval: u64,
    /// How far ahead TAT may be, in nanoseconds.
    reach: u64,
    burst: u32,
    pub key: RateKey,
    pub dry_run: bool,
    began: Instant,
    hasher: RandomState,
    /// Made by the first request: a limit nobody meets takes no memory.
    table: OnceLock<Box<[Slot]>>,
}

/// The state of one key. The two numbers are not changed as one: a key that loses its slot between them loses some counts
/// or gains some, once, and only when the table is full.
#[derive(Debug, Default)]
struct Slot {
    /// A keyed hash, so that nobody can choose keys that share a slot.
    key: AtomicU64,
    tat: AtomicU64,
    /// Of the first slot of a group: a worker takes one of them for a new key.
    taking: AtomicBool,
}

/// What a request may do, with what the `RateLimit` fields say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How long to wait, where the request is over the limit.
    pub wait: Option<Duration>,
    pub burst: u32,
    /// Further requests that would pass now.
    pub left: u32,
    /// Seconds until the whole burst is there again.
    pub reset: u64,
    /// Seconds the burst is spread over: the window of the policy.
    pub window: u64,
}

impl Limiter {
    pub fn new(rules: &RateLimit) -> Limiter {
        let interval = (rules.interval.as_nanos() as u64).max(1);
        Limiter {
            interval,
            reach: interval.saturating_mul(u64::from(rules.burst.max(1))),
            burst: rules.burst.max(1),
            key: rules.key.clone(),
            dry_run: rules.dry_run,
            began: Instant::now(),
            hasher: RandomState::new(),
            table: OnceLock::new(),
        }
    }

    /// The other one counts by the same rules.
    pub fn has_rules_of(&self, other: &Limiter) -> bool {
        (self.interval, self.burst, &self.key, self.dry_run) == (other.interval, other.burst, &other.key, other.dry_run)
    }

    /// Counts a request.
    pub fn count(&self, fields: &Fields, address: IpAddr, now: Instant) -> Standing {
        let (key, now) = self.ask(fields, address, now);
        self.pass(key, now)
    }

    /// What [`Limiter::count`] would say; nothing is counted.
    pub fn look(&self, fields: &Fields, address: IpAddr, now: Instant) -> Standing {
        let (key, now) = self.ask(fields, address, now);
        let slot = self.table.get().and_then(|table| find(ways(table, key), key));
        let tat = slot.map_or(now, |slot| slot.tat.load(Ordering::Acquire).max(now));
        let next = tat.saturating_add(self.interval);
        match next - now > self.reach {
            true => self.standing(tat, now, Some(next - now - self.reach)),
            false => self.standing(next, now, None),
        }
    }

    /// The key of a request, and the time it is counted at.
    fn ask(&self, fields: &Fields, address: IpAddr, now: Instant) -> (u64, u64) {
        let key = match &self.key {
            RateKey::Route => 1,
            RateKey::Header(name) => match fields.get_name(name.as_bytes()) {
                Some(value) => self.hasher.hash_one((1u8, value)),
                None => self.hash_address(address),
            },
            RateKey::ClientIp => self.hash_address(address),
        };
        // One hour ahead: zero is a slot that was never used, and the past is not negative then.
        let now = now.saturating_duration_since(self.began).as_nanos() as u64 + 3_600_000_000_000;
        // Zero is the key of an empty slot.
        (key.max(1), now)
    }

    /// An IPv6 customer has a /64 and could come from a new address each time.
    fn hash_address(&self, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.hasher.hash_one((2u8, address.octets())),
            IpAddr::V6(address) => self.hasher.hash_one((3u8, &address.octets()[..8])),
        }
    }

    fn pass(&self, key: u64, now: u64) -> Standing {
        let table = self.table.get_or_init(|| {
            let slots = if self.key == RateKey::Route { WAYS } else { SLOTS };
            (0..slots).map(|_| Slot::default()).collect()
        });
        let ways = ways(table, key);
        loop {
            let Some(slot) = find(ways, key).or_else(|| claim(ways, key, now)) else {
                // Another worker takes a slot here, perhaps for this very key. It needs a few instructions.
                std::thread::yield_now();
                continue;
            };
            let tat = slot.tat.load(Ordering::Acquire);
            let next = tat.max(now).saturating_add(self.interval);
            if next - now > self.reach {
                return self.standing(tat.max(now), now, Some(next - now - self.reach));
            }
            if slot.tat.compare_exchange(tat, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return self.standing(next, now, None);
            }
        }
    }

    fn standing(&self, tat: u64, now: u64, wait: Option<u64>) -> Standing {
        let ahead = tat - now;
        let seconds = |nanos: u64| nanos.div_ceil(1_000_000_000);
        Standing {
            wait: wait.map(Duration::from_nanos),
            burst: self.burst,
            // At most the burst, which is 32 bits.
            left: ((self.reach.saturating_sub(ahead)) / self.interval) as u32,
            reset: seconds(ahead),
            window: seconds(self.reach),
        }
    }
}

/// The slots a key may be in.
fn ways(table: &[Slot], key: u64) -> &[Slot] {
    // The length is a power of two and a multiple of WAYS, so the ways are inside.
    let first = (key as usize).wrapping_mul(WAYS) & (table.len() - 1);
    &table[first..first + WAYS]
}

fn find(ways: &[Slot], key: u64) -> Option<&Slot> {
    ways.iter().find(|slot| slot.key.load(Ordering::Acquire) == key)
}

/// Takes the slot that is nearest to being forgotten: its key is as if it had never come, or will be soonest. `None` while
/// another worker is at it: of two that took a slot each for the same key, one would count for nothing.
fn claim(ways: &[Slot], key: u64, now: u64) -> Option<&Slot> {
    let taking = &ways.first()?.taking;
    if taking.swap(true, Ordering::Acquire) {
        return None;
    }
    let slot = find(ways, key).or_else(|| {
        let slot = ways.iter().min_by_key(|slot| slot.tat.load(Ordering::Acquire))?;
        if slot.tat.load(Ordering::Acquire) > now {
            // A count that was not over is lost with its key. What is in the past says nothing and may stay.
            slot.tat.store(0, Ordering::Release);
        }
        slot.key.store(key, Ordering::Release);
        Some(slot)
    });
    taking.store(false, Ordering::Release);
    slot
}

impl Standing {
    /// Adds the fields of draft-ietf-httpapi-ratelimit-headers-10.
    pub fn push(&self, fields: &mut Fields) {
        fields.set(b"RateLimit-Policy", format!("\"default\";q={};w={}", self.burst, self.window).as_bytes());
        fields.set(b"RateLimit", format!("\"default\";r={};t={}", self.left, self.reset).as_bytes());
    }

    /// `Retry-After` (RFC 9110 section 10.2.3): whole seconds, after which a request passes.
    pub fn retry_after(&self) -> u64 {
        self.wait.map_or(0, |wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn limiter(interval_ms: u64, burst: u32, key: RateKey) -> Limiter {
        Limiter::new(&RateLimit { interval: Duration::from_millis(interval_ms), burst, key, dry_run: false })
    }

    const START: u64 = 3_600_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_passes_and_then_one_request_an_interval() {
        let limiter = limiter(100, 5, RateKey::ClientIp);
        let passed = (0..20).filter(|_| limiter.pass(7, START).wait.is_none()).count();
        assert_eq!(passed, 5);
        assert_eq!(limiter.pass(7, START).wait, Some(Duration::from_millis(100)));
        assert_eq!(limiter.pass(7, START + 99 * MS).wait, Some(Duration::from_millis(1)));
        assert_eq!(limiter.pass(7, START + 100 * MS).wait, None);
        assert!(limiter.pass(7, START + 100 * MS).wait.is_some());
        assert_eq!(limiter.pass(8, START).left, 4);
        let standing = limiter.pass(7, START + 10_000 * MS);
        assert_eq!((standing.left, standing.reset, standing.window, standing.burst), (4, 1, 1, 5));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let limiter = limiter(1000, 1, RateKey::ClientIp);
        let fields = Fields::default();
        let now = Instant::now();
        let passes = |address: &str| limiter.count(&fields, address.parse().unwrap(), now).wait.is_none();
        assert!(passes("2001:db8:0:1::1"));
        assert!(!passes("2001:db8:0:1:ffff::2"));
        assert!(passes("2001:db8:0:2::1"));
        assert!(passes("10.0.0.1") && passes("10.0.0.2") && !passes("10.0.0.1"));
    }

    #[test]
    fn a_field_counts_by_its_value_and_a_request_without_it_by_its_address() {
        let limiter = limiter(1000, 1, RateKey::Header("x-key".into()));
        let now = Instant::now();
        let passes = |key: Option<&str>, address: [u8; 4]| {
            let mut fields = Fields::default();
            key.into_iter().for_each(|key| fields.push(b"X-Key", key.as_bytes()));
            limiter.count(&fields, address.into(), now).wait.is_none()
        };
        assert!(passes(Some("a"), [1; 4]) && !passes(Some("a"), [2; 4]) && passes(Some("b"), [1; 4]));
        assert!(passes(None, [1; 4]) && !passes(None, [1; 4]) && passes(None, [2; 4]));
    }

    #[test]
    fn threads_at_once_pass_exactly_the_burst() {
        for _ in 0..20 {
            let limiter = Arc::new(limiter(3_600_000, 100, RateKey::ClientIp));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let limiter = limiter.clone();
                    thread::spawn(move || (0..100).filter(|_| limiter.pass(9, START).wait.is_none()).count())
                })
                .collect();
            assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 100);
        }
    }

    #[test]
    fn a_crowd_of_keys_takes_no_more_memory_and_forgets_the_least_busy() {
        let limiter = limiter(1000, 10, RateKey::ClientIp);
        (0..9).for_each(|_| assert!(limiter.pass(5, START).wait.is_none()));
        (1..=200_000u64).for_each(|n| {
            limiter.pass(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), START);
        });
        assert_eq!(limiter.table.get().unwrap().len(), SLOTS);
        assert!(limiter.pass(5, START).wait.is_none());
        assert!(limiter.pass(5, START).wait.is_some(), "the busiest key kept its count");
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_rate_and_the_burst(
            steps in prop::collection::vec(0u64..400, 1..200), interval in 1u64..300, burst in 1u32..20,
        ) {
            let limiter = limiter(interval, burst, RateKey::Route);
            let mut now = START;
            let mut passed = Vec::new();
            for step in steps {
                now += step * MS;
                if limiter.pass(1, now).wait.is_none() {
                    passed.push(now);
                }
            }
            for (index, first) in passed.iter().enumerate() {
                for (count, last) in passed[index..].iter().enumerate() {
                    let allowed = u64::from(burst) + (last - first) / (interval * MS);
                    prop_assert!((count as u64) < allowed);
                }
            }
        }
    }
}
