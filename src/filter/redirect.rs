//! `redirect = { to, status }` of a route, and the redirect of an alias to its site.

use crate::config::{PathPattern, Redirect};
use crate::http::{Response, respond};
use crate::message::RequestHead;

/// Answers with the redirect of a route. `{path}` is what follows the route's prefix, `{query}` and `{host}` are the
/// request's; the query is kept where `to` names none of its own.
pub fn answer(redirect: &Redirect, pattern: &PathPattern, head: &RequestHead) -> Response {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = text(head.path());
    let rest = match pattern {
        PathPattern::Prefix(prefix) => path.strip_prefix(prefix.as_str()).unwrap_or(&path),
        PathPattern::Exact(_) | PathPattern::Any => &path,
    };
    let query = head.query().map(text);
    let mut location = redirect
        .to
        .replace("{path}", rest.trim_start_matches('/'))
        .replace("{host}", &text(head.authority()))
        .replace("{query}", query.as_deref().unwrap_or(""));
    if let Some(query) = query.filter(|_| !redirect.to.contains('?') && !redirect.to.contains("{query}")) {
        location = format!("{location}?{query}");
    }
    respond::redirect(redirect.status, location.as_bytes())
}

/// Sends an alias to the site's own name, on the same scheme and port.
pub fn alias(name: &str, https: bool, head: &RequestHead) -> Response {
    let mut location = if https { b"https://".to_vec() } else { b"http://".to_vec() };
    location.extend_from_slice(name.as_bytes());
    if let Some(port) = head.port() {
        location.push(b':');
        location.extend_from_slice(port);
    }
    location.extend_from_slice(head.target());
    respond::redirect(308, &location)
}
