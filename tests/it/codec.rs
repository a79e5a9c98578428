//! The HTTP/1.1 codec over its public interface: what is refused, and that no split of the bytes changes the result.

use bytes::BytesMut;
use proptest::prelude::*;
use vestibule::error::Why;
use vestibule::h1::{Decoder, Limits, Parsed, ResponseTo, Step, parse_request, parse_response};
use vestibule::message::{Fields, Framing, RequestHead};

const LIMITS: Limits = Limits { bytes: 32 << 10, fields: 100, target: 16 << 10 };

fn request(raw: &[u8]) -> Result<Parsed<RequestHead>, Why> {
    parse_request(raw, &LIMITS)
}

#[test]
fn a_head_that_two_programs_could_read_in_two_ways_is_refused() {
    let table: &[(&str, Why)] = &[
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Why::RequestFraming),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Why::RequestFraming),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Why::RequestFraming),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Why::RequestFraming),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Why::RequestFraming),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Why::RequestFraming),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Why::RequestFraming,
        ),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Why::RequestFraming),
        ("GET / HTTP/1.1\r\n\r\n", Why::RequestHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Why::RequestHost),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Why::RequestHost),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Why::RequestMalformed),
        ("GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", Why::RequestMalformed),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Why::RequestMalformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Why::RequestMalformed),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Why::RequestTarget),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Why::RequestTarget),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Why::RequestVersion),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Why::RequestConnect),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", Why::RequestExpectation),
    ];
    for (raw, why) in table {
        assert_eq!(request(raw.as_bytes()).err(), Some(*why), "{raw:?}");
    }
}

#[test]
fn an_absolute_target_replaces_the_host_and_becomes_a_path() {
    let Ok(Parsed::Head(head, _)) = request(b"GET http://b:81?q HTTP/1.1\r\nHost: a\r\n\r\n") else { panic!() };
    assert_eq!((head.authority(), head.target(), head.host()), (&b"b:81"[..], &b"/?q"[..], &b"b"[..]));
}

#[test]
fn a_response_without_one_clear_end_is_refused() {
    let to = ResponseTo { is_head: false };
    for raw in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    ] {
        assert!(parse_response(raw.as_bytes(), to).is_err(), "{raw:?}");
    }
    let Ok(Parsed::Head(head, _)) =
        parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ResponseTo { is_head: true })
    else {
        panic!()
    };
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn a_request_line_is_refused_in_part_only_where_it_is_refused_whole() {
    let limits = Limits { bytes: 400, fields: 4, target: 40 };
    for (method, target, accepted) in [(64, 40, true), (65, 1, false), (3, 41, false), (64, 41, false)] {
        let (method, target) = ("M".repeat(method), "/".repeat(target));
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let raw = format!("{method} {target} {version}\r\nHost: a\r\n\r\n");
            assert_eq!(parse_request(raw.as_bytes(), &limits).is_ok(), accepted, "{raw}");
            for end in 0..raw.len() {
                let part = parse_request(&raw.as_bytes()[..end], &limits);
                assert!(!accepted || matches!(part, Ok(Parsed::Partial)), "{raw} cut at {end}: {part:?}");
            }
        }
    }
}

/// Feeds a body in the given pieces; the data, and whether it ended, or nothing where it was refused.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Option<(Vec<u8>, bool)> {
    let (mut decoder, mut buffer, mut data) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.step(&mut buffer) {
                Ok(Step::Data(bytes)) => data.extend_from_slice(&bytes),
                Ok(Step::End(_)) => return Some((data, true)),
                Ok(Step::NeedMore) => break,
                Err(_) => return None,
            }
        }
    }
    Some((data, decoder.is_done()))
}

/// Fields that decide where a message ends, right and wrong, and others.
const FIELD: &str = "(Host: a\r\n|Content-Length: ?[0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|Connection: close, X\r\n\
                     |X: [ -~]{0,6}\r\n|X : 1\r\n|Y: 1\n| fold\r\n|Expect: 100-continue\r\n)";

/// What a head says, for comparison.
fn seen(fields: &Fields, about: &[u8]) -> Vec<Vec<u8>> {
    let fields = fields.iter().flat_map(|field| [field.name.to_vec(), field.value.to_vec()]);
    std::iter::once(about.to_vec()).chain(fields).collect()
}

