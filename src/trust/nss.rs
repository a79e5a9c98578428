//! Databases of NSS: the shared one of Chromium and Chrome, and those of Firefox's profiles. Changed by `certutil`.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::machine::which;
use super::policy;
use super::{Machine, NICKNAME, Privilege, Record, Root, State, Store};

/// The files of a database that is kept by SQLite.
const FILES: [&str; 3] = ["cert9.db", "key4.db", "pkcs11.txt"];
/// Profiles looked at in one folder.
const MAX_PROFILES: usize = 64;
const NO_CERTUTIL: &str = "certutil is not here: install libnss3-tools (Debian), nss-tools (Fedora), nss (Arch)";

/// A database, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub dir: PathBuf,
    pub firefox: bool,
}

/// What Chromium and Chrome read. Since version 146 a fresh user's database is below the data folder; one at the old place
/// is still used where it is there.
fn chromium_dirs(machine: &Machine) -> [PathBuf; 3] {
    [
        machine.home.join(".pki/nssdb"),
        machine.data_home.join("pki/nssdb"),
        machine.home.join("snap/chromium/current/.pki/nssdb"),
    ]
}

fn chromium_is_here() -> bool {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].iter().any(|name| which(name).is_some())
}

fn is_database(dir: &Path) -> bool {
    dir.join(FILES[0]).is_file()
}

/// The databases of Chromium and Chrome to write to; without certutil the managed policy.
pub fn chromium(machine: &Machine, notes: &mut Vec<String>) -> Vec<Store> {
    let dirs = chromium_dirs(machine);
    let mut found: Vec<PathBuf> = dirs.iter().filter(|dir| is_database(dir)).cloned().collect();
    if found.is_empty() && !chromium_is_here() {
        return Vec::new();
    }
    if which("certutil").is_none() {
        if machine.privilege == Privilege::None {
            notes.push(format!("Chromium, Chrome: {NO_CERTUTIL}"));
            return Vec::new();
        }
        return policy::chromium().into_iter().map(Store::ChromiumPolicy).collect();
    }
    if !dirs[..2].iter().any(|dir| is_database(dir)) {
        found.push(dirs[1].clone());
    }
    found.into_iter().map(|dir| Store::Nss(Database { dir, firefox: false })).collect()
}

/// The profiles of Firefox to write to: all of them where no policy covers them, else those of sandboxes, which see no
/// policy of the system.
pub fn firefox(machine: &Machine, by_policy: bool, notes: &mut Vec<String>) -> Vec<Store> {
    let profiles = profiles(machine, by_policy);
    if profiles.is_empty() {
        return Vec::new();
    }
    if which("certutil").is_none() {
        notes.push(format!("Firefox: {NO_CERTUTIL}"));
        return Vec::new();
    }
    profiles.into_iter().map(|dir| Store::Nss(Database { dir, firefox: true })).collect()
}

/// Every database there is.
pub fn all(machine: &Machine) -> Vec<Store> {
    let chromium = chromium_dirs(machine).into_iter().filter(|dir| is_database(dir));
    let chromium = chromium.map(|dir| Database { dir, firefox: false });
    let firefox = profiles(machine, false).into_iter().map(|dir| Database { dir, firefox: true });
    chromium.chain(firefox).map(Store::Nss).collect()
}

fn profiles(machine: &Machine, only_sandboxes: bool) -> Vec<PathBuf> {
    let home = &machine.home;
    let own = [home.join(".mozilla/firefox"), machine.config_home.join("mozilla/firefox")];
    let sandboxes = [
        home.join("snap/firefox/common/.mozilla/firefox"),
        home.join(".var/app/org.mozilla.firefox/.mozilla/firefox"),
        home.join(".var/app/org.mozilla.firefox/config/mozilla/firefox"),
    ];
    let own = own.iter().filter(|_| !only_sandboxes);
    let mut found = Vec::new();
    for folder in own.chain(&sandboxes) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_PROFILES);
        found.extend(entries.map(|entry| entry.path()).filter(|dir| is_database(dir)));
    }
    found.sort();
    found
}

impl Database {
    pub fn title(&self) -> &'static str {
        if self.firefox { "Firefox profile" } else { "Chromium, Chrome" }
    }

    fn certutil(&self, machine: &Machine, words: &[&str]) -> Result<String, String> {
        let database = format!("sql:{}", self.dir.display());
        let arguments: Vec<&str> = ["-d", &database].into_iter().chain(words.iter().copied()).collect();
        machine.run("certutil", &arguments)
    }

    /// The names under which the root is in there: ours, and the one that Firefox gave it.
    fn names(&self, machine: &Machine, root: &Root) -> Result<Vec<String>, String> {
        let listed = self.certutil(machine, &["-L"])?;
        // Name, then the trust flags at the end of the line.
        let names =
            listed.lines().filter_map(|line| Some(line.trim_end().rsplit_once(char::is_whitespace)?.0.trim_end()));
        let names = names.filter(|name| name.starts_with(NICKNAME));
        let is_ours = |name: &&str| {
            let pem = self.certutil(machine, &["-L", "-n", name, "-a"]).unwrap_or_default();
            let mut ders = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
            ders.any(|der| der.as_ref() == root.der)
        };
        Ok(names.filter(is_ours).map(str::to_owned).collect())
    }

    pub fn state(&self, machine: &Machine, root: &Root) -> State {
        if !is_database(&self.dir) {
            return State::Absent;
        }
        if which("certutil").is_none() {
            return State::Unusable(NO_CERTUTIL.into());
        }
        match self.names(machine, root) {
            Ok(names) if names.is_empty() => State::Absent,
            Ok(_) => State::Trusted,
            Err(why) => State::Unusable(why),
        }
    }

    pub fn add(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        if !is_database(&self.dir) {
            record.will_create(&self.dir);
            crate::tls::private_files::create_folder(&self.dir).map_err(|error| error.to_string())?;
            self.certutil(machine, &["-N", "--empty-password"])?;
        }
        let path = root.path.display().to_string();
        self.certutil(machine, &["-A", "-t", "C,,", "-n", NICKNAME, "-i", &path]).map(drop)
    }

    pub fn remove(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        for name in self.names(machine, root)? {
            self.certutil(machine, &["-D", "-n", &name])?;
        }
        // A database that `trust` made goes, unless somebody has put something of their own into it.
        if record.created(&self.dir) && self.is_empty(machine) {
            for file in FILES {
                std::fs::remove_file(self.dir.join(file)).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn is_empty(&self, machine: &Machine) -> bool {
        let certs = self.certutil(machine, &["-L"]).unwrap_or_default();
        let keys = self.certutil(machine, &["-K"]);
        // With no key certutil fails, and says so.
        let no_keys = keys.is_err_and(|said| said.contains("no keys found"));
        // Two lines of headings.
        no_keys && certs.lines().filter(|line| !line.trim().is_empty()).count() <= 2
    }
}
