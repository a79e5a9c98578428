//! What a config may say: every key with its type, default and one line of text.
//!
//! One table ([`ROOT`] and the tables below it, in `schema/tables.rs`) drives the decoder, the nearest-key hints and
//! everything generated from the config language.

pub mod document;
pub mod json;
mod places;
pub mod reference;
mod sites;
mod tables;

pub(super) use sites::SITE;
pub use tables::ROOT;

/// A table of the config: its keys, and what any further key holds.
#[derive(Debug)]
pub struct Table {
    pub keys: &'static [Key],
    /// The type of keys the user names (`[listeners]`); `None`: such keys are errors.
    pub other: Option<Kind>,
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// The default as TOML with single quotes (`'30s'`); empty where there is none.
    pub default: &'static str,
    pub doc: &'static str,
    /// This version acts on the key. Where it does not, only the default, "off" and `false` are accepted.
    pub supported: bool,
    /// The version that knew the key first.
    pub since: &'static str,
}

/// The type of a value.
#[derive(Debug)]
pub enum Kind {
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    /// Any text; the words say of what, such as "a file".
    Text(&'static str),
    /// `"30s"`, or "off" where `off` is set.
    Duration {
        off: bool,
    },
    /// `"10MiB"` within bounds in bytes, or "off" where `off` is set.
    Size {
        min: u64,
        max: u64,
        off: bool,
    },
    /// One of some words; those of `later` are known but not supported yet.
    Choice {
        now: &'static [&'static str],
        later: &'static [&'static str],
    },
    List(&'static Kind),
    /// A table whose keys the user names; the words say what a key is.
    Map(&'static str, &'static Kind),
    Table(&'static Table),
    /// The first that fits the TOML type of the value.
    OneOf(&'static [Kind]),
}

impl Table {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// The same key, known since a later version than the first.
    #[must_use]
    pub const fn since(mut self, version: &'static str) -> Key {
        self.since = version;
        self
    }

    /// The default as TOML text; empty where there is none.
    pub fn default_text(&self) -> String {
        self.default.replace('\'', "\"")
    }
}

/// The candidate a mistyped name most likely means: at most one edit in three letters away.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer names are not typed by hand, and the distance is quadratic in the length.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .take(2000)
        .map(|candidate| {
            let plain = candidate.to_ascii_lowercase().replace('-', "_");
            let allowed = (name.len().max(plain.len()) / 3).max(1);
            (strsim::damerau_levenshtein(&name, &plain), allowed, candidate)
        })
        .filter(|(distance, allowed, _)| distance <= allowed)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Calls `visit` for every table reachable from a kind.
    fn tables(kind: &'static Kind, visit: &mut dyn FnMut(&'static Table)) {
        match kind {
            Kind::Table(table) => {
                visit(table);
                table.keys.iter().for_each(|key| tables(&key.kind, visit));
                table.other.iter().for_each(|kind| tables(kind, visit));
            }
            Kind::List(kind) | Kind::Map(_, kind) => tables(kind, visit),
            Kind::OneOf(kinds) => kinds.iter().for_each(|kind| tables(kind, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_key_is_named_once_in_its_table_and_has_a_sentence() {
        static ALL: Kind = Kind::Table(&ROOT);
        let mut keys = 0;
        tables(&ALL, &mut |table| {
            let names: HashSet<_> = table.keys.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), table.keys.len());
            keys += table.keys.len();
            for key in table.keys {
                assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}", key.name);
            }
        });
        assert!(keys > 150, "{keys}");
    }

    #[test]
    fn every_default_is_toml() {
        static ALL: Kind = Kind::Table(&ROOT);
        tables(&ALL, &mut |table| {
            for key in table.keys.iter().filter(|key| !key.default.is_empty()) {
                let text = format!("x = {}", key.default_text());
                assert!(toml::de::DeTable::parse(&text).is_ok(), "{}: {text}", key.name);
            }
        });
    }

    /// `UPDATE=1` writes the committed files anew.
    #[test]
    fn what_is_generated_from_the_schema_is_committed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
        let files = [
            ("docs/configuration.md", document::update(&page)),
            ("config/reference.toml", reference::reference()),
            ("config/vestibule.schema.json", json::schema()),
        ];
        for (file, text) in files {
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(root.join(file), text).unwrap();
                continue;
            }
            let there = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            assert!(
                there == text,
                "{file} is not what the schema gives; write it anew: UPDATE=1 cargo nextest run generated"
            );
        }
    }

    #[test]
    fn every_example_of_the_reference_is_toml() {
        for line in reference::reference().lines() {
            let Some(example) = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', ':'])) else { continue };
            assert!(toml::de::DeTable::parse(example).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("proxxy", ["proxy", "upstream"]), Some("proxy"));
        assert_eq!(nearest("keep-alive", ["keep_alive"]), Some("keep_alive"));
        assert_eq!(nearest("zebra", ["proxy", "upstream"]), None);
        assert_eq!(nearest(&"x".repeat(10_000), ["proxy"]), None);
    }
}
