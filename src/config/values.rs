//! The values of a loaded config with where each comes from: `config show`, and the places `explain` names.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::check::{EARLY_LIMITS, EARLY_TIMEOUTS};
use super::schema::{Key, Kind, ROOT, SITE, Table as Schema};
use super::source::{Mark, Sources};
use super::units::{show_duration, show_size};
use super::value::{Entry, Node, Table, Value, toml_key, toml_text};
use super::{HostPattern, Origin};

/// The tree a config was made from. Serving does not need it.
#[derive(Debug, Clone, Default)]
pub struct Values {
    root: Arc<Table>,
    secrets: Arc<HashSet<Mark>>,
}

/// A value that holds for a route, as TOML text, and where it stands; `None` is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// `timeouts.connect`.
    pub key: String,
    pub value: String,
    pub origin: Option<Origin>,
}

impl Values {
    pub(super) fn new(root: Table, secrets: Vec<Mark>) -> Values {
        Values { root: Arc::new(root), secrets: Arc::new(secrets.into_iter().collect()) }
    }

    /// Timeouts and limits of a route, by the place of its site and its own.
    pub fn bounds(&self, sources: &Sources, site: &Origin, route: &Origin) -> Vec<Effective> {
        let site = self.site(sources, site);
        let route = site.and_then(|site| {
            // Where a route stands: `check::sites::place`.
            let path = |table: &Table| table.get("path").or_else(|| table.get("path_regex")).map(|path| path.at);
            let same = |node: &&Node| {
                let at = node.table().and_then(path).unwrap_or(node.at);
                sources.origin(at) == *route
            };
            site.list("routes").find(same)?.table()
        });
        let mut out = Vec::new();
        for (group, early) in [("timeouts", EARLY_TIMEOUTS), ("limits", EARLY_LIMITS)] {
            let Some(Kind::Table(schema)) = SITE.key(group).map(|key| &key.kind) else { continue };
            for key in schema.keys.iter().filter(|key| key.supported) {
                // What is over before the site is known is taken from [defaults] alone.
                let (route, site) = if early.contains(&key.name) { (None, None) } else { (route, site) };
                let places = [route, site, self.root.table("defaults")];
                let node = places.into_iter().flatten().find_map(|table| table.table(group)?.get(key.name));
                let value = node.map_or_else(|| key.default_text(), |node| self.text(node));
                let origin = node.map(|node| sources.origin(node.at));
                out.push(Effective { key: format!("{group}.{}", key.name), value, origin });
            }
        }
        out
    }

    fn site(&self, sources: &Sources, origin: &Origin) -> Option<&Table> {
        let sites = self.root.table("sites")?;
        sites.entries.iter().find(|entry| sources.origin(entry.key_at) == *origin)?.value.table()
    }

    /// The whole config as TOML, each value with its origin. With a host, only its site.
    pub fn show(&self, sources: &Sources, host: Option<&HostPattern>) -> String {
        let mut out = Printer { values: self, sources, out: String::new() };
        if host.is_none() {
            out.table("", &ROOT, &self.root, &[]);
        }
        let entries = |name: &str| self.root.table(name).map_or(&[][..], |table| table.entries.as_slice());
        for entry in entries("sites") {
            if host.is_none_or(|host| host.to_string() == entry.key) {
                out.site(entry, self.root.table("defaults"));
            }
        }
        if host.is_none() {
            let schema = ROOT.key("upstreams").map(|key| &key.kind);
            for entry in entries("upstreams") {
                if let (Some(table), Some(Kind::Map(_, Kind::Table(schema)))) = (entry.value.table(), schema) {
                    out.table(&format!("upstreams.{}", toml_key(&entry.key)), schema, table, &[]);
                }
            }
        }
        out.out
    }

    /// A value as TOML. What a file of secrets holds is not shown.
    fn text(&self, node: &Node) -> String {
        if self.secrets.contains(&node.at) {
            return "\"(from a file, not shown)\"".to_owned();
        }
        match &node.value {
            Value::Text(text) => toml_text(&text.text),
            Value::Integer(Some(number)) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            Value::Duration(duration) => duration.map_or("\"off\"".to_owned(), |d| format!("\"{}\"", show_duration(d))),
            Value::Size(size) => size.map_or("\"off\"".to_owned(), |bytes| format!("\"{}\"", show_size(bytes))),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.text(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(table) => {
                let pair = |entry: &Entry| format!("{} = {}", toml_key(&entry.key), self.text(&entry.value));
                let pairs: Vec<_> = table.entries.iter().map(pair).collect();
                if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
            }
            Value::Integer(None) | Value::Float | Value::Datetime | Value::Invalid => "\"\"".to_owned(),
        }
    }
}

struct Printer<'a> {
    values: &'a Values,
    sources: &'a Sources,
    out: String,
}

