//! What a client chose, so that it cannot break a line, nor move a terminal's cursor.

use std::io::Write;

/// The byte stands for itself in JSON.
fn is_plain(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) < 0x5f) & (byte != b'"') & (byte != b'\\')
}

/// Bytes that are looked at together: what one wide instruction takes.
const WIDE: usize = 16;

/// As [`is_plain`] for a whole text.
fn are_plain(text: &[u8]) -> bool {
    // Without a branch, which the compiler makes wide instructions of.
    let odd = |bytes: &[u8; WIDE]| bytes.iter().fold(0, |odd, byte| odd | u8::from(!is_plain(*byte)));
    let (blocks, rest) = text.as_chunks::<WIDE>();
    // The last block is looked at again with what is left.
    let last = if rest.is_empty() { None } else { text.last_chunk::<WIDE>() };
    match last {
        None if !rest.is_empty() => rest.iter().all(|byte| is_plain(*byte)),
        last => blocks.iter().chain(last).fold(0, |all, block| all | odd(block)) == 0,
    }
}

/// A text inside the quotes of JSON.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    if are_plain(text) {
        return out.extend_from_slice(text);
    }
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => out.extend([b'\\', c as u8]),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Client-chosen text without what moves a terminal's cursor. `quoted`: it stands between quotes.
pub(super) fn printable(out: &mut Vec<u8>, text: &[u8], quoted: bool) {
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' if quoted => out.extend([b'\\', c as u8]),
            c if c.is_control() => out.extend_from_slice("\u{fffd}".as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_plain_where_each_of_its_bytes_is() {
        for byte in 0..=255u8 {
            let stands = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for length in [1, 7, 15, 16, 17, 31, 32, 40] {
                for at in 0..length {
                    let mut text = vec![b'~'; length];
                    text[at] = byte;
                    assert_eq!(are_plain(&text), stands, "{byte} at {at} of {length}");
                }
            }
        }
        assert!(are_plain(b""));
    }

    #[test]
    fn a_client_cannot_break_a_line_or_move_the_cursor() {
        for c in ["\n", "\u{1b}", "\u{9b}", "\r"] {
            let (mut json, mut text) = (Vec::new(), Vec::new());
            escape(&mut json, c.as_bytes());
            printable(&mut text, c.as_bytes(), true);
            assert!(!json.contains(&c.as_bytes()[0]) && !text.contains(&c.as_bytes()[0]));
        }
        let mut quoted = Vec::new();
        printable(&mut quoted, b"say \"hi\"", true);
        assert_eq!(quoted, b"say \\\"hi\\\"");
    }
}
