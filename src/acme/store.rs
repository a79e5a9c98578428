//! What ACME keeps in the state folder: the account, certificates with their keys, and what is planned for each.
//!
//! One folder a server: `acme/SERVER/account.json`, and for each certificate `NAME.pem` (the key, then the chain: one file,
//! so that a pair is never half new), `NAME.json` (notes) and `NAME.lock`, which one process at a time holds while it
//! orders.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::{Acme, Challenge};
use crate::tls::private_files::{create_folder, open_lock, state_folder, write};
use crate::tls::{ServedCert, is_local};

/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 20;

/// The part of the state folder that belongs to one server.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// What is remembered of a certificate beside itself. Times are in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notes {
    /// Orders in a row that failed for a reason that lasts.
    pub failures: u32,
    /// No order before this.
    pub retry_at: i64,
    pub last_error: String,
    /// The moment chosen in the server's window (RFC 9773).
    pub renew_at: Option<i64>,
    /// When the server is asked for its window again.
    pub window_at: i64,
    /// The challenge that worked.
    pub challenge: Option<Challenge>,
}

impl Store {
    /// The store of a server; `None` where the environment names no state folder. Nothing is made or opened.
    pub fn of(directory: &str) -> Option<Store> {
        state_folder("acme").map(|folder| Store { folder: folder.join(slug(directory)) })
    }

    /// The store in a folder.
    pub fn at(folder: PathBuf) -> Store {
        Store { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a certificate: its key, then the chain.
    pub fn path(&self, names: &[String]) -> PathBuf {
        self.folder.join(format!("{}.pem", file_name(names)))
    }

    /// Makes the folder, and writes and removes a file in it: better to know before an order than after.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(&self) -> io::Result<()> {
        create_folder(&self.folder)?;
        write(&self.folder, "probe", "writable\n")?;
        fs::remove_file(self.folder.join("probe"))
    }

    /// The folder is in memory or in the layer of a container that ends with it.
    #[cfg(target_os = "linux")]
    pub fn is_ephemeral(&self) -> bool {
        /// The magic numbers of tmpfs, ramfs and overlayfs (linux/magic.h).
        const EPHEMERAL: [u64; 3] = [0x0102_1994, 0x8584_58f6, 0x794c_7630];
        let kind = rustix::fs::statfs(&self.folder).map(|stat| u64::try_from(stat.f_type).unwrap_or_default());
        kind.is_ok_and(|kind| EPHEMERAL.contains(&kind))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn is_ephemeral(&self) -> bool {
        false
    }

    /// The certificate of a name set, called by its first name; `None` where there is none.
    ///
    /// # Errors
    /// The file is there and damaged.
    pub fn cert(&self, names: &[String]) -> Result<Option<ServedCert>, String> {
        let file = format!("{}.pem", file_name(names));
        match self.read(&file).map_err(|error| format!("{file}: {error}"))? {
            None => Ok(None),
            Some(text) => ServedCert::from_pem(&text).map(Some).map_err(|why| format!("{file}: {why}")),
        }
    }

    /// Stores a certificate and forgets what was noted of the one before.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, names: &[String], key: &str, chain: &str, challenge: Option<Challenge>) -> io::Result<()> {
        write(&self.folder, &format!("{}.pem", file_name(names)), &format!("{key}{chain}"))?;
        self.save_notes(names, &Notes { challenge, ..Notes::default() })
    }

    /// What is noted; nothing where the file is missing or damaged.
    pub fn notes(&self, names: &[String]) -> Notes {
        let text = self.read(&format!("{}.json", file_name(names))).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok()).map(|value| Notes::read(&value)).unwrap_or_default()
    }

    /// # Errors
    /// The folder cannot be written.
    pub fn save_notes(&self, names: &[String], notes: &Notes) -> io::Result<()> {
        write(&self.folder, &format!("{}.json", file_name(names)), &format!("{:#}\n", notes.to_json()))
    }

