//! What `trust` made on its way, so that `untrust` leaves things as they were: a small file beside the root.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Machine;
use crate::tls::private_files;

const NAME: &str = "trust.json";

/// Folders and files that were not there before, and files that were changed.
#[derive(Debug, Default)]
pub struct Record {
    dir: PathBuf,
    created: BTreeSet<PathBuf>,
    /// Text before and after the change.
    changed: BTreeMap<PathBuf, (String, String)>,
}

impl Record {
    /// Of a root's folder. A record that cannot be read is as none.
    pub fn open(dir: &Path) -> Record {
        let mut record = Record { dir: dir.to_owned(), ..Record::default() };
        let text = std::fs::read_to_string(dir.join(NAME)).unwrap_or_default();
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return record };
        let created = value["created"].as_array().into_iter().flatten();
        record.created = created.filter_map(|path| path.as_str().map(PathBuf::from)).collect();
        for (path, texts) in value["changed"].as_object().into_iter().flatten() {
            if let (Some(before), Some(after)) = (texts["before"].as_str(), texts["after"].as_str()) {
                record.changed.insert(path.into(), (before.into(), after.into()));
            }
        }
        record
    }

    /// Writes it, or removes it where there is nothing to remember.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self) -> io::Result<()> {
        if self.created.is_empty() && self.changed.is_empty() {
            return match std::fs::remove_file(self.dir.join(NAME)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let changed: serde_json::Map<String, Value> = self
            .changed
            .iter()
            .map(|(path, (before, after))| (path.display().to_string(), json!({ "before": before, "after": after })))
            .collect();
        let created: Vec<String> = self.created.iter().map(|path| path.display().to_string()).collect();
        private_files::write(&self.dir, NAME, &format!("{:#}\n", json!({ "created": created, "changed": changed })))
    }

    /// Notes the folders down to `path` that are not there yet, and itself.
    pub fn will_create(&mut self, path: &Path) {
        let missing = path.ancestors().take_while(|ancestor| !ancestor.exists());
        self.created.extend(missing.map(Path::to_owned));
    }

    /// Whether `trust` made this.
    pub fn created(&self, path: &Path) -> bool {
        self.created.contains(path)
    }

    pub fn will_change(&mut self, path: &Path, before: &str, after: &str) {
        self.changed.entry(path.to_owned()).or_insert_with(|| (before.into(), String::new())).1 = after.into();
    }

    /// The text a file had before, where nobody has changed it since.
    pub fn before(&mut self, path: &Path, now: &str) -> Option<String> {
        self.changed.remove(path).filter(|(_, after)| after == now).map(|(before, _)| before)
    }

    /// Removes the folders that `trust` made and that are empty again, the deepest first. What is gone is forgotten.
    pub fn sweep(&mut self, machine: &Machine) {
        for path in self.created.iter().rev() {
            let empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            if empty && std::fs::remove_dir(path).is_err() {
                // A folder of the system; that it stays is seen below.
                let _ = machine.privileged("rmdir", &[path]);
            }
        }
        self.created.retain(|path| path.symlink_metadata().is_ok());
    }

    /// What is still there.
    pub fn left(&self) -> impl Iterator<Item = &Path> {
        self.created.iter().map(PathBuf::as_path)
    }

    /// Forgets what has been kept on purpose: folders that others use by now.
    pub fn forget(&mut self) {
        self.created.clear();
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_gone_when_empty() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        let mut record = Record::open(folder.path());
        record.will_create(&deep);
        record.will_change(Path::new("/etc/x.json"), "{}", "{1}");
        record.save().unwrap();
        std::fs::create_dir_all(&deep).unwrap();
        let mut again = Record::open(folder.path());
        assert!(again.created(&deep) && again.created(&folder.path().join("a")) && !again.created(folder.path()));
        assert_eq!(again.before(Path::new("/etc/x.json"), "{1}").as_deref(), Some("{}"));
        let machine = Machine {
            os: "linux",
            home: "/".into(),
            data_home: "/".into(),
            config_home: "/".into(),
            java_home: None,
            privilege: super::super::Privilege::None,
        };
        std::fs::write(folder.path().join("a/other"), "").unwrap();
        again.sweep(&machine);
        assert!(!folder.path().join("a/b").exists() && folder.path().join("a").exists());
        assert_eq!(again.left().collect::<Vec<_>>(), [folder.path().join("a")]);
        again.forget();
        again.save().unwrap();
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn a_file_that_was_changed_since_is_not_put_back() {
        let mut record = Record::default();
        record.will_change(Path::new("/x"), "old", "new");
        assert_eq!(record.before(Path::new("/x"), "newer"), None);
    }
}
