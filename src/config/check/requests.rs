//! `[[test]]`: what is asked and what is expected.

use std::net::{IpAddr, Ipv4Addr};

use super::{Checker, headers, hosts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Node, Table, quote};
use crate::config::{Expectation, Expected, Test};

impl Checker<'_> {
    /// The tests of a config in file order.
    pub(super) fn tests(&mut self, root: &Table) -> Vec<Test> {
        root.list("test").filter_map(|node| self.test(node)).collect()
    }

    fn test(&mut self, node: &Node) -> Option<Test> {
        let table = node.table()?;
        for key in ["request", "expect"] {
            if !table.has(key) && !table.incomplete {
                self.missing(key, node.at);
            }
        }
        let request = table.get("request")?;
        let (method, url) = self.take(method_and_url(request.text()?), request.at)?;
        let mut fields = Vec::new();
        for entry in table.table("headers").map_or(&[][..], |table| &table.entries) {
            let name = self.take(headers::name(&entry.key), entry.key_at);
            let value = entry.value.text().and_then(|text| self.take(plain(text), entry.value.at));
            fields.extend(name.zip(value));
        }
        let from = match table.get("from") {
            Some(node) => self.take(address(node.text()?), node.at)?,
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let wanted = table.get("expect")?;
        if wanted.table().is_some_and(|table| table.entries.is_empty()) {
            self.report(Diagnostic::error("no-expectation", "the test expects nothing").label("empty"), wanted.at);
        }
        let expect = self.expectations(wanted.table()?);
        Some(Test { method, url, headers: fields, from, expect, origin: self.origin(request.at) })
    }

    fn expectations(&self, table: &Table) -> Vec<Expected> {
        let mut out = Vec::new();
        for entry in &table.entries {
            let mut add = |what, node: &Node| {
                let value = node.text().map(str::to_owned).or_else(|| node.integer().map(|n| n.to_string()));
                out.extend(value.map(|value| Expected { what, value, origin: self.origin(node.at) }));
            };
            let inner = || entry.value.table().map_or(&[][..], |table| table.entries.as_slice());
            match entry.key.as_str() {
                "status" => add(Expectation::Status, &entry.value),
                "redirect" | "location" => add(Expectation::Location, &entry.value),
                "site" => add(Expectation::Site, &entry.value),
                "route" => add(Expectation::Route, &entry.value),
                "upstream" => add(Expectation::Upstream, &entry.value),
                "why" => add(Expectation::Why, &entry.value),
                "header" => inner().iter().for_each(|f| add(Expectation::Header(f.key.clone()), &f.value)),
                "sent" => inner().iter().for_each(|f| add(Expectation::Sent(f.key.clone()), &f.value)),
                _ => {}
            }
        }
        out
    }
}

fn method_and_url(text: &str) -> Checked<(String, String)> {
    let bad = |why: &str| {
        Diagnostic::error("bad-request", format!("{} is no request: {why}", quote(text)))
            .label("not a request")
            .help("requests are written \"GET https://app.example.com/path\"")
            .boxed()
    };
    let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
    headers::name(method).map_err(|_| bad("its method is none"))?;
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Err(bad("it needs a URL with http:// or https://"));
    };
    if rest.is_empty() || rest.starts_with('/') || !url.chars().all(|c| c.is_ascii_graphic()) {
        return Err(bad("its URL is none"));
    }
    Ok((method.to_owned(), url.to_owned()))
}

fn address(text: &str) -> Checked<IpAddr> {
    hosts::ip(text).ok_or_else(|| {
        Diagnostic::error("bad-address", format!("{} is no IP address", quote(text))).label("not an address").boxed()
    })
}

/// A field value as a client sends it: nothing is filled in.
fn plain(text: &str) -> Checked<String> {
    match text.chars().find(|c| !matches!(c, '\t' | ' '..='~')) {
        None => Ok(text.trim().to_owned()),
        Some(c) => Err(Diagnostic::error("bad-header-value", "this is no value of a header field")
            .label(format!("holds `{}`", c.escape_default()))
            .boxed()),
    }
}
