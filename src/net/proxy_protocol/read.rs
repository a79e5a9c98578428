//! Reading a header from the front of a connection's bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::{Addresses, HeaderError, MAX_V1, MAX_V2, Parsed, SIGNATURE};

const V1: &[u8] = b"PROXY ";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// The type of the checksum field (section 2.2.3).
const TYPE_CRC32C: u8 = 0x03;

/// Reads one header of either version from the front of `input`.
///
/// What it says of some bytes it says of any longer ones too, but for [`Parsed::Partial`]. While that is the answer, every
/// byte belongs to the header.
///
/// # Errors
/// A [`HeaderError`]; the connection cannot be used, since what follows would be taken for the balancer's own.
pub fn read(input: &[u8]) -> Result<Parsed, HeaderError> {
    if begins(input, &SIGNATURE) {
        version_2(input)
    } else if begins(input, V1) {
        version_1(input)
    } else {
        Err(HeaderError::Missing)
    }
}

/// `input` begins with `start`, or is a beginning of it.
fn begins(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(a, b)| a == b)
}

fn version_1(input: &[u8]) -> Result<Parsed, HeaderError> {
    // A line of printable characters that ends with CR LF (section 2.1).
    for (at, byte) in input.iter().take(MAX_V1).enumerate() {
        match (byte, input.get(at + 1)) {
            (b'\r', Some(b'\n')) if at + 2 <= MAX_V1 => {
                return Ok(Parsed::Header(line(&input[..at])?, at + 2));
            }
            (b'\r', None) => return Ok(Parsed::Partial),
            (b' '..=b'~', _) => {}
            _ => return Err(HeaderError::Malformed),
        }
    }
    if input.len() >= MAX_V1 { Err(HeaderError::Malformed) } else { Ok(Parsed::Partial) }
}

/// The line of a version 1 header, without its end.
fn line(line: &[u8]) -> Result<Option<Addresses>, HeaderError> {
    let text = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let mut parts = text.split(' ').skip(1);
    let family = parts.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let mut next = || parts.next().ok_or(HeaderError::Malformed);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(HeaderError::Malformed);
    }
    let address = |text: &str| -> Result<IpAddr, HeaderError> {
        let parsed = match family {
            "TCP4" => text.parse().map(IpAddr::V4),
            "TCP6" => text.parse().map(IpAddr::V6),
            _ => return Err(HeaderError::Malformed),
        };
        parsed.map_err(|_| HeaderError::Malformed)
    };
    Ok(Some(Addresses {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    }))
}

/// A decimal number without leading zeros or signs.
fn port(text: &str) -> Result<u16, HeaderError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if digits { text.parse().map_err(|_| HeaderError::Malformed) } else { Err(HeaderError::Malformed) }
}

fn version_2(input: &[u8]) -> Result<Parsed, HeaderError> {
    let proxied = match input.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => false,
        Some(0x21) => true,
        Some(_) => return Err(HeaderError::Malformed),
    };
    // Address family and transport; datagrams (the low 2) may have been relayed over a stream.
    let addresses = match input.get(13) {
        None => return Ok(Parsed::Partial),
        Some(0x00) => 0,
        Some(0x11 | 0x12) => 12,
        Some(0x21 | 0x22) => 36,
        Some(0x31 | 0x32) => 216,
        Some(_) => return Err(HeaderError::Malformed),
    };
    let (Some(high), Some(low)) = (input.get(14), input.get(15)) else { return Ok(Parsed::Partial) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let end = V2_FIXED + length;
    if end > MAX_V2 || (proxied && length < addresses) {
        return Err(HeaderError::Malformed);
    }
    let Some(header) = input.get(..end) else { return Ok(Parsed::Partial) };
    // LOCAL and an unspecified family: the whole block is to be discarded.
    if !proxied || addresses == 0 {
        return Ok(Parsed::Header(None, end));
    }
    let (block, fields) = header[V2_FIXED..].split_at(addresses);
    check_fields(header, fields)?;
    Ok(Parsed::Header(block_addresses(block), end))
}

/// The addresses of a version 2 header; `None` for unix sockets.
fn block_addresses(block: &[u8]) -> Option<Addresses> {
    let number = |at: usize| Some(u16::from_be_bytes(block.get(at..at + 2)?.try_into().ok()?));
    let ip = |at: usize, length: usize| -> Option<IpAddr> {
        let bytes = block.get(at..at + length)?;
        match length {
            4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
            _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
        }
    };
    let length = match block.len() {
        12 => 4,
        36 => 16,
        _ => return None,
    };
    Some(Addresses {
        source: SocketAddr::new(ip(0, length)?, number(2 * length)?),
        destination: SocketAddr::new(ip(length, length)?, number(2 * length + 2)?),
    })
}

