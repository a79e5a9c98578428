//! What ClientHello and ServerHello say in clear (RFC 8446 section 4.1, RFC 5246 section 7.4.1).

use super::cursor::Cursor;

/// The fields of a ClientHello that everybody on the way can read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    pub random: [u8; 32],
    /// The name of the server (SNI, RFC 6066 section 3).
    pub server_name: Option<String>,
    /// Protocols offered (ALPN, RFC 7301).
    pub alpn: Vec<String>,
    pub versions: Vec<u16>,
    pub groups: Vec<u16>,
    /// Groups for which a key share is in the message already.
    pub key_shares: Vec<u16>,
    pub cipher_suites: Vec<u16>,
    /// A ticket of an earlier connection is presented (RFC 8446 section 4.2.11, RFC 5077).
    pub resumes: bool,
}

/// The fields of a ServerHello.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerHello {
    pub version: u16,
    pub cipher_suite: u16,
    /// Asks for another ClientHello (RFC 8446 section 4.1.4): costs a round trip.
    pub retry: bool,
}

/// The random of a HelloRetryRequest: SHA-256 of its name.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Reads the body of a ClientHello (without the four bytes of the handshake header). Extensions that do not decode are
/// left out; a hello that does not is `None`.
pub fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut at = Cursor(body);
    let legacy = at.u16()?;
    let mut hello = ClientHello { random: at.take(32)?.try_into().ok()?, ..ClientHello::default() };
    at.vector(1)?;
    hello.cipher_suites = numbers(at.vector(2)?);
    at.vector(1)?;
    let mut extensions = at.vector(2).unwrap_or(Cursor(&[]));
    while let (Some(kind), Some(value)) = (extensions.u16(), extensions.vector(2)) {
        extension(&mut hello, kind, value);
    }
    if hello.versions.is_empty() {
        hello.versions.push(legacy);
    }
    Some(hello)
}

/// One extension; `None` where it does not decode.
fn extension(hello: &mut ClientHello, kind: u16, mut value: Cursor<'_>) -> Option<()> {
    match kind {
        0 => {
            let mut list = value.vector(2)?;
            list.number(1).filter(|kind| *kind == 0)?;
            hello.server_name = Some(text(list.vector(2)?.0));
        }
        10 => hello.groups = numbers(value.vector(2)?),
        16 => {
            let mut list = value.vector(2)?;
            while let Some(name) = list.vector(1) {
                hello.alpn.push(text(name.0));
            }
        }
        35 => hello.resumes |= !value.is_empty(),
        41 => hello.resumes = true,
        43 => hello.versions = numbers(value.vector(1)?),
        51 => {
            let mut list = value.vector(2)?;
            while let (Some(group), Some(_)) = (list.u16(), list.vector(2)) {
                hello.key_shares.push(group);
            }
        }
        _ => {}
    }
    Some(())
}

/// Reads the body of a ServerHello.
pub fn server_hello(body: &[u8]) -> Option<ServerHello> {
    let mut at = Cursor(body);
    let version = at.u16()?;
    let retry = at.take(32)? == RETRY;
    at.vector(1)?;
    let cipher_suite = at.u16()?;
    at.take(1)?;
    let mut hello = ServerHello { version, cipher_suite, retry };
    let mut extensions = at.vector(2).unwrap_or(Cursor(&[]));
    while let (Some(kind), Some(mut value)) = (extensions.u16(), extensions.vector(2)) {
        if kind == 43 {
            hello.version = value.u16()?;
        }
    }
    Some(hello)
}

fn numbers(mut list: Cursor<'_>) -> Vec<u16> {
    std::iter::from_fn(|| list.u16()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of a protocol version.
pub fn version_name(version: u16) -> String {
    match version {
        0x0304 => "TLS 1.3".into(),
        0x0303 => "TLS 1.2".into(),
        0x0302 => "TLS 1.1".into(),
        0x0301 => "TLS 1.0".into(),
        other => format!("0x{other:04x}"),
    }
}

/// The name of a named group (IANA TLS Supported Groups).
pub fn group_name(group: u16) -> String {
    match group {
        0x11ec => "X25519MLKEM768".into(),
        0x001d => "x25519".into(),
        0x0017 => "secp256r1".into(),
        0x0018 => "secp384r1".into(),
        0x0019 => "secp521r1".into(),
        other => format!("0x{other:04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (client_hello(&bytes), server_hello(&bytes));
        }
    }

    #[test]
    fn a_hello_says_its_name_protocols_versions_and_groups() {
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let extensions: &[u8] = &[
            0, 0, 0, 6, 0, 4, 0, 0, 1, b'a', // server_name: a
            0, 16, 0, 5, 0, 3, 2, b'h', b'2', // ALPN: h2
            0, 43, 0, 3, 2, 3, 4, // versions: TLS 1.3
            0, 10, 0, 4, 0, 2, 0, 29, // groups: x25519
            0, 51, 0, 7, 0, 5, 0, 29, 0, 1, 5, // a share of it
        ];
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let hello = client_hello(&body).unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("a"));
        assert_eq!((hello.alpn, hello.versions), (vec!["h2".to_string()], vec![0x304]));
        assert_eq!((hello.groups, hello.key_shares, hello.cipher_suites), (vec![29], vec![29], vec![0x1301]));
        assert!(!hello.resumes);
    }
}
