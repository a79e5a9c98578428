//! Problems of a config, said so that the reader knows the fix.

use super::{Config, Origin, Sources, render};

/// How bad a problem is: errors start nothing, warnings are said and served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One problem: what (`message`), where (`origin` with `label` under the caret), why (`notes`) and what to do (`help`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable slug, such as `unknown-key`.
    pub code: &'static str,
    pub message: String,
    pub origin: Option<Origin>,
    /// Words under the caret.
    pub label: String,
    /// Further places that belong to the problem, such as the first of two equal hosts.
    pub related: Vec<(Origin, String)>,
    pub notes: Vec<String>,
    pub help: Vec<String>,
    /// Text that mends the problem when it stands in the place of `origin`'s span; shown as a diff below the first help.
    pub replacement: Option<String>,
}

/// What a parser of one value gives: the value, or a problem that has no place yet.
pub(super) type Checked<T> = Result<T, Box<Diagnostic>>;

impl Diagnostic {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            origin: None,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            replacement: None,
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// Points at a value of the config text.
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Points at a further place.
    pub fn also(mut self, origin: &Origin, label: impl Into<String>) -> Self {
        self.related.push((origin.clone(), label.into()));
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Gives the text that mends the problem in the place of the value pointed at.
    pub fn replace(mut self, replacement: impl Into<String>) -> Self {
        self.replacement = Some(replacement.into());
        self
    }

    /// Code, message and place in one line.
    pub fn line(&self) -> String {
        let place = self.origin.as_ref().filter(|origin| origin.line > 0);
        let place = place.map_or_else(String::new, |origin| format!(" ({origin})"));
        format!("{}: {}{place}", self.code, self.message)
    }

    pub fn boxed(self) -> Box<Self> {
        Box::new(self)
    }
}

/// Why a config was refused: at least one error, and the warnings found on the way, by file and line.
#[derive(Debug, Clone)]
pub struct Problems {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: Sources,
    /// What could be understood all the same, where the syntax is whole: its files can be looked at in the same run.
    pub partial: Option<Box<Config>>,
}

impl Problems {
    /// The problems as text for a person, in the shape of rustc.
    pub fn render(&self, color: bool) -> String {
        render::text(&self.diagnostics, &self.sources, color)
    }

    /// The problems as a JSON array of objects with `severity`, `code`, `message`, `file`, `line`, `column`, `label`,
    /// `notes`, `help`, `replacement` and `related`.
    pub fn to_json(&self) -> String {
        render::json(&self.diagnostics)
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
