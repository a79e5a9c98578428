//! What a site or a route does: `proxy`, `upstream`, `redirect` or `respond`, one of them.

use super::upstreams::Upstreams;
use super::{Checker, headers, is_invalid};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::source::Mark;
use crate::config::value::{Entry, Node, Table, Value, quote};
use crate::config::{Action, PathPattern, Redirect, Respond};

const ACTIONS: &[&str] = &["proxy", "upstream", "redirect", "respond"];
const REDIRECTS: &[u16] = &[301, 302, 303, 307, 308];
const PLACEHOLDERS: &[&str] = &["path", "query", "host"];

/// What a table says about its action.
pub(super) enum Found {
    /// With the place of its value.
    Action(Action, Mark),
    /// There is one, and it was reported.
    Reported,
    None,
}

impl Checker<'_> {
    /// The action of a site's or a route's table. `path`: the route's.
    pub(super) fn action(&mut self, table: &Table, path: Option<&PathPattern>, upstreams: &mut Upstreams) -> Found {
        let given: Vec<&Entry> = table.entries.iter().filter(|entry| ACTIONS.contains(&entry.key.as_str())).collect();
        let (first, others) = match given.as_slice() {
            [] if table.incomplete => return Found::Reported,
            [] => return Found::None,
            [first, others @ ..] => (*first, others),
        };
        if let Some(second) = others.first() {
            let message = format!("`{}` and `{}` stand side by side", first.key, second.key);
            let diagnostic = Diagnostic::error("two-actions", message)
                .label("the second action")
                .also(&self.origin(first.key_at), "the first action")
                .help("a request has one answer: keep one of `proxy`, `upstream`, `redirect`, `respond`");
            self.report(diagnostic, second.key_at);
        }
        // The others are read for their own problems.
        let mut read =
            given.iter().map(|entry| self.one_action((table, path), entry, upstreams)).collect::<Vec<_>>().into_iter();
        match read.next().flatten() {
            Some(action) => Found::Action(action, first.value.at),
            None => Found::Reported,
        }
    }

    /// One action; `None` when it was reported.
    fn one_action(
        &mut self,
        (table, path): (&Table, Option<&PathPattern>),
        entry: &Entry,
        upstreams: &mut Upstreams,
    ) -> Option<Action> {
        if is_invalid(table, &entry.key) {
            return None;
        }
        let node = &entry.value;
        match entry.key.as_str() {
            "proxy" => {
                let target = self.target(node)?;
                Some(Action::Forward(upstreams.of_target(target, self.origin(node.at))))
            }
            "upstream" => self.named(node, upstreams).map(Action::Forward),
            "redirect" => self.redirect(node, path).map(Action::Redirect),
            _ => self.respond(node).map(Action::Respond),
        }
    }

    fn named(&mut self, node: &Node, upstreams: &mut Upstreams) -> Option<usize> {
        let name = node.text()?;
        if let Some(index) = upstreams.named(name) {
            return Some(index);
        }
        let diagnostic =
            Diagnostic::error("unknown-upstream", format!("there is no upstream {}", quote(name))).label("not defined");
        let diagnostic = match upstreams.nearest(name) {
            Some(near) => diagnostic.help(format!("did you mean {}?", quote(near))).replace(quote(near)),
            None if name.contains(':') => diagnostic.help("`proxy` takes a target; `upstream` a name of `[upstreams]`"),
            None => diagnostic.help("upstreams are defined as `[upstreams.NAME]` with `servers`"),
        };
        self.report(diagnostic, node.at);
        None
    }

    fn redirect(&mut self, node: &Node, path: Option<&PathPattern>) -> Option<Redirect> {
        if let Some(to) = node.text() {
            let to = self.take(location(to, path), node.at)?;
            return Some(Redirect { to, status: 308 });
        }
        let table = node.table()?;
        let status = self.status(table, 308, |status| {
            REDIRECTS.contains(&status).then_some(()).ok_or("redirects are 301, 302, 303, 307 or 308")
        });
        let Some(to) = table.get("to") else {
            if !table.has("to") && !table.incomplete {
                self.missing("to", node.at);
            }
            return None;
        };
        let to = self.take(location(to.text()?, path), to.at)?;
        Some(Redirect { to, status: status? })
    }

    fn respond(&mut self, node: &Node) -> Option<Respond> {
        let table = node.table()?;
        let status = self.status(table, 200, |status| {
            (200..=599).contains(&status).then_some(()).ok_or("a response is 200 to 599")
        })?;
        let body = table.text("body").unwrap_or_default().to_owned();
        // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: these have no content.
        if let (204 | 205 | 304, false, Some(body)) = (status, body.is_empty(), table.get("body")) {
            let message = format!("a response with status {status} has no content");
            self.report(Diagnostic::error("body-not-allowed", message).label("never sent"), body.at);
        }
        let content_type = match table.get("content_type") {
            Some(node) => self.take(media_type(node.text()?), node.at)?,
            None => "text/plain; charset=utf-8".to_owned(),
        };
        Some(Respond { status, body, content_type })
    }

    fn status(&mut self, table: &Table, default: u16, check: fn(u16) -> Result<(), &'static str>) -> Option<u16> {
        let Some(node) = table.get("status") else { return (!table.has("status")).then_some(default) };
        // The schema bounds the number to 999.
        let Value::Integer(Some(number)) = node.value else { return None };
        let status = u16::try_from(number).unwrap_or(0);
        if let Err(label) = check(status) {
            let message = format!("{number} is no status for this");
            self.report(Diagnostic::error("bad-status", message).label(label), node.at);
            return None;
        }
        Some(status)
    }
}

/// The target of a redirect: a path, or a URL with http or https.
fn location(text: &str, route: Option<&PathPattern>) -> Checked<String> {
    let bad = |why: &str| {
        Diagnostic::error("bad-redirect", format!("{} is no place to redirect to: {why}", quote(text)))
            .label("not a URL or path")
    };
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(bad(&format!("it holds `{}`", c.escape_default())).boxed());
    }
    headers::template(text, PLACEHOLDERS, route)?;
    let path = text.starts_with('/') && !text.starts_with("//");
    if !path && !text.starts_with("http://") && !text.starts_with("https://") {
        let diagnostic = bad("it begins with neither `/` nor `https://`");
        return Err(match text.contains('.') && !text.contains(':') && !text.starts_with('/') {
            true => diagnostic.replace(quote(&format!("https://{text}"))),
            false => diagnostic,
        }
        .boxed());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if authority.replace("{host}", "").contains('{') {
            return Err(bad("what a client sends would choose the host")
                .help("end the host with `/`; only {host} may stand in it")
                .boxed());
        }
    }
    Ok(text.to_owned())
}

/// A media type (RFC 9110 section 8.3.1), loosely: `type/subtype` and any parameters.
fn media_type(text: &str) -> Checked<String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let parts = essence.split_once('/');
    if parts.is_none_or(|(kind, sub)| headers::name(kind).is_err() || headers::name(sub).is_err()) {
        return Err(Diagnostic::error("bad-media-type", format!("{} is no media type", quote(text)))
            .label("media types are written \"text/html\"")
            .boxed());
    }
    headers::value(text)
}
