//! Files that only their owner reads, written whole or not at all, in folders that survive a restart.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The folder of this name under the state folder of a container or a service, else under the user's data folder (XDG
/// base directory specification: a relative path is ignored). `None` where the environment names none.
pub fn state_folder(name: &str) -> Option<PathBuf> {
    folder_of(name, |variable| std::env::var_os(variable))
}

pub(super) fn folder_of(name: &str, var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |variable: &str| folder_in(var(variable));
    folder("VESTIBULE_STATE_DIR")
        .or_else(|| folder("STATE_DIRECTORY"))
        .or_else(|| folder("XDG_DATA_HOME").map(|dir| dir.join("vestibule")))
        .or_else(|| folder("HOME").map(|dir| dir.join(".local/share/vestibule")))
        .map(|dir| dir.join(name))
}

/// The folder that an environment variable names. systemd lists several with colons, and the first is ours; a relative path
/// is none.
pub fn folder_in(value: Option<OsString>) -> Option<PathBuf> {
    let value = value?.into_string().ok()?;
    let first = PathBuf::from(value.split(':').next()?);
    first.is_absolute().then_some(first)
}

/// Makes a folder that only its owner enters, and those above it.
///
/// # Errors
/// It is not there and cannot be made.
#[cfg(unix)]
pub fn create_folder(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
pub fn create_folder(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// Opens a file to lock, making it where it is missing. The system gives the lock back when the process dies.
///
/// # Errors
/// It cannot be opened for writing.
pub fn open_lock(path: &Path) -> io::Result<File> {
    with_mode(OpenOptions::new().write(true).create(true).truncate(false), 0o600).open(path)
}

/// Writes beside the name, forces it to disk and renames, so that no reader and no power cut meets half a file.
///
/// # Errors
/// The folder cannot be written, or is full.
pub fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fill(&temporary, text, 0o600)?;
    fs::rename(&temporary, dir.join(name))?;
    sync_folder(dir)
}

/// Writes a file whole or not at all. One that is there stays, unless it is to be replaced. `mode` is that of the new
/// file, less what the process's umask takes away.
///
/// # Errors
/// The folder cannot be written, or `AlreadyExists`.
pub fn publish(path: &Path, text: &str, mode: u32, replace: bool) -> io::Result<()> {
    let (dir, name) = match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) if dir != Path::new("") => (dir, name),
        (_, Some(name)) => (Path::new("."), name),
        _ => return Err(io::Error::from(io::ErrorKind::InvalidFilename)),
    };
    if !replace && path.symlink_metadata().is_ok() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    let temporary = dir.join(format!(".{}.{:016x}", name.to_string_lossy(), fastrand::u64(..)));
    let placed = fill(&temporary, text, mode).and_then(|()| place(&temporary, path, replace));
    if placed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    placed?;
    sync_folder(dir)
}

/// Makes a file, writes it and forces it to disk.
fn fill(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = with_mode(OpenOptions::new().write(true).create_new(true), mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives a written file its name. A link fails where the name is taken in the meantime; file systems without links only
/// have the look before.
fn place(temporary: &Path, path: &Path, replace: bool) -> io::Result<()> {
    if !replace {
        match fs::hard_link(temporary, path) {
            Ok(()) => return fs::remove_file(temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
    }
    fs::rename(temporary, path)
}

#[cfg(unix)]
fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(mode)
}

#[cfg(not(unix))]
fn with_mode(options: &mut OpenOptions, _mode: u32) -> &mut OpenOptions {
    options
}

#[cfg(unix)]
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_comes_before_the_users_own() {
        let all = [
            ("VESTIBULE_STATE_DIR", "/state"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("XDG_DATA_HOME", "/home/u/data"),
            ("HOME", "/home/u"),
        ];
        let expected = ["/state/ca", "/var/lib/a/ca", "/home/u/data/vestibule/ca", "/home/u/.local/share/vestibule/ca"];
        for (skipped, expected) in expected.iter().enumerate() {
            let known = |name: &str| all[skipped..].iter().find(|(key, _)| *key == name).map(|(_, v)| v.into());
            assert_eq!(folder_of("ca", known), Some(PathBuf::from(expected)));
        }
        assert_eq!(folder_of("ca", |_| None), None);
        assert_eq!(folder_of("ca", |_| Some("relative".into())), None);
    }
    #[test]
    #[cfg(unix)]
    fn a_published_file_has_its_mode_and_one_that_is_there_stays_unless_it_is_to_be_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site-key.pem");
        publish(&path, "first", 0o600, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(publish(&path, "second", 0o600, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(place(&path, &path, false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        publish(&path, "third", 0o600, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
