//! Diagnostics as text in the shape of rustc, and as JSON.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use serde_json::{Value, json};

use super::diagnostics::{Diagnostic, Severity};
use super::{Origin, Sources};

/// Renders diagnostics one after the other with an empty line between. `color` adds ANSI styles.
pub fn text(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for diagnostic in diagnostics {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&one(diagnostic, sources, &renderer));
        out.push('\n');
    }
    // The renderer pads empty gutters.
    let mut trimmed = String::with_capacity(out.len());
    for line in out.lines() {
        trimmed.push_str(line.trim_end());
        trimmed.push('\n');
    }
    trimmed
}

fn one(diagnostic: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(clean(&diagnostic.message)).id(diagnostic.code));
    for snippet in snippets(diagnostic, sources) {
        group = group.element(snippet);
    }
    if diagnostic.origin.is_none()
        && let Some((name, _)) = sources.iter().next()
    {
        group = group.element(annotate_snippets::Origin::path(clean(name)));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(clean(note)));
    }
    let mut help = diagnostic.help.iter();
    let mut report = Vec::new();
    let patch = diagnostic.replacement.as_ref().and_then(|text| patch(diagnostic.origin.as_ref()?, text, sources));
    if let Some(patch) = patch {
        let title = help.next().map_or("write", String::as_str);
        report.push(Level::HELP.secondary_title(clean(title)).element(patch));
    }
    for help in help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    report.insert(0, group);
    renderer.render(&report)
}

/// One snippet a file, with all places of the diagnostic in it. Only the lines in question are handed to the renderer,
/// which would walk the whole text each time.
fn snippets<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<Snippet<'a, Annotation<'a>>> {
    let primary = diagnostic.origin.iter().map(|origin| (origin, diagnostic.label.as_str(), AnnotationKind::Primary));
    let related = diagnostic.related.iter().map(|(origin, label)| (origin, label.as_str(), AnnotationKind::Context));
    let places: Vec<_> = primary.chain(related).collect();
    let mut files: Vec<&str> = Vec::new();
    for (origin, ..) in &places {
        if !files.contains(&&*origin.file) {
            files.push(&origin.file);
        }
    }
    let mut out = Vec::new();
    for file in files {
        let here = || places.iter().filter(|(origin, ..)| &*origin.file == file);
        let first = here().map(|(origin, ..)| origin.line).min().unwrap_or(1);
        let last = here().map(|(origin, ..)| last_line(origin, sources)).max().unwrap_or(first);
        let Some((range, text)) = sources.line_range(file, first, last) else { continue };
        let mut snippet = Snippet::source(text).path(file).line_start(first);
        for (origin, label, kind) in here() {
            let annotation = kind.span(within(&origin.span, &range));
            let label = (!label.is_empty()).then(|| clean(label));
            snippet = snippet.annotation(annotation.label(label));
        }
        out.push(snippet);
    }
    out
}

/// The line on which a place ends. Long values are shown by their first lines.
fn last_line(origin: &Origin, sources: &Sources) -> usize {
    let breaks = sources.text(&origin.file).and_then(|text| text.get(origin.span.clone()));
    let count = breaks.map_or(0, |text| text.trim_end().matches('\n').count());
    origin.line + count.min(4)
}

/// A span moved into the text of `range` and cut to it.
fn within(span: &Range<usize>, range: &Range<usize>) -> Range<usize> {
    let inside = |at: usize| at.clamp(range.start, range.end) - range.start;
    inside(span.start)..inside(span.end)
}

fn patch<'a>(origin: &Origin, replacement: &'a str, sources: &'a Sources) -> Option<Snippet<'a, Patch<'a>>> {
    let (range, text) = sources.line_range(&origin.file, origin.line, last_line(origin, sources))?;
    let span = within(&origin.span, &range);
    Some(Snippet::source(text).line_start(origin.line).patch(Patch::new(span, replacement)))
}

/// Text without control characters: what a terminal would act on comes from files others wrote.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The diagnostics as a JSON array.
pub fn json(diagnostics: &[Diagnostic]) -> String {
    Value::Array(diagnostics.iter().map(object).collect()).to_string()
}

fn object(diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = |origin: &Origin| (origin.line > 0).then(|| (origin.file.to_string(), origin.line, origin.column));
    let (file, line, column) = match diagnostic.origin.as_ref().and_then(place) {
        Some((file, line, column)) => (Some(file), Some(line), Some(column)),
        None => (None, None, None),
    };
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .map(|(at, label)| json!({ "file": &*at.file, "line": at.line, "column": at.column, "label": label }))
        .collect();
    json!({
        "severity": severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": file,
        "line": line,
        "column": column,
        "label": diagnostic.label,
        "notes": diagnostic.notes,
        "help": diagnostic.help,
        "replacement": diagnostic.replacement,
        "related": related,
    })
}
