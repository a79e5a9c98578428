//! Grammar shared by requests and responses: tokens, lists, lengths, hosts.

/// Every LF of the head is preceded by CR: a bare LF is a line end for some programs and not for others.
pub(super) fn lines_end_with_crlf(head: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\n', &head[at..]) {
        let lf = at + found;
        if lf == 0 || head[lf - 1] != b'\r' {
            return false;
        }
        at = lf + 1;
    }
    true
}

/// A Content-Length value: digits only, no sign, no list, below 2^63 (RFC 9110 section 8.6).
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length: u64 = 0;
    for byte in value {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length = length.checked_mul(10)?.checked_add(digit)?;
    }
    (length <= i64::MAX as u64).then_some(length)
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
}

/// What a `Connection` field says (RFC 9110 section 7.6.1).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// It names a field of this message.
    pub nominates: bool,
}

impl Connection {
    pub fn add(&mut self, value: &[u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.nominates = true;
            }
        }
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2) with the characters of real names and addresses: letters, digits,
/// `-`, `_`, `.`, or a bracketed IPv6 address. No user information, no percent-encoding, no list.
pub fn is_authority(value: &[u8]) -> bool {
    let (host, rest) = match value.first() {
        None => return false,
        Some(b'[') => {
            let Some(end) = memchr::memchr(b']', value) else { return false };
            let address = &value[1..end];
            let valid = std::str::from_utf8(address).ok().and_then(|a| a.parse::<std::net::Ipv6Addr>().ok()).is_some();
            if !valid {
                return false;
            }
            (None, &value[end + 1..])
        }
        Some(_) => {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            (Some(&value[..end]), &value[end..])
        }
    };
    let host_is_valid = host.is_none_or(|host| {
        !host.is_empty()
            && host.len() <= 255
            && host != b"."
            && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    });
    let port_is_valid = match rest {
        [] => true,
        [b':', port @ ..] => {
            !port.is_empty()
                && port.len() <= 5
                && port.iter().all(u8::is_ascii_digit)
                && content_length(port) <= Some(65535)
        }
        _ => false,
    };
    host_is_valid && port_is_valid
}

/// The octets a request target may hold: visible ASCII without `#`, and without the characters that RFC 3986 never
/// allows and that programs read in different ways (`"`, `<`, `>`, `\`, `^`, `` ` ``, `{`, `|`, `}` are passed, as
/// browsers send some of them raw).
pub fn is_target(target: &[u8]) -> bool {
    target.iter().all(|b| matches!(b, 0x21..=0x7e) && *b != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_length_is_digits_and_nothing_else() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in ["", "+1", "-1", "1 ", "1,1", "0x10", "9223372036854775808", "99999999999999999999", "1_0"] {
            assert_eq!(content_length(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn authorities_are_names_or_addresses_with_an_optional_port() {
        for good in ["a", "a.example:80", "127.0.0.1:8080", "[::1]", "[::1]:443", "a_b.example", "example.com."] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a:", "a:x", "a:70000", "u@a", "a b", "a,b", "[::1", "[x]", "a/b", "[::1]x", "%61", "."]
        {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_seen_wherever_it_stands() {
        assert!(lines_end_with_crlf(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!lines_end_with_crlf(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
        assert!(!lines_end_with_crlf(b"GET / HTTP/1.1\r\nHost: a\r\n\n"));
    }
}
