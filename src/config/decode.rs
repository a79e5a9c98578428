//! Checks the tree of a config against the schema: unknown keys, types, units, words, ranges.
//!
//! What passes has the shape the schema gives it; texts with units have become numbers. What does not is reported here,
//! once, and becomes invalid.

mod wrong;

use super::diagnostics::{Checked, Diagnostic};
use super::schema::{Key, Kind, ROOT, SITE, Table as Schema, nearest};
use super::source::{Mark, Sources};
use super::units;
use super::value::{Entry, Node, Table, Value, quote, quote_key};

/// Decodes a whole config in place.
pub(super) fn decode(root: &mut Table, sources: &Sources, out: &mut Vec<Diagnostic>) {
    let frame = Frame { parent: None, name: "", at: Mark::default(), item: false };
    Decoder { sources, out }.table(root, &ROOT, &frame);
}

struct Decoder<'a> {
    sources: &'a Sources,
    out: &'a mut Vec<Diagnostic>,
}

/// The way from the top of the file to a value, on the stack.
#[derive(Clone, Copy)]
struct Frame<'p> {
    parent: Option<&'p Frame<'p>>,
    name: &'p str,
    /// Where the key stands.
    at: Mark,
    /// The value is an item of the list the key holds.
    item: bool,
}

impl Frame<'_> {
    /// The value in a sentence.
    fn subject(&self) -> String {
        let name = quote_key(self.name);
        if self.item { format!("an item of `{name}`") } else { format!("`{name}`") }
    }

    /// `[sites."app.localhost".timeouts]`.
    fn header(&self) -> String {
        let mut names = Vec::new();
        let mut frame = self;
        while let Some(parent) = frame.parent {
            names.push(quote_key(frame.name));
            frame = parent;
        }
        names.reverse();
        if names.is_empty() { "the file's top level".to_owned() } else { format!("`[{}]`", names.join(".")) }
    }

    /// The site whose table this is, when it is one.
    fn is_site(&self) -> bool {
        self.parent.is_some_and(|sites| sites.name == "sites" && sites.parent.is_some_and(|root| root.parent.is_none()))
    }
}

