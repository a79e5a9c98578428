//! Reads a certificate or key file into its PEM sections, or says what the file holds instead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The longest file read, in bytes: a chain of a hundred certificates is far below it.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// What a file holds, as far as certificates and keys go.
#[derive(Debug)]
pub(super) struct PemFile {
    /// Every certificate, in file order.
    pub certs: Vec<CertificateDer<'static>>,
    /// The first private key: PKCS#8, SEC1 or PKCS#1.
    pub key: Option<PrivateKeyDer<'static>>,
    /// What to say where the wanted part is not there.
    pub shape: Shape,
}

/// The form of a file: the mistake, where it holds neither certificate nor key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Pem,
    Empty,
    /// A private key under a passphrase (PKCS#8 or the older `Proc-Type` form).
    EncryptedKey,
    DerCertificate,
    DerKey,
    Pkcs12,
    Pkcs7,
    /// A certificate request (PKCS#10).
    Request,
    /// PEM that does not decode, with the reason.
    Damaged(String),
    Unknown,
}

/// Why a file could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    NotFound,
    Denied,
    NotAFile,
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::NotFound,
            io::ErrorKind::PermissionDenied => ReadError::Denied,
            _ => ReadError::Io(error),
        }
    }
}

/// Reads a whole file of at most [`MAX_FILE`] bytes. Only regular files are opened: a named pipe would block the start.
pub(super) fn read(path: &Path) -> Result<PemFile, ReadError> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::with_capacity(meta.len().min(MAX_FILE) as usize + 1);
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::TooLarge);
    }
    Ok(sections(&bytes))
}

/// Splits the text into certificates and the first key. Sections of other kinds are passed over.
pub(super) fn sections(bytes: &[u8]) -> PemFile {
    // A byte order mark in front of the first BEGIN line would hide it.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut file = PemFile { certs: Vec::new(), key: None, shape: Shape::Pem };
    let mut request = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = match section {
            Ok(section) => section,
            Err(error) => {
                file.shape = Shape::Damaged(reason(&error));
                break;
            }
        };
        match kind {
            SectionKind::Certificate => file.certs.push(CertificateDer::from(der)),
            SectionKind::Csr => request = true,
            _ if file.key.is_none() => file.key = PrivateKeyDer::from_pem(kind, der),
            _ => {}
        }
    }
    if contains(text, b"ENCRYPTED") && file.key.is_none() {
        file.shape = Shape::EncryptedKey;
    } else if file.shape == Shape::Pem && file.certs.is_empty() && file.key.is_none() {
        file.shape = if request { Shape::Request } else { other_form(text) };
    }
    file
}

/// A certificate as PEM (RFC 7468 section 5).
pub fn certificate(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Why a PEM text does not decode; the library shows the bytes of a line as numbers.
pub(super) fn reason(error: &Error) -> String {
    let text = |line: &[u8]| String::from_utf8_lossy(line).escape_debug().take(60).collect::<String>();
    match error {
        Error::MissingSectionEnd { end_marker } => format!("the line `-----END {}-----` is missing", text(end_marker)),
        Error::IllegalSectionStart { line } => format!("the line `{}` begins no section", text(line)),
        other => other.to_string(),
    }
}

/// Names the form of a file without a certificate and without a key.
fn other_form(bytes: &[u8]) -> Shape {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Shape::Empty;
    }
    if contains(bytes, b"-----BEGIN PKCS7-----") {
        return Shape::Pkcs7;
    }
    if bytes[0] != 0x30 {
        return Shape::Unknown;
    }
    if x509_parser::parse_x509_certificate(bytes).is_ok() {
        return Shape::DerCertificate;
    }
    // PFX ::= SEQUENCE { version INTEGER 3, ... } (RFC 7292 section 4), the length in two or more bytes. Before keys, whose
    // form is told by little more than such a number.
    if bytes.len() > 8 && bytes[2..8].windows(3).any(|w| w == [0x02, 0x01, 0x03]) {
        return Shape::Pkcs12;
    }
    if PrivateKeyDer::try_from(bytes).is_ok() { Shape::DerKey } else { Shape::Unknown }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_without_pem_is_named_for_what_it_is() {
        assert_eq!(sections(b" \r\n\t").shape, Shape::Empty);
        assert_eq!(sections(b"hello").shape, Shape::Unknown);
        assert_eq!(sections(b"\x30").shape, Shape::Unknown);
        assert_eq!(sections(b"\x30\x82\x09\x71\x02\x01\x03\x30\x82\x09").shape, Shape::Pkcs12);
        assert_eq!(sections(b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n").shape, Shape::Pkcs7);
        let request = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(sections(request).shape, Shape::Request);
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(sections(encrypted).shape, Shape::EncryptedKey);
        let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert_eq!(sections(old).shape, Shape::EncryptedKey);
        assert!(matches!(sections(b"-----BEGIN CERTIFICATE-----\nAAAA\n").shape, Shape::Damaged(_)));
    }

    #[test]
    fn what_a_damaged_file_lacks_is_said_in_its_own_words() {
        let reason = |text: &[u8]| match sections(text).shape {
            Shape::Damaged(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), "the line `-----END CERTIFICATE-----` is missing");
        assert_eq!(reason(b"-----BEGIN CERT\nAAAA\n"), "the line `-----BEGIN CERT` begins no section");
    }

    #[test]
    fn a_byte_order_mark_and_text_around_sections_do_not_matter() {
        let file = sections(b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nsubject=x\n");
        assert_eq!((file.certs.len(), file.shape), (1, Shape::Pem));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), der in any::<bool>()) {
            let mut bytes = bytes;
            if der && !bytes.is_empty() { bytes[0] = 0x30; }
            let _ = sections(&bytes);
        }
    }
}
