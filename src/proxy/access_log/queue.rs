//! From the workers to the output: each worker adds to memory of its own, and the writing thread takes it when it has
//! time. When the output is slower than the traffic, or full, lines are lost and counted: requests do not wait for a log.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::metrics::Count;

/// Bytes of a worker that may wait to be written.
const MOST: usize = 2 << 20;
/// How long lines gather before they are written together: each write and each wake-up of the thread costs more than many
/// lines do.
const GATHER: Duration = Duration::from_millis(20);
/// How long the end of the process waits for the last lines.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How often a loss is said.
const SAY: Duration = Duration::from_secs(10);

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
    thread: OnceLock<Thread>,
}

/// The lines of one worker. The lock is held by it while it adds lines, and by the writing thread for a swap.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    waiting: Mutex<Vec<u8>>,
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
            thread: OnceLock::new(),
        });
        let thread = {
            let output = Output { out, path, torn: false, said: None, lost: 0 };
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
    /// Adds lines of a worker, so many, each with its line end. Only that worker may call it for its number.
    pub fn push(&self, worker: usize, lines: &[u8], count: u64) {
        let Some(shard) = self.queue.shards.get(worker) else { return };
        shard.taken.add(count);
        let mut waiting = shard.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.len();
        if before + lines.len() > MOST {
            shard.lost.add(count);
            return;
        }
        waiting.extend_from_slice(lines);
        drop(waiting);
        if before == 0 {
            self.queue.wake();
        }
    }

    pub fn stats(&self) -> Stats {
        let queue = &self.queue;
        let waits = |shard: &Shard| shard.waiting.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        Stats {
            lines: queue.shards.iter().map(|shard| shard.taken.get()).sum(),
            lost: queue.lost(),
            waiting: queue.shards.iter().map(waits).sum::<u64>() + queue.writing.load(Ordering::Relaxed),
        }
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
    loop {
        // Read before the lines are taken: what was queued before the order is written before it is followed.
        let orders = queue.orders.swap(0, Ordering::AcqRel);
        for (shard, batch) in queue.shards.iter().zip(&mut batches) {
            std::mem::swap(&mut *shard.waiting.lock().unwrap_or_else(PoisonError::into_inner), batch);
        }
        let waiting: usize = batches.iter().map(Vec::len).sum();
        queue.writing.store(waiting as u64, Ordering::Relaxed);
        for batch in &mut batches {
            let lost = output.write(batch);
            queue.unwritten.fetch_add(lost, Ordering::Relaxed);
            batch.clear();
            // A burst does not keep its memory.
            batch.shrink_to(MOST / 8);
        }
        queue.writing.store(0, Ordering::Relaxed);
        output.say(queue.lost());
        if orders & REOPEN != 0 {
            output.reopen();
        }
        if orders & STOP != 0 {
            return;
        }
        if waiting == 0 && orders == 0 {
            std::thread::park();
        }
        if queue.orders.load(Ordering::Acquire) == 0 {
            std::thread::sleep(GATHER);
        }
    }
}

/// Where lines end up.
struct Output {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    /// The last line was cut: what comes next begins a line of its own.
    torn: bool,
    /// When a loss was said last, and how many lines were lost then.
    said: Option<Instant>,
    lost: u64,
}

impl Output {
    /// Writes whole lines; how many of them were lost. A reader that went away, or a full disk, does not end the proxy.
    fn write(&mut self, mut lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        if self.torn {
            match self.out.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(_) => return count_lines(lines),
            }
        }
        let mut whole = true;
        while !lines.is_empty() {
            match self.out.write(lines) {
                Ok(written @ 1..) => {
                    whole = lines.get(written - 1) == Some(&b'\n');
                    lines = lines.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.torn = !whole;
                    return count_lines(lines);
                }
            }
        }
        // What lies in the library's own buffer (stdout) goes out too.
        let _ = self.out.flush();
        0
    }

    /// Says that lines were lost, now and then.
    fn say(&mut self, lost: u64) {
        let now = Instant::now();
        if lost > self.lost && self.said.is_none_or(|said| now.duration_since(said) >= SAY) {
            let more = lost - self.lost;
            tracing::warn!("access log: {more} lines lost: the output is slower than the traffic, full or gone");
            (self.said, self.lost) = (Some(now), lost);
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match super::append(path) {
            Ok(file) => (self.out, self.torn) = (Box::new(file), false),
            Err(error) => tracing::error!("access log {}: {error}: the old file is kept", path.display()),
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes `room` bytes, then says that the disk is full; a new room comes by the channel.
    struct Disk {
        room: usize,
        more: mpsc::Receiver<usize>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(more) = self.more.try_recv() {
                self.room += more;
            }
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_tears_none_into_the_next() {
        let (give, more) = mpsc::channel();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let disk = Disk { room: 11, more, written: written.clone() };
        let mut output = Output { out: Box::new(disk), path: None, torn: false, said: None, lost: 0 };
        assert_eq!(output.write(b"one\ntwo\nthree\nfour\n"), 2);
        assert_eq!(output.write(b"five\n"), 1);
        give.send(100).unwrap();
        assert_eq!(output.write(b"six\n"), 0);
        assert_eq!(written.lock().unwrap().as_slice(), b"one\ntwo\nthr\nsix\n");
    }

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
        let (_give, more) = mpsc::channel();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let disk = Disk { room: usize::MAX / 2, more, written: written.clone() };
        let (sender, writer) = Queue::start(Box::new(disk), None, 2).unwrap();
        for number in 0..1000 {
            sender.push(number % 2, b"line\n", 1);
        }
        writer.stop();
        assert_eq!(count_lines(&written.lock().unwrap()), 1000);
    }
}