    /// The account's credentials.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn account(&self) -> io::Result<Option<String>> {
        self.read("account.json")
    }

    /// # Errors
    /// The folder cannot be written.
    pub fn save_account(&self, credentials: &str) -> io::Result<()> {
        write(&self.folder, "account.json", credentials)
    }

    /// Puts aside an account that the server does not know.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn forget_account(&self) -> io::Result<()> {
        fs::rename(self.folder.join("account.json"), self.folder.join("account.json.unknown"))
    }

    /// The lock of a name set or of "account", given back when it is dropped; `None` while another process holds it.
    ///
    /// # Errors
    /// The file cannot be opened, or the file system has no locks.
    pub fn lock(&self, what: &str) -> io::Result<Option<File>> {
        let file = open_lock(&self.folder.join(format!("{what}.lock")))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let file = match File::open(self.folder.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(Some(text))
    }
}

impl Notes {
    fn read(value: &Value) -> Notes {
        let number = |key: &str| value[key].as_i64();
        Notes {
            failures: number("failures").and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
            retry_at: number("retry_at").unwrap_or_default(),
            last_error: value["last_error"].as_str().unwrap_or_default().to_owned(),
            renew_at: number("renew_at"),
            window_at: number("window_at").unwrap_or_default(),
            challenge: match value["challenge"].as_str() {
                Some("http-01") => Some(Challenge::Http01),
                Some("tls-alpn-01") => Some(Challenge::TlsAlpn01),
                Some("dns-01") => Some(Challenge::Dns01),
                _ => None,
            },
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "failures": self.failures,
            "retry_at": self.retry_at,
            "last_error": self.last_error,
            "renew_at": self.renew_at,
            "window_at": self.window_at,
            "challenge": self.challenge.map(Challenge::name),
        })
    }
}

/// The file name of a name set: its first name. A set that grows keeps its files.
pub fn file_name(names: &[String]) -> String {
    let first = names.first().map(String::as_str).unwrap_or_default();
    first.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' }).collect()
}

/// The folder name of a server.
fn slug(directory: &str) -> String {
    match directory {
        Acme::LETS_ENCRYPT => return "letsencrypt".into(),
        Acme::LETS_ENCRYPT_STAGING => return "letsencrypt-staging".into(),
        _ => {}
    }
    let plain = directory.trim_start_matches("https://").trim_end_matches('/');
    plain.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

/// A server whose certificates browsers trust, and that therefore limits orders: neither a staging nor a local one.
pub fn is_production(directory: &str) -> bool {
    let host = directory.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    !directory.contains("staging") && !is_local(&host) && host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_a_restart_and_damage_is_nothing_noted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("a/b"));
        store.open().unwrap();
        let names = ["*.example.com".to_owned()];
        assert_eq!(store.notes(&names), Notes::default());
        let notes = Notes {
            failures: 3,
            retry_at: 17,
            last_error: "no".into(),
            renew_at: Some(99),
            window_at: 5,
            challenge: Some(Challenge::Dns01),
        };
        store.save_notes(&names, &notes).unwrap();
        assert_eq!(store.notes(&names), notes);
        fs::write(store.folder().join("_.example.com.json"), "{").unwrap();
        assert_eq!(store.notes(&names), Notes::default());
    }

    #[test]
    fn one_process_at_a_time_holds_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().into());
        let held = store.lock("a").unwrap();
        assert!(held.is_some() && store.lock("a").unwrap().is_none() && store.lock("b").unwrap().is_some());
        drop(held);
        assert!(store.lock("a").unwrap().is_some());
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_reads_what_is_stored() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("state"));
        store.open().unwrap();
        store.save_account("{}").unwrap();
        store.save(&["a.example.com".to_owned()], "key\n", "chain\n", None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(store.folder()), 0o700);
        for entry in fs::read_dir(store.folder()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn a_server_has_a_folder_of_its_own_and_staging_and_local_ones_are_no_production() {
        assert_eq!(slug(Acme::LETS_ENCRYPT), "letsencrypt");
        assert_eq!(slug("https://127.0.0.1:14000/dir"), "127.0.0.1-14000-dir");
        let table = [
            (Acme::LETS_ENCRYPT, true),
            ("https://acme.zerossl.com/v2/DV90", true),
            (Acme::LETS_ENCRYPT_STAGING, false),
            ("https://127.0.0.1:14000/dir", false),
            ("https://ca.internal/acme/acme/directory", false),
        ];
        for (directory, expected) in table {
            assert_eq!(is_production(directory), expected, "{directory}");
        }
    }
}
