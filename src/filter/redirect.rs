//! `redirect = { to, status }` of a route, and the redirect of an alias to its site.

use std::borrow::Cow;

use super::template::{PathValues, fill};
use crate::config::{PathPattern, Redirect};
use crate::http::{Response, respond};
use crate::message::RequestHead;

/// Answers with the redirect of a route. `{path}` is what follows the route's prefix, `{query}` and `{host}` are the
/// request's, `{1}` and `{name}` are groups of its `path_regex`; the query is kept where `to` names none of its own.
pub fn answer(redirect: &Redirect, pattern: &PathPattern, head: &RequestHead) -> Box<Response> {
    let values = PathValues::new(pattern, head.path());
    let location = fill(&redirect.to, |word| match word {
        "host" => Some(Cow::Borrowed(head.authority())),
        "query" => Some(Cow::Borrowed(head.query().unwrap_or_default())),
        word => values.get(word),
    });
    let mut location = location.into_owned();
    if let Some(query) = head.query().filter(|_| !redirect.to.contains('?') && !redirect.to.contains("{query}")) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    if redirect.to.starts_with('/') {
        // A path that begins with two slashes is a host to a browser, and a backslash is a slash: nobody may be sent to a
        // host of the client's choice.
        let rest = location.iter().position(|b| !matches!(b, b'/' | b'\\')).unwrap_or(location.len());
        location.splice(..rest, [b'/']);
    }
    respond::redirect(redirect.status, &location)
}

/// Sends an alias to the site's own name, on the same scheme and port.
pub fn alias(name: &str, https: bool, head: &RequestHead) -> Box<Response> {
    let mut location = if https { b"https://".to_vec() } else { b"http://".to_vec() };
    location.extend_from_slice(name.as_bytes());
    if let Some(port) = head.port() {
        location.push(b':');
        location.extend_from_slice(port);
    }
    location.extend_from_slice(head.target());
    respond::redirect(308, &location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathRegex;
    use crate::message::{Fields, Known, Method, Version};

    fn location(to: &str, pattern: PathPattern, target: &str) -> String {
        let mut fields = Fields::default();
        let (span, authority) = (fields.store(target.as_bytes()), fields.store(b"a.test:81"));
        let head = RequestHead::new(Method::GET, Version::Http11, span, authority, fields);
        let response = answer(&Redirect { to: to.into(), status: 308 }, &pattern, &head);
        String::from_utf8(response.fields.get(Known::Location).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn templates_are_filled_from_the_request() {
        let old = || PathPattern::Prefix("/old".into());
        assert_eq!(location("/new/{path}", old(), "/old/a%20b?q=1"), "/new/a%20b?q=1");
        assert_eq!(location("https://{host}/n?{query}", old(), "/old?q=1"), "https://a.test:81/n?q=1");
        let regex = PathPattern::Regex(PathRegex::new("/blog/([0-9]+)/(?<slug>.*)").unwrap());
        assert_eq!(location("/posts/{slug}?year={1}", regex, "/blog/2024/x"), "/posts/x?year=2024");
    }

    #[test]
    fn a_client_cannot_choose_the_host_it_is_sent_to() {
        assert_eq!(location("/{path}", PathPattern::Any, "//evil.test/x"), "/evil.test/x");
        let regex = || PathPattern::Regex(PathRegex::new("/go(.*)").unwrap());
        assert_eq!(location("/{1}", regex(), "/go/evil.test"), "/evil.test");
        assert_eq!(location("/{1}", regex(), "/go/\\evil.test"), "/evil.test");
    }
}
