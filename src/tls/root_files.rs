//! The two files of the development root: read, or written once and never over a root that is there.
//!
//! Two processes that start at once must end with one root. Reading needs no lock; writing happens under an advisory lock
//! on `root.lock`, which the system gives back when a process dies.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::private_files::{create_folder, open_lock, write};

pub(super) const CERT: &str = "root.crt";
pub(super) const KEY: &str = "root.key";
const LOCK: &str = "root.lock";
/// Bytes of a root file at most.
const MAX_FILE: u64 = 64 << 10;

/// A root as stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RootPem {
    pub cert: String,
    pub key: String,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// There is no root.
    Missing,
    /// A root is there and cannot be used; the words say why.
    Broken(String),
    /// The folder cannot be read or written.
    Io(io::Error),
}

/// Both files; `None` where neither is there.
pub(super) fn open(dir: &Path) -> Result<Option<RootPem>, Problem> {
    match (read(&dir.join(CERT))?, read(&dir.join(KEY))?) {
        (Some(cert), Some(key)) => Ok(Some(RootPem { cert, key })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Problem::Broken(format!("{KEY} is there without {CERT}"))),
        (Some(_), None) => Err(Problem::Broken(format!("{CERT} is there without {KEY}"))),
    }
}

/// Both files, made by `make` where neither is there. Of several callers at once, in any number of processes, one makes
/// the root and all get the same.
pub(super) fn open_or_create(dir: &Path, make: impl Fn() -> Result<RootPem, String>) -> Result<RootPem, Problem> {
    if let Ok(Some(root)) = open(dir) {
        return Ok(root);
    }
    create_folder(dir).map_err(Problem::Io)?;
    let lock = open_lock(&dir.join(LOCK)).map_err(Problem::Io)?;
    lock.lock().map_err(Problem::Io)?;
    // Another process may have been between its two files a moment ago: only what is seen under the lock counts.
    if let Some(root) = open(dir)? {
        return Ok(root);
    }
    let root = make().map_err(|why| Problem::Io(io::Error::other(why)))?;
    write(dir, KEY, &root.key).map_err(Problem::Io)?;
    write(dir, CERT, &root.cert).map_err(Problem::Io)?;
    Ok(root)
}

fn read(path: &Path) -> Result<Option<String>, Problem> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::Broken(format!("{} cannot be read: {error}", path.display()))),
    };
    let mut text = String::new();
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(Problem::Broken(format!("{} cannot be read: {error}", path.display()))),
    }
}
