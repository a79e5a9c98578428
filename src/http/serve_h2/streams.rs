//! The streams of one connection, counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::MAX_STREAMS;
use super::guarded::Guarded;
use crate::net::{Deadline, clock};

/// A stream the client has reset keeps its place for this long: the backend may still be at work on it. Else a client that
/// asks and resets would have more requests at work than it may have streams.
const COOLING: Duration = Duration::from_secs(2);

/// What a connection knows of its streams.
#[derive(Debug)]
pub(super) struct Streams(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    active: Cell<usize>,
    /// When the client reset streams; as many at most as there may be streams.
    cooling: RefCell<VecDeque<Instant>>,
    /// Fires when the first of them gives its place back.
    cooled: Deadline,
    connection: RefCell<Option<Waker>>,
    /// The tasks of the streams, by their places.
    tasks: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Streams {
    pub fn new() -> Streams {
        Streams(Rc::default())
    }

    /// Notes the task of the connection, which hears of the end of a stream.
    pub fn register(&self, cx: &Context<'_>) {
        let mut connection = self.0.connection.borrow_mut();
        if !connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *connection = Some(cx.waker().clone());
        }
    }

    /// Streams that are being answered.
    pub fn active(&self) -> usize {
        self.0.active.get()
    }

    /// Whether one more stream may be taken; if not, the task is woken when it may.
    pub fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let mut cooling = self.0.cooling.borrow_mut();
        if cooling.is_empty() {
            return self.0.active.get() < MAX_STREAMS as usize;
        }
        let now = clock::now();
        while cooling.front().is_some_and(|at| now.saturating_duration_since(*at) >= COOLING) {
            cooling.pop_front();
        }
        if self.0.active.get() + cooling.len() < MAX_STREAMS as usize {
            return true;
        }
        if let Some(first) = cooling.front() {
            self.0.cooled.set(Some(COOLING.saturating_sub(now.saturating_duration_since(*first))));
            if self.0.cooled.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        false
    }

    /// Counts a stream until its [`Open`] is dropped.
    pub fn open(&self, guarded: Guarded) -> Open {
        self.0.active.set(self.0.active.get() + 1);
        Open { counts: self.0.clone(), guarded, reset: false, place: None }
    }

    /// Wakes every stream, so that each looks whether what it depends on is over.
    pub fn stir(&self) {
        for task in self.0.tasks.borrow().iter().flatten() {
            task.wake_by_ref();
        }
    }
}

/// One stream that is being answered.
pub(super) struct Open {
    counts: Rc<Counts>,
    guarded: Guarded,
    reset: bool,
    place: Option<usize>,
}

impl Open {
    /// The client has reset it: its place is kept for a while.
    pub fn set_reset(&mut self) {
        self.reset = true;
    }

    /// Notes the stream's task; once, from the task itself.
    pub fn register(&mut self, cx: &Context<'_>) {
        let mut tasks = self.counts.tasks.borrow_mut();
        let place = self.counts.free.borrow_mut().pop().unwrap_or(tasks.len());
        if place == tasks.len() {
            tasks.push(None);
        }
        tasks[place] = Some(cx.waker().clone());
        self.place = Some(place);
    }

    /// Notes response bytes that were sent.
    pub fn sent(&self, bytes: usize) {
        self.guarded.guard().sent(bytes);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let counts = &self.counts;
        if let Some(place) = self.place
            && let Some(task) = counts.tasks.borrow_mut().get_mut(place)
        {
            *task = None;
            counts.free.borrow_mut().push(place);
        }
        counts.active.set(counts.active.get() - 1);
        let mut cooling = counts.cooling.borrow_mut();
        if self.reset && cooling.len() < MAX_STREAMS as usize {
            cooling.push_back(clock::now());
        }
        // Somebody may wait for the place, or the connection may be idle now.
        if (counts.active.get() == 0 || counts.active.get() + cooling.len() + 1 >= MAX_STREAMS as usize)
            && let Some(waker) = &*counts.connection.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;
    use crate::http::wire::Wire;
    use crate::net::Io;

    #[tokio::test]
    async fn a_stream_that_was_reset_keeps_its_place_for_a_while() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let guarded = Guarded::new(Wire::new(Io::Unix(ours)));
        let streams = Streams::new();
        let mut open: Vec<_> = (0..MAX_STREAMS).map(|_| streams.open(guarded.clone())).collect();
        let has_room = || poll_fn(|cx| Poll::Ready(streams.has_room(cx)));
        assert!(!has_room().await);
        open.pop();
        assert!(has_room().await);
        open.push(streams.open(guarded.clone()));
        if let Some(mut stream) = open.pop() {
            stream.set_reset();
        }
        assert_eq!(streams.active(), 99);
        assert!(!has_room().await);
        let long_ago = clock::now().checked_sub(COOLING).unwrap();
        streams.0.cooling.borrow_mut().iter_mut().for_each(|at| *at = long_ago);
        assert!(has_room().await);
    }
}
