//! What a route is for beside its path: methods, request fields, query parameters, client networks.

use std::collections::HashMap;

use super::{Checker, headers, hosts, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::source::Mark;
use crate::config::value::{Table, quote};
use crate::config::{Matchers, PathPattern, PathRegex};

/// The keys of this file.
pub(super) const KEYS: &[&str] = &["methods", "headers", "query", "client_ip"];

/// Where the routes of a site stand, by their paths: what a further route is compared with.
#[derive(Default)]
pub(super) struct Seen(HashMap<PathPattern, Vec<(Matchers, Mark)>>);

impl Seen {
    pub fn add(&mut self, path: PathPattern, matchers: Matchers, at: Mark) {
        self.0.entry(path).or_default().push((matchers, at));
    }
}

impl Checker<'_> {
    pub(super) fn matchers(&mut self, table: &Table) -> Matchers {
        let mut matchers = Matchers::default();
        for (text, at) in texts(table, "methods") {
            let Some(method) = self.take(method(text), at) else { continue };
            if matchers.methods.contains(&method) {
                let diagnostic = Diagnostic::error("duplicate-method", format!("`{method}` is there twice"));
                self.report(diagnostic.label("the second time"), at);
                continue;
            }
            matchers.methods.push(method);
        }
        if let Some(fields) = table.table("headers") {
            for entry in &fields.entries {
                let Some(name) = self.take(headers::name(&entry.key), entry.key_at) else { continue };
                let Some(text) = entry.value.text() else { continue };
                let Some(value) = self.take(headers::literal(text), entry.value.at) else { continue };
                self.condition(&mut matchers.headers, name.to_ascii_lowercase(), value, entry.key_at);
            }
        }
        if let Some(parameters) = table.table("query") {
            for entry in &parameters.entries {
                let Some(text) = entry.value.text() else { continue };
                self.condition(&mut matchers.query, entry.key.clone(), text.to_owned(), entry.key_at);
            }
        }
        for (text, at) in texts(table, "client_ip") {
            matchers.client_ip.extend(self.take(hosts::network(text), at));
        }
        for key in ["methods", "client_ip"] {
            if let Some(node) = table.get(key).filter(|node| node.items().is_empty()) {
                let message = format!("`{key}` is empty: the route would be for no request");
                self.report(Diagnostic::error("empty-matcher", message).label("empty"), node.at);
            }
        }
        matchers
    }

    fn condition(&mut self, list: &mut Vec<(String, Option<String>)>, name: String, value: String, at: Mark) {
        if list.iter().any(|(there, _)| *there == name) {
            let message = format!("`{name}` is there twice");
            self.report(Diagnostic::error("duplicate-matcher", message).label("the second time"), at);
            return;
        }
        list.push((name, (value != "*").then_some(value)));
    }

    /// The path of a route: `path`, `path_regex`, or every path where other conditions stand. With its place.
    pub(super) fn route_path(&mut self, table: &Table, owner: Mark) -> Option<(PathPattern, Mark)> {
        let (path, regex) = (table.entry("path"), table.entry("path_regex"));
        if let (Some(path), Some(regex)) = (path, regex) {
            let diagnostic = Diagnostic::error("two-paths", "`path` and `path_regex` stand side by side")
                .label("the second path")
                .also(&self.origin(path.key_at), "the first path")
                .help("a route has one path: keep one of them");
            self.report(diagnostic, regex.key_at);
            return None;
        }
        if let Some(entry) = regex {
            let text = entry.value.text()?;
            let regex = self.take(path_regex(text), entry.value.at)?;
            return Some((PathPattern::Regex(regex), entry.value.at));
        }
        if let Some(entry) = path {
            let pattern = self.take(super::paths::pattern(entry.value.text()?), entry.value.at)?;
            return Some((pattern, entry.value.at));
        }
        if table.entries.iter().any(|entry| KEYS.contains(&entry.key.as_str())) {
            return Some((PathPattern::Any, owner));
        }
        if !table.incomplete {
            self.missing("path", owner);
        }
        None
    }

    /// Two routes of the same rank for the same request: which one answers would be a guess.
    pub(super) fn tie(&mut self, path: &PathPattern, matchers: &Matchers, at: Mark, seen: &mut Seen) {
        let others = seen.0.entry(path.clone()).or_default();
        let tie = others.iter().find(|(other, _)| other.count() == matchers.count() && !other.excludes(matchers));
        let Some((_, first)) = tie else {
            others.push((matchers.clone(), at));
            return;
        };
        let first = *first;
        let plain = matchers.count() == 0;
        let message = match plain {
            true => "two routes of the site are for the same path",
            false => "two routes of the site are for the same path, and a request may meet the conditions of both",
        };
        let help = match plain {
            true => "remove one of them",
            false => "give one of them another condition: of two routes for one path the one with more is asked first",
        };
        let whole = *path == PathPattern::Any && plain;
        let diagnostic = Diagnostic::error("route-tie", message)
            .label("the second one")
            .also(&self.origin(first), if whole { "the first one, for every path" } else { "the first one" })
            .help(help);
        self.report(diagnostic, at);
    }
}

/// A method: a token in upper case, as every method of the registry is.
pub(super) fn method(text: &str) -> Checked<String> {
    let bad = Diagnostic::error("bad-method", format!("{} is no method", quote(text)));
    if headers::name(text).is_err() {
        return Err(bad.label("methods are written \"GET\"").boxed());
    }
    if text.chars().any(|c| c.is_ascii_lowercase()) {
        let bad = bad.label("methods are in upper case (RFC 9110 section 9.1)");
        return Err(bad.replace(quote(&text.to_ascii_uppercase())).boxed());
    }
    Ok(text.to_owned())
}

fn path_regex(text: &str) -> Checked<PathRegex> {
    PathRegex::new(text).map_err(|why| {
        Diagnostic::error("bad-regex", format!("this is no regular expression: {why}"))
            .label("cannot be compiled")
            .boxed()
    })
}
