//! The heads of HTTP/2 frames as they pass by (RFC 9113 section 4.1), without their payloads.
//!
//! The HTTP/2 library answers PING, SETTINGS and PRIORITY by itself and says nothing of them. What a client may send of
//! those has a bound here, so the bytes are followed below the library: sans-io, nine bytes of state.

/// RFC 9113 section 3.4: what a client sends before its first frame.
const PREFACE: usize = 24;
/// RFC 9113 section 4.1.
const HEAD: usize = 9;

/// Frame types of RFC 9113 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    Ping,
    WindowUpdate,
    Continuation,
    /// One of an extension, which is ignored (section 5.5), or one a client may not send.
    Other,
}

/// One frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: Kind,
    pub flags: u8,
    pub stream: u32,
    /// Bytes of payload.
    pub length: u32,
}

impl Head {
    /// The client says nothing more on this stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & 1 != 0
    }

    /// The last frame of a field block, where it is part of one.
    pub fn ends_headers(&self) -> bool {
        self.flags & 4 != 0
    }

    /// The answer to SETTINGS or PING.
    pub fn is_ack(&self) -> bool {
        self.flags & 1 != 0
    }

    fn parse(raw: &[u8; HEAD]) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *raw;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            6 => Kind::Ping,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        // The highest bit of a stream identifier is reserved and ignored.
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Head { kind, flags, stream, length: u32::from_be_bytes([0, l0, l1, l2]) }
    }
}

/// What passes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passing<'a> {
    Head(Head),
    /// A part of a field block's frame; true for its last.
    Block(&'a [u8], bool),
    /// One setting of a SETTINGS frame (section 6.5.1).
    Setting(u16, u32),
}

/// Bytes of a setting.
const SETTING: usize = 6;

/// Follows a client's byte stream from its first byte.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    /// Bytes of settings to come.
    settings: usize,
    /// What is passed over is a part of a field block.
    block: bool,
    raw: [u8; HEAD],
    filled: usize,
}

impl Frames {
    pub fn new() -> Frames {
        Frames { skip: PREFACE, settings: 0, block: false, raw: [0; HEAD], filled: 0 }
    }

    /// How many of `left` bytes belong to a frame whose head has passed and about which nothing more will be said.
    pub fn settled(&self, left: usize) -> usize {
        if self.block { 0 } else { self.skip.min(left) }
    }

    /// What comes next in `bytes`, which is moved behind it; `None` when they are used up.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Passing<'a>> {
        // No slice below is longer than what it is cut from: each length is the smaller of two.
        let pass = self.skip.min(bytes.len());
        self.skip -= pass;
        let (payload, rest) = bytes.split_at(pass);
        *bytes = rest;
        if self.block && pass > 0 {
            return Some(Passing::Block(payload, self.skip == 0));
        }
        let want = if self.settings > 0 { SETTING } else { HEAD };
        let take = bytes.len().min(want - self.filled);
        let (part, rest) = bytes.split_at(take);
        self.raw[self.filled..self.filled + take].copy_from_slice(part);
        self.filled += take;
        *bytes = rest;
        if self.filled < want {
            return None;
        }
        self.filled = 0;
        if self.settings > 0 {
            self.settings -= SETTING;
            let [i0, i1, v0, v1, v2, v3, ..] = self.raw;
            return Some(Passing::Setting(u16::from_be_bytes([i0, i1]), u32::from_be_bytes([v0, v1, v2, v3])));
        }
        let head = Head::parse(&self.raw);
        self.block = matches!(head.kind, Kind::Headers | Kind::Continuation);
        let length = head.length as usize;
        if head.kind == Kind::Settings && length.is_multiple_of(SETTING) {
            self.settings = length;
        } else {
            self.skip = length;
        }
        Some(Passing::Head(head))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn follow<'a>(frames: &mut Frames, mut bytes: &'a [u8]) -> Vec<Passing<'a>> {
        std::iter::from_fn(|| frames.next(&mut bytes)).collect()
    }

    /// What does not depend on the split, and the bytes of all field blocks.
    fn apart(passing: &[Passing<'_>]) -> (Vec<String>, Vec<u8>) {
        let (mut others, mut blocks) = (Vec::new(), Vec::new());
        for one in passing {
            match one {
                Passing::Block(part, _) => blocks.extend_from_slice(part),
                other => others.push(format!("{other:?}")),
            }
        }
        (others, blocks)
    }

    #[test]
    fn the_preface_and_payloads_are_passed_over() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(raw(4, 0, 0, &[0, 4, 0, 1, 2, 3, 0, 8, 0, 0, 0, 1]));
        bytes.extend(raw(4, 0, 0, &[0; 5]));
        bytes.extend(raw(1, 5, 0x8000_0001, &[0; 20]));
        bytes.extend(raw(200, 0xff, 7, b""));
        let passing = follow(&mut Frames::new(), &bytes);
        let head = |kind, flags, stream, length| Passing::Head(Head { kind, flags, stream, length });
        assert_eq!(
            passing,
            [
                head(Kind::Settings, 0, 0, 12),
                Passing::Setting(4, 0x0001_0203),
                Passing::Setting(8, 1),
                head(Kind::Settings, 0, 0, 5),
                head(Kind::Headers, 5, 1, 20),
                Passing::Block(&[0; 20], true),
                head(Kind::Other, 0xff, 7, 0),
            ]
        );
    }

    proptest! {
        #[test]
        fn heads_are_the_same_under_any_split(
            sent in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u32>(), 0usize..300), 0..20),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let mut bytes = vec![0; PREFACE];
            for (kind, flags, stream, length) in &sent {
                bytes.extend(raw(*kind, *flags, *stream, &vec![0xff; *length]));
            }
            let whole = follow(&mut Frames::new(), &bytes);
            let heads = whole.iter().filter(|passing| matches!(passing, Passing::Head(_))).count();
            prop_assert_eq!(heads, sent.len());
            let (mut pieces, mut rest, mut cut) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            let mut frames = Frames::new();
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.extend(follow(&mut frames, piece));
                rest = later;
            }
            prop_assert_eq!(apart(&whole), apart(&pieces));
        }

        #[test]
        fn any_bytes_are_followed_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut rest = &bytes[..];
            let mut frames = Frames::new();
            while frames.next(&mut rest).is_some() {}
            prop_assert!(rest.is_empty());
        }
    }
}
