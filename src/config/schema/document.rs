//! The key tables of docs/configuration.md, made from the schema.
//!
//! The page is prose with one block a table, between `<!-- keys: NAME -->` and `<!-- end -->`; what stands between is
//! generated. `UPDATE=1 cargo nextest run generated` writes all of them anew, and adds a block for a table that has none.

use std::fmt::Write as _;

use super::places::{Place, places};
use super::{Kind, ROOT};
use crate::config::units::show_size;

const END: &str = "<!-- end -->\n";
/// The block of the keys this version does not act on.
const NOT_SUPPORTED: &str = "not supported";

/// The page with every generated block as it should be. A table without a block gets one before the last block.
pub fn update(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, text) in blocks() {
        let begin = format!("<!-- keys: {name} -->\n");
        let block = format!("{begin}{text}{END}");
        let place = page.find(&begin).and_then(|start| Some((start, start + page[start..].find(END)? + END.len())));
        match place {
            Some((start, end)) => page.replace_range(start..end, &block),
            None => {
                let last = page.find("## Not supported yet").unwrap_or(page.len());
                page.insert_str(last, &format!("## `{name}`\n\n{block}\n"));
            }
        }
    }
    page
}

/// Name and text of every generated block.
fn blocks() -> Vec<(String, String)> {
    let places = places(&ROOT);
    let mut blocks: Vec<_> = places
        .iter()
        .filter(|place| place.supported && place.table.keys.iter().any(|key| key.supported))
        .map(|place| (place.name(), rows(place)))
        .collect();
    blocks.push((NOT_SUPPORTED.to_owned(), not_supported(&places)));
    blocks
}

fn rows(place: &Place) -> String {
    let mut out = String::from("| key | value | default | meaning | since |\n|---|---|---|---|---|\n");
    for key in place.table.keys.iter().filter(|key| key.supported) {
        let default = match key.default_text() {
            text if text.is_empty() => " ".to_owned(),
            text => format!(" `{text}` "),
        };
        let kind = phrase(&key.kind);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{}` | {kind} |{default}| {} | {} |", key.name, key.doc, key.since);
    }
    out
}

fn not_supported(places: &[Place]) -> String {
    let mut out = String::from("| where | keys |\n|---|---|\n");
    for place in places.iter().filter(|place| place.supported) {
        let mut names = Vec::new();
        for key in place.table.keys {
            if !key.supported {
                names.push(format!("`{}`", key.name));
            } else {
                words(&key.kind, &mut |word| names.push(format!("`{} = \"{word}\"`", key.name)));
            }
        }
        if !names.is_empty() {
            let _ = writeln!(out, "| `{}` | {} |", place.name(), names.join(", "));
        }
    }
    out
}

/// The words of a kind that are not supported yet.
fn words(kind: &Kind, visit: &mut dyn FnMut(&str)) {
    match kind {
        Kind::Choice { later, .. } => later.iter().for_each(|word| visit(word)),
        Kind::OneOf(kinds) => kinds.iter().for_each(|kind| words(kind, visit)),
        _ => {}
    }
}

/// What may be written for a value of this kind.
pub(super) fn phrase(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Text(what) => noun(what).to_owned(),
        Kind::Duration { off } => with_off("duration", *off),
        Kind::Size { min, max, off } => with_off(&format!("size, {} to {}", show_size(*min), show_size(*max)), *off),
        Kind::Choice { now, .. } => now.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Kind::List(kind) => format!("list of {}", plural(kind)),
        Kind::Map(what, kind) => format!("table of {}: {}", many(noun(what)), phrase(kind)),
        Kind::Table(_) => "table".to_owned(),
        Kind::OneOf(kinds) => kinds.iter().map(phrase).collect::<Vec<_>>().join(", or "),
    }
}

fn with_off(what: &str, off: bool) -> String {
    if off { format!("{what}, or `\"off\"`") } else { what.to_owned() }
}

fn noun(what: &str) -> &str {
    what.strip_prefix("a ").or_else(|| what.strip_prefix("an ")).or_else(|| what.strip_prefix("the ")).unwrap_or(what)
}

fn plural(kind: &Kind) -> String {
    match kind {
        Kind::Text(what) => many(noun(what)),
        Kind::Table(_) => "tables".to_owned(),
        Kind::OneOf(kinds) => kinds.iter().map(plural).collect::<Vec<_>>().join(" or "),
        Kind::Integer { .. } => "ports".to_owned(),
        kind => phrase(kind),
    }
}

fn many(noun: &str) -> String {
    if noun.ends_with('s') { format!("{noun}es") } else { format!("{noun}s") }
}
