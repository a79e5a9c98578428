//! Paths of routes: exact ones, prefixes, and what is stripped.

use super::{Checker, headers};
use crate::config::PathPattern;
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Table, quote};

/// Reads `"/ping"`, `"/api/*"` (held without its end) or `"/*"` (every path).
///
/// Requests are matched by their normalised path (RFC 3986 section 6.2.2), so a pattern that is not normalised itself
/// would never match: it is an error that names the form that does.
pub(super) fn pattern(text: &str) -> Checked<PathPattern> {
    if text == "*" {
        return Err(bad(text, "it does not start with `/`").replace("\"/*\"").boxed());
    }
    let (path, prefix) = match text.strip_suffix("/*") {
        Some(path) => (path, true),
        None => (text, false),
    };
    if let Some(at) = path.find('*') {
        let diagnostic = bad(text, "`*` stands only at the end, as a whole segment: \"/api/*\"");
        let fixed = path.strip_suffix('*').filter(|rest| rest.len() == at && rest.starts_with('/'));
        return Err(match fixed {
            Some(rest) if rest.len() > 1 => diagnostic.replace(quote(&format!("{rest}/*"))),
            _ => diagnostic,
        }
        .boxed());
    }
    if prefix && path.is_empty() {
        return Ok(PathPattern::Any);
    }
    normal(text, path, if prefix { "/*" } else { "" })?;
    if prefix && path.ends_with('/') {
        return Err(bad(text, "it has an empty segment").boxed());
    }
    let path = path.to_owned();
    Ok(if prefix { PathPattern::Prefix(path) } else { PathPattern::Exact(path) })
}

/// Reads `strip_prefix`: a path without its trailing slash, the whole front of `pattern`.
pub(super) fn strip_prefix(text: &str, route: Option<&PathPattern>) -> Checked<String> {
    let path = text.strip_suffix("/*").or_else(|| text.strip_suffix('/')).unwrap_or(text);
    if path.is_empty() {
        return Err(Diagnostic::error("bad-path", format!("{} strips nothing", quote(text)))
            .label("no segment to strip")
            .boxed());
    }
    normal(text, path, "")?;
    let front = match route {
        Some(PathPattern::Exact(path) | PathPattern::Prefix(path)) => path.as_str(),
        Some(PathPattern::Any | PathPattern::Regex(_)) => "",
        None => return Ok(path.to_owned()),
    };
    let covered = front.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !covered {
        let shown = match route {
            Some(PathPattern::Exact(_)) => front.to_owned(),
            Some(PathPattern::Regex(regex)) => regex.as_str().to_owned(),
            _ => format!("{front}/*"),
        };
        return Err(Diagnostic::error("bad-strip-prefix", format!("the path does not begin with {}", quote(path)))
            .label("not the front of the route's path")
            .note(format!("the route's path is {}", quote(&shown)))
            .help("`strip_prefix` is the path or whole segments from its front")
            .boxed());
    }
    Ok(path.to_owned())
}

/// What a rewrite may be filled in with, beside groups of a `path_regex`.
const REWRITE: &[&str] = &["path"];

impl Checker<'_> {
    /// `rewrite` of a route: a path with `{path}` and the groups of its `path_regex`.
    pub(super) fn rewrite(&mut self, table: &Table, route: Option<&PathPattern>) -> Option<String> {
        let node = table.get("rewrite")?;
        let text = self.take(rewrite(node.text()?, route), node.at)?;
        if let Some(entry) = table.entry("strip_prefix") {
            let diagnostic = Diagnostic::error("two-rewrites", "`rewrite` and `strip_prefix` stand side by side")
                .label("the whole path is given here")
                .also(&self.origin(entry.key_at), "and shortened here")
                .help("`rewrite = \"/{path}\"` is the path without the route's prefix");
            self.report(diagnostic, node.at);
        }
        Some(text)
    }
}

