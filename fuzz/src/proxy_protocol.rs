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
                let Ok(Parsed::Header(said, length)) = read(&written) else { panic!("not read: {written:?}") };
                assert_eq!(length, written.len());
                // An unspecified source is written as a connection of our own.
                let ours = addresses.source.ip().to_canonical().is_unspecified();
                assert_eq!(said.is_none(), ours, "{addresses:?} became {said:?}");
            }
        }
    }
    if whole == Err(HeaderError::Missing) {
        assert!(!data.is_empty());
    }
}
