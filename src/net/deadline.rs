//! One timer for all the waits of a task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::clock;

/// A deadline that moves often and fires seldom.
///
/// Moving it writes a cell. The runtime's timer behind it is armed when a wait begins and moved only when it has fired or
/// stands too late, which in steady traffic is once a minute and not once a request. It belongs to one task: the waker of
/// the first wait is the one that counts.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Cell<Option<Instant>>,
    timer: RefCell<Option<Pin<Box<tokio::time::Sleep>>>>,
}

impl Deadline {
    pub fn new(after: Option<Duration>) -> Deadline {
        let deadline = Deadline::default();
        deadline.set(after);
        deadline
    }

    /// Moves the deadline to `after` from now; `None` takes it away.
    pub fn set(&self, after: Option<Duration>) {
        self.at.set(after.map(|after| clock::now() + after));
    }

    /// Ready when the deadline has passed. Call it when the wait it bounds is pending.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at.get() else { return Poll::Pending };
        if clock::now() >= at {
            return Poll::Ready(());
        }
        let mut timer = self.timer.borrow_mut();
        let timer = match &mut *timer {
            // It is still to fire. One that has fired woke the task for nothing if the clock is a little late: it is set again.
            Some(timer) if timer.deadline() <= at.into() && !timer.is_elapsed() => return Poll::Pending,
            Some(timer) => {
                timer.as_mut().reset(at.into());
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(at.into()))),
        };
        timer.as_mut().poll(cx)
    }

    /// Frees the timer, for a task that goes to sleep without one.
    pub fn release(&self) {
        *self.timer.borrow_mut() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_moved_later_fires_at_its_last_place() {
        let start = Instant::now();
        let deadline = Deadline::new(Some(Duration::from_millis(5)));
        // The first wait arms the timer; moving the deadline does not.
        std::future::poll_fn(|cx| {
            assert!(deadline.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        deadline.set(Some(Duration::from_millis(30)));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[tokio::test]
    async fn a_deadline_is_not_missed_where_the_clock_is_late() {
        clock::tick();
        let deadline = Deadline::new(Some(Duration::from_millis(5)));
        std::future::poll_fn(|cx| {
            assert!(deadline.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        // The timer fires, and the clock has not been asked since.
        std::thread::sleep(Duration::from_millis(20));
        let missed = tokio::time::timeout(Duration::from_secs(20), std::future::poll_fn(|cx| deadline.poll(cx))).await;
        assert!(missed.is_ok(), "nobody woke the task again");
    }

    #[tokio::test]
    async fn a_deadline_moved_earlier_fires_there() {
        let start = Instant::now();
        let deadline = Deadline::new(Some(Duration::from_secs(3600)));
        std::future::poll_fn(|cx| {
            assert!(deadline.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        deadline.set(Some(Duration::from_millis(5)));
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}
