//! This machine and its user: folders, programs, and the privilege to change system files.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who may write system files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    Root,
    /// By `sudo`, which asks for itself.
    Sudo,
    None,
}

/// What the stores need to know of this machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `std::env::consts::OS`: "linux", "macos", "windows".
    pub os: &'static str,
    pub home: PathBuf,
    /// XDG_DATA_HOME, or its default below home.
    pub data_home: PathBuf,
    /// XDG_CONFIG_HOME, or its default below home.
    pub config_home: PathBuf,
    pub java_home: Option<PathBuf>,
    pub privilege: Privilege,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// There is no home folder, or the program was started by `sudo`: the stores of browsers and the root itself are the
    /// user's, not root's.
    pub fn here() -> Result<Machine, String> {
        if rustix::process::geteuid().is_root()
            && let Some(user) = std::env::var_os("SUDO_USER").filter(|user| user != "root")
        {
            return Err(format!(
                "start it without sudo, as {}: the root and the stores of browsers are yours, and it asks sudo itself for \
                 the rest",
                user.to_string_lossy()
            ));
        }
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME").or_else(|| folder("USERPROFILE")).ok_or("HOME names no folder")?;
        let privilege = if rustix::process::geteuid().is_root() {
            Privilege::Root
        } else if which("sudo").is_some() {
            Privilege::Sudo
        } else {
            Privilege::None
        };
        Ok(Machine {
            os: std::env::consts::OS,
            data_home: folder("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")),
            config_home: folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            java_home: folder("JAVA_HOME"),
            home,
            privilege,
        })
    }

    /// Runs a program as the user: what it printed.
    ///
    /// # Errors
    /// It is not there, or failed: what it said.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<String, String> {
        finish(Command::new(program).args(arguments), program)
    }

    /// Runs a program that changes system files.
    ///
    /// # Errors
    /// As [`Machine::run`], and where there is no privilege: the command to type.
    pub fn privileged<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<String, String> {
        match self.privilege {
            Privilege::Root => finish(Command::new(system_path(program)).args(arguments), program),
            Privilege::Sudo => finish(Command::new("sudo").arg(system_path(program)).args(arguments), program),
            Privilege::None => {
                let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
                Err(format!("needs root: {program} {}", words.join(" ")))
            }
        }
    }

    /// Writes a system file that everybody may read.
    ///
    /// # Errors
    /// As [`Machine::privileged`].
    pub fn install(&self, path: &Path, text: &str) -> Result<(), String> {
        let mut fresh = tempfile_in(&std::env::temp_dir()).map_err(|error| error.to_string())?;
        let written = fresh.1.write_all(text.as_bytes()).map_err(|error| error.to_string());
        let installed = written.and_then(|()| {
            self.privileged(
                "install",
                &["-D".as_ref(), "-m".as_ref(), "644".as_ref(), fresh.0.as_os_str(), path.as_os_str()],
            )
        });
        // Of no use to anybody, and its name is random.
        let _ = std::fs::remove_file(&fresh.0);
        installed.map(drop)
    }
}

/// A new private file with a name nobody can guess or prepare.
fn tempfile_in(dir: &Path) -> std::io::Result<(PathBuf, std::fs::File)> {
    let path = dir.join(format!("vestibule-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok((path.clone(), options.open(path)?))
}

fn finish(command: &mut Command, program: &str) -> Result<String, String> {
    let output = command.stdin(Stdio::inherit()).stderr(Stdio::piped()).stdout(Stdio::piped()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = if output.stderr.is_empty() { text(&output.stdout) } else { text(&output.stderr) };
    Err(format!("{program}: {}", said.lines().last().unwrap_or("failed")))
}

/// Folders of system commands, which a user's PATH may lack.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

fn system_path(program: &str) -> PathBuf {
    which(program).unwrap_or_else(|| program.into())
}

/// Where a program is.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}
