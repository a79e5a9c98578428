//! Putting the development root into the stores of this machine, and taking it out again without a trace.
//!
//! A [`Store`] is one place that browsers or programs read roots from. Each says what it will write before it does, checks
//! itself afterwards, and undoes exactly what it did: what was made on the way stands in the [`Record`] beside the root.

mod bundle;
mod java;
mod machine;
mod nss;
mod policy;
mod record;
mod system;

use std::path::PathBuf;

pub use bundle::{bundle_path, write_bundle};
pub use machine::{Machine, Privilege};
pub use record::Record;

/// The name under which stores show the root.
pub const NICKNAME: &str = "vestibule development CA";
/// What files of ours are called.
pub(crate) const FILE_STEM: &str = "vestibule-dev-ca";

/// The root to trust.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its file.
    pub path: PathBuf,
    pub pem: String,
    pub der: Vec<u8>,
}

/// One place to put the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The store of the system, which OpenSSL, curl, Python and others read.
    System(system::System),
    /// A database of NSS: of Chromium and Chrome, or of one profile of Firefox.
    Nss(nss::Database),
    /// A managed policy of Chromium or Chrome.
    ChromiumPolicy(policy::Chromium),
    /// The policy file of Firefox, which covers every profile.
    FirefoxPolicy,
    /// The store of the Java that JAVA_HOME names.
    Java(PathBuf),
}

/// What a store knows of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Trusted,
    Absent,
    /// It cannot be told, or not be changed; the words say why and what would help.
    Unusable(String),
}

impl Store {
    /// Whose store it is.
    pub fn title(&self) -> String {
        match self {
            Store::System(_) => "system store".into(),
            Store::Nss(database) => database.title().into(),
            Store::ChromiumPolicy(policy) => policy.title().into(),
            Store::FirefoxPolicy => "Firefox".into(),
            Store::Java(_) => "Java".into(),
        }
    }

    /// What is written where.
    pub fn place(&self) -> String {
        match self {
            Store::System(system) => system.place(),
            Store::Nss(database) => database.dir.display().to_string(),
            Store::ChromiumPolicy(policy) => policy.file().display().to_string(),
            Store::FirefoxPolicy => policy::FIREFOX.into(),
            Store::Java(keystore) => keystore.display().to_string(),
        }
    }

    /// By which means.
    pub fn means(&self, machine: &Machine) -> String {
        let sudo = if machine.privilege == Privilege::Sudo { "sudo" } else { "" };
        let (sudo, rest) = match self {
            Store::System(system) => (sudo, system.command()),
            Store::Nss(_) => ("", "certutil"),
            Store::ChromiumPolicy(_) => (sudo, "a policy; the browser will say \"managed\""),
            Store::FirefoxPolicy => (sudo, "a policy; Firefox will say \"managed\""),
            Store::Java(_) => (sudo, "keytool"),
        };
        [sudo, rest].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// Looks.
    pub fn state(&self, machine: &Machine, root: &Root) -> State {
        match self {
            Store::System(system) => system.state(machine, root),
            Store::Nss(database) => database.state(machine, root),
            Store::ChromiumPolicy(policy) => policy.state(root),
            Store::FirefoxPolicy => policy::firefox_state(root),
            Store::Java(keystore) => java::state(machine, keystore),
        }
    }

    /// Puts the root in.
    ///
    /// # Errors
    /// What went wrong, in words; what was made on the way is in the record.
    pub fn add(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        match self {
            Store::System(system) => system.add(machine, root, record),
            Store::Nss(database) => database.add(machine, root, record),
            Store::ChromiumPolicy(policy) => policy.add(machine, root, record),
            Store::FirefoxPolicy => policy::firefox_add(machine, root, record),
            Store::Java(keystore) => java::add(machine, keystore, root),
        }
    }

    /// Takes the root out.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn remove(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        match self {
            Store::System(system) => system.remove(machine, root),
            Store::Nss(database) => database.remove(machine, root, record),
            Store::ChromiumPolicy(policy) => policy.remove(machine),
            Store::FirefoxPolicy => policy::firefox_remove(machine, root, record),
            Store::Java(keystore) => java::remove(machine, keystore),
        }
    }
}

/// The stores that `trust` writes to on this machine, and what to say of those that are left out.
pub fn stores(machine: &Machine) -> (Vec<Store>, Vec<String>) {
    let (mut stores, mut notes) = (Vec::new(), Vec::new());
    match system::find(machine) {
        Ok(system) => stores.push(Store::System(system)),
        Err(why) => notes.push(why),
    }
    if machine.os == "linux" {
        stores.extend(nss::chromium(machine, &mut notes));
        stores.extend(policy::firefox(machine));
        stores.extend(nss::firefox(machine, stores.contains(&Store::FirefoxPolicy), &mut notes));
    } else if machine.os == "windows" {
        notes.push("Firefox: it reads the system store when security.enterprise_roots.enabled is true".into());
    }
    stores.extend(java::find(machine).map(Store::Java));
    (stores, notes)
}

/// Every store that may hold the root, those of profiles that Firefox filled by policy among them.
pub fn all_stores(machine: &Machine) -> Vec<Store> {
    let mut stores: Vec<Store> = system::find(machine).map(Store::System).into_iter().collect();
    if machine.os == "linux" {
        stores.extend(nss::all(machine));
        stores.extend(policy::all());
    }
    stores.extend(java::find(machine).map(Store::Java));
    stores
}
