//! The chunked coding (RFC 9112 section 7.1), decoded byte by byte outside the data itself.

use crate::message::{Fields, Known};

/// The peer sent bytes that are not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("malformed message")
    }
}

impl std::error::Error for Malformed {}

/// Extensions of one chunk beyond this are an attack, not a use.
const MAX_EXTENSION: usize = 4096;
/// The trailer section as a whole.
const MAX_TRAILERS: usize = 16 << 10;
const MAX_TRAILER_FIELDS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reading the hexadecimal size; the count of digits so far.
    Size(u8),
    Extension(usize),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Where a chunked body is.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of the current chunk still to come.
    left: u64,
    trailers: Vec<u8>,
}

/// What the front of the input holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Skip `skip` bytes of framing, then `data` bytes are body.
    Data { skip: usize, data: usize },
    /// The body ended after `skip` bytes.
    End { skip: usize },
    /// All `skip` bytes were framing; more is needed.
    More { skip: usize },
}

impl Chunked {
    pub fn new() -> Chunked {
        Chunked { state: State::Size(0), left: 0, trailers: Vec::new() }
    }

    /// Looks at the front of `input`; the caller drops what the answer covers.
    pub fn step(&mut self, input: &[u8]) -> Result<Piece, Malformed> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let data = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                    self.left -= data as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Piece::Data { skip: at, data });
                }
                State::Done => return Ok(Piece::End { skip: at }),
                State::Trailers => {
                    self.trailer(byte)?;
                }
                _ => self.line(byte)?,
            }
            at += 1;
        }
        Ok(if self.state == State::Done { Piece::End { skip: at } } else { Piece::More { skip: at } })
    }

    fn line(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 15 digits stay below 2^60.
                if digits == 15 {
                    return Err(Malformed);
                }
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..), b'\r') => State::SizeLf,
            (State::Size(1..), b';') => State::Extension(0),
            (State::Extension(_), b'\r') => State::SizeLf,
            (State::Extension(length), b'\t' | b' '..=b'~' | 0x80..) if length < MAX_EXTENSION => {
                State::Extension(length + 1)
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            _ => return Err(Malformed),
        };
        Ok(())
    }

    /// Collects the trailer section up to its empty line.
    fn trailer(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.trailers.len() >= MAX_TRAILERS {
            return Err(Malformed);
        }
        self.trailers.push(byte);
        if byte == b'\n' && !self.trailers.ends_with(b"\r\n") {
            return Err(Malformed);
        }
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            self.state = State::Done;
        }
        Ok(())
    }

    /// The trailer fields of a body that ended, without those a trailer may not carry (RFC 9110 section 6.5.1).
    pub fn take_trailers(&mut self) -> Result<Option<Fields>, Malformed> {
        let raw = std::mem::take(&mut self.trailers);
        if raw.len() <= 2 {
            return Ok(None);
        }
        let mut table = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&raw, &mut table) else {
            return Err(Malformed);
        };
        let mut fields = Fields::with_capacity(raw.len(), parsed.len());
        for field in parsed {
            if Known::classify(field.name.as_bytes()).is_trailer() {
                fields.push(field.name.as_bytes(), field.value);
            }
        }
        Ok((!fields.is_empty()).then_some(fields))
    }
}