impl Printer<'_> {
    fn site(&mut self, entry: &Entry, defaults: Option<&Table>) {
        let path = format!("sites.{}", toml_key(&entry.key));
        let short = Table {
            entries: vec![Entry { key: "proxy".to_owned(), key_at: entry.key_at, value: entry.value.clone() }],
            incomplete: false,
        };
        let table = entry.value.table().unwrap_or(&short);
        self.table(&path, &SITE, table, defaults.as_slice());
        let Some(Kind::List(Kind::Table(schema))) = SITE.key("routes").map(|key| &key.kind) else { return };
        for route in table.list("routes").filter_map(Node::table) {
            let _ = writeln!(self.out, "\n[[{path}.routes]]");
            for key in schema.keys {
                if let Some(node) = route.get(key.name) {
                    self.pair(key.name, &self.values.text(node), self.place(node));
                }
            }
        }
    }

    /// One table: its keys, then the tables in it. `inherited` are tables that hold where this one says nothing.
    fn table(&mut self, path: &str, schema: &'static Schema, table: &Table, inherited: &[&Table]) {
        if !path.is_empty() {
            let _ = writeln!(self.out, "\n[{path}]");
        }
        let mut deeper = Vec::new();
        for key in schema.keys.iter().filter(|key| key.supported) {
            let own = table.get(key.name);
            let node = own.or_else(|| inherited.iter().find_map(|table| table.get(key.name)));
            match (inner(key), own.map(|node| &node.value), node) {
                (Inner::Elsewhere, ..) => {}
                (Inner::Table(schema), Some(Value::Table(there)), _) => deeper.push((key, schema, Some(there))),
                (Inner::Table(schema), None, _) => {
                    if is_always(key, path) {
                        deeper.push((key, schema, None));
                    }
                }
                // A site without TLS is served on the plain door whatever [defaults] says.
                (_, None, _) if key.name == "http" && table.text("tls") == Some("off") => {}
                (_, _, Some(node)) => self.pair(key.name, &self.values.text(node), self.place(node)),
                (_, _, None) if key.default.is_empty() => {}
                (_, _, None) => self.pair(key.name, &key.default_text(), "default".to_owned()),
            }
        }
        for entry in table.entries.iter().filter(|entry| schema.key(&entry.key).is_none()) {
            self.pair(&toml_key(&entry.key), &self.values.text(&entry.value), self.place(&entry.value));
        }
        let empty = Table::default();
        for (key, schema, there) in deeper {
            let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            let inherited: Vec<_> = inherited.iter().filter_map(|table| table.table(key.name)).collect();
            self.table(&path, schema, there.unwrap_or(&empty), &inherited);
        }
    }

    fn pair(&mut self, key: &str, value: &str, origin: String) {
        let pair = format!("{key} = {value}");
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{pair:<44} # {origin}");
    }

    /// `vestibule.toml:3`, and what was expanded there.
    fn place(&self, node: &Node) -> String {
        let origin = self.sources.origin(node.at);
        let source = self.sources.text_of(node.at.file).get(node.at.span()).unwrap_or_default();
        let place = match origin.line {
            0 => origin.file.to_string(),
            line => format!("{}:{line}", origin.file),
        };
        match source.contains("${") && !source.contains('\n') {
            true => format!("{place} {source}"),
            false => place,
        }
    }
}

/// How the value of a key is printed.
enum Inner {
    Plain,
    /// As a table of its own.
    Table(&'static Schema),
    /// By [`Values::show`] itself, or not at all: included files are merged already.
    Elsewhere,
}

fn inner(key: &'static Key) -> Inner {
    match (&key.kind, key.name) {
        (Kind::Map(_, Kind::Table(_) | Kind::OneOf(_)), _) | (_, "routes" | "include") => Inner::Elsewhere,
        (_, "respond") => Inner::Plain,
        (Kind::Table(schema), _) => Inner::Table(schema),
        (Kind::OneOf(kinds), "access_log") => kinds.iter().find_map(as_table).map_or(Inner::Plain, Inner::Table),
        _ => Inner::Plain,
    }
}

fn as_table(kind: &'static Kind) -> Option<&'static Schema> {
    match kind {
        Kind::Table(schema) => Some(schema),
        _ => None,
    }
}

/// A table that holds its defaults although nobody wrote it.
fn is_always(key: &Key, path: &str) -> bool {
    match path.split('.').next().unwrap_or_default() {
        "" => !matches!(key.name, "acme" | "metrics" | "tracing"),
        "defaults" | "access_log" => true,
        "upstreams" => key.name == "keepalive",
        _ => false,
    }
}
