//! What the inspector is told of a request: its heads with their secrets masked, facts and times.
//!
//! Workers hand entries to the inspector through a bounded queue and never wait for it: what it has no room for is counted.

mod mask;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

pub use self::mask::{HIDDEN, Masks, OWN_COOKIE};
use crate::config::{AccessLog, Config, Redact};
use crate::error::Why;
use crate::message::Fields;
use crate::tls::TlsFacts;

/// Entries on their way to the inspector.
const QUEUE: usize = 64;
/// Bytes of a head that are kept, and of one of its values.
const HEAD: usize = 8 << 10;
const VALUE: usize = 1 << 10;

/// One request, from its head to the end of its answer.
#[derive(Debug, Clone)]
pub struct Entry {
    pub at: SystemTime,
    pub id: String,
    pub peer: SocketAddr,
    pub local_port: Box<str>,
    pub tls: Option<TlsFacts>,
    pub method: String,
    pub host: String,
    pub target: String,
    pub version: &'static str,
    /// As the client sent it.
    pub received: Head,
    /// As the server got it, at the last attempt.
    pub forwarded: Option<Head>,
    /// As the server answered.
    pub answered: Option<Head>,
    /// As the client gets it, but for the fields of the connection.
    pub sent: Head,
    pub status: u16,
    pub why: Option<Why>,
    pub site: Option<String>,
    pub route: Option<String>,
    pub server: Option<Box<str>>,
    pub attempts: u32,
    pub times: Times,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// How long the parts of a request took; zero where there was none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// The TLS handshake of the connection.
    pub tls: Duration,
    /// From the head to the choice of a server: routing and filters.
    pub route: Duration,
    /// Getting a connection to the server.
    pub connect: Duration,
    /// From there to the head of its answer.
    pub first_byte: Duration,
    /// From the head to the last byte of the answer.
    pub total: Duration,
}

/// A head in text, bounded, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Request or status line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    /// Fields that had no room.
    pub left_out: usize,
}

impl Head {
    /// A head without its secrets.
    pub fn new(start: String, fields: &Fields, masks: &Masks) -> Head {
        let mut head = Head { start, ..Head::default() };
        let mut room = HEAD.saturating_sub(head.start.len());
        for field in fields.iter() {
            head.push(field.name, field.value, masks, &mut room);
        }
        head
    }

    /// As [`Head::new`], of a whole HTTP/1.1 head as it goes out.
    pub fn of_bytes(bytes: &[u8], masks: &Masks) -> Head {
        let mut lines = bytes.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start = masks.url(&text(lines.next().unwrap_or_default()));
        let mut room = HEAD.saturating_sub(start.len());
        let mut head = Head { start, ..Head::default() };
        for line in lines.take_while(|line| !line.is_empty()) {
            if let Some(at) = line.iter().position(|b| *b == b':') {
                head.push(&line[..at], line[at + 1..].trim_ascii(), masks, &mut room);
            }
        }
        head
    }

    fn push(&mut self, name: &[u8], value: &[u8], masks: &Masks, room: &mut usize) {
        if *room < name.len() + value.len().min(VALUE) {
            self.left_out += 1;
            return;
        }
        let name = text(name);
        let value = masks.field(&name, &text(value));
        *room = room.saturating_sub(name.len() + value.len());
        self.fields.push((name, value));
    }

    /// Roughly the memory it takes.
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(name, value)| name.len() + value.len() + 48);
        self.start.len() + fields.sum::<usize>() + 48
    }
}

impl Entry {
    /// Roughly the memory it takes.
    pub fn size(&self) -> usize {
        let heads = [Some(&self.received), self.forwarded.as_ref(), self.answered.as_ref(), Some(&self.sent)];
        let texts = self.target.len() + self.host.len() + self.id.len() + self.method.len();
        size_of::<Entry>() + texts + heads.iter().flatten().map(|head| head.size()).sum::<usize>()
    }
}

/// Text of a peer, at most [`VALUE`] bytes; control characters are dots.
pub fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(VALUE)];
    let mut text: String =
        String::from_utf8_lossy(shown).chars().map(|c| if c.is_control() { '\u{b7}' } else { c }).collect();
    if shown.len() < bytes.len() {
        text.push('\u{2026}');
    }
    text
}

/// The workers' end of the inspector: one for each generation, with one queue for all of them.
#[derive(Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
    shared: Arc<Shared>,
    pub masks: Masks,
}

#[derive(Debug)]
struct Shared {
    missed: AtomicU64,
    /// Until the inspector has taken it.
    entries: Mutex<Option<mpsc::Receiver<Entry>>>,
}

impl Recorder {
    /// `None` where the config has no inspector. The queue is the last generation's, where there is one.
    pub fn build(config: &Config) -> Option<Recorder> {
        config.admin.inspector?;
        let (queue, entries) = mpsc::channel(QUEUE);
        let shared = Shared { missed: AtomicU64::new(0), entries: Mutex::new(Some(entries)) };
        let redact = match &config.access_log {
            AccessLog::On { redact, .. } => redact.clone(),
            AccessLog::Off => Redact::default(),
        };
        Some(Recorder { queue, shared: Arc::new(shared), masks: Masks::new(&redact) })
    }

    /// Goes on with the queue of the last generation.
    pub fn inherit(&mut self, before: &Recorder) {
        (self.queue, self.shared) = (before.queue.clone(), before.shared.clone());
    }

    /// The inspector's end, once.
    pub fn entries(&self) -> Option<mpsc::Receiver<Entry>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether there is room for another entry; where not, it counts as missed.
    pub fn has_room(&self) -> bool {
        let room = self.queue.capacity() > 0;
        if !room {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// Hands an entry over, or counts it.
    pub fn send(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that passed unseen since the start.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Masks {
        Masks::new(&Redact::default())
    }

    #[test]
    fn a_head_is_bounded_whatever_the_peer_sends() {
        let mut fields = Fields::default();
        for _ in 0..1000 {
            fields.push(b"X-Long", &[b'a'; 5000]);
        }
        let head = Head::new("GET / HTTP/1.1".into(), &fields, &masks());
        assert!(head.size() < HEAD + 2 * VALUE, "{}", head.size());
        assert_eq!(head.fields.len() + head.left_out, 1000);
        assert!(head.left_out > 900);
    }

    #[test]
    fn a_head_on_its_way_out_is_read_again_without_its_secrets() {
        let bytes = b"GET /a?token=s3cret&b=1 HTTP/1.1\r\nHost: a.test\r\nCookie: id=s3cret\r\nX-A: 1\r\n\r\nbody: no";
        let head = Head::of_bytes(bytes, &masks());
        assert_eq!(head.start, format!("GET /a?token={HIDDEN}&b=1 HTTP/1.1"));
        let expected = [("Host", "a.test".to_string()), ("Cookie", format!("id={HIDDEN}")), ("X-A", "1".into())];
        assert_eq!(head.fields, expected.map(|(name, value)| (name.to_string(), value)));
    }
}
