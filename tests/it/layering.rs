//! The shape of the source: imports point downward, files stay short, nothing panics unexplained.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and their floors (docs/architecture.md). A file may use its own room and lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("error", 0),
    ("config", 1),
    ("init", 4),
    ("message", 2),
    ("metrics", 2),
    ("net", 2),
    ("h1", 3),
    ("tls", 3),
    ("http", 4),
    ("acme", 4),
    ("upstream", 5),
    ("inspect", 5),
    ("filter", 6),
    ("route", 7),
    ("snapshot", 8),
    ("proxy", 9),
    ("explain", 10),
    ("server", 11),
    ("trust", 4),
    ("observe", 12),
    ("check", 12),
    ("cli", 13),
    ("main", 14),
];

const MAX_LINES: usize = 400;

/// A source file: as it is, and with comments, texts and test modules blanked out, line for line.
struct Source {
    path: PathBuf,
    raw: String,
    code: String,
}

impl Source {
    /// The room of the file: its first folder, or its name at the top.
    fn room(&self) -> String {
        let first = self.path.iter().next().expect("a relative path");
        Path::new(first).with_extension("").display().to_string()
    }
}

/// Every file of src, but those that are test modules.
fn sources() -> Vec<Source> {
    files(|path| path.file_stem().is_none_or(|name| name != "tests"))
}

/// The files of src that `wanted` holds for, and so do the folders above them.
fn files(wanted: impl Fn(&Path) -> bool) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if !wanted(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let raw = fs::read_to_string(&path).expect("a source file");
                let code = without_tests(&blanked(&raw));
                sources.push(Source { path: path.strip_prefix(&root).expect("below src").to_path_buf(), raw, code });
            }
        }
    }
    assert!(sources.len() > 50, "src is not where it was");
    sources
}

/// Replaces comments and the contents of texts by spaces; line ends stay.
fn blanked(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = token(rest);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// The length of the comment, text or character that `rest` begins with; 0 for code.
fn token(rest: &str) -> usize {
    let up_to = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return up_to(2, "*/");
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'));
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return up_to(rest.len() - raw.len() + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        // A character, not a lifetime: its closing quote follows at once.
        [b'\'', ..] => match rest.chars().nth(2) {
            Some('\'') => rest.char_indices().nth(3).map_or(rest.len(), |(at, _)| at),
            _ => 0,
        },
        _ => 0,
    }
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Replaces each item under `#[cfg(test)]` by spaces.
fn without_tests(code: &str) -> String {
    let mut out = code.to_string();
    while let Some(start) = out.find("#[cfg(test)]") {
        let tail = &out[start..];
        let open = tail.find('{').unwrap_or(tail.len());
        // `mod tests;` has no body here.
        let end =
            tail.find(';').filter(|semicolon| *semicolon < open).map_or_else(|| body_end(tail, open), |at| at + 1);
        let blank: String = tail[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..start + end, &blank);
    }
    out
}

fn body_end(tail: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in tail.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    tail.len()
}

/// The rooms that a piece of code names by `crate::` or the library's own name, with the place of each.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let mut rooms = Vec::new();
    for root in ["crate::", "vestibule::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => top_names(&group[..group.find(';').unwrap_or(group.len())]),
                None => vec![name(rest)],
            };
            rooms.extend(names.into_iter().map(|name| (at, name)));
        }
    }
    rooms
}

fn name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first name of each member of a group `{a::{b, c}, d}`.
fn top_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[test]
fn every_import_points_to_a_lower_floor() {
    let mut upward = Vec::new();
    for source in sources() {
        let room = source.room();
        if room == "lib" {
            continue;
        }
        let own =
            floor(&room).unwrap_or_else(|| panic!("{room} has no floor: give it one here and in the architecture"));
        for (at, named) in rooms_named(&source.code) {
            let place = format!("src/{}:{}", source.path.display(), line_of(&source.code, at));
            // Macros of the library's own and the like name no room.
            let Some(floor) = floor(&named) else { panic!("{place} uses {named}, which is no room") };
            // Two rooms on one floor do not know each other either.
            if named != room && floor >= own {
                upward.push(format!("{place} (floor {own}) uses {named} (floor {floor})"));
            }
        }
    }
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let long = files(|_| true).into_iter().filter(|source| source.raw.lines().count() > MAX_LINES);
    let long: Vec<_> =
        long.map(|source| format!("{}: {}", source.path.display(), source.raw.lines().count())).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn unsafe_code_is_forbidden_and_not_there() {
    for source in sources() {
        let code = source.code.replace("#![forbid(unsafe_code)]", "");
        assert!(!code.contains("unsafe"), "{}", source.path.display());
        if source.path == Path::new("lib.rs") {
            assert!(source.code.contains("#![forbid(unsafe_code)]"));
        }
    }
}

#[test]
fn an_unwrap_outside_tests_says_why_it_holds() {
    let mut unexplained = Vec::new();
    for source in sources() {
        let raw: Vec<&str> = source.raw.lines().collect();
        for (index, line) in source.code.lines().enumerate() {
            let explained = |index: usize| raw.get(index).is_some_and(|line| line.contains("//"));
            let here = explained(index) || index.checked_sub(1).is_some_and(explained);
            if [".unwrap()", ".expect(", ".unwrap_err()", "unreachable!(", "todo!("].iter().any(|p| line.contains(p))
                && !here
            {
                unexplained.push(format!("src/{}:{}: {}", source.path.display(), index + 1, raw[index].trim()));
            }
        }
    }
    assert!(unexplained.is_empty(), "\n{}", unexplained.join("\n"));
}

#[test]
fn the_reader_of_these_tests_sees_code_and_nothing_else() {
    let source = "use crate::{a::{b, c}, d};\n// crate::x\nlet s = \"crate::y\"; let c = '\"'; let r = r#\"crate::\"z\"#;\n\
                  fn f<'a>(x: &'a str) { crate::e::g() }\n#[cfg(test)]\nmod tests {\n  fn x() { crate::t; }\n}\ncrate::h;";
    let code = without_tests(&blanked(source));
    let names: Vec<_> = rooms_named(&code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a", "d", "e", "h"]);
    assert_eq!(code.lines().count(), source.lines().count());
}
