//! The frames of an HTTP/2 connection (RFC 9113 section 4.1), as far as their headers: enough to tell messages from
//! housekeeping.

/// The connection preface of a client.
const PREFACE: u64 = 24;
/// Bytes of a frame's header.
const HEADER: usize = 9;

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    /// Where it starts and ends in its direction.
    pub start: u64,
    pub end: u64,
}

impl Frame {
    /// HEADERS, CONTINUATION or DATA: a piece of a request or response.
    pub fn carries_message(&self) -> bool {
        matches!(self.kind, 0 | 1 | 9)
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            0 => "DATA",
            1 => "HEADERS",
            2 => "PRIORITY",
            3 => "RST_STREAM",
            4 => "SETTINGS",
            5 => "PUSH_PROMISE",
            6 => "PING",
            7 => "GOAWAY",
            8 => "WINDOW_UPDATE",
            9 => "CONTINUATION",
            _ => "frame",
        }
    }
}

/// The frames a client sent, behind the preface.
pub fn client(bytes: &[u8]) -> impl Iterator<Item = Frame> {
    frames(bytes, PREFACE)
}

/// The frames a server sent.
pub fn server(bytes: &[u8]) -> impl Iterator<Item = Frame> {
    frames(bytes, 0)
}

fn frames(bytes: &[u8], mut start: u64) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(move || {
        let at = usize::try_from(start).ok()?;
        let [a, b, c, kind, _, s0, s1, s2, s3] = *bytes.get(at..at.checked_add(HEADER)?)?.first_chunk()?;
        let end = start + HEADER as u64 + u64::from(u32::from_be_bytes([0, a, b, c]));
        if (bytes.len() as u64) < end {
            return None;
        }
        let frame = Frame { kind, stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff, start, end };
        start = end;
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_frames_follow_each_other(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut end = 0;
            for frame in server(&bytes) {
                prop_assert_eq!(frame.start, end);
                end = frame.end;
            }
            prop_assert!(end <= bytes.len() as u64);
        }
    }
}
