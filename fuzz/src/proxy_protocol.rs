//! The PROXY protocol: what is said of some bytes holds for any longer ones, and a header that we write is read as it was.

use vestibule::config::ProxyHeader;
use vestibule::net::proxy_protocol::{HeaderError, MAX_V2, Parsed, read, write};

/// # Panics
/// A verdict changes with more bytes, a header is longer than its bound or its bytes, or does not survive writing.
pub fn check(data: &[u8]) {
    let whole = read(data);
    for length in 0..data.len() {
        match read(&data[..length]) {
            Ok(Parsed::Partial) => assert!(length < MAX_V2, "{length} bytes and still no end"),
            verdict => {
                assert_eq!(verdict, whole, "after {length} bytes");
                break;
            }
        }
    }
    if let Ok(Parsed::Header(addresses, length)) = whole {
        assert!(length <= data.len().min(MAX_V2));
        if let Some(addresses) = addresses {
            for version in [ProxyHeader::V1, ProxyHeader::V2] {
                let mut written = Vec::new();
                write(&mut written, version, addresses);
                let again = read(&written);
                assert!(matches!(again, Ok(Parsed::Header(Some(_), length)) if length == written.len()), "{again:?}");
            }
        }
    }
    if whole == Err(HeaderError::Missing) {
        assert!(!data.is_empty());
    }
}