fn rewrite(text: &str, route: Option<&PathPattern>) -> Checked<String> {
    headers::template(text, REWRITE, route)?;
    if !text.starts_with('/') {
        let diagnostic =
            Diagnostic::error("bad-path", format!("{} is no path: it does not start with `/`", quote(text)));
        return Err(diagnostic.label("not a path").replace(quote(&format!("/{text}"))).boxed());
    }
    // What is filled in is a path already, so the rest has to be one.
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('{') {
        plain.push_str(before);
        plain.push('x');
        rest = tail.split_once('}').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    normal(&plain, &plain, "")?;
    Ok(text.to_owned())
}

/// Checks that a path is absolute and in normal form. `end` is what follows it in the text.
fn normal(text: &str, path: &str, end: &str) -> Checked<()> {
    if !path.starts_with('/') {
        let diagnostic = bad(text, "it does not start with `/`");
        return Err(match path.chars().all(|c| c.is_ascii_graphic()) && !path.is_empty() && !path.contains("://") {
            true => diagnostic.replace(quote(&format!("/{path}{end}"))),
            false => diagnostic,
        }
        .boxed());
    }
    if let Some(c) = path.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(bad(text, &format!("`{c}` ends a path")).boxed());
    }
    if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\')) {
        let mut encoded = String::new();
        for byte in c.to_string().bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        return Err(bad(text, &format!("`{}` is written {encoded}", c.escape_debug())).boxed());
    }
    if let Some(fixed) = normalised_percent(path).map_err(|why| bad(text, why).boxed())? {
        return Err(bad(text, "it is not in normal form").replace(quote(&format!("{fixed}{end}"))).boxed());
    }
    if path.contains("//") {
        return Err(bad(text, "it has an empty segment").boxed());
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(bad(text, "it has a dot segment").boxed());
    }
    Ok(())
}

/// The path with unreserved characters decoded and hexadecimal digits in upper case (RFC 3986 sections 6.2.2.1 and
/// 6.2.2.2); `None` when it is that already.
fn normalised_percent(path: &str) -> Result<Option<String>, &'static str> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, tail)) = rest.split_once('%') {
        out.push_str(before);
        let hex = tail.get(..2).filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let byte = byte.ok_or("`%` is followed by two hexadecimal digits")?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = tail.get(2..).unwrap_or("");
    }
    out.push_str(rest);
    Ok((out != path).then_some(out))
}

fn bad(text: &str, why: &str) -> Diagnostic {
    Diagnostic::error("bad-path", format!("{} is no path of a route: {why}", quote(text))).label("not a path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_exact_or_prefixes_of_whole_segments() {
        let table = [
            ("/", PathPattern::Exact("/".into())),
            ("/ping", PathPattern::Exact("/ping".into())),
            ("/api/", PathPattern::Exact("/api/".into())),
            ("/api/*", PathPattern::Prefix("/api".into())),
            ("/a%20b/*", PathPattern::Prefix("/a%20b".into())),
            ("/*", PathPattern::Any),
        ];
        for (text, path) in table {
            assert_eq!(pattern(text), Ok(path), "{text}");
        }
    }

    #[test]
    fn a_path_that_could_never_match_is_refused() {
        let table = [
            ("api", Some("\"/api\"")),
            ("api/*", Some("\"/api/*\"")),
            ("*", Some("\"/*\"")),
            ("/api*", Some("\"/api/*\"")),
            ("/*/x", None),
            ("/a//b", None),
            ("//*", None),
            ("/a/../b", None),
            ("/%7euser", Some("\"/~user\"")),
            ("/a%2fb", Some("\"/a%2Fb\"")),
            ("/100%", None),
            ("/a b", None),
            ("/a?b", None),
            ("", None),
        ];
        for (text, fix) in table {
            let problem = pattern(text).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), ("bad-path", fix), "{text}");
        }
    }

    #[test]
    fn what_is_stripped_is_the_front_of_the_route() {
        let api = PathPattern::Prefix("/api/v1".to_owned());
        assert_eq!(strip_prefix("/api", Some(&api)), Ok("/api".to_owned()));
        assert_eq!(strip_prefix("/api/v1/", Some(&api)), Ok("/api/v1".to_owned()));
        for text in ["/ap", "/web", "/api/v1/x"] {
            assert_eq!(strip_prefix(text, Some(&api)).expect_err(text).code, "bad-strip-prefix");
        }
        assert_eq!(strip_prefix("/", Some(&api)).unwrap_err().code, "bad-path");
        assert_eq!(strip_prefix("/api", Some(&PathPattern::Any)).unwrap_err().code, "bad-strip-prefix");
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_refused_without_a_panic(text in "[/*%a-z.0-9é ]{0,30}") {
            let _ = pattern(&text);
            let _ = strip_prefix(&text, None);
        }
    }
}
