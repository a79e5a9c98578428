//! The secrets of our own connections, kept in memory so that our own records can be read again.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

use super::records::HEADER;

/// A secret as the TLS library names it (the NSS key log format).
#[derive(Debug, Clone)]
pub struct Secret {
    pub label: String,
    pub client_random: Vec<u8>,
    pub secret: Vec<u8>,
}

/// Collects the secrets of the connections that share one client configuration.
#[derive(Debug, Default)]
pub struct Collector(Mutex<Vec<Secret>>);

impl Collector {
    /// Those of the connection whose ClientHello has this random.
    pub fn of(&self, client_random: &[u8]) -> Vec<Secret> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|secret| secret.client_random == client_random).cloned().collect()
    }
}

impl rustls::KeyLog for Collector {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Secret { label: label.into(), client_random: client_random.into(), secret: secret.into() });
    }
}

/// The lines of a key log file, as Wireshark reads them.
pub fn key_log(secrets: &[Secret]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    secrets.iter().map(|s| format!("{} {} {}\n", s.label, hex(&s.client_random), hex(&s.secret))).collect()
}

/// Opens the TLS 1.3 records of one direction, in order, under one traffic secret.
pub(super) struct Opener {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

/// An output length for the key derivation.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Opener {
    /// `None` where the suite is none of TLS 1.3 that we know, or the secret does not fit.
    pub fn new(cipher_suite: u16, secret: &[u8]) -> Option<Opener> {
        let (aead, hash): (&'static Algorithm, hkdf::Algorithm) = match cipher_suite {
            0x1301 => (&AES_128_GCM, HKDF_SHA256),
            0x1302 => (&AES_256_GCM, HKDF_SHA384),
            0x1303 => (&CHACHA20_POLY1305, HKDF_SHA256),
            _ => return None,
        };
        if secret.len() > 64 {
            return None;
        }
        let prk = Prk::new_less_safe(hash, secret);
        let mut key = vec![0; aead.key_len()];
        expand(&prk, b"key", &mut key)?;
        let mut iv = [0; 12];
        expand(&prk, b"iv", &mut iv)?;
        Some(Opener { key: LessSafeKey::new(UnboundKey::new(aead, &key).ok()?), iv, sequence: 0 })
    }

    /// The content type and the content of a record (RFC 8446 section 5.2), given whole with its header.
    pub fn open(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, sealed) = record.split_at_checked(HEADER)?;
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        let mut content = sealed.to_vec();
        let length =
            self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut content).ok()?.len();
        self.sequence += 1;
        content.truncate(length);
        // Padding is zeros behind the type.
        while content.last() == Some(&0) {
            content.pop();
        }
        let kind = content.pop()?;
        Some((kind, content))
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand(prk: &Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    let length = (out.len() as u16).to_be_bytes();
    let label_length = [6 + label.len() as u8];
    let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label, &[0]];
    prk.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}
