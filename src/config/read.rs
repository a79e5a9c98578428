//! TOML text to the tree of values, with every syntax error that is not the echo of another one.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::expand::{Environment, expand};
use super::source::{Mark, Sources};
use super::value::{Entry, Node, Table, Text, Value};

/// The tree of one file, and what is known of its text.
pub(super) struct Parsed {
    pub root: Table,
    /// 1-based lines on which the syntax is broken, sorted.
    pub broken: Vec<usize>,
    /// Texts that hold the content of a `${file:...}`.
    pub secrets: Vec<Mark>,
}

/// Syntax errors said per file: a parser that lost its way says many more.
const MAX_SYNTAX_ERRORS: usize = 20;

/// Parses one file of the sources.
pub(super) fn read(file: u16, sources: &Sources, env: Environment<'_>, out: &mut Vec<Diagnostic>) -> Parsed {
    let text = sources.text_of(file);
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file, sources, env, out, secrets: Vec::new() };
    let root = reader.table(tree.into_inner());
    let broken = reader.errors(errors, &root);
    Parsed { root, broken, secrets: reader.secrets }
}

struct Reader<'a> {
    file: u16,
    sources: &'a Sources,
    env: Environment<'a>,
    out: &'a mut Vec<Diagnostic>,
    secrets: Vec<Mark>,
}

impl Reader<'_> {
    /// Says each syntax error that is not the echo of another one. Gives the broken lines.
    fn errors(&mut self, errors: Vec<toml::de::Error>, root: &Table) -> Vec<usize> {
        let mut found: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
        found.sort_by_key(|(span, _)| span.start);
        let mut broken = Vec::new();
        let mut said = 0;
        let mut at = 0;
        while let Some((span, message)) = found.get(at) {
            at += 1;
            let line = self.line(span);
            let again = broken.last() == Some(&line);
            broken.push(line);
            if said == MAX_SYNTAX_ERRORS || again && *message != "duplicate key" {
                continue;
            }
            said += 1;
            // A list that is not closed swallows what follows, and each line of that is an error of its own.
            let end = found[at..].iter().position(|(_, message)| message.starts_with("unclosed"));
            if let (true, Some(end)) = (message.starts_with("missing"), end) {
                self.unclosed(span.clone(), found[at + end].1);
                broken.extend(found[at..=at + end].iter().map(|(span, _)| self.line(span)));
                at += end + 1;
            } else if *message == "duplicate key" {
                self.duplicate(span.clone(), root);
            } else {
                self.syntax(message, span.clone());
            }
        }
        broken
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let last = self.sources.text_of(self.file).len().saturating_sub(1);
        self.sources.line(self.file, span.start.min(last))
    }

    fn mark(&self, span: Range<usize>) -> Mark {
        Mark::new(self.file, span)
    }

    /// Takes the library's tree apart, so that each part of it is freed when ours is made: they are never whole at once.
    fn table(&mut self, table: DeTable<'_>) -> Table {
        let entries = table
            .into_iter()
            .map(|(key, value)| Entry {
                key_at: self.mark(key.span()),
                key: key.into_inner().to_string(),
                value: self.node(value),
            })
            .collect();
        Table { entries, incomplete: false }
    }

    fn node(&mut self, node: Spanned<DeValue<'_>>) -> Node {
        let at = self.mark(node.span());
        let value = match node.into_inner() {
            DeValue::String(text) => self.text(&text, at),
            DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(yes) => Value::Bool(yes),
            DeValue::Datetime(_) => Value::Datetime,
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { at, value }
    }

    fn text(&mut self, text: &str, at: Mark) -> Value {
        if !text.contains("${") {
            return Value::Text(Text { text: text.to_owned(), expanded: false, secret: false });
        }
        match expand(text, self.sources.base_of(self.file), self.env) {
            Ok(text) => {
                self.secrets.extend(text.secret.then_some(at));
                Value::Text(text)
            }
            Err(diagnostic) => {
                self.out.push(diagnostic.at(&self.sources.origin(at)));
                Value::Invalid
            }
        }
    }

    fn syntax(&mut self, message: &str, span: Range<usize>) {
        let text = self.sources.text_of(self.file);
        let found = text.get(span.clone()).unwrap_or_default();
        let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
        let diagnostic = match what {
            "string values must be quoted" if found.is_empty() => {
                Diagnostic::error("syntax", "the value is missing").label("nothing after `=`")
            }
            "string values must be quoted" => {
                let diagnostic = Diagnostic::error("syntax", "text must be quoted").label("not quoted");
                let word = found.len() <= 60 && !found.contains(['"', '\'', '\\', '\n']);
                if word { diagnostic.help("write").replace(format!("\"{found}\"")) } else { diagnostic }
            }
            _ => {
                let label = if expected.is_empty() { String::new() } else { format!("expected {expected}") };
                Diagnostic::error("syntax", format!("this is not TOML: {what}")).label(label)
            }
        };
        // At the end of the file there is nothing to point at: the last visible character is.
        let end = text.trim_end().len();
        let span = if span.start >= end { text.floor_char_boundary(end.saturating_sub(1))..end } else { span };
        self.out.push(diagnostic.at(&self.sources.origin(self.mark(span))));
    }

    /// A list or inline table without its end: `span` is where its next item was expected.
    fn unclosed(&mut self, span: Range<usize>, message: &str) {
        let text = self.sources.text_of(self.file);
        let (what, open, close) = if message.contains("array") { ("list", '[', ']') } else { ("table", '{', '}') };
        let mut diagnostic = Diagnostic::error("syntax", format!("this is not TOML: a {what} is not closed"))
            .label(format!("expected `,` or `{close}` before this"))
            .at(&self.sources.origin(self.mark(span.clone())));
        let mut depth = 0usize;
        let opener = text.get(..span.start).and_then(|before| {
            before.char_indices().rev().find(|(_, c)| {
                let found = *c == open && depth == 0;
                depth = if *c == close { depth + 1 } else { depth.saturating_sub(usize::from(*c == open)) };
                found
            })
        });
        if let Some((at, _)) = opener {
            diagnostic = diagnostic.also(&self.sources.origin(self.mark(at..at + 1)), "opened here");
        }
        self.out.push(diagnostic);
    }

    fn duplicate(&mut self, span: Range<usize>, root: &Table) {
        let text = self.sources.text_of(self.file);
        let key = text.get(span.clone()).unwrap_or_default();
        let first = first_header(text, &span).or_else(|| first_key(text, &span, root));
        let mut diagnostic = Diagnostic::error("duplicate-key", format!("`{key}` is given twice"))
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
