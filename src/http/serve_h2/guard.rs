//! What a client may do to one connection besides asking: frames that cost work and bring none have an allowance, and
//! what the library would refuse with another code than the RFC's is refused here.
//!
//! Everything useful (a request, response bytes) pays into it, so that a client which works hard may also say much.
//! Bounds for CONTINUATION, empty DATA and streams that the server had to reset are the library's, set in `serve`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use h2::Reason;

use super::block::Block;
use super::frames::{Frames, Head, Kind, Passing};

/// Streams a client may reset within [`RESET_WINDOW`].
pub(super) const MAX_RESETS: usize = 100;
const RESET_WINDOW: Duration = Duration::from_secs(30);

/// Frames a client may send before any work, and the most that is saved up.
const ALLOWANCE: u64 = 500;
const MAX_ALLOWANCE: u64 = 900;
/// What a request pays in, what a piece of a response, and what each of its kibibytes: a client answers DATA with
/// WINDOW_UPDATE, and gRPC with PING.
const PER_REQUEST: u64 = 8;
const PER_PIECE: u64 = 4;
/// What a second pays in.
const PER_SECOND: u64 = 10;
/// Streams the client has not ended that are remembered.
const MAX_REMEMBERED: usize = 256;
/// RFC 9113 section 6.5.2: the largest frame without a setting of ours, the setting of the window and its bound.
const MAX_FRAME: u32 = 1 << 14;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// Gaps between identifiers that are remembered: well-made clients leave none.
const MAX_SKIPPED: usize = 16;

/// The account of one connection.
#[derive(Debug)]
pub(super) struct Guard {
    frames: Frames,
    allowance: u64,
    at: Instant,
    resets: VecDeque<Instant>,
    streams: Streams,
    /// A field block has begun and goes on in CONTINUATION. Any other frame is an error that the library names well.
    in_block: bool,
    block: Block,
    /// The block is the trailers of a request, and ends with the frame that passes.
    trailers: bool,
}

impl Guard {
    pub fn new(now: Instant) -> Guard {
        Guard {
            frames: Frames::new(),
            allowance: ALLOWANCE,
            at: now,
            resets: VecDeque::new(),
            streams: Streams::default(),
            in_block: false,
            block: Block::default(),
            trailers: false,
        }
    }

    /// Looks at bytes that have come.
    ///
    /// # Errors
    /// Why the connection must end, and how many of the bytes stand before the frame that was too much.
    pub fn watch(&mut self, bytes: &[u8], now: Instant) -> Result<(), (usize, Reason)> {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        if seconds > 0 {
            self.at = now;
            self.pay(seconds.saturating_mul(PER_SECOND));
        }
        let mut rest = bytes;
        loop {
            let before = bytes.len() - rest.len() + self.frames.settled(rest.len());
            let judged = match self.frames.next(&mut rest) {
                None => return Ok(()),
                Some(Passing::Setting(INITIAL_WINDOW_SIZE, value)) if value > MAX_WINDOW => {
                    Err(Reason::FLOW_CONTROL_ERROR)
                }
                Some(Passing::Setting(..)) => Ok(()),
                Some(Passing::Block(part, last)) => {
                    self.block.push(part);
                    // RFC 9113 section 8.1: the library would drop the field.
                    let ends = last && self.trailers && !self.in_block;
                    if ends && self.block.has_pseudo_field() { Err(Reason::PROTOCOL_ERROR) } else { Ok(()) }
                }
                Some(Passing::Head(head)) => self.judge(head, now),
            };
            judged.map_err(|reason| (before, reason))?;
        }
    }

