//! `sticky`: the cookie that names a client's server, sealed so that nobody can read or choose it.
//!
//! A cookie is AES-256-GCM over the server's mark and the time it was made, with a random nonce; the upstream's name is
//! authenticated with it. It holds no address: the mark is a hash.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::message::{Fields, Known};
use crate::tls::private_files::{create_folder, state_folder, write};

const KEY_FILE: &str = "sticky.key";
const KEY_LEN: usize = 32;
/// The mark and the seconds since the epoch.
const PLAIN_LEN: usize = 16;
/// A cookie that anybody sends is looked at only up to this length.
const MAX_COOKIE: usize = 128;

/// The key of all cookies.
pub struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// What a cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// The mark of the server.
    pub server: u64,
    pub age: Duration,
}

impl Seal {
    /// With the key of the state folder, which is made where it is missing. Without a folder that can be written, with a key
    /// that lives as long as the process.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn open() -> Result<Seal, String> {
        match state_folder("sticky").map(|folder| key_of(&folder)) {
            Some(Ok(key)) => Seal::new(&key),
            Some(Err(why)) => {
                tracing::warn!("sticky: cookies are forgotten with this process: {why}");
                Seal::new(&random_key()?)
            }
            None => {
                tracing::warn!("sticky: cookies are forgotten with this process: there is no state folder");
                Seal::new(&random_key()?)
            }
        }
    }

    fn new(key: &[u8]) -> Result<Seal, String> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| "the key has another length".to_owned())?;
        Ok(Seal(LessSafeKey::new(key)))
    }

    /// The value of a cookie for a server.
    pub(super) fn seal(&self, upstream: &str, server: u64, now: SystemTime) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(PLAIN_LEN);
        sealed.extend_from_slice(&server.to_be_bytes());
        sealed.extend_from_slice(&seconds(now).to_be_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::from(upstream.as_bytes()), &mut sealed).ok()?;
        let mut whole = nonce.to_vec();
        whole.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// What the value of a cookie says; `None` when it is not ours.
    pub(super) fn open_value(&self, upstream: &str, value: &[u8], now: SystemTime) -> Option<Opened> {
        if value.len() > MAX_COOKIE {
            return None;
        }
        let mut whole = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, sealed) = whole.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(upstream.as_bytes()), sealed).ok()?;
        let (server, made) = plain.split_first_chunk::<8>()?;
        let made = u64::from_be_bytes(made.try_into().ok()?);
        let age = Duration::from_secs(seconds(now).saturating_sub(made));
        Some(Opened { server: u64::from_be_bytes(*server), age })
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn random_key() -> Result<[u8; KEY_LEN], String> {
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(key)
}

/// The key in a folder: of two processes that make one at once, both use that of the last.
fn key_of(folder: &Path) -> Result<Vec<u8>, String> {
    let path = folder.join(KEY_FILE);
    let read = || match std::fs::read_to_string(&path) {
        Ok(text) => {
            let key = URL_SAFE_NO_PAD.decode(text.trim()).ok().filter(|key| key.len() == KEY_LEN);
            key.map(Some).ok_or_else(|| format!("{} holds no key", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    if let Some(key) = read()? {
        return Ok(key);
    }
    let text = URL_SAFE_NO_PAD.encode(random_key()?);
    create_folder(folder)
        .and_then(|()| write(folder, KEY_FILE, &format!("{text}\n")))
        .map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
    read()?.ok_or_else(|| format!("{} is gone again", path.display()))
}

/// The value of a cookie of a request (RFC 6265 section 4.2.1).
pub(super) fn cookie<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    fields.all(Known::Cookie).flat_map(|line| line.split(|byte| *byte == b';')).find_map(|pair| {
        let (key, value) = pair.trim_ascii().split_at_checked(name.len())?;
        (key == name.as_bytes()).then(|| value.strip_prefix(b"="))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::new(&random_key().unwrap()).unwrap()
    }

    #[test]
    fn a_cookie_says_its_server_and_age_to_its_upstream_and_key_only() {
        let (ours, now) = (seal(), SystemTime::now());
        let value = ours.seal("shop", 0xfeed, now).unwrap();
        let later = now + Duration::from_secs(90);
        let opened = ours.open_value("shop", value.as_bytes(), later).unwrap();
        assert_eq!((opened.server, opened.age.as_secs()), (0xfeed, 90));
        assert_eq!(ours.open_value("other", value.as_bytes(), now), None);
        assert_eq!(seal().open_value("shop", value.as_bytes(), now), None);
        assert_ne!(ours.seal("shop", 0xfeed, now), Some(value.clone()), "no two cookies are the same");
        for length in 0..value.len() {
            assert_eq!(ours.open_value("shop", &value.as_bytes()[..length], now), None);
        }
        let mut bent = value.into_bytes();
        for at in 0..bent.len() {
            bent[at] ^= 1;
            assert_eq!(ours.open_value("shop", &bent, now), None);
            bent[at] ^= 1;
        }
        assert_eq!(ours.open_value("shop", &[b'A'; 5000], now), None);
    }

    #[test]
    fn the_key_is_made_once_and_read_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("sticky");
        let key = key_of(&folder).unwrap();
        assert_eq!(key_of(&folder).unwrap(), key);
        std::fs::write(folder.join(KEY_FILE), "short").unwrap();
        assert!(key_of(&folder).unwrap_err().contains("holds no key"));
    }

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let mut fields = Fields::default();
        fields.push(b"Cookie", b"avestibule=1; vestibule2=2;vestibule=3");
        fields.push(b"Cookie", b"other=x=y; vestibule=4");
        assert_eq!(cookie(&fields, "vestibule"), Some(&b"3"[..]));
        assert_eq!(cookie(&fields, "other"), Some(&b"x=y"[..]));
        assert_eq!(cookie(&fields, "Vestibule"), None);
    }
}
