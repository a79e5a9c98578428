//! `max_requests`: how many requests a server may have in flight, over all workers, and the queue of those that wait.
//!
//! Only upstreams with the key have a gate. Entering and leaving are atomic; the lock of the queue is taken only while
//! requests wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::config::MaxRequests;
use crate::error::Why;

/// Requests that may wait for one upstream; more are refused at once. A longer queue would only make them all late.
pub const QUEUE: usize = 1024;

/// The places of one upstream's servers, shared by all workers.
#[derive(Debug)]
pub struct Gate {
    per_server: usize,
    pub(super) timeout: Duration,
    /// Requests in flight, by server.
    in_flight: Box<[AtomicUsize]>,
    /// The length of the queue, for those that look without the lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// In the order of arrival, so in that of the numbers.
    waiters: VecDeque<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    waker: Option<Waker>,
}

/// One request in flight on one server; dropping it makes room.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    server: usize,
}

/// A request's turn in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Gate {
    pub fn new(limits: MaxRequests, servers: usize) -> Gate {
        Gate {
            per_server: limits.per_server,
            timeout: limits.queue_timeout,
            in_flight: (0..servers).map(|_| AtomicUsize::new(0)).collect(),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }

    pub(super) fn has_room(&self, server: usize) -> bool {
        self.in_flight.get(server).is_some_and(|count| count.load(Ordering::SeqCst) < self.per_server)
    }

    /// Takes a place on a server, unless another worker was faster.
    pub(super) fn enter(self: &Arc<Gate>, server: usize) -> Option<Place> {
        let more = |count: usize| (count < self.per_server).then_some(count + 1);
        self.in_flight.get(server)?.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Place { gate: self.clone(), server })
    }

    /// Somebody waits: a newcomer queues behind.
    pub(super) fn has_queue(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// `upstream.queue_full`.
    pub(super) fn queue(&self) -> Result<Turn<'_>, Why> {
        let mut queue = self.lock();
        if queue.waiters.len() >= QUEUE {
            return Err(Why::UpstreamQueueFull);
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiters.push_back(Waiter { number, waker: None });
        self.waiting.store(queue.waiters.len(), Ordering::SeqCst);
        Ok(Turn { gate: self, number })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in a critical section can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn wake_first(&self) {
        if let Some(waker) = self.waiters.front().and_then(|first| first.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }
}

impl Turn<'_> {
    /// Whether it is this request's turn to look for a place. The task is woken when it may be.
    ///
    /// No wake-up is lost: a place is given up before its owner looks whether somebody waits, and a waiter is in the queue,
    /// with its waker, before it looks for a place. Whichever comes second sees the other.
    pub(super) fn is_first(&self, cx: &Context<'_>) -> bool {
        let mut queue = self.gate.lock();
        let Ok(at) = queue.waiters.binary_search_by_key(&self.number, |waiter| waiter.number) else { return false };
        if let Some(waiter) = queue.waiters.get_mut(at) {
            match &mut waiter.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        at == 0
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.gate.lock();
        if let Ok(at) = queue.waiters.binary_search_by_key(&self.number, |waiter| waiter.number) {
            queue.waiters.remove(at);
            self.gate.waiting.store(queue.waiters.len(), Ordering::SeqCst);
            if at == 0 {
                // There may be room for the next one too.
                queue.wake_first();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = self.gate.in_flight.get(self.server) {
            count.fetch_sub(1, Ordering::SeqCst);
        }
        if self.gate.has_queue() {
            self.gate.lock().wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    fn gate(per_server: usize, servers: usize) -> Arc<Gate> {
        Arc::new(Gate::new(MaxRequests { per_server, queue_timeout: Duration::from_secs(1) }, servers))
    }

    /// Waits for a place on server 0.
    async fn place(gate: &Arc<Gate>) -> Place {
        let turn = gate.queue().unwrap();
        poll_fn(|cx| {
            let place = if turn.is_first(cx) { gate.enter(0) } else { None };
            place.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    #[test]
    fn a_server_has_so_many_places_and_no_more() {
        let gate = gate(2, 2);
        let places: Vec<_> = (0..2).map(|_| gate.enter(0).unwrap()).collect();
        assert!(!gate.has_room(0) && gate.enter(0).is_none());
        assert!(gate.has_room(1) && gate.enter(1).is_some());
        drop(places);
        assert!(gate.has_room(0) && gate.enter(7).is_none());
    }

    #[test]
    fn the_queue_is_bounded_and_those_that_leave_make_room() {
        let gate = gate(1, 1);
        let mut turns: Vec<_> = (0..QUEUE).map(|_| gate.queue().unwrap()).collect();
        assert_eq!(gate.queue().err(), Some(Why::UpstreamQueueFull));
        turns.swap_remove(QUEUE / 2);
        assert!(gate.queue().is_ok());
        turns.clear();
        assert!(!gate.has_queue());
    }

    #[tokio::test]
    async fn those_that_wait_are_served_in_order_and_one_that_gives_up_holds_nobody() {
        let gate = gate(1, 1);
        let held = gate.enter(0).unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for number in 0..5 {
            let (gate, served) = (gate.clone(), served.clone());
            waiting.push(tokio::spawn(async move {
                let place = place(&gate).await;
                served.lock().unwrap().push(number);
                tokio::task::yield_now().await;
                drop(place);
            }));
            tokio::task::yield_now().await;
        }
        waiting.remove(1).abort();
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*served.lock().unwrap(), [0, 2, 3, 4]);
        assert!(!gate.has_queue() && gate.has_room(0));
    }

    #[test]
    fn no_wake_up_is_lost_between_threads() {
        let gate = gate(2, 1);
        let most = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (gate, most) = (gate.clone(), most.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let local = tokio::task::LocalSet::new();
                    for _ in 0..8 {
                        let (gate, most) = (gate.clone(), most.clone());
                        local.spawn_local(async move {
                            for _ in 0..200 {
                                let place = place(&gate).await;
                                most.fetch_max(gate.in_flight[0].load(Ordering::SeqCst), Ordering::SeqCst);
                                tokio::task::yield_now().await;
                                drop(place);
                            }
                        });
                    }
                    runtime.block_on(local);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((most.load(Ordering::SeqCst), gate.in_flight[0].load(Ordering::SeqCst)), (2, 0));
    }
}
