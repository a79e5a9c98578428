//! Heads of requests. The first byte chooses the limits.

use vestibule::config::HostHeader;
use vestibule::h1::{Limits, Parsed, is_authority, parse_request};
use vestibule::message::{Framing, Known, Method, RequestHead, Version};
use vestibule::upstream::Outgoing;

use crate::{assert_fields, list, split_control};

/// # Panics
/// An accepted head is ambiguous, over a limit, depends on how its bytes arrive, or changes when it is written again.
pub fn check(data: &[u8]) {
    let (control, input) = split_control(data);
    let limits = match control % 3 {
        0 => Limits { bytes: 32 << 10, fields: 100, target: 16 << 10 },
        1 => Limits { bytes: 200, fields: 4, target: 40 },
        _ => Limits { bytes: 1 << 20, fields: 1000, target: 1 << 20 },
    };
    let Ok(Parsed::Head(head, length)) = parse_request(input, &limits) else { return };
    assert!(input[..length].ends_with(b"\r\n\r\n"));
    assert!(
        length <= limits.bytes + 2 && head.fields.len() <= limits.fields && head.target().len() <= limits.target + 1
    );
    assert!(input[..length].iter().enumerate().all(|(at, b)| *b != b'\n' || input[at - 1] == b'\r'), "a bare LF");
    assert_fields(&head.fields);
    for end in 0..length.min(512) {
        assert!(matches!(parse_request(&input[..end], &limits), Ok(Parsed::Partial)), "cut at {end}");
    }
    assert_meaning(&head);
    assert_written(&head);
}

/// What the head says can be read in one way.
fn assert_meaning(head: &RequestHead) {
    assert_ne!(head.method, Method::CONNECT);
    assert!(head.target() == b"*" || head.target().starts_with(b"/"));
    assert!(head.target().iter().all(|b| b.is_ascii_graphic() && *b != b'#'));
    let hosts = head.fields.all(Known::Host).count();
    assert!(hosts == 1 || hosts == 0 && head.version == Version::Http10);
    assert!(head.authority().is_empty() && hosts == 0 || is_authority(head.authority()));
    assert!(head.authority().starts_with(head.host()));
    assert!(head.port().is_none_or(|port| port.iter().all(u8::is_ascii_digit)));

    let lengths: Vec<_> = head.fields.all(Known::ContentLength).collect();
    let codings: Vec<_> = head.fields.all(Known::TransferEncoding).collect();
    match head.framing {
        Framing::Chunked => assert!(lengths.is_empty() && codings.len() == 1 && head.version == Version::Http11),
        Framing::Length(length) => {
            let said: u64 = std::str::from_utf8(lengths[0]).expect("digits").parse().expect("a number");
            assert!(lengths.len() == 1 && codings.is_empty() && said == length);
        }
        Framing::None => {
            assert!(codings.is_empty() && lengths.len() <= 1 && lengths.iter().all(|l| l.iter().all(|b| *b == b'0')));
        }
        Framing::Close => panic!("a request does not end with its connection"),
    }
}

/// What a server gets is one head that says the same.
fn assert_written(head: &RequestHead) {
    let mut forwarded = head.clone();
    vestibule::http::headers::remove_hop_by_hop(&mut forwarded.fields, forwarded.nominates);
    let mut written = Vec::new();
    let outgoing = Outgoing { head: &forwarded, target: head.target(), host: &HostHeader::Preserve };
    outgoing.write(&mut written, "backend:80");
    let wide = Limits { bytes: 4 << 20, fields: 1000, target: 4 << 20 };
    // One field more than came may be one more than the table holds.
    if head.fields.len() + 3 > vestibule::h1::MAX_FIELDS {
        return;
    }
    let Ok(Parsed::Head(again, whole)) = parse_request(&written, &wide) else {
        panic!("not read again: {:?}", String::from_utf8_lossy(&written))
    };
    assert_eq!(whole, written.len());
    assert_eq!((&again.method, again.target(), again.framing), (&head.method, head.target(), head.framing));
    assert_eq!(again.upgrade_token(), head.upgrade_token());
    if !head.authority().is_empty() {
        assert_eq!(again.authority(), head.authority());
    }
    let beside = |head: &RequestHead| {
        let own = |known| {
            matches!(
                known,
                Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Connection | Known::Upgrade
            )
        };
        let mut fields = head.fields.clone();
        fields.retain(|field| !own(field.known));
        list(&fields)
    };
    assert_eq!(beside(&again), beside(&forwarded));
}
