//! Bodies: whatever the pieces, the result is that of the whole, and that of a second decoder written for this test alone.
//!
//! The first byte says how many of the next are cuts.

use bytes::BytesMut;
use vestibule::h1::{Decoder, Step, last_chunk, write_chunk_head};
use vestibule::message::Framing;

use crate::{list, split_control};

/// What became of a body.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    ended: bool,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    rest: Vec<u8>,
}

/// # Panics
/// A split changes the result, the decoders differ, or a body that is written again is another.
pub fn check(data: &[u8]) {
    let (control, data) = split_control(data);
    let (cuts, input) = data.split_at(usize::from(control % 8).min(data.len()));
    let framing = match control >> 6 {
        1 => Framing::Length(u64::from(control)),
        2 => Framing::Close,
        _ => Framing::Chunked,
    };
    let whole = decode(framing, &[input]);
    let mut at: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut).min(input.len())).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
    assert_eq!(decode(framing, &pieces), whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(framing, &bytes), whole);
    if framing != Framing::Chunked {
        return;
    }
    let Some(outcome) = whole else { return };
    assert!(outcome.data.len() + outcome.rest.len() <= input.len());
    if outcome.ended {
        let (expected, end) = reference(input).unwrap_or_else(|| panic!("the second decoder refuses {input:?}"));
        assert_eq!((&outcome.data, &outcome.rest[..]), (&expected, &input[end..]));
        assert_written(&outcome);
    }
}

fn decode(framing: Framing, pieces: &[&[u8]]) -> Option<Outcome> {
    let mut decoder = Decoder::new(framing);
    let mut outcome = Outcome { data: Vec::new(), ended: decoder.is_done(), trailers: Vec::new(), rest: Vec::new() };
    let mut buffer = BytesMut::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !outcome.ended {
            match decoder.step(&mut buffer).ok()? {
                Step::Data(bytes) => outcome.data.extend_from_slice(&bytes),
                Step::End(trailers) => {
                    outcome.trailers = trailers.iter().flat_map(list).collect();
                    outcome.ended = true;
                }
                Step::NeedMore => break,
            }
        }
    }
    if decoder.is_done() {
        outcome.ended = true;
    }
    outcome.rest = buffer.to_vec();
    Some(outcome)
}

/// RFC 9112 section 7.1 read from the whole body at once: its data, and where it ends.
fn reference(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    let line = |at: usize| input[at..].windows(2).position(|pair| pair == b"\r\n").map(|end| &input[at..at + end]);
    loop {
        let head = line(at)?;
        at += head.len() + 2;
        let digits = head.split(|b| *b == b';').next()?;
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        if input.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((data, at));
        }
    }
}

/// The same body in chunks of our own, with the trailers that passed, is the same body.
fn assert_written(outcome: &Outcome) {
    let mut written = Vec::new();
    for piece in outcome.data.chunks(7) {
        write_chunk_head(&mut written, piece.len());
        written.extend_from_slice(piece);
        written.extend_from_slice(b"\r\n");
    }
    let mut trailers = vestibule::message::Fields::default();
    for (name, value) in &outcome.trailers {
        trailers.push(name, value);
    }
    last_chunk(&mut written, Some(&trailers));
    let again = decode(Framing::Chunked, &[&written]).expect("our own chunks");
    assert_eq!((again.data, again.trailers), (outcome.data.clone(), outcome.trailers.clone()));
    assert!(again.ended && again.rest.is_empty());
}