impl Decoder<'_> {
    fn report(&mut self, diagnostic: Diagnostic, at: Mark) {
        self.out.push(diagnostic.at(&self.sources.origin(at)));
    }

    fn table(&mut self, table: &mut Table, schema: &'static Schema, frame: &Frame<'_>) {
        for entry in &mut table.entries {
            let inner = Frame { parent: Some(frame), name: &entry.key, at: entry.key_at, item: false };
            match (schema.key(&entry.key), &schema.other) {
                (Some(key), _) if !key.supported && !is_accepted(&entry.value, key) => {
                    let diagnostic = wrong::not_supported(&quote_key(&entry.key));
                    let at = entry.key_at;
                    entry.value.value = Value::Invalid;
                    self.report(diagnostic, at);
                }
                (Some(key), _) if frame.name == "routes" && key.name == "headers" && has_rules(&entry.value) => {
                    let at = entry.key_at;
                    entry.value.value = Value::Invalid;
                    self.report(wrong::route_headers(), at);
                }
                (Some(key), _) => self.node(&mut entry.value, &key.kind, &inner),
                (None, Some(kind)) => self.node(&mut entry.value, kind, &inner),
                (None, None) => {
                    self.unknown(entry, schema, frame);
                    entry.value.value = Value::Invalid;
                    table.incomplete = true;
                }
            }
        }
    }

    /// Decodes a value; one that does not fit is reported and becomes invalid.
    fn node(&mut self, node: &mut Node, kind: &'static Kind, frame: &Frame<'_>) {
        if matches!(node.value, Value::Invalid) {
            return;
        }
        match self.value(&mut node.value, kind, frame) {
            Ok(Some(decoded)) => node.value = decoded,
            Ok(None) => {}
            Err(diagnostic) => {
                node.value = Value::Invalid;
                self.report(*diagnostic, node.at);
            }
        }
    }

    /// Checks a value against a type. Gives the value to put in its place, `None` to leave it.
    fn value(&mut self, value: &mut Value, kind: &'static Kind, frame: &Frame<'_>) -> Checked<Option<Value>> {
        match (kind, value) {
            (Kind::OneOf(kinds), value) => {
                let Some(first) = kinds.iter().find(|kind| fits(value, kind)) else {
                    return Err(wrong::kind(&frame.subject(), kind, value));
                };
                // A word that is none of those allowed, nor near one, may be meant for another type: the number "4".
                if let (Kind::Choice { now, later }, Value::Text(text)) = (first, &*value)
                    && kinds.len() > 1
                    && nearest(&text.text, [*now, *later].concat()).is_none()
                {
                    return Err(wrong::kind(&frame.subject(), kind, value));
                }
                return self.value(value, first, frame);
            }
            (Kind::Bool, Value::Bool(_)) | (Kind::Text(_), Value::Text(_)) => {}
            (Kind::Bool, value) if fits(value, kind) => {
                return Ok(Some(Value::Bool(matches!(value, Value::Text(text) if text.text == "true"))));
            }
            (Kind::Integer { min, max }, value) if fits(value, kind) => {
                let number = match value {
                    Value::Integer(number) => *number,
                    Value::Text(text) => text.text.parse().ok(),
                    _ => None,
                };
                return match number {
                    Some(number) if (*min..=*max).contains(&number) => Ok(Some(Value::Integer(Some(number)))),
                    _ => Err(wrong::range(frame.name, *min, *max, value)),
                };
            }
            (Kind::Duration { off }, Value::Text(text)) => {
                if *off && text.text == "off" {
                    return Ok(Some(Value::Duration(None)));
                }
                let duration = units::duration(&text.text);
                let duration = duration.map_err(|error| wrong::duration(frame.name, text, &error, *off))?;
                return Ok(Some(Value::Duration(Some(duration))));
            }
            (Kind::Size { min, max, off }, Value::Text(text)) => {
                if *off && text.text == "off" {
                    return Ok(Some(Value::Size(None)));
                }
                let size = units::size(&text.text).map_err(|error| wrong::size(frame.name, text, &error, *off))?;
                if !(*min..=*max).contains(&size) {
                    return Err(wrong::size_range(frame.name, *min, *max));
                }
                return Ok(Some(Value::Size(Some(size))));
            }
            (Kind::Choice { now, later }, Value::Text(text)) => {
                if later.contains(&text.text.as_str()) {
                    return Err(wrong::not_supported(&format!("{} = {}", frame.name, quote(&text.text))).boxed());
                }
                if !now.contains(&text.text.as_str()) {
                    return Err(wrong::choice(frame.name, text, now));
                }
            }
            (Kind::List(item), Value::List(items)) => {
                let inner = Frame { item: true, ..*frame };
                for node in items {
                    self.node(node, item, &inner);
                }
            }
            (Kind::Map(_, kind), Value::Table(table)) => {
                for entry in &mut table.entries {
                    let inner = Frame { parent: Some(frame), name: &entry.key, at: entry.key_at, item: false };
                    self.node(&mut entry.value, kind, &inner);
                }
            }
            (Kind::Table(schema), Value::Table(table)) => self.table(table, schema, frame),
            (kind, value) => return Err(wrong::kind(&frame.subject(), kind, value)),
        }
        Ok(None)
    }

    fn unknown(&mut self, entry: &Entry, schema: &'static Schema, frame: &Frame<'_>) {
        let near = nearest(&entry.key, schema.keys.iter().map(|key| key.name));
        if near.is_none() && frame.is_site() && self.dotted(frame.at) {
            return self.host_not_quoted(entry, frame);
        }
        let mut diagnostic =
            Diagnostic::error("unknown-key", format!("unknown key `{}` in {}", quote_key(&entry.key), frame.header()))
                .label("not a key of this table");
        match near {
            Some(near) => diagnostic = diagnostic.help(format!("did you mean `{near}`?")).replace(near),
            None => {
                let keys: Vec<_> = schema.keys.iter().filter(|key| key.supported).map(|key| key.name).collect();
                diagnostic = diagnostic.note(format!("keys of this table: {}", keys.join(", ")));
                if ROOT.key(&entry.key).is_some() {
                    diagnostic = diagnostic.help(format!("`{}` belongs to the top of the file", entry.key));
                }
            }
        }
        self.report(diagnostic, entry.key_at);
    }

    /// A dot follows this key in the text.
    fn dotted(&self, key: Mark) -> bool {
        let text = self.sources.text_of(key.file);
        text.get(key.span().end..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('.'))
    }

    /// `[sites.app.localhost]`: a host name whose dots TOML took for its own.
    fn host_not_quoted(&mut self, entry: &Entry, frame: &Frame<'_>) {
        let mut host = format!("{}.{}", frame.name, entry.key);
        let mut end = entry.key_at;
        let mut node = &entry.value;
        while self.dotted(end)
            && let Some(deeper) = node.table().and_then(|table| table.entries.first())
            && SITE.key(&deeper.key).is_none()
        {
            host = format!("{host}.{}", deeper.key);
            end = deeper.key_at;
            node = &deeper.value;
        }
        let line = |mark: Mark| self.sources.line(mark.file, mark.span().start);
        // The first part is shared by all hosts that begin with it, so it may stand on another line.
        let together = frame.at.file == end.file && line(frame.at) == line(end) && frame.at.start < end.end;
        let at = if together { Mark { end: end.end, ..frame.at } } else { Mark { end: end.end, ..entry.key_at } };
        let mut diagnostic = Diagnostic::error("host-not-quoted", "host names contain dots and must be quoted")
            .label(format!("TOML reads this as a table `{}` inside `{}`", entry.key, frame.name))
            .help(format!("write {}", quote(&host)));
        if together {
            diagnostic = diagnostic.replace(quote(&host));
        }
        self.report(diagnostic, at);
    }
}

