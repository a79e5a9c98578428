//! The lines a worker keeps for a while: one handing over serves them all, since it takes a lock, and they are written where
//! the worker's cache has them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::queue::Sender;

/// Bytes that are handed over without being asked for.
const FULL: usize = 16 << 10;

/// The lines of this thread.
#[derive(Default)]
struct Gathered {
    /// Wakes who hands over; without it nothing is kept.
    keeper: Option<Waker>,
    /// Whose lines these are.
    to: Option<(Arc<Sender>, usize)>,
    lines: Vec<u8>,
    count: u64,
}

thread_local! {
    static GATHERED: RefCell<Gathered> = RefCell::default();
}

/// A task of a worker, without an end: keeps the worker's lines and hands them over when the writing thread asks for them.
pub async fn keep() {
    poll_fn(|cx| {
        GATHERED.with_borrow_mut(|gathered| {
            gathered.hand_over();
            gathered.keeper = Some(cx.waker().clone());
        });
        Poll::Pending
    })
    .await
}

/// Hands over the lines of this thread, whose task is gone.
pub fn keep_no_more() {
    GATHERED.with_borrow_mut(|gathered| {
        gathered.hand_over();
        gathered.keeper = None;
    });
}

/// Adds a line of a worker: `write` appends it with its line end.
pub(super) fn add(sender: &Arc<Sender>, worker: usize, write: impl FnOnce(&mut Vec<u8>)) {
    GATHERED.with_borrow_mut(|gathered| {
        if gathered.to.as_ref().is_some_and(|(to, of)| !Arc::ptr_eq(to, sender) || *of != worker) {
            gathered.hand_over();
        }
        write(&mut gathered.lines);
        gathered.count += 1;
        sender.count(worker, gathered.lines.len());
        let first = gathered.to.is_none();
        if first {
            gathered.to = Some((sender.clone(), worker));
        }
        let keeps = match &gathered.keeper {
            Some(keeper) if first => sender.keep(worker, keeper),
            Some(_) => gathered.lines.len() < FULL,
            None => false,
        };
        if !keeps {
            gathered.hand_over();
        }
    });
}

impl Gathered {
    /// Lets go of the log too, which may have been replaced.
    fn hand_over(&mut self) {
        if let Some((sender, worker)) = self.to.take() {
            sender.push(worker, &self.lines, self.count);
            self.lines.clear();
            self.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, SyncSender};
    use std::task::Wake;
    use std::time::Duration;

    use super::super::output::tests::Paper;
    use super::super::queue::Queue;
    use super::*;

    /// Long enough for a machine that stands still.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Bell(SyncSender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }

    #[test]
    fn lines_that_are_kept_are_asked_for_and_written_in_their_order() {
        let paper = Paper::default();
        let (sender, writer) = Queue::start(Box::new(paper.clone()), None, 1).unwrap();
        let (ring, bell) = mpsc::sync_channel(1);
        let sender = Arc::new(sender);
        GATHERED.with_borrow_mut(|gathered| gathered.keeper = Some(Arc::new(Bell(ring)).into()));
        let mut written = String::new();
        for number in 0..5 {
            // The writing thread may rest, which takes a line at once; it does not for long.
            let mut kept = 0;
            while kept < 3 {
                let line = format!("line {number} {}\n", written.len());
                add(&sender, 0, |out| out.extend_from_slice(line.as_bytes()));
                written += &line;
                kept = GATHERED.with_borrow(|gathered| gathered.count);
                assert!(kept == 0 || sender.stats().waiting >= line.len() as u64);
            }
            bell.recv_timeout(PATIENCE).unwrap();
            GATHERED.with_borrow_mut(Gathered::hand_over);
        }
        add(&sender, 0, |out| out.extend_from_slice(b"last\n"));
        keep_no_more();
        drop(sender);
        writer.stop();
        assert_eq!(paper.text(), written + "last\n");
    }

    #[test]
    fn much_is_handed_over_without_being_asked_for() {
        let (sender, writer) = Queue::start(Box::new(Paper::default()), None, 1).unwrap();
        let (ring, _bell) = mpsc::sync_channel(1);
        let sender = Arc::new(sender);
        GATHERED.with_borrow_mut(|gathered| gathered.keeper = Some(Arc::new(Bell(ring)).into()));
        let line = [b'x'; FULL / 8];
        for _ in 0..100 {
            add(&sender, 0, |out| out.extend_from_slice(&line));
            assert!(GATHERED.with_borrow(|gathered| gathered.lines.len()) < FULL);
        }
        keep_no_more();
        drop(sender);
        writer.stop();
    }
}
