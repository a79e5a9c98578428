//! From the workers to the output: each worker adds to memory of its own, and the writing thread takes it when it has
//! time, and asks for what workers keep. When the output is slower than the traffic, or full, lines are lost and counted:
//! requests do not wait for a log.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::output::Output;
use crate::metrics::Count;

/// Bytes of a worker that may wait to be written.
const MOST: usize = 2 << 20;
/// How long lines gather before they are written together: each write and each wake-up of the thread costs more than many
/// lines do.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for the last lines.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Open the file anew: the old one was moved.
const REOPEN: u8 = 1;
const STOP: u8 = 2;

/// What the workers and the writing thread share.
#[derive(Debug)]
pub(super) struct Queue {
    shards: Box<[Shard]>,
    /// Lines that the output did not take.
    unwritten: AtomicU64,
    /// Bytes the writing thread holds.
    writing: AtomicU64,
    orders: AtomicU8,
    /// The writing thread has nothing to do, or is about to see whether it has.
    rests: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The lines of one worker. The lock is held by it while it adds lines, and by the writing thread for a swap.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    waiting: Mutex<Vec<u8>>,
    /// The worker has lines that it hands over when this wakes it.
    keeper: Mutex<Option<Waker>>,
    /// Bytes the worker keeps. It sets this to nothing after it has handed them over, so that none is missing in a sum.
    kept: AtomicU64,
    taken: Count,
    lost: Count,
}

/// The workers' side; the writing thread ends after the last line when it is dropped.
#[derive(Debug)]
pub(super) struct Sender {
    queue: Arc<Queue>,
}

/// The control side.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

/// What has become of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Lines taken from requests, those lost later among them.
    pub lines: u64,
    pub lost: u64,
    /// Bytes that wait to be written.
    pub waiting: u64,
}

impl Queue {
    /// Starts the thread that writes to `out`. `path` is where it is opened again.
    pub fn start(out: Box<dyn Write + Send>, path: Option<PathBuf>, workers: usize) -> io::Result<(Sender, Writer)> {
        let queue = Arc::new(Queue {
            shards: (0..workers.max(1)).map(|_| Shard::default()).collect(),
            unwritten: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            orders: AtomicU8::new(0),
            rests: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let thread = {
            let output = Output::new(out, path);
            let queue = queue.clone();
            std::thread::Builder::new().name("access-log".into()).spawn(move || run(&queue, output))?
        };
        // Nobody else sets it.
        let _ = queue.thread.set(thread.thread().clone());
        Ok((Sender { queue: queue.clone() }, Writer { queue, thread }))
    }

    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::AcqRel);
        self.wake();
    }

    /// Whether no worker keeps lines.
    fn has_all(&self) -> bool {
        self.shards.iter().all(|shard| locked(&shard.keeper).is_none())
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn lost(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lost.get()).sum::<u64>() + self.unwritten.load(Ordering::Relaxed)
    }
}

impl Sender {
    /// Counts a line of a worker, which keeps so many bytes for now. Here and below only that worker may use its number.
    pub fn count(&self, worker: usize, kept: usize) {
        if let Some(shard) = self.queue.shards.get(worker) {
            shard.kept.store(kept as u64, Ordering::Relaxed);
            shard.taken.add(1);
        }
    }

    /// Adds lines of a worker, so many, each with its line end: all that it kept.
    pub fn push(&self, worker: usize, lines: &[u8], count: u64) {
        let Some(shard) = self.queue.shards.get(worker) else { return };
        let mut waiting = locked(&shard.waiting);
        let before = waiting.len();
        let fits = before + lines.len() <= MOST;
        if fits {
            waiting.extend_from_slice(lines);
        } else {
            shard.lost.add(count);
        }
        drop(waiting);
        shard.kept.store(0, Ordering::Release);
        if fits && before == 0 {
            self.queue.wake();
        }
    }

    /// A worker wants to keep lines until `keeper` is woken. False where they are written at once instead.
    pub fn keep(&self, worker: usize, keeper: &Waker) -> bool {
        let Some(shard) = self.queue.shards.get(worker) else { return false };
        *locked(&shard.keeper) = Some(keeper.clone());
        // The writing thread says that it rests before it looks at the keepers: it sees this one, or this sees that.
        let rests = self.queue.rests.load(Ordering::Relaxed);
        if rests {
            *locked(&shard.keeper) = None;
        }
        !rests
    }