/// A message as it was read.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused,
    Unfinished,
    /// What the head says; the body's data, and whether it ended, or nothing where it was refused.
    Head(Vec<Vec<u8>>, Framing, Option<(Vec<u8>, bool)>),
}

/// Reads a message that arrives in pieces: `parse` sees all the bytes so far until it finds a head.
fn read(pieces: &[&[u8]], parse: impl Fn(&[u8]) -> Result<Option<(Vec<Vec<u8>>, Framing, usize)>, ()>) -> Outcome {
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        bytes.extend_from_slice(piece);
        match parse(&bytes) {
            Ok(None) => {}
            Err(()) => return Outcome::Refused,
            Ok(Some((seen, framing, length))) => {
                let mut rest = vec![&bytes[length..]];
                rest.extend(&pieces[at + 1..]);
                return Outcome::Head(seen, framing, decode(framing, &rest));
            }
        }
    }
    Outcome::Unfinished
}

fn split<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn any_split_of_a_chunked_body_gives_the_same_data(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        extension in "(;[a-z]{1,5}(=[a-z]{1,5})?)?",
        trailer in "(X-T: [a-z]{0,5}\r\n)?",
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut raw = Vec::new();
        for chunk in &chunks {
            raw.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            raw.extend_from_slice(chunk);
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        prop_assert_eq!(decode(Framing::Chunked, &split(&raw, &cuts)), Some((chunks.concat(), true)));
    }

    #[test]
    fn arbitrary_chunked_bytes_never_yield_more_than_they_hold(
        raw in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'5'), any::<u8>()], 0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let whole = decode(Framing::Chunked, &[&raw]);
        prop_assert!(whole.as_ref().is_none_or(|(data, _)| data.len() <= raw.len()));
        prop_assert_eq!(decode(Framing::Chunked, &split(&raw, &cuts)), whole);
    }

    #[test]
    fn arbitrary_heads_never_panic_and_grow_to_one_verdict(raw in "(GET|POST) /[a-z]{0,4} HTTP/1\\.[01]\r\n(Host: a\r\n|[A-Za-z-]{1,8}: ?[ -~]{0,8}\r\n|\n| x\r\n){0,4}\r\n") {
        let verdict = request(raw.as_bytes()).is_ok_and(|parsed| matches!(parsed, Parsed::Head(..)));
        for end in 0..raw.len() {
            // A part is unfinished, or is refused already; it is never a head of its own unless the whole is one.
            if let Ok(Parsed::Head(_, length)) = request(&raw.as_bytes()[..end]) {
                prop_assert!(length <= end && verdict);
            }
        }
        let _ = parse_response(raw.as_bytes(), ResponseTo { is_head: false });
    }

    #[test]
    fn any_split_of_a_request_gives_the_same_request(
        line in "(GET|POST|PUT|HEAD|M{62,68}) (/[a-z%2./]{0,12}|http://b:1/x|\\*|x) HTTP/1\\.[0-2]",
        fields in prop::collection::vec(FIELD, 0..5),
        body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), any::<u8>()], 0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let raw = [format!("{line}\r\nHost: a\r\n{}\r\n", fields.concat()).as_bytes(), &body].concat();
        let parse = |bytes: &[u8]| match request(bytes) {
            Ok(Parsed::Head(head, length)) => Ok(Some((seen(&head.fields, head.target()), head.framing, length))),
            Ok(Parsed::Partial) => Ok(None),
            Err(_) => Err(()),
        };
        prop_assert_eq!(read(&split(&raw, &cuts), parse), read(&[&raw], parse));
    }

    #[test]
    fn any_split_of_a_response_gives_the_same_response(
        line in "HTTP/1\\.[01] (200|204|304|404|101|103|999|20) ?[a-z ]{0,6}",
        fields in prop::collection::vec(FIELD, 0..5),
        body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), any::<u8>()], 0..40),
        is_head in any::<bool>(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let raw = [format!("{line}\r\n{}\r\n", fields.concat()).as_bytes(), &body].concat();
        let parse = |bytes: &[u8]| match parse_response(bytes, ResponseTo { is_head }) {
            Ok(Parsed::Head(head, length)) => {
                Ok(Some((seen(&head.fields, &head.status.to_be_bytes()), head.framing, length)))
            }
            Ok(Parsed::Partial) => Ok(None),
            Err(_) => Err(()),
        };
        prop_assert_eq!(read(&split(&raw, &cuts), parse), read(&[&raw], parse));
    }
}
