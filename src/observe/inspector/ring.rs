//! The last requests, bounded by number and by memory, and those who follow them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};

use crate::inspect::Entry;

/// Requests kept.
pub(super) const ENTRIES: usize = 500;
/// Bytes they may take.
const BYTES: usize = 4 << 20;
/// Requests that wait for one follower; more are counted.
const WAITING: usize = 64;
/// Pages that follow at once.
pub(super) const FOLLOWERS: usize = 16;

/// A request with its number.
#[derive(Debug)]
pub(super) struct Kept {
    pub number: u64,
    pub entry: Entry,
    size: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    kept: VecDeque<Rc<Kept>>,
    bytes: usize,
    last: u64,
    followers: Vec<Weak<RefCell<Waiting>>>,
}

/// What a follower has not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    kept: VecDeque<Rc<Kept>>,
    waker: Option<Waker>,
}

impl Ring {
    pub fn push(&mut self, entry: Entry) {
        self.last += 1;
        let kept = Rc::new(Kept { number: self.last, size: entry.size(), entry });
        self.bytes += kept.size;
        self.kept.push_back(kept.clone());
        while self.kept.len() > ENTRIES || self.bytes > BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.size;
        }
        self.followers.retain(|follower| {
            let Some(waiting) = follower.upgrade() else { return false };
            let mut waiting = waiting.borrow_mut();
            if waiting.kept.len() == WAITING {
                waiting.kept.pop_front();
            }
            waiting.kept.push_back(kept.clone());
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
            true
        });
    }

    /// The newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Rc<Kept>> {
        self.kept.iter().rev()
    }

    /// The number of the newest; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Follows from behind `after`; `None` where too many follow already.
    pub fn follow(&mut self, after: u64) -> Option<Follower> {
        self.followers.retain(|follower| follower.strong_count() > 0);
        if self.followers.len() >= FOLLOWERS {
            return None;
        }
        let missed: Vec<_> = self.newest().take_while(|kept| kept.number > after).take(WAITING).cloned().collect();
        let waiting = Waiting { kept: missed.into_iter().rev().collect(), waker: None };
        let follower = Follower(Rc::new(RefCell::new(waiting)));
        self.followers.push(Rc::downgrade(&follower.0));
        Some(follower)
    }
}

/// One page's place behind the ring.
#[derive(Debug)]
pub(super) struct Follower(Rc<RefCell<Waiting>>);

impl Follower {
    /// The next request; `None`: nothing is there yet, and the task is woken when it is.
    pub fn next(&self, cx: &Context<'_>) -> Option<Rc<Kept>> {
        let mut waiting = self.0.borrow_mut();
        let next = waiting.kept.pop_front();
        if next.is_none() {
            waiting.waker = Some(cx.waker().clone());
        }
        next
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::inspect::{Head, Times};

    pub fn entry(target: &str) -> Entry {
        Entry {
            at: std::time::SystemTime::now(),
            id: "0".into(),
            peer: ([127, 0, 0, 1], 1).into(),
            local_port: "80".into(),
            tls: None,
            method: "GET".into(),
            host: "a.test".into(),
            target: target.into(),
            version: "HTTP/1.1",
            received: Head { start: format!("GET {target} HTTP/1.1"), ..Head::default() },
            forwarded: None,
            answered: None,
            sent: Head::default(),
            status: 200,
            why: None,
            site: None,
            route: None,
            server: None,
            attempts: 0,
            times: Times::default(),
            bytes: 0,
        }
    }

    #[test]
    fn the_ring_keeps_its_bounds_in_number_and_memory() {
        let mut ring = Ring::default();
        for number in 0..2000 {
            ring.push(entry(&format!("/{number}")));
        }
        assert_eq!((ring.kept.len(), ring.last()), (ENTRIES, 2000));
        assert_eq!(ring.newest().next().map(|kept| kept.entry.target.as_str()), Some("/1999"));
        let long = format!("/{}", "a".repeat(64 << 10));
        for _ in 0..200 {
            ring.push(entry(&long));
        }
        assert!(ring.bytes <= BYTES && ring.kept.len() < 40, "{} {}", ring.bytes, ring.kept.len());
        assert_eq!(ring.bytes, ring.kept.iter().map(|kept| kept.size).sum::<usize>());
    }

    #[test]
    fn a_follower_gets_what_it_has_not_seen_in_order_and_a_slow_one_only_the_newest() {
        let mut ring = Ring::default();
        let cx = Context::from_waker(Waker::noop());
        (0..3).for_each(|n| ring.push(entry(&format!("/{n}"))));
        let follower = ring.follow(1).unwrap();
        ring.push(entry("/3"));
        let seen: Vec<_> = std::iter::from_fn(|| follower.next(&cx)).map(|kept| kept.number).collect();
        assert_eq!(seen, [2, 3, 4]);
        (0..WAITING * 2).for_each(|_| ring.push(entry("/")));
        assert_eq!(std::iter::from_fn(|| follower.next(&cx)).count(), WAITING);
        let others: Vec<_> = std::iter::from_fn(|| ring.follow(0)).collect();
        assert_eq!(others.len(), FOLLOWERS - 1);
    }
}
