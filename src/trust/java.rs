//! The store of Java, by `keytool`.

use std::path::{Path, PathBuf};

use super::{FILE_STEM, Machine, Root, State};

/// The password that every Java ships with; it protects nothing but the file's form.
const PASSWORD: &str = "changeit";

/// The store of the Java that JAVA_HOME names. One that the system's command fills, as on Debian, is left to it.
pub fn find(machine: &Machine) -> Option<PathBuf> {
    let home = machine.java_home.as_ref()?;
    let keystore = home.join("lib/security/cacerts");
    let own = keystore.symlink_metadata().is_ok_and(|meta| meta.is_file());
    (own && home.join("bin/keytool").exists()).then_some(keystore)
}

fn keytool(machine: &Machine, keystore: &Path, words: &[&str]) -> Result<String, String> {
    let program = machine.java_home.clone().unwrap_or_default().join("bin/keytool").display().to_string();
    let keystore = keystore.display().to_string();
    let fixed = ["-keystore", &keystore, "-storepass", PASSWORD, "-alias", FILE_STEM];
    let arguments: Vec<&str> = words.iter().copied().chain(fixed).collect();
    let writable = std::fs::OpenOptions::new().append(true).open(Path::new(&keystore)).is_ok();
    if words.first() == Some(&"-list") || writable {
        machine.run(&program, &arguments)
    } else {
        machine.privileged(&program, &arguments)
    }
}

pub fn state(machine: &Machine, keystore: &Path) -> State {
    match keytool(machine, keystore, &["-list"]) {
        Ok(_) => State::Trusted,
        Err(_) => State::Absent,
    }
}

pub fn add(machine: &Machine, keystore: &Path, root: &Root) -> Result<(), String> {
    let path = root.path.display().to_string();
    keytool(machine, keystore, &["-importcert", "-noprompt", "-file", &path]).map(drop)
}

pub fn remove(machine: &Machine, keystore: &Path) -> Result<(), String> {
    keytool(machine, keystore, &["-delete"]).map(drop)
}
