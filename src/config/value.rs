//! The tree of a config text: every key and value with the place it stands at.
//!
//! `read` makes it from TOML, `include` merges files, `decode` checks it against the schema and turns texts with units
//! into numbers, and `check` reads it. A value that has been reported becomes [`Value::Invalid`], so that no later step
//! reports it again or takes it for absent.

use std::time::Duration;

use super::source::Mark;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Mark,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Text),
    /// `None`: more than 64 bits.
    Integer(Option<i64>),
    Float,
    Bool(bool),
    Datetime,
    List(Vec<Node>),
    Table(Table),
    /// A text the schema knows as a duration; `None` is "off".
    Duration(Option<Duration>),
    /// A text the schema knows as a size in bytes; `None` is "off".
    Size(Option<u64>),
    /// Reported already.
    Invalid,
}

/// A string after expansion of `${...}`.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    pub text: String,
    /// Something was expanded: then numbers and booleans may come as text too.
    pub expanded: bool,
    /// Something came from a `${file:...}`: kept out of every message (`load::hide`).
    pub secret: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
    /// A key of this table was unknown or not readable: what seems to be missing may be just that.
    pub incomplete: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Mark,
    pub value: Node,
}

impl Value {
    /// The value in a sentence: "the integer 30".
    pub fn describe(&self) -> String {
        match self {
            Value::Text(text) => format!("the text {}", quote(&text.text)),
            Value::Integer(Some(number)) => format!("the integer {number}"),
            Value::Integer(None) => "an integer of more than 64 bits".to_owned(),
            Value::Float => "a number with a fraction".to_owned(),
            Value::Bool(yes) => format!("the boolean {yes}"),
            Value::Datetime => "a date".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Duration(_) => "a duration".to_owned(),
            Value::Size(_) => "a size".to_owned(),
            Value::Invalid => "nothing usable".to_owned(),
        }
    }
}

impl Table {
    /// The entry of a key, also when its value was reported.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The key is there, readable or not.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The value of a key, unless it was reported.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| !matches!(node.value, Value::Invalid))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Bool(yes) => Some(yes),
            _ => None,
        }
    }

    /// Never negative: the schema gives every integer a range.
    pub fn integer(&self, key: &str) -> Option<u64> {
        self.get(key)?.integer()
    }

    pub fn duration(&self, key: &str) -> Option<Option<Duration>> {
        match self.get(key)?.value {
            Value::Duration(duration) => Some(duration),
            _ => None,
        }
    }

    pub fn size(&self, key: &str) -> Option<Option<u64>> {
        match self.get(key)?.value {
            Value::Size(size) => Some(size),
            _ => None,
        }
    }

    /// The readable items of a list; empty when the key is not there.
    pub fn list(&self, key: &str) -> impl Iterator<Item = &Node> {
        self.get(key).map_or(&[][..], Node::items).iter().filter(|node| !matches!(node.value, Value::Invalid))
    }

    pub fn table(&self, key: &str) -> Option<&Table> {
        self.get(key)?.table()
    }
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<u64> {
        match self.value {
            Value::Integer(Some(number)) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// A text in double quotes with control characters escaped, cut at 80 characters: fit for a message.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (count, c) in text.chars().enumerate() {
        if count == 80 {
            quoted.push_str("...");
            break;
        }
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key as TOML wants it: quoted where it is not a bare key.
pub(super) fn quote_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.len() < 80 && key.chars().all(bare) { key.to_owned() } else { quote(key) }
}

/// A text as TOML, whole; `${` is written so that it stays what it is.
pub(super) fn toml_text(text: &str) -> String {
    toml_string(&text.replace("${", "$${"))
}

/// A key as TOML, whole.
pub(super) fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { toml_string(key) }
}

fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
