//! Two parsers, the same bytes: every request that our codec takes out of a connection, hyper takes out of it too, with
//! the same method, target, fields and body, and nothing in between.

use bytes::BytesMut;
use vestibule::h1::{Decoder, Limits, Parsed, Step, parse_request};
use vestibule::message::{Known, Version};

#[path = "hyper_side.rs"]
mod hyper_side;

/// A request as both sides report it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub method: String,
    pub target: Vec<u8>,
    /// Lower-case names, sorted by name; values of one name in their order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// # Panics
/// The two see different requests.
pub fn check(data: &[u8]) {
    let ours = ours(data);
    if ours.is_empty() {
        return;
    }
    let theirs = hyper_side::requests(data);
    for (at, message) in ours.iter().enumerate() {
        assert_eq!(theirs.get(at), Some(message), "request {at}");
    }
}

/// Every whole request up to the first that is refused, unfinished, or the last of its connection.
fn ours(data: &[u8]) -> Vec<Message> {
    let limits = Limits { bytes: 32 << 10, fields: 100, target: 16 << 10 };
    let (mut messages, mut input) = (Vec::new(), BytesMut::from(data));
    while let Ok(Parsed::Head(head, length)) = parse_request(&input, &limits) {
        drop(input.split_to(length));
        // hyper's URI type refuses these, which browsers send and we pass on.
        if head.target().iter().any(|b| b"\"<>`".contains(b)) {
            break;
        }
        let (mut decoder, mut body) = (Decoder::new(head.framing), Vec::new());
        let whole = loop {
            match decoder.step(&mut input) {
                Ok(Step::Data(bytes)) => body.extend_from_slice(&bytes),
                Ok(Step::End(_)) => break true,
                Ok(Step::NeedMore) => break false,
                Err(_) => break false,
            }
        };
        if !whole {
            break;
        }
        let mut fields: Vec<_> =
            head.fields.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        // hyper reads no member of a list with such an octet, and ends an HTTP/1.0 connection that asks to be kept there.
        let is_read = |value: &[u8]| value.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~'));
        let unread = head.version == Version::Http10 && !head.fields.all(Known::Connection).all(is_read);
        messages.push(Message { method: head.method.to_string(), target: head.target().to_vec(), fields, body });
        if !head.keep_alive || head.upgrade.is_some() || unread {
            break;
        }
    }
    messages
}
