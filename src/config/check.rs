//! From a decoded tree to what it means: hosts, targets, networks, references, conflicts. Pure but for the folder a
//! relative path starts at, and every problem in one run.
//!
//! A part that was reported is left out or replaced by its default; the caller throws the result away when there was
//! an error.

mod acme;
mod actions;
mod balancing;
mod client_auth;
mod error_pages;
mod filters;
mod globals;
mod headers;
mod hosts;
mod listeners;
mod matchers;
mod paths;
mod policy;
mod requests;
mod settings;
mod sites;
mod targets;
mod telemetry;
mod upstream_tls;
mod upstreams;

use std::path::PathBuf;
use std::sync::Arc;

pub(super) use settings::{EARLY_LIMITS, EARLY_TIMEOUTS};

use super::diagnostics::{Checked, Diagnostic};
use super::source::{Mark, Sources};
use super::value::{Node, Table, Value};
use super::{Config, Origin, RouteSettings};

/// Checks a whole config. The result counts only when no error was added to `out`.
pub(super) fn check(root: &Table, sources: &Sources, out: &mut Vec<Diagnostic>) -> Config {
    let empty = Table::default();
    let mut checker = Checker { sources, out, settings: Vec::new() };
    let listeners = checker.listeners(root.table("listeners").unwrap_or(&empty));
    let public_https_port = root
        .table("listeners")
        .and_then(|table| table.integer("public_https_port"))
        .and_then(|p| u16::try_from(p).ok());
    let tls = checker.tls(root.table("tls").unwrap_or(&empty));
    let dev_ca = checker.dev_ca(root.table("dev_ca").unwrap_or(&empty));
    let error_pages = root.table("defaults").and_then(|table| checker.error_pages(table)).flatten();
    let (defaults, sites, upstreams) = checker.sites(root, &error_pages);
    checker.doors(root, &listeners, public_https_port, &sites);
    let acme = checker.acme(root, &listeners, &sites);
    let access_log = checker.access_log(root);
    let (metrics, tracing) = (checker.metrics(root), checker.tracing(root));
    let (log, server, admin) = (globals::log(root), globals::server(root), checker.admin(root));
    let tests = checker.tests(root);
    Config {
        listeners,
        public_https_port,
        tls,
        dev_ca,
        acme,
        defaults,
        error_pages,
        sites,
        upstreams,
        access_log,
        metrics,
        tracing,
        log,
        admin,
        server,
        tests,
    }
}

struct Checker<'a> {
    sources: &'a Sources,
    out: &'a mut Vec<Diagnostic>,
    /// The last settings of routes, for routes with the same.
    settings: Vec<Arc<RouteSettings>>,
}

impl Checker<'_> {
    fn origin(&self, at: Mark) -> Origin {
        self.sources.origin(at)
    }

    fn report(&mut self, diagnostic: Diagnostic, at: Mark) {
        self.out.push(diagnostic.at(&self.sources.origin(at)));
    }

    /// Reports a problem of a value at its place.
    fn take<T>(&mut self, checked: Checked<T>, at: Mark) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(diagnostic) => {
                self.report(*diagnostic, at);
                None
            }
        }
    }

    /// A path of the config: relative ones start at the folder of the file they stand in.
    fn path(&self, node: &Node, text: &str) -> PathBuf {
        self.sources.base_of(node.at.file).join(text)
    }

    /// A required file path. `owner` is where its table stands.
    fn file(&mut self, table: &Table, key: &str, owner: Mark) -> Option<(PathBuf, Origin)> {
        let Some(node) = table.get(key) else {
            if !table.has(key) && !table.incomplete {
                self.missing(key, owner);
            }
            return None;
        };
        let text = node.text()?;
        if text.is_empty() {
            self.report(Diagnostic::error("bad-path", format!("`{key}` names no file")).label("empty"), node.at);
            return None;
        }
        Some((self.path(node, text), self.origin(node.at)))
    }

    fn missing(&mut self, key: &str, owner: Mark) {
        self.report(Diagnostic::error("missing-key", format!("`{key}` is missing")).label("in this table"), owner);
    }
}

/// The text items of a list with their places.
fn texts<'t>(table: &'t Table, key: &str) -> impl Iterator<Item = (&'t str, Mark)> {
    table.list(key).filter_map(|node| Some((node.text()?, node.at)))
}

/// A key was given a value that is not usable: reported already.
fn is_invalid(table: &Table, key: &str) -> bool {
    table.entry(key).is_some_and(|entry| matches!(entry.value.value, Value::Invalid))
}
