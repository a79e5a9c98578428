//! Where lines end up: a file, a pipe or a terminal, which may be full, gone or slow.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a loss is said.
const SAY: Duration = Duration::from_secs(10);

/// Where lines end up.
pub(super) struct Output {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    /// The last line was cut: what comes next begins a line of its own.
    torn: bool,
    /// When a loss was said last, and how many lines were lost then.
    said: Option<Instant>,
    lost: u64,
}

impl Output {
    pub fn new(out: Box<dyn Write + Send>, path: Option<PathBuf>) -> Output {
        Output { out, path, torn: false, said: None, lost: 0 }
    }

    /// Writes whole lines; how many of them were lost. A reader that went away, or a full disk, does not end the proxy.
    pub fn write(&mut self, mut lines: &[u8]) -> u64 {
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
    pub fn say(&mut self, lost: u64) {
        let now = Instant::now();
        if lost > self.lost && self.said.is_none_or(|said| now.duration_since(said) >= SAY) {
            let more = lost - self.lost;
            tracing::warn!("access log: {more} lines lost: the output is slower than the traffic, full or gone");
            (self.said, self.lost) = (Some(now), lost);
        }
    }

    pub fn reopen(&mut self) {
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
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc};

    /// Takes everything.
    #[derive(Clone, Default)]
    pub struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

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
        let mut output = Output::new(Box::new(disk), None);
        assert_eq!(output.write(b"one\ntwo\nthree\nfour\n"), 2);
        assert_eq!(output.write(b"five\n"), 1);
        give.send(100).unwrap();
        assert_eq!(output.write(b"six\n"), 0);
        assert_eq!(written.lock().unwrap().as_slice(), b"one\ntwo\nthr\nsix\n");
    }
}
