//! The two files of the development root: read, or written once and never over a root that is there.
//!
//! Two processes that start at once must end with one root. Reading needs no lock; writing happens under an advisory lock
//! on `root.lock`, which the system gives back when a process dies.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

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
    let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(dir.join(LOCK))
        .map_err(Problem::Io)?;
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

/// Writes beside the name, forces it to disk and renames, so that no reader and no power cut meets half a file.
fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_folder(dir)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn create_folder(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create_folder(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(unix)]
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_dir: &Path) -> io::Result<()> {
    Ok(())
}