/// The TOML type of a value can be this one.
fn fits(value: &Value, kind: &Kind) -> bool {
    match (kind, value) {
        (Kind::OneOf(kinds), value) => kinds.iter().any(|kind| fits(value, kind)),
        // The text of an environment variable may be a number or a boolean.
        (Kind::Bool, Value::Text(text)) => text.expanded && matches!(text.text.as_str(), "true" | "false"),
        (Kind::Integer { .. }, Value::Text(text)) => text.expanded && text.text.parse::<i64>().is_ok(),
        (Kind::Bool, Value::Bool(_)) | (Kind::Integer { .. }, Value::Integer(_)) | (Kind::List(_), Value::List(_)) => {
            true
        }
        (Kind::Table(_) | Kind::Map(..), Value::Table(_)) => true,
        (Kind::Text(_) | Kind::Duration { .. } | Kind::Size { .. } | Kind::Choice { .. }, Value::Text(_)) => true,
        _ => false,
    }
}

/// The value of an unsupported key asks for nothing: it is the default, "off" or `false`.
fn is_accepted(node: &Node, key: &Key) -> bool {
    match &node.value {
        Value::Invalid | Value::Bool(false) => true,
        Value::Bool(true) => key.default == "true",
        Value::Text(text) => text.text == "off" || key.default.trim_matches('\'') == text.text,
        Value::Integer(Some(number)) => key.default == number.to_string(),
        // Only a table that is there by default: elsewhere its presence alone asks for something.
        Value::Table(table) if key.default.starts_with('{') => table.entries.iter().all(|entry| {
            let inner = table_of(&key.kind).and_then(|schema| schema.key(&entry.key));
            inner.is_none_or(|inner| is_accepted(&entry.value, inner))
        }),
        _ => false,
    }
}

/// The table a value of this type may be.
fn table_of(kind: &Kind) -> Option<&'static Schema> {
    match kind {
        Kind::Table(schema) => Some(schema),
        Kind::OneOf(kinds) => kinds.iter().find_map(table_of),
        _ => None,
    }
}

/// Holds what `headers` of a site holds: `request` or `response` with rules, where a route has fields with values.
fn has_rules(node: &Node) -> bool {
    let rules =
        |key| node.table().and_then(|table| table.entry(key)).is_some_and(|entry| entry.value.table().is_some());
    rules("request") || rules("response")
}
