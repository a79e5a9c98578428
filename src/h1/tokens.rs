//! Grammar shared by requests and responses: tokens, lists, lengths, hosts.

/// Every LF of the head is preceded by CR: a bare LF is a line end for some programs and not for others.
///
/// `head` was read whole, with these fields. A parsed head has line ends before its first line, between its lines, and an
/// empty line behind them, and nowhere else.
pub(super) fn lines_end_with_crlf(head: &[u8], fields: &[httparse::Header<'_>]) -> bool {
    let before = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let follows_crlf = |field: &httparse::Header<'_>| {
        let start = field.name.as_ptr() as usize - head.as_ptr() as usize;
        head.get(start.wrapping_sub(2)..start) == Some(b"\r\n")
    };
    head.ends_with(b"\r\n\r\n") && head[..before].chunks(2).all(|end| end == b"\r\n") && fields.iter().all(follows_crlf)
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
        match value.trim_ascii() {
            [] => {}
            // As they are mostly spelled.
            b"keep-alive" => self.keep_alive = true,
            b"close" => self.close = true,
            // Mostly it is one word, and no list to take apart.
            one if !one.contains(&b',') => self.add_option(one),
            _ => list(value).for_each(|option| self.add_option(option)),
        }
    }

    fn add_option(&mut self, option: &[u8]) {
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

/// What a name or an IPv4 address may hold.
static HOST: [bool; 256] = {
    let mut host = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        host[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_' | b'.');
        byte += 1;
    }
    host
};

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
        !host.is_empty() && host.len() <= 255 && host != b"." && host.iter().all(|b| HOST[usize::from(*b)])
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

    /// Whether the head has CRLF only, by its octets alone.
    fn has_crlf_only(head: &[u8]) -> bool {
        let lone = |(at, byte): (usize, &u8)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r');
        !head.iter().enumerate().any(lone)
    }

    /// What the check says of a head that the tokenizer takes.
    fn checked(bytes: &[u8]) -> Option<(bool, bool)> {
        let mut table = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut table);
        let Ok(httparse::Status::Complete(length)) = request.parse(bytes) else { return None };
        let head = &bytes[..length];
        Some((lines_end_with_crlf(head, request.headers), has_crlf_only(head)))
    }

    #[test]
    fn a_bare_line_feed_is_seen_wherever_it_stands() {
        assert_eq!(checked(b"GET / HTTP/1.1\r\nHost: a\r\nB:c \r\n\r\n"), Some((true, true)));
        assert_eq!(checked(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some((true, true)));
        for bare in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\r\n\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(checked(bare.as_bytes()), Some((false, false)), "{bare:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn line_ends_are_judged_as_octet_by_octet(pieces in proptest::collection::vec(
            proptest::sample::select(vec!["\r\n", "\n", "\r", "GET / HTTP/1.1", "A: b", "C:", "D: \t", " ", "e: f "]), 1..14,
        )) {
            let text = pieces.concat() + "\r\n\r\n";
            if let Some((said, octets)) = checked(text.as_bytes()) {
                proptest::prop_assert_eq!(said, octets, "{:?}", text);
            }
        }
    }
}
