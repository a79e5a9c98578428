//! The conditions of a route beside its path.

use std::borrow::Cow;

use super::Asked;
use crate::config::{Forwarding, Matchers};

/// Every condition holds.
pub(super) fn hold(matchers: &Matchers, forwarding: &Forwarding, asked: &Asked<'_>) -> bool {
    let method = matchers.methods.is_empty() || matchers.methods.iter().any(|method| method == asked.method);
    method
        && matchers.headers.iter().all(|(name, value)| header(asked, name, value.as_deref()))
        && matchers.query.iter().all(|(name, value)| parameter(asked, name, value.as_deref()))
        && (matchers.client_ip.is_empty() || {
            let address = asked.from.address(asked.fields, forwarding);
            matchers.client_ip.iter().any(|network| network.contains(&address))
        })
}

/// The field is there, and each of its lines has the value: with two lines a backend might read the other one.
fn header(asked: &Asked<'_>, name: &str, value: Option<&str>) -> bool {
    let mut lines = asked.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).peekable();
    lines.peek().is_some() && lines.all(|line| value.is_none_or(|value| line.value == value.as_bytes()))
}

/// The parameter is there, and each one of that name has the value.
fn parameter(asked: &Asked<'_>, name: &str, value: Option<&str>) -> bool {
    let query = memchr::memchr(b'?', asked.target).map_or(&b""[..], |at| &asked.target[at + 1..]);
    let mut found = query
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        })
        .filter(|(key, _)| *decoded(key) == *name.as_bytes())
        .peekable();
    found.peek().is_some() && found.all(|(_, text)| value.is_none_or(|value| *decoded(text) == *value.as_bytes()))
}

/// The text of a form's name or value: `+` is a space, `%41` is `A` (application/x-www-form-urlencoded).
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let pair = (digit(text.get(at + 1)), digit(text.get(at + 2)));
        match (byte, pair) {
            (b'+', _) => out.push(b' '),
            (b'%', (Some(high), Some(low))) => {
                // Two hexadecimal digits fit in a byte.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            _ => out.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}
