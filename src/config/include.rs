//! `include = ["sites.d/*.toml"]`: further files merged into the main one.
//!
//! Tables of the top level merge key by key. A key that two files give is an error which shows both places: no file
//! silently overrules another.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::diagnostics::{Checked, Diagnostic};
use super::expand::Environment;
use super::load::read_text;
use super::read::{Parsed, read};
use super::source::{Mark, Sources};
use super::value::{Table, Value, quote, quote_key};

/// Files one config may include.
const MAX_FILES: usize = 4096;

/// Reads the files `root` includes and merges them into it. Gives the broken lines of each file read.
pub(super) fn include(
    main: &mut Parsed,
    sources: &mut Sources,
    env: Environment<'_>,
    out: &mut Vec<Diagnostic>,
) -> Vec<(u16, Vec<usize>)> {
    let patterns: Vec<(String, Mark)> =
        main.root.list("include").filter_map(|node| node.text().map(|text| (text.to_owned(), node.at))).collect();
    let mut broken = Vec::new();
    let mut seen = HashSet::new();
    let mut merger = Merger { index: HashMap::new() };
    let main_name = sources.iter().next().map_or_else(String::new, |(name, _)| name.to_owned());
    for (pattern, at) in patterns {
        let base = sources.base_of(at.file).to_path_buf();
        let files = match expand_pattern(&pattern, &base) {
            Ok(files) => files,
            Err(diagnostic) => {
                out.push(diagnostic.at(&sources.origin(at)));
                continue;
            }
        };
        for file in files {
            if !seen.insert(file.clone()) {
                continue;
            }
            if seen.len() > MAX_FILES {
                let message = format!("more than {MAX_FILES} files included");
                out.push(Diagnostic::error("include-too-many", message).at(&sources.origin(at)));
                return broken;
            }
            // Named beside the main file as the user named that one.
            let beside = Path::new(&main_name).parent().unwrap_or(Path::new(""));
            let name = beside.join(file.strip_prefix(&base).unwrap_or(&file));
            let text = match read_text(&file) {
                Ok(text) => text,
                Err(diagnostic) => {
                    out.push(diagnostic.label("included here").at(&sources.origin(at)));
                    continue;
                }
            };
            let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
            let number = sources.add(&name.display().to_string(), text, &folder);
            let parsed = read(number, sources, env, out);
            broken.push((number, parsed.broken));
            main.secrets.extend(parsed.secrets);
            merger.merge(&mut main.root, parsed.root, sources, out);
        }
    }
    broken
}

/// The files of a pattern, sorted by name. Only the last part of the path may hold `*`.
fn expand_pattern(pattern: &str, base: &Path) -> Checked<Vec<PathBuf>> {
    let path = base.join(pattern);
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(bad(pattern, "names no file"));
    };
    if Path::new(pattern).parent().is_some_and(|parent| parent.to_string_lossy().contains('*')) {
        return Err(bad(pattern, "has `*` in a folder's name; only the last part may hold it"));
    }
    if !name.contains('*') {
        return Ok(vec![path]);
    }
    let entries = std::fs::read_dir(&folder).map_err(|error| bad(pattern, &format!("cannot be listed: {error}")))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|file| matches(name, file)))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    Ok(files)
}

fn bad(pattern: &str, why: &str) -> Box<Diagnostic> {
    Diagnostic::error("bad-include", format!("the pattern {} {why}", quote(pattern))).label("included here").boxed()
}

/// A file name against a pattern with `*`. A leading dot is matched only by a dot, as in a shell.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

struct Merger {
    /// For each table of the top level, where its keys stand: a scan for each key would be quadratic in the sites.
    index: HashMap<String, HashMap<String, Mark>>,
}

impl Merger {
    fn merge(&mut self, root: &mut Table, more: Table, sources: &Sources, out: &mut Vec<Diagnostic>) {
        for entry in more.entries {
            if entry.key == "include" {
                let diagnostic = Diagnostic::error("nested-include", "an included file cannot include others")
                    .label("in an included file")
                    .help("put the pattern into the main file")
                    .at(&sources.origin(entry.key_at));
                out.push(diagnostic);
                continue;
            }
            let Some(there) = root.entries.iter_mut().find(|there| there.key == entry.key) else {
                root.entries.push(entry);
                continue;
            };
            match (&mut there.value.value, entry.value.value) {
                (Value::Table(into), Value::Table(from)) => {
                    let index = self.index.entry(there.key.clone()).or_insert_with(|| {
                        into.entries.iter().map(|entry| (entry.key.clone(), entry.key_at)).collect()
                    });
                    for entry in from.entries {
                        if let Some(first) = index.get(&entry.key) {
                            out.push(twice(&entry.key, entry.key_at, *first, sources));
                        } else {
                            index.insert(entry.key.clone(), entry.key_at);
                            into.entries.push(entry);
                        }
                    }
                }
                // Every file brings its own tests.
                (Value::List(into), Value::List(from)) if entry.key == "test" => into.extend(from),
                _ => out.push(twice(&entry.key, entry.key_at, there.key_at, sources)),
            }
        }
    }
}

fn twice(key: &str, second: Mark, first: Mark, sources: &Sources) -> Diagnostic {
    Diagnostic::error("duplicate-key", format!("`{}` is given twice", quote_key(key)))
        .at(&sources.origin(second))
        .label("the second time")
        .also(&sources.origin(first), "the first time")
        .help("keep one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_part_of_a_file_name_but_no_leading_dot() {
        assert!(matches("*.toml", "a.toml"));
        assert!(matches("a*b*.toml", "axbx.toml"));
        assert!(matches("*", "x"));
        assert!(!matches("*.toml", ".toml"));
        assert!(!matches("*.toml", "a.toml~"));
        assert!(!matches("ab*ba", "aba"));
    }
}
