//! The way from a file, a text or an environment variable to a checked config.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::diagnostics::{Checked, Diagnostic, Problems, Severity};
use super::expand::Environment;
use super::read::Parsed;
use super::source::{Mark, Sources};
use super::value::{Entry, Node, Table, Text, Value};
use super::values::Values;
use super::{Config, check, decode, include, read, render};

/// A config without errors.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
    pub sources: Sources,
    /// Every value with its place, for `explain` and `config show`.
    pub values: Values,
}

impl Loaded {
    /// The warnings as text for a person; empty where there are none.
    pub fn render_warnings(&self, color: bool) -> String {
        render::text(&self.warnings, &self.sources, color)
    }

    /// The warnings as a JSON array, see [`Problems::to_json`].
    pub fn warnings_to_json(&self) -> String {
        render::json(&self.warnings)
    }
}

/// Greatest config file.
const FILE_LIMIT: u64 = 64 << 20;

/// Loads a config file with its includes. Relative paths in it start at its folder.
///
/// # Errors
/// Every problem of the files, in one run.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(diagnostic) => {
            let sources = Sources::default();
            return Err(Problems { diagnostics: vec![*diagnostic], sources, partial: None });
        }
    };
    let base = path.parent().unwrap_or(Path::new(""));
    parse_owned(&path.display().to_string(), text, base, &|name| std::env::var(name))
}

/// Loads a config from memory. `name` is what diagnostics call it; relative paths in it start at `base`.
///
/// # Errors
/// Every problem of the text and of the files it includes, in one run.
pub fn parse(name: &str, text: &str, base: &Path) -> Result<Loaded, Problems> {
    parse_with(name, text, base, &|name| std::env::var(name))
}

/// [`parse`] with an environment of its own.
pub(super) fn parse_with(name: &str, text: &str, base: &Path, env: Environment<'_>) -> Result<Loaded, Problems> {
    parse_owned(name, text.to_owned(), base, env)
}

fn parse_owned(name: &str, text: String, base: &Path, env: Environment<'_>) -> Result<Loaded, Problems> {
    let mut sources = Sources::default();
    let mut out = Vec::new();
    let main = sources.add(name, text, base);
    let mut parsed = read::read(main, &sources, env, &mut out);
    let mut broken = include::include(&mut parsed, &mut sources, env, &mut out);
    broken.push((main, std::mem::take(&mut parsed.broken)));
    broken.retain(|(_, lines)| !lines.is_empty());
    finish(parsed, sources, out, &broken)
}

/// Loads the sites of `VESTIBULE_SITES`: `"app.localhost=web:8000, api.localhost=api:9000"`, the short form of
/// `[sites]` with commas.
///
/// # Errors
/// Every problem of the value, in one run.
pub fn from_env_sites(value: &str) -> Result<Loaded, Problems> {
    let mut sources = Sources::default();
    let mut out = Vec::new();
    let file = sources.add("VESTIBULE_SITES", value.to_owned(), Path::new(""));
    let mut sites = Table::default();
    let mut at = 0;
    for part in value.split(',') {
        let start = at + (part.len() - part.trim_start().len());
        at += part.len() + 1;
        let item = part.trim();
        if item.is_empty() {
            continue;
        }
        let mark = |from: usize, len: usize| Mark::new(file, start + from..start + from + len);
        let Some((host, target)) = item.split_once('=') else {
            let diagnostic = Diagnostic::error("bad-site", "a site is HOST=TARGET")
                .at(&sources.origin(mark(0, item.len())))
                .label("no `=` here")
                .help("such as app.localhost=web:8000");
            out.push(diagnostic);
            sites.incomplete = true;
            continue;
        };
        let value_at = mark(item.len() - target.trim_start().len(), target.trim().len());
        let (host, target) = (host.trim(), target.trim());
        let value = match target.parse::<i64>() {
            Ok(port) => Value::Integer(Some(port)),
            Err(_) => Value::Text(Text { text: target.to_owned(), expanded: false, secret: false }),
        };
        sites.entries.push(Entry {
            key: host.to_owned(),
            key_at: mark(0, host.len()),
            value: Node { at: value_at, value },
        });
    }
    let whole = Mark::new(file, 0..value.len());
    let sites = Entry { key: "sites".to_owned(), key_at: whole, value: Node { at: whole, value: Value::Table(sites) } };
    let root = Table { entries: vec![sites], incomplete: false };
    finish(Parsed { root, broken: Vec::new(), secrets: Vec::new() }, sources, out, &[])
}

