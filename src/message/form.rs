//! Names and values of a query as a form writes them.

use std::borrow::Cow;

/// The text of a form's name or value: `+` is a space, `%41` is `A` (application/x-www-form-urlencoded).
pub fn form_text(text: &[u8]) -> Cow<'_, [u8]> {
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
