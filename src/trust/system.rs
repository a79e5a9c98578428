//! The store of the system: a file in the folder of local roots, and the command that builds the store anew.

use std::path::{Path, PathBuf};

use super::{FILE_STEM, Machine, NICKNAME, Record, Root, State};

/// A way to add roots. The order of looking matters: Fedora's folder also exists where Debian's command does.
const LINUX: [(&str, &str, &str, &[&str]); 4] = [
    ("/etc/pki/ca-trust/source/anchors", "pem", "update-ca-trust", &["extract"]),
    ("/usr/local/share/ca-certificates", "crt", "update-ca-certificates", &[]),
    ("/etc/ca-certificates/trust-source/anchors", "crt", "trust", &["extract-compat"]),
    ("/usr/share/pki/trust/anchors", "pem", "update-ca-certificates", &[]),
];
const KEYCHAIN: &str = "/Library/Keychains/System.keychain";

/// The store of one family of systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    Linux { folder: PathBuf, extension: &'static str, command: &'static str, arguments: &'static [&'static str] },
    MacOs,
    Windows,
}

/// The one of this machine.
///
/// # Errors
/// There is none that is known; what to do instead.
pub fn find(machine: &Machine) -> Result<System, String> {
    match machine.os {
        "macos" => return Ok(System::MacOs),
        "windows" => return Ok(System::Windows),
        _ => {}
    }
    if Path::new("/etc/NIXOS").exists() {
        return Err("system store: on NixOS, name the root in security.pki.certificateFiles".into());
    }
    let there = |folder: &str| Path::new(folder).is_dir();
    // Debian's folder belongs to its package and may have been removed while empty; its command is the better sign.
    let fits = |(folder, _, command, _): &&(&'static str, _, &'static str, _)| {
        there(folder) && super::machine::which(command).is_some()
    };
    let debian = || {
        let row = LINUX.iter().find(|(_, _, command, _)| *command == "update-ca-certificates");
        row.filter(|_| there("/usr/share/ca-certificates") && super::machine::which("update-ca-certificates").is_some())
    };
    match LINUX.iter().find(fits).or_else(debian) {
        Some((folder, extension, command, arguments)) => {
            Ok(System::Linux { folder: folder.into(), extension, command, arguments })
        }
        None => Err("system store: none that is known here; install ca-certificates, and start this again".into()),
    }
}

impl System {
    pub fn place(&self) -> String {
        match self {
            System::Linux { .. } => self.file().display().to_string(),
            System::MacOs => KEYCHAIN.into(),
            System::Windows => "ROOT".into(),
        }
    }

    pub fn command(&self) -> &'static str {
        match self {
            System::Linux { command, .. } => command,
            System::MacOs => "security add-trusted-cert",
            System::Windows => "certutil -addstore",
        }
    }

    fn file(&self) -> PathBuf {
        match self {
            System::Linux { folder, extension, .. } => folder.join(format!("{FILE_STEM}.{extension}")),
            System::MacOs | System::Windows => PathBuf::new(),
        }
    }

    /// Whether programs that use the system's store get the root from it.
    pub fn state(&self, machine: &Machine, root: &Root) -> State {
        match self {
            System::Windows => match machine.run("certutil", &["-verifystore", "ROOT", NICKNAME]) {
                Ok(_) => State::Trusted,
                Err(_) => State::Absent,
            },
            System::Linux { .. } | System::MacOs => {
                let found = rustls_native_certs::load_native_certs();
                let there = found.certs.iter().any(|cert| cert.as_ref() == root.der);
                if there { State::Trusted } else { State::Absent }
            }
        }
    }

    pub fn add(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        match self {
            System::Linux { command, arguments, .. } => {
                let file = self.file();
                record.will_create(&file);
                machine.install(&file, &root.pem)?;
                machine.privileged(command, arguments).map(drop)
            }
            System::MacOs => {
                let path = root.path.display().to_string();
                let words = ["add-trusted-cert", "-d", "-r", "trustRoot", "-k", KEYCHAIN, &path];
                machine.privileged("security", &words).map(drop)
            }
            System::Windows => {
                machine.run("certutil", &["-addstore", "-f", "ROOT", &root.path.display().to_string()]).map(drop)
            }
        }
    }

    pub fn remove(&self, machine: &Machine, root: &Root) -> Result<(), String> {
        match self {
            System::Linux { command, arguments, .. } => {
                let file = self.file();
                if file.symlink_metadata().is_ok() {
                    machine.privileged("rm", &["-f".as_ref(), file.as_os_str()])?;
                }
                let fresh: &[&str] = if *command == "update-ca-certificates" { &["--fresh"] } else { arguments };
                machine.privileged(command, fresh).map(drop)
            }
            System::MacOs => {
                let path = root.path.display().to_string();
                machine.privileged("security", &["remove-trusted-cert", "-d", &path])?;
                machine.privileged("security", &["delete-certificate", "-c", NICKNAME, KEYCHAIN]).map(drop)
            }
            System::Windows => machine.run("certutil", &["-delstore", "ROOT", NICKNAME]).map(drop),
        }
    }

    /// Whether our file is there, whatever the store says.
    pub fn has_file(&self) -> bool {
        matches!(self, System::Linux { .. }) && self.file().symlink_metadata().is_ok()
    }
}