/// Decodes and checks a tree. `broken` are the lines of each file whose syntax is broken.
fn finish(
    mut parsed: Parsed,
    sources: Sources,
    mut out: Vec<Diagnostic>,
    broken: &[(u16, Vec<usize>)],
) -> Result<Loaded, Problems> {
    let syntax = out.len();
    decode::decode(&mut parsed.root, &sources, &mut out);
    let config = check::check(&parsed.root, &sources, &mut out);
    hide(&mut out, &parsed.secrets, &sources);
    if !broken.is_empty() {
        let said = out.split_off(syntax);
        out.extend(said.into_iter().filter(|diagnostic| trustworthy(diagnostic, &sources, broken)));
    }
    sort(&mut out, &sources);
    if out.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        let partial = broken.is_empty().then(|| Box::new(config));
        return Err(Problems { diagnostics: out, sources, partial });
    }
    let values = Values::new(parsed.root, parsed.secrets);
    Ok(Loaded { config, warnings: out, sources, values })
}

/// Sorts problems by file and place.
pub fn sort(diagnostics: &mut [Diagnostic], sources: &Sources) {
    diagnostics.sort_by_key(|diagnostic| {
        let origin = diagnostic.origin.as_ref();
        origin.map_or((0, 0, 0), |origin| (sources.position(&origin.file), origin.line, origin.column))
    });
}

/// Takes the content of secret files out of the problems found in it: they are logged and pasted elsewhere.
fn hide(out: &mut [Diagnostic], secrets: &[Mark], sources: &Sources) {
    let secrets: HashSet<_> = secrets.iter().map(|mark| sources.origin(*mark)).map(|at| (at.file, at.span)).collect();
    if secrets.is_empty() {
        return;
    }
    for diagnostic in out {
        let Some(origin) = &diagnostic.origin else { continue };
        if secrets.contains(&(origin.file.clone(), origin.span.clone())) {
            let hidden = Diagnostic::error(diagnostic.code, "what the file holds is not usable here")
                .label("not shown")
                .at(origin);
            *diagnostic = Diagnostic { severity: diagnostic.severity, related: diagnostic.related.clone(), ..hidden };
        }
    }
}

/// A problem that is real although the syntax is broken elsewhere: nothing that only seems to be missing, and nothing
/// on or beside a broken line.
fn trustworthy(diagnostic: &Diagnostic, sources: &Sources, broken: &[(u16, Vec<usize>)]) -> bool {
    const ABSENCE: &[&str] =
        &["no-action", "no-sites", "missing-key", "unknown-upstream", "unused-upstream", "no-listener", "bad-host"];
    let Some(origin) = &diagnostic.origin else { return false };
    let file = sources.position(&origin.file);
    let lines = broken.iter().find(|(number, _)| usize::from(*number) == file).map_or(&[][..], |(_, lines)| lines);
    let near = lines.iter().any(|line| line.abs_diff(origin.line) <= 1);
    !near && !ABSENCE.contains(&diagnostic.code)
}

/// Reads a config file as text.
pub(super) fn read_text(path: &Path) -> Checked<String> {
    let failed = |code, why: String| Diagnostic::error(code, format!("cannot read {}: {why}", path.display())).boxed();
    let file = std::fs::File::open(path).map_err(|error| failed("config-not-read", error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed("config-not-read", error.to_string()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(failed("config-too-large", format!("larger than {} MiB", FILE_LIMIT >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        failed("not-utf8", format!("line {line} is not UTF-8"))
    })
}
