//! `error_pages` of a site, a route, or `[defaults]`.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Checker;
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, quote};
use crate::config::{ErrorFile, ErrorPages};

impl Checker<'_> {
    /// The pages of a table; outer `None` where it does not say, inner `None` for "off".
    pub(super) fn error_pages(&mut self, table: &Table) -> Option<Option<Arc<ErrorPages>>> {
        let node = table.get("error_pages")?;
        let Some(inner) = node.table() else { return Some(None) };
        let mut files = Vec::new();
        for entry in inner.entries.iter().filter(|entry| entry.key != "upstream") {
            let statuses = self.take(statuses(&entry.key), entry.key_at);
            let file = self.file(inner, &entry.key, entry.key_at);
            if let (Some(statuses), Some((file, origin))) = (statuses, file) {
                files.push(ErrorFile { statuses, file, origin });
            }
        }
        if files.is_empty() && !inner.incomplete && inner.entries.iter().all(|entry| entry.key == "upstream") {
            let diagnostic = Diagnostic::error("no-pages", "`error_pages` names no page")
                .label("no status")
                .help("write a file for a status or a class: \"404\" = \"404.html\", \"5xx\" = \"sorry.html\"");
            self.report(diagnostic, node.at);
        }
        // A single status is looked at before its class.
        files.sort_by_key(|file| file.statuses.clone().count());
        Some(Some(Arc::new(ErrorPages { files, upstream: inner.bool("upstream").unwrap_or(false) })))
    }
}

/// `"404"` or `"5xx"`.
fn statuses(text: &str) -> Checked<RangeInclusive<u16>> {
    match text {
        "4xx" => return Ok(400..=499),
        "5xx" => return Ok(500..=599),
        _ => {}
    }
    let status = text.parse::<u16>().ok().filter(|status| text.len() == 3 && (400..=599).contains(status));
    status.map(|status| status..=status).ok_or_else(|| {
        Diagnostic::error("bad-status", format!("{} is no error", quote(text)))
            .label("not a status of an error")
            .help("errors are \"400\" to \"599\", \"4xx\" and \"5xx\"")
            .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_single_statuses_or_classes() {
        let table = [("404", 404..=404), ("599", 599..=599), ("4xx", 400..=499), ("5xx", 500..=599)];
        for (text, range) in table {
            assert_eq!(statuses(text), Ok(range));
        }
        for text in ["200", "3xx", "600", "0404", "+404", "5XX", "", "oops"] {
            assert_eq!(statuses(text).expect_err(text).code, "bad-status");
        }
    }
}