    pub fn stats(&self) -> Stats {
        let queue = &self.queue;
        let lines = queue.shards.iter().map(|shard| shard.taken.get()).sum();
        // In the order in which they move on: a line may be counted twice, and never not at all.
        let waits = |shard: &Shard| shard.kept.load(Ordering::Acquire) + locked(&shard.waiting).len() as u64;
        let waiting = queue.shards.iter().map(waits).sum::<u64>() + queue.writing.load(Ordering::Acquire);
        Stats { lines, waiting, lost: queue.lost() }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.order(STOP);
    }
}

impl Writer {
    /// Opens the file anew, after what is queued has been written to the old one.
    pub fn reopen(&self) {
        self.queue.order(REOPEN);
    }

    /// Writes everything queued so far and ends. A reader that does not take it is given up after [`LAST_WAIT`].
    pub fn stop(self) {
        self.queue.order(STOP);
        let until = Instant::now() + LAST_WAIT;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

/// The writing thread.
fn run(queue: &Queue, mut output: Output) {
    let mut batches: Vec<Vec<u8>> = queue.shards.iter().map(|_| Vec::new()).collect();
    // The file is opened anew one round after the order: what the workers kept then is written to the old one.
    let mut reopens = false;
    loop {
        // Read before the lines are taken: what was queued before the order is written before it is followed.
        let orders = queue.orders.swap(0, Ordering::AcqRel);
        for (shard, batch) in queue.shards.iter().zip(&mut batches) {
            let mut waiting = locked(&shard.waiting);
            queue.writing.fetch_add(waiting.len() as u64, Ordering::Relaxed);
            std::mem::swap(&mut *waiting, batch);
        }
        // A worker that hands over by itself does it again soon, and is not asked for the rest.
        let asked = queue.shards.iter().zip(&batches).filter(|(_, batch)| batch.is_empty() || orders & REOPEN != 0);
        let keepers = asked.filter_map(|(shard, _)| locked(&shard.keeper).take());
        let kept = keepers.map(Waker::wake).count();
        for batch in &mut batches {
            let lost = output.write(batch);
            queue.unwritten.fetch_add(lost, Ordering::Relaxed);
            batch.clear();
            // A burst does not keep its memory.
            batch.shrink_to(MOST / 8);
        }
        let written = queue.writing.swap(0, Ordering::Release);
        output.say(queue.lost());
        if reopens {
            output.reopen();
        }
        if orders & STOP != 0 {
            return;
        }
        reopens = orders & REOPEN != 0;
        if written == 0 && orders == 0 && kept == 0 {
            queue.rests.store(true, Ordering::Relaxed);
            if queue.has_all() {
                std::thread::park();
            }
            queue.rests.store(false, Ordering::Relaxed);
        } else if queue.orders.load(Ordering::Acquire) == 0 {
            std::thread::sleep(GATHER);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::Paper;
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        struct Still(mpsc::Receiver<()>);
        impl Write for Still {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                // Until the test ends.
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = mpsc::channel();
        let (sender, writer) = Queue::start(Box::new(Still(held)), None, 1).unwrap();
        let line = [b'x'; 1 << 10];
        for _ in 0..10_000 {
            sender.count(0, 0);
            sender.push(0, &line, 1);
        }
        let stats = sender.stats();
        assert_eq!(stats.lines, 10_000);
        assert!(stats.lost > 1_000 && stats.waiting <= 2 * MOST as u64, "{stats:?}");
        drop(release);
        writer.stop();
    }

    #[test]
    fn what_was_queued_before_the_end_is_written() {
        let paper = Paper::default();
        let (sender, writer) = Queue::start(Box::new(paper.clone()), None, 2).unwrap();
        for number in 0..1000 {
            sender.push(number % 2, b"line\n", 1);
        }
        writer.stop();
        assert_eq!(paper.text(), "line\n".repeat(1000));
    }
}