    fn judge(&mut self, head: Head, now: Instant) -> Result<(), Reason> {
        if !has_right_length(head) {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if std::mem::take(&mut self.in_block) && head.kind != Kind::Continuation {
            return Ok(());
        }
        self.in_block = matches!(head.kind, Kind::Headers | Kind::Continuation) && !head.ends_headers();
        match head.kind {
            Kind::Headers => {
                self.trailers = self.streams.is_open(head.stream);
                let misplaced =
                    !self.trailers && (head.stream <= self.streams.highest || head.stream.is_multiple_of(2));
                self.block.begin(head.flags, misplaced);
            }
            Kind::Continuation => self.block.strip(),
            _ => {}
        }
        self.streams.follow(head)?;
        match head.kind {
            Kind::Headers => self.pay(PER_REQUEST),
            Kind::Data if head.length > 0 || head.ends_stream() => {}
            // Counted by the library, by what a list of fields may need.
            Kind::Continuation => {}
            Kind::RstStream => {
                while self.resets.front().is_some_and(|at| now.saturating_duration_since(*at) > RESET_WINDOW) {
                    self.resets.pop_front();
                }
                if self.resets.len() >= MAX_RESETS {
                    return Err(Reason::ENHANCE_YOUR_CALM);
                }
                self.resets.push_back(now);
            }
            // Each is acknowledged and may change every stream.
            Kind::Settings => self.spend(4)?,
            Kind::Data | Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Other => self.spend(1)?,
        }
        Ok(())
    }

    /// Whether the last field block cannot be decoded, given that the library took it for an error.
    pub fn is_block_broken(&mut self) -> bool {
        self.block.is_broken()
    }

    /// Notes a piece of a response that was sent.
    pub fn sent(&mut self, bytes: usize) {
        self.pay(PER_PIECE + (bytes >> 10) as u64);
    }

    fn pay(&mut self, amount: u64) {
        self.allowance = self.allowance.saturating_add(amount).min(MAX_ALLOWANCE);
    }

    fn spend(&mut self, amount: u64) -> Result<(), Reason> {
        self.allowance = self.allowance.checked_sub(amount).ok_or(Reason::ENHANCE_YOUR_CALM)?;
        Ok(())
    }
}

/// RFC 9113 section 4.2, and what section 6 says of each type.
fn has_right_length(head: Head) -> bool {
    match head.kind {
        Kind::Priority => head.length == 5,
        Kind::RstStream | Kind::WindowUpdate => head.length == 4,
        Kind::Ping => head.length == 8,
        Kind::Settings => head.length.is_multiple_of(6) && !(head.is_ack() && head.length > 0),
        Kind::Data | Kind::Headers | Kind::Continuation | Kind::Other => head.length <= MAX_FRAME,
    }
}

/// Which streams the client has ended itself: it must not send DATA or HEADERS on them (RFC 9113 section 5.1). The
/// library would call that a PROTOCOL_ERROR, or ignore it.
#[derive(Debug, Default)]
struct Streams {
    /// The highest identifier so far.
    highest: u32,
    /// Opened and not ended, in order.
    open: VecDeque<u32>,
    /// Nothing is known of streams up to this one: too many were left open to remember them.
    forgotten: u32,
    /// Identifiers passed over, first and last: using one of those is another error, and the library's.
    skipped: VecDeque<(u32, u32)>,
}

impl Streams {
    fn follow(&mut self, head: Head) -> Result<(), Reason> {
        match head.kind {
            Kind::Headers if head.stream > self.highest => {
                if head.stream > self.highest + 2 {
                    self.skipped.truncate(MAX_SKIPPED - 1);
                    self.skipped.push_front((self.highest + 1, head.stream - 1));
                }
                self.highest = head.stream;
                if !head.ends_stream() {
                    if self.open.len() >= MAX_REMEMBERED {
                        self.forgotten = self.open.pop_front().unwrap_or(self.forgotten);
                    }
                    self.open.push_back(head.stream);
                }
            }
            Kind::Headers | Kind::Data if head.stream <= self.highest && head.stream > self.forgotten => {
                match self.open.binary_search(&head.stream) {
                    Err(_) if self.was_opened(head.stream) => return Err(Reason::STREAM_CLOSED),
                    Ok(at) if head.ends_stream() => {
                        self.open.remove(at);
                    }
                    _ => {}
                }
            }
            Kind::RstStream => {
                if let Ok(at) = self.open.binary_search(&head.stream) {
                    self.open.remove(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_open(&self, stream: u32) -> bool {
        self.open.binary_search(&stream).is_ok()
    }

    fn was_opened(&self, stream: u32) -> bool {
        stream % 2 == 1 && !self.skipped.iter().any(|(first, last)| (*first..=*last).contains(&stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, stream: u32, length: u8) -> Vec<u8> {
        let mut raw = vec![0, 0, length, kind, flags];
        raw.extend_from_slice(&stream.to_be_bytes());
        raw.extend(std::iter::repeat_n(0, length as usize));
        raw
    }

    fn guard(now: Instant) -> Guard {
        let mut guard = Guard::new(now);
        guard.watch(&PREFACE, now).unwrap();
        guard
    }

    fn taken(guard: &mut Guard, now: Instant, raw: &[u8]) -> (usize, Option<Reason>) {
        (0..2000).find_map(|n| guard.watch(raw, now).err().map(|(_, why)| (n, Some(why)))).unwrap_or((2000, None))
    }

    #[test]
    fn frames_without_work_end_before_a_thousand() {
        let now = Instant::now();
        for (kind, flags, stream, length) in
            [(6, 0, 0, 8), (6, 1, 0, 8), (4, 0, 0, 0), (2, 0, 1, 5), (8, 0, 0, 4), (0, 0, 1, 0), (77, 0, 0, 3)]
        {
            let mut guard = guard(now);
            guard.watch(&frame(1, 4, 1, 10), now).unwrap();
            guard.sent(100 << 20);
            let (count, why) = taken(&mut guard, now, &frame(kind, flags, stream, length));
            assert!((50..1000).contains(&count), "kind {kind}: {count}");
            assert_eq!(why, Some(Reason::ENHANCE_YOUR_CALM));
        }
    }

    #[test]
    fn a_hundred_resets_are_taken_and_more_after_a_while() {
        let now = Instant::now();
        let mut guard = guard(now);
        let reset = frame(3, 0, 1, 4);
        assert_eq!(taken(&mut guard, now, &reset), (MAX_RESETS, Some(Reason::ENHANCE_YOUR_CALM)));
        assert!(guard.watch(&reset, now + RESET_WINDOW + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn what_a_busy_client_sends_is_paid_for_by_its_work() {
        let now = Instant::now();
        let mut guard = guard(now);
        for number in 0..20_000u32 {
            guard.watch(&frame(1, 5, number * 2 + 1, 10), now).unwrap();
            guard.sent(64 << 10);
            // Two windows a frame of 16 KiB, and a PING.
            for _ in 0..8 {
                guard.watch(&frame(8, 0, 0, 4), now).unwrap();
            }
            guard.watch(&frame(6, 0, 0, 8), now).unwrap();
        }
    }

    #[test]
    fn a_response_sent_byte_by_byte_does_not_pay_for_its_windows() {
        let now = Instant::now();
        let mut guard = guard(now);
        guard.sent(128 << 10);
        let (count, why) = taken(&mut guard, now, &frame(8, 0, 1, 4));
        assert!(count < 1000 && why == Some(Reason::ENHANCE_YOUR_CALM), "{count}");
    }

    #[test]
    fn the_bytes_before_the_frame_too_much_are_counted() {
        let now = Instant::now();
        let mut guard = guard(now);
        let mut bytes = frame(1, 5, 1, 10);
        bytes.extend(frame(0, 0, 1, 3));
        assert_eq!(guard.watch(&bytes, now), Err((19, Reason::STREAM_CLOSED)));
    }

    #[test]
    fn a_client_may_not_go_on_where_it_has_ended() {
        let now = Instant::now();
        let ended: [(&[Vec<u8>], bool); 8] = [
            (&[frame(1, 4, 1, 1), frame(0, 0, 1, 1), frame(0, 1, 1, 1)], false),
            (&[frame(1, 4, 1, 1), frame(0, 1, 1, 1), frame(0, 0, 1, 1)], true),
            (&[frame(1, 5, 1, 1), frame(1, 5, 1, 1)], true),
            (&[frame(1, 4, 1, 1), frame(3, 0, 1, 4), frame(0, 0, 1, 1)], true),
            (&[frame(1, 4, 1, 1), frame(1, 4, 3, 1), frame(1, 5, 1, 1), frame(0, 1, 3, 1)], false),
            // Never opened: another error, and the library's.
            (&[frame(0, 0, 5, 1)], false),
            (&[frame(1, 5, 5, 1), frame(1, 5, 3, 1)], false),
            (&[frame(1, 5, 5, 1), frame(1, 5, 5, 1)], true),
        ];
        for (frames, refused) in ended {
            let mut guard = guard(now);
            let found = frames.iter().try_for_each(|raw| guard.watch(raw, now));
            assert_eq!(found.is_err(), refused, "{frames:?}");
        }
    }

    #[test]
    fn trailers_with_a_pseudo_field_are_held_back() {
        let now = Instant::now();
        let mut guard = guard(now);
        guard.watch(&frame(1, 4, 1, 0), now).unwrap();
        let trailers = |field: &[u8]| {
            let mut raw = vec![0, 0, u8::try_from(field.len()).unwrap(), 1, 5, 0, 0, 0, 1];
            raw.extend_from_slice(field);
            raw
        };
        assert_eq!(guard.watch(&trailers(b"\x04\x01/"), now), Err((9, Reason::PROTOCOL_ERROR)));
    }

    #[test]
    fn frames_of_a_wrong_length_are_told_so() {
        let now = Instant::now();
        for (kind, flags, length) in [(6, 0, 6), (3, 0, 3), (8, 0, 5), (2, 0, 4), (4, 0, 3), (4, 1, 6)] {
            let found = guard(now).watch(&frame(kind, flags, 1, length), now);
            assert_eq!(found, Err((0, Reason::FRAME_SIZE_ERROR)), "kind {kind}");
        }
        let large = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
        assert_eq!(guard(now).watch(&large, now), Err((0, Reason::FRAME_SIZE_ERROR)));
    }

    #[test]
    fn streams_that_are_left_open_are_forgotten_not_gathered() {
        let now = Instant::now();
        let mut guard = guard(now);
        for number in 0..5000u32 {
            guard.watch(&frame(1, 4, number * 2 + 1, 1), now).unwrap();
        }
        assert_eq!(guard.streams.open.len(), MAX_REMEMBERED);
        assert!(guard.watch(&frame(0, 0, 1, 1), now).is_ok());
        assert!(guard.watch(&frame(0, 1, 9999, 1), now).is_ok());
    }
}
