//! Heads of responses. The first byte says whether the request was a HEAD.

use vestibule::h1::{Parsed, ResponseTo, parse_response, write_fields, write_status_line};
use vestibule::message::{Framing, Known};

use crate::{assert_fields, list, split_control};

/// # Panics
/// An accepted head is ambiguous, depends on how its bytes arrive, or changes when it is written again.
pub fn check(data: &[u8]) {
    let (control, input) = split_control(data);
    let to = ResponseTo { is_head: control & 1 == 1 };
    let Ok(Parsed::Head(head, length)) = parse_response(input, to) else { return };
    assert!(input[..length].ends_with(b"\r\n\r\n"));
    assert_fields(&head.fields);
    for end in 0..length.min(512) {
        assert!(matches!(parse_response(&input[..end], to), Ok(Parsed::Partial)), "cut at {end}");
    }

    let lengths: Vec<_> = head.fields.all(Known::ContentLength).collect();
    let chunked = head.fields.has(Known::TransferEncoding);
    assert!(lengths.len() <= 1 && (lengths.is_empty() || !chunked), "two ways to end");
    let bodiless = to.is_head || head.status < 200 || matches!(head.status, 204 | 304);
    match head.framing {
        Framing::None => assert!(bodiless || lengths == [b"0"] || lengths[0].iter().all(|b| *b == b'0')),
        Framing::Length(length) => assert_eq!(parse_decimal(lengths[0]), Some(length)),
        Framing::Chunked => assert!(chunked && !bodiless),
        Framing::Close => assert!(!chunked && lengths.is_empty() && !head.keep_alive),
    }

    let mut written = Vec::new();
    write_status_line(&mut written, head.status);
    write_fields(&mut written, &head.fields);
    written.extend_from_slice(b"\r\n");
    let Ok(Parsed::Head(again, whole)) = parse_response(&written, to) else { panic!("not read again: {written:?}") };
    assert_eq!((whole, again.status, again.framing), (written.len(), head.status, head.framing));
    assert_eq!(list(&again.fields), list(&head.fields));
}

fn parse_decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
