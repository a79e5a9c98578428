//! The normal form of a path: what it is matched in, whatever its spelling.

use std::borrow::Cow;

/// The normal form a path is matched in: unreserved octets decoded (RFC 3986 section 6.2.2.2), repeated slashes joined,
/// dot segments removed. Borrowed when the path has it already.
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    let suspicious = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    if memchr::memchr(b'%', path).is_none() && !path.windows(2).any(suspicious) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut normal: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." if last => normal.push(b'/'),
            b"" | b"." => {}
            b".." => {
                let parent = normal.iter().rposition(|b| *b == b'/').unwrap_or(0);
                normal.truncate(parent);
                if last {
                    normal.push(b'/');
                }
            }
            segment => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
            }
        }
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) }
}

fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            // Two hexadecimal digits fit in a byte.
            let octet = (high * 16 + low) as u8;
            rest = after;
            if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
                decoded.push(octet);
            } else {
                decoded.extend_from_slice(format!("%{octet:02X}").as_bytes());
            }
        } else if *byte == b'%' {
            // A percent sign that escapes nothing stands for itself. Left as it is, it could join with what follows to an
            // escape that nobody sent: `%%32%65` would become `%2e`.
            decoded.extend_from_slice(b"%25");
        } else {
            decoded.push(*byte);
        }
    }
    decoded
}
