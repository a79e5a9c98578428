//! Policy files of browsers: they work for every profile, also of users to come, and need no `certutil`.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::machine::which;
use super::{FILE_STEM, Machine, Privilege, Record, Root, State, Store};

/// Read by every build of Firefox on Linux but Flatpak's.
pub const FIREFOX: &str = "/etc/firefox/policies/policies.json";

/// The folder of managed policies of one browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chromium {
    chrome: bool,
}

/// Those of the browsers that are here.
pub fn chromium() -> Vec<Chromium> {
    let here = |names: &[&str]| names.iter().any(|name| which(name).is_some());
    let mut found = Vec::new();
    if here(&["chromium", "chromium-browser"]) {
        found.push(Chromium { chrome: false });
    }
    if here(&["google-chrome", "google-chrome-stable"]) {
        found.push(Chromium { chrome: true });
    }
    found
}

impl Chromium {
    pub fn title(&self) -> &'static str {
        if self.chrome { "Chrome" } else { "Chromium" }
    }

    pub fn file(&self) -> PathBuf {
        let folder = if self.chrome { "/etc/opt/chrome/policies/managed" } else { "/etc/chromium/policies/managed" };
        Path::new(folder).join(format!("{FILE_STEM}.json"))
    }

    pub fn state(&self, root: &Root) -> State {
        match std::fs::read_to_string(self.file()) {
            Ok(text) if text.contains(&STANDARD.encode(&root.der)) => State::Trusted,
            _ => State::Absent,
        }
    }

    pub fn add(&self, machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
        record.will_create(&self.file());
        let text = json!({ "CACertificates": [STANDARD.encode(&root.der)] });
        machine.install(&self.file(), &format!("{text:#}\n"))
    }

    pub fn remove(&self, machine: &Machine) -> Result<(), String> {
        machine.privileged("rm", &["-f".as_ref(), self.file().as_os_str()]).map(drop)
    }
}

/// The policy of Firefox, where Firefox is here and system files can be changed.
pub fn firefox(machine: &Machine) -> Option<Store> {
    let here = ["firefox", "firefox-esr"].iter().any(|name| which(name).is_some());
    (here && machine.privilege != Privilege::None).then_some(Store::FirefoxPolicy)
}

/// Every policy that may be there.
pub fn all() -> Vec<Store> {
    let chromium = [Chromium { chrome: false }, Chromium { chrome: true }].into_iter();
    let mut found: Vec<Store> = chromium.filter(|policy| policy.file().exists()).map(Store::ChromiumPolicy).collect();
    if Path::new(FIREFOX).exists() {
        found.push(Store::FirefoxPolicy);
    }
    found
}

pub fn firefox_state(root: &Root) -> State {
    let Ok(text) = std::fs::read_to_string(FIREFOX) else { return State::Absent };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if installed(&value).any(|path| path == root.path.to_string_lossy()) => State::Trusted,
        Ok(_) => State::Absent,
        Err(error) => State::Unusable(format!("{FIREFOX} is not valid JSON: {error}")),
    }
}

pub fn firefox_add(machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
    let path = Path::new(FIREFOX);
    let before = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{FIREFOX}: {error}")),
    };
    let after = with(before.as_deref().unwrap_or("{}"), &root.path.to_string_lossy())?;
    match &before {
        Some(before) => record.will_change(path, before, &after),
        None => record.will_create(path),
    }
    machine.install(path, &after)
}

pub fn firefox_remove(machine: &Machine, root: &Root, record: &mut Record) -> Result<(), String> {
    let path = Path::new(FIREFOX);
    let Ok(now) = std::fs::read_to_string(path) else { return Ok(()) };
    if let Some(before) = record.before(path, &now) {
        return machine.install(path, &before);
    }
    match without(&now, &root.path.to_string_lossy())? {
        Some(text) => machine.install(path, &text),
        None if record.created(path) => machine.privileged("rm", &["-f".as_ref(), path.as_os_str()]).map(drop),
        None => machine.install(path, "{}\n"),
    }
}

fn installed(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.pointer("/policies/Certificates/Install").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// The policies of a file with this certificate among those to install; everything else stays.
fn with(text: &str, path: &str) -> Result<String, String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("{FIREFOX} is not valid JSON: {error}"))?;
    if !installed(&value).any(|there| there == path) {
        let mut place = &mut value;
        for key in ["policies", "Certificates"] {
            let object = place.as_object_mut().ok_or_else(|| format!("{FIREFOX}: {key} stands in no object"))?;
            place = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
        }
        let object = place.as_object_mut().ok_or_else(|| format!("{FIREFOX}: Certificates is no object"))?;
        match object.entry("Install").or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(list) => list.push(path.into()),
            _ => return Err(format!("{FIREFOX}: Certificates.Install is no list")),
        }
    }
    Ok(format!("{value:#}\n"))
}

/// The policies of a file without this certificate, and without what is empty then; `None` where nothing is left.
fn without(text: &str, path: &str) -> Result<Option<String>, String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("{FIREFOX} is not valid JSON: {error}"))?;
    if let Some(Value::Array(list)) = value.pointer_mut("/policies/Certificates/Install") {
        list.retain(|there| there.as_str() != Some(path));
    }
    for (owner, key) in [("/policies/Certificates", "Install"), ("/policies", "Certificates"), ("", "policies")] {
        if let Some(Value::Object(object)) = value.pointer_mut(owner) {
            let empty = object.get(key).is_some_and(|part| match part {
                Value::Array(list) => list.is_empty(),
                Value::Object(object) => object.is_empty(),
                _ => false,
            });
            if empty {
                object.remove(key);
            }
        }
    }
    let empty = value.as_object().is_some_and(Map::is_empty);
    Ok((!empty).then(|| format!("{value:#}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_file_of_others_keeps_what_it_has() {
        let theirs = r#"{"policies":{"DisableTelemetry":true,"Certificates":{"Install":["/their.crt"]}}}"#;
        let ours = with(theirs, "/root.crt").unwrap();
        assert_eq!(with(&ours, "/root.crt").unwrap(), ours, "twice is once");
        let value: Value = serde_json::from_str(&ours).unwrap();
        assert_eq!(installed(&value).collect::<Vec<_>>(), ["/their.crt", "/root.crt"]);
        assert_eq!(value["policies"]["DisableTelemetry"], true);
        let back: Value = serde_json::from_str(&without(&ours, "/root.crt").unwrap().unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(theirs).unwrap());
    }

    #[test]
    fn a_file_that_was_only_ours_leaves_nothing() {
        let ours = with("{}", "/root.crt").unwrap();
        assert_eq!(without(&ours, "/root.crt").unwrap(), None);
    }

    #[test]
    fn a_file_of_another_form_is_left_alone() {
        for text in ["[]", "{\"policies\": 1}", "{\"policies\":{\"Certificates\":{\"Install\":1}}}", "{", "7"] {
            assert!(with(text, "/root.crt").is_err(), "{text}");
        }
    }
}
