//! `headers.request` and `headers.response`: names, values and placeholders.

use std::sync::Arc;

use super::{Checker, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::schema::nearest;
use crate::config::value::{Table, quote};
use crate::config::{HEADER_PLACEHOLDERS, HeaderRules, PathPattern};

/// Fields that belong to one connection or frame a message (RFC 9110 section 7.6.1, RFC 9112 section 6): the proxy
/// writes them itself, and a rule that changed them would desynchronise the two sides.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whose fields a rule changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

impl Checker<'_> {
    /// The rules of a site's `headers`: for requests and for responses.
    pub(super) fn header_rules(&mut self, site: &Table) -> (Arc<HeaderRules>, Arc<HeaderRules>) {
        let Some(headers) = site.table("headers") else { return (HeaderRules::none(), HeaderRules::none()) };
        let mut side = |key, side| match headers.table(key) {
            Some(table) => Arc::new(self.rules(table, side)),
            None => HeaderRules::none(),
        };
        (side("request", Side::Request), side("response", Side::Response))
    }

    fn rules(&mut self, table: &Table, side: Side) -> HeaderRules {
        let set = self.fields(table, "set", side);
        let add = self.fields(table, "add", side);
        let mut remove = Vec::new();
        for (text, at) in texts(table, "remove") {
            remove.extend(self.take(changeable(text, side), at));
        }
        HeaderRules { set, add, remove }
    }

    fn fields(&mut self, table: &Table, key: &str, side: Side) -> Vec<(String, String)> {
        let Some(table) = table.table(key) else { return Vec::new() };
        let mut fields: Vec<(String, String)> = Vec::new();
        for entry in &table.entries {
            let name = self.take(changeable(&entry.key, side), entry.key_at);
            let Some(text) = entry.value.text() else { continue };
            let value = self.take(value(text), entry.value.at);
            if let (Some(name), Some(value)) = (name, value) {
                if key == "set" && fields.iter().any(|(there, _)| there.eq_ignore_ascii_case(&name)) {
                    let message = format!("`{name}` is set twice; names of fields do not differ by case");
                    let diagnostic = Diagnostic::error("duplicate-header", message).label("the second time");
                    self.report(diagnostic, entry.key_at);
                    continue;
                }
                fields.push((name, value));
            }
        }
        fields
    }
}

/// A field name a rule may change.
fn changeable(text: &str, side: Side) -> Checked<String> {
    let name = name(text)?;
    let lower = name.to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) {
        return Err(Diagnostic::error("reserved-header", format!("`{name}` cannot be changed by a rule"))
            .label("written by the proxy for each connection")
            .boxed());
    }
    if side == Side::Request && lower == "host" {
        return Err(Diagnostic::error("reserved-header", "`Host` of a request cannot be changed by a rule")
            .label("not here")
            .help("set `host_header` of the upstream")
            .boxed());
    }
    Ok(name)
}

/// A field name: a token (RFC 9110 section 5.6.2), as it was written.
pub(super) fn name(text: &str) -> Checked<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 256 || !text.bytes().all(token) {
        return Err(Diagnostic::error("bad-header-name", format!("{} is no name of a header field", quote(text)))
            .label("names are letters, digits and `-`")
            .boxed());
    }
    Ok(text.to_owned())
}

/// A field value: visible ASCII, spaces and tabs (RFC 9110 section 5.5), with known placeholders.
pub(super) fn value(text: &str) -> Checked<String> {
    let bad = |label: String| Diagnostic::error("bad-header-value", "this is no value of a header field").label(label);
    if let Some(c) = text.chars().find(|c| !matches!(c, '\t' | ' '..='~')) {
        let mut diagnostic = bad(format!("holds `{}`", c.escape_default()));
        if matches!(c, '\r' | '\n') {
            diagnostic = diagnostic.note("a line break would begin another field");
        }
        return Err(diagnostic.boxed());
    }
    placeholders(text, HEADER_PLACEHOLDERS)?;
    Ok(text.trim().to_owned())
}

/// A field value without placeholders, as a client sends it.
pub(super) fn literal(text: &str) -> Checked<String> {
    if let Some(c) = text.chars().find(|c| !matches!(c, '\t' | ' '..='~')) {
        return Err(Diagnostic::error("bad-header-value", "this is no value of a header field")
            .label(format!("holds `{}`", c.escape_default()))
            .boxed());
    }
    Ok(text.trim().to_owned())
}

/// A field that another server may set in a request: any but those the proxy itself speaks for.
pub(super) fn copied(text: &str) -> Checked<String> {
    changeable(text, Side::Request)
}

/// Checks the placeholders of a template of a route: `known`, and the groups of its `path_regex`.
pub(super) fn template(text: &str, known: &[&str], route: Option<&PathPattern>) -> Checked<()> {
    let groups = match route {
        Some(PathPattern::Regex(regex)) => regex.groups(),
        _ => Vec::new(),
    };
    let known: Vec<&str> = known.iter().copied().chain(groups.iter().map(String::as_str)).collect();
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once('{') {
        rest = tail;
        let number = tail.split_once('}').map(|(word, _)| word).filter(|word| !word.is_empty());
        if let Some(word) = number.filter(|word| word.chars().all(|c| c.is_ascii_digit()) && !known.contains(word)) {
            return Err(Diagnostic::error("unknown-placeholder", format!("`{{{word}}}` is no group"))
                .label("in this text")
                .help("groups are numbered from 1, in a route with `path_regex`")
                .boxed());
        }
    }
    placeholders(text, &known)
}

/// Checks every `{word}` of a text. Other braces stand for themselves: values may hold JSON.
pub(super) fn placeholders(text: &str, known: &[&str]) -> Checked<()> {
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once('{') {
        rest = tail;
        let Some((word, _)) = tail.split_once('}') else { break };
        let is_word = !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
            && word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if !is_word || known.contains(&word) {
            continue;
        }
        let list: Vec<_> = known.iter().map(|word| format!("{{{word}}}")).collect();
        let diagnostic = Diagnostic::error("unknown-placeholder", format!("`{{{word}}}` is no placeholder"))
            .label("in this text")
            .note(format!("known here: {}", list.join(", ")));
        return Err(match nearest(word, known.iter().copied()) {
            Some(near) => diagnostic.help(format!("did you mean `{{{near}}}`?")),
            None => diagnostic,
        }
        .boxed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_never_gets_into_a_header() {
        for text in ["a\r\nB: c", "a\nb", "a\0", "\u{7f}", "é"] {
            assert_eq!(value(text).expect_err(text).code, "bad-header-value");
        }
        for text in ["a b", "", "X:Y", "a\r\nb", "é"] {
            assert_eq!(name(text).expect_err(text).code, "bad-header-name");
        }
    }

    #[test]
    fn unknown_placeholders_are_errors_and_json_is_not() {
        assert_eq!(value("{client_ip}, {\"a\":{}} {A}"), Ok("{client_ip}, {\"a\":{}} {A}".to_owned()));
        assert_eq!(value("{client_id}").unwrap_err().help, ["did you mean `{client_ip}`?"]);
        assert_eq!(value("{tls.client}").unwrap_err().code, "unknown-placeholder");
    }

    #[test]
    fn fields_that_frame_a_message_are_not_changed_by_rules() {
        for text in ["Connection", "transfer-encoding", "CONTENT-LENGTH", "Host"] {
            assert_eq!(changeable(text, Side::Request).expect_err(text).code, "reserved-header");
        }
        assert_eq!(changeable("X-A", Side::Request), Ok("X-A".to_owned()));
    }
}
