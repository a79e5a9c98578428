//! The path and query a server gets: the client's own octets, unless the route strips a prefix or rewrites.

use std::borrow::Cow;

use super::template::{PathValues, fill};
use crate::config::Route;
use crate::error::Why;
use crate::message::{RequestHead, normalize};

/// Path and query for the server.
///
/// # Errors
/// `route.ambiguous_path` where the client's spelling of the path would lead elsewhere than its normal form, by which the
/// route was chosen: `/app/../app/x` without `/app` is `/../app/x`.
pub fn of<'h>(route: &Route, head: &'h RequestHead) -> Result<Cow<'h, [u8]>, Why> {
    if route.strip_prefix.is_none() && route.rewrite.is_none() {
        return Ok(Cow::Borrowed(head.target()));
    }
    let path = head.path();
    let changed = change(route, path).ok_or(Why::RouteAmbiguousPath)?;
    if let Cow::Owned(normal) = normalize(path) {
        let expected = change(route, &normal).ok_or(Why::RouteAmbiguousPath)?;
        if normalize(&changed) != normalize(&expected) {
            return Err(Why::RouteAmbiguousPath);
        }
    }
    if let (Cow::Borrowed(rest), Some(prefix)) = (&changed, &route.strip_prefix)
        && !rest.is_empty()
        && let Some(rest) = head.target().get(prefix.len()..)
    {
        // Nothing was added in front, so the target's own end is the new one.
        return Ok(Cow::Borrowed(rest));
    }
    let mut target = changed.into_owned();
    if let Some(query) = head.query() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    Ok(Cow::Owned(target))
}

/// The path as the route changes it; `None` where it does not have the prefix in this spelling.
fn change<'p>(route: &Route, path: &'p [u8]) -> Option<Cow<'p, [u8]>> {
    if let Some(prefix) = &route.strip_prefix {
        return match path.strip_prefix(prefix.as_bytes())? {
            [] => Some(Cow::Owned(b"/".to_vec())),
            rest @ [b'/', ..] => Some(Cow::Borrowed(rest)),
            _ => None,
        };
    }
    let Some(template) = &route.rewrite else { return Some(Cow::Borrowed(path)) };
    let values = PathValues::new(&route.path, path);
    Some(Cow::Owned(fill(template, |word| values.get(word)).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::message::{Fields, Method, Version};

    fn target(route: &str, target: &str) -> Result<String, Why> {
        let text = format!("[sites.\"a.test\"]\nproxy = 1\n[[sites.\"a.test\".routes]]\n{route}\n");
        let loaded = crate::config::parse("t.toml", &text, Path::new(".")).unwrap_or_else(|p| panic!("{p}"));
        let mut fields = Fields::default();
        let (span, authority) = (fields.store(target.as_bytes()), fields.store(b"a.test"));
        let head = RequestHead::new(Method::GET, Version::Http11, span, authority, fields);
        of(&loaded.config.sites[0].routes[0], &head).map(|target| String::from_utf8(target.into_owned()).unwrap())
    }

    #[test]
    fn a_prefix_is_stripped_and_the_rest_stays_as_it_was_sent() {
        let route = "path = \"/app/*\"\nstrip_prefix = \"/app\"";
        let table = [
            ("/app", "/"),
            ("/app?q", "/?q"),
            ("/app/", "/"),
            ("/app/a%2Fb//c?x=%41", "/a%2Fb//c?x=%41"),
            ("/app//b", "//b"),
            ("/app/a/../b", "/a/../b"),
        ];
        for (sent, expected) in table {
            assert_eq!(target(route, sent).as_deref(), Ok(expected), "{sent}");
        }
        for sent in ["/app/../app/x", "/./app/x", "/x/../app/y", "/%61pp/x"] {
            assert_eq!(target(route, sent), Err(Why::RouteAmbiguousPath), "{sent}");
        }
    }

    #[test]
    fn a_rewrite_takes_the_rest_or_groups_and_keeps_the_query() {
        assert_eq!(target("path = \"/old/*\"\nrewrite = \"/new/{path}\"", "/old/a?b=1").as_deref(), Ok("/new/a?b=1"));
        let regex = "path_regex = \"/u/([a-z]+)/(.*)\"\nrewrite = \"/{2}/of/{1}\"";
        assert_eq!(target(regex, "/u/joe/x%20y").as_deref(), Ok("/x%20y/of/joe"));
        assert_eq!(target(regex, "/u/joe/../joe/x"), Err(Why::RouteAmbiguousPath));
        assert_eq!(target("path = \"/x\"\nrewrite = \"/y\"", "/x?").as_deref(), Ok("/y?"));
    }
}
