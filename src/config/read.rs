//! TOML text to the tree of values, with every syntax error that is not the echo of another one.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::expand::{Environment, expand};
use super::source::{Mark, Sources};
use super::value::{Entry, Node, Table, Text, Value};

/// The tree of one file, and the lines on which its syntax is broken.
pub(super) struct Parsed {
    pub root: Table,
    /// 1-based lines, sorted.
    pub broken: Vec<usize>,
}

/// Syntax errors said per file: a parser that lost its way says many more.
const MAX_SYNTAX_ERRORS: usize = 10;

/// Parses one file of the sources.
pub(super) fn read(file: u16, sources: &Sources, env: Environment<'_>, out: &mut Vec<Diagnostic>) -> Parsed {
    let text = sources.text_of(file);
    let (tree, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut reader = Reader { file, sources, env, out };
    let root = reader.table(tree.get_ref());

    let mut broken = Vec::new();
    let mut said = 0;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let line = sources.line(file, span.start.min(text.len().saturating_sub(1)));
        // A second error on the same or the next line is most often an echo of the first.
        let echo = broken.last().is_some_and(|last| line <= last + 1);
        let duplicate = error.message() == "duplicate key";
        broken.push(line);
        if duplicate {
            reader.duplicate(span, &root);
        } else if !echo && said < MAX_SYNTAX_ERRORS {
            said += 1;
            reader.syntax(error.message(), span);
        }
    }
    Parsed { root, broken }
}

struct Reader<'a> {
    file: u16,
    sources: &'a Sources,
    env: Environment<'a>,
    out: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn mark(&self, span: Range<usize>) -> Mark {
        Mark::new(self.file, span)
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_at: self.mark(key.span()),
                value: self.node(value),
            })
            .collect();
        Table { entries, incomplete: false }
    }

    fn node(&mut self, node: &Spanned<DeValue<'_>>) -> Node {
        let at = self.mark(node.span());
        let value = match node.get_ref() {
            DeValue::String(text) => self.text(text, at),
            DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { at, value }
    }

    fn text(&mut self, text: &str, at: Mark) -> Value {
        if !text.contains("${") {
            return Value::Text(Text { text: text.to_owned(), expanded: false, secret: false });
        }
        match expand(text, self.sources.base_of(self.file), self.env) {
            Ok(text) => Value::Text(text),
            Err(diagnostic) => {
                self.out.push(diagnostic.at(&self.sources.origin(at)));
                Value::Invalid
            }
        }
    }

    fn syntax(&mut self, message: &str, span: Range<usize>) {
        let text = self.sources.text_of(self.file);
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let span = if span.is_empty() && span.start >= text.len() {
            // At the end of the file there is nothing to point at: the last visible character is.
            let end = text.trim_end().len();
            text.floor_char_boundary(end.saturating_sub(1))..end
        } else {
            span
        };
        let mut diagnostic = Diagnostic::error("syntax", format!("this is not TOML: {what}"));
        if !expected.is_empty() {
            diagnostic = diagnostic.label(format!("expected {expected}"));
        }
        self.out.push(diagnostic.at(&self.sources.origin(self.mark(span))));
    }

    fn duplicate(&mut self, span: Range<usize>, root: &Table) {
        let text = self.sources.text_of(self.file);
        let key = text.get(span.clone()).unwrap_or_default();
        let first = first_header(text, &span).or_else(|| first_key(text, &span, root));
        let mut diagnostic = Diagnostic::error("duplicate-key", format!("`{}` is given twice", key.escape_debug()))
            .at(&self.sources.origin(self.mark(span)))
            .label("the second time");
        if let Some(first) = first {
            diagnostic = diagnostic.also(&self.sources.origin(self.mark(first)), "the first time");
        }
        self.out.push(diagnostic.help("put both into one table, or remove one"));
    }
}

/// For a key in a table header: the same header on an earlier line.
fn first_header(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let header = text[start..end].split('#').next().unwrap_or_default().trim();
    if !header.starts_with('[') {
        return None;
    }
    let mut at = 0;
    for line in text[..start].split_inclusive('\n') {
        let body = line.trim_start();
        if body.starts_with(header) && !body.starts_with("#") {
            let open = at + (line.len() - body.len());
            return Some(open..open + header.len());
        }
        at += line.len();
    }
    None
}

/// For a key in a table: the nearest earlier key of the same name with no table header between.
fn first_key(text: &str, span: &Range<usize>, root: &Table) -> Option<Range<usize>> {
    let name = text.get(span.clone())?.trim_matches(['"', '\'']);
    let mut found: Option<Range<usize>> = None;
    let mut visit = |entry: &Entry| {
        let at = entry.key_at.span();
        let nearer = found.as_ref().is_none_or(|found| found.start < at.start);
        if entry.key == name && at.start < span.start && nearer {
            found = Some(at);
        }
    };
    walk(root, &mut visit);
    let found = found?;
    let between = text.get(found.end..span.start)?;
    let header = between.lines().skip(1).any(|line| line.trim_start().starts_with('['));
    (!header).then_some(found)
}

fn walk(table: &Table, visit: &mut dyn FnMut(&Entry)) {
    for entry in &table.entries {
        visit(entry);
        match &entry.value.value {
            Value::Table(table) => walk(table, visit),
            Value::List(items) => items.iter().filter_map(Node::table).for_each(|table| walk(table, visit)),
            _ => {}
        }
    }
}
