//! What must hold for any input: one module a fuzz target, each with a `check` that panics where it does not.
//!
//! The targets in `fuzz_targets/` hand bytes to these functions; `tests/fuzz` runs them.

pub mod chunked;
pub mod config;
pub mod differential;
pub mod forwarding;
pub mod path;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;

use vestibule::message::Fields;

/// The name of a field in the alphabet that a CGI or WSGI application sees it in (RFC 3875 section 4.1.18).
pub(crate) fn folded(name: &[u8]) -> String {
    name.iter().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_uppercase() as char } else { '_' }).collect()
}

/// Names and values of every field, in order.
pub(crate) fn list(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

/// The grammar every accepted field has (RFC 9110 section 5): a token, and a value without line ends or NUL.
pub(crate) fn assert_fields(fields: &Fields) {
    for field in fields.iter() {
        assert!(!field.name.is_empty() && field.name.iter().all(|b| is_token(*b)), "{field:?}");
        assert!(!field.value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{field:?}");
        let trimmed = field.value.trim_ascii();
        assert_eq!(trimmed, field.value, "white space around a value");
    }
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A control byte and what follows it.
pub(crate) fn split_control(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