/// Walks over the fields behind the addresses: they must fit, and a checksum must be right (section 2.2.3).
fn check_fields(header: &[u8], mut fields: &[u8]) -> Result<(), HeaderError> {
    while let [kind, high, low, rest @ ..] = fields {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(length).ok_or(HeaderError::Malformed)?;
        if *kind == TYPE_CRC32C {
            let told: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
            // The sum is made with its own four bytes as zero.
            let at = header.len() - next.len() - 4;
            let bytes =
                header.iter().enumerate().map(|(index, byte)| if (at..at + 4).contains(&index) { 0 } else { *byte });
            if crc32c(bytes) != u32::from_be_bytes(told) {
                return Err(HeaderError::Checksum);
            }
        }
        fields = next;
    }
    if fields.is_empty() { Ok(()) } else { Err(HeaderError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    /// A version 2 header.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x1f, 0x90, 0x01, 0xbb];

    fn v6() -> Vec<u8> {
        let ip = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        [&ip("2001:db8::1")[..], &ip("2001:db8::2"), &[0x1f, 0x90, 0x01, 0xbb]].concat()
    }

    /// A header with a right checksum between two other fields.
    fn with_checksum() -> Vec<u8> {
        let fields = [&[0x01, 0, 2, b'h', b'2'][..], &[TYPE_CRC32C, 0, 4, 0, 0, 0, 0], &[0x05, 0, 1, 7]].concat();
        let mut header = v2(0x21, 0x11, &[&V4[..], &fields].concat());
        let sum = crc32c(header.iter().copied()).to_be_bytes();
        let at = V2_FIXED + 12 + 5 + 3;
        header[at..at + 4].copy_from_slice(&sum);
        header
    }

    #[test]
    fn both_versions_say_who_the_client_is() {
        let table: Vec<(Vec<u8>, Option<Addresses>)> = vec![
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\n".into(), addresses("192.0.2.1:8080", "198.51.100.2:443")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".into(), addresses("[2001:db8::1]:1", "[::1]:65535")),
            (b"PROXY UNKNOWN\r\n".into(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".into(), None),
            (v2(0x21, 0x11, &V4), addresses("192.0.2.1:8080", "198.51.100.2:443")),
            (v2(0x21, 0x12, &V4), addresses("192.0.2.1:8080", "198.51.100.2:443")),
            (v2(0x21, 0x21, &v6()), addresses("[2001:db8::1]:8080", "[2001:db8::2]:443")),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x21, 0x00, b"anything"), None),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &V4), None),
            (
                v2(0x21, 0x11, &[&V4[..], &[0x04, 0, 3, 0, 0, 0]].concat()),
                addresses("192.0.2.1:8080", "198.51.100.2:443"),
            ),
            (with_checksum(), addresses("192.0.2.1:8080", "198.51.100.2:443")),
        ];
        for (header, said) in table {
            for tail in [&b""[..], b"GET / HTTP/1.1\r\n", b"PROXY TCP4"] {
                let bytes = [&header[..], tail].concat();
                assert_eq!(read(&bytes), Ok(Parsed::Header(said, header.len())), "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_with_the_reason() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1));
        let mut bad_sum = with_checksum();
        bad_sum[V2_FIXED] ^= 1;
        let fields = |fields: &[u8]| v2(0x21, 0x11, &[&V4[..], fields].concat());
        let table: Vec<(Vec<u8>, HeaderError)> = vec![
            (b"GET / HTTP/1.1\r\n".into(), HeaderError::Missing),
            (vec![0x16, 3, 1], HeaderError::Missing),
            (b"proxy TCP4".into(), HeaderError::Missing),
            (b"\r\n\r\nX".into(), HeaderError::Missing),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443 1\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4  192.0.2.1 198.51.100.2 8080 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 080 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +80 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 ::1 ::1 1 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP6 192.0.2.1 192.0.2.1 1 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY UDP4 192.0.2.1 192.0.2.1 1 443\r\n".into(), HeaderError::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\n".into(), HeaderError::Malformed),
            (b"PROXY UNKNOWN\rX".into(), HeaderError::Malformed),
            (b"PROXY UNKNOWN\0".into(), HeaderError::Malformed),
            (long.into_bytes(), HeaderError::Malformed),
            (v2(0x11, 0x11, &V4), HeaderError::Malformed),
            (v2(0x22, 0x11, &V4), HeaderError::Malformed),
            (v2(0x21, 0x41, &V4), HeaderError::Malformed),
            (v2(0x21, 0x10, &V4), HeaderError::Malformed),
            (v2(0x21, 0x11, &V4[..11]), HeaderError::Malformed),
            (v2(0x20, 0x00, &[0; MAX_V2]), HeaderError::Malformed),
            (fields(&[0x04]), HeaderError::Malformed),
            (fields(&[0x04, 0, 9, 1]), HeaderError::Malformed),
            (fields(&[TYPE_CRC32C, 0, 3, 1, 2, 3]), HeaderError::Malformed),
            (bad_sum, HeaderError::Checksum),
        ];
        for (bytes, error) in table {
            assert_eq!(read(&bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    /// Bytes that are often a header or nearly one.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let valid = prop_oneof![
            Just(b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\nGET / HTTP/1.1\r\n".to_vec()),
            Just(b"PROXY UNKNOWN\r\n".to_vec()),
            Just(with_checksum()),
            Just(v2(0x21, 0x21, &v6())),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|block| v2(0x21, 0x11, &block)),
            prop::collection::vec(any::<u8>(), 0..300),
        ];
        let change = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
        (valid, change).prop_map(|(mut bytes, change)| {
            if let (Some((at, byte)), false) = (change, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn no_split_of_the_bytes_changes_what_they_say(bytes in nearly()) {
            let whole = read(&bytes);
            for end in 0..bytes.len() {
                match read(&bytes[..end]) {
                    Ok(Parsed::Partial) => {
                        // Nothing behind a header was taken for a part of it.
                        if let Ok(Parsed::Header(_, length)) = whole { prop_assert!(end < length); }
                    }
                    early => prop_assert_eq!(early, whole),
                }
            }
            if let Ok(Parsed::Header(_, length)) = whole { prop_assert!(length <= bytes.len() && length <= MAX_V2); }
        }
    }
}
