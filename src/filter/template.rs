//! Texts with `{words}` that stand for facts of a request.

use std::borrow::Cow;

use regex::bytes::Captures;

use crate::config::PathPattern;

/// Fills in a template in one pass, so that what a client sent is never read as a placeholder. A word without a value
/// stands for itself.
pub fn fill<'t, 'v>(template: &'t str, value: impl Fn(&str) -> Option<Cow<'v, [u8]>>) -> Cow<'t, [u8]> {
    if !template.contains('{') {
        return Cow::Borrowed(template.as_bytes());
    }
    let mut out = Vec::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        out.extend_from_slice(before.as_bytes());
        let filled = tail.split_once('}').and_then(|(word, after)| Some((value(word)?, after)));
        match filled {
            Some((value, after)) => {
                out.extend_from_slice(&value);
                rest = after;
            }
            None => {
                out.push(b'{');
                rest = tail;
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Cow::Owned(out)
}

/// What `{path}` and the groups of a `path_regex` stand for.
pub struct PathValues<'p> {
    rest: &'p [u8],
    groups: Option<Captures<'p>>,
}

impl<'p> PathValues<'p> {
    /// `path` is one that the pattern matches.
    pub fn new(pattern: &PathPattern, path: &'p [u8]) -> PathValues<'p> {
        let rest = match pattern {
            PathPattern::Prefix(prefix) => path.strip_prefix(prefix.as_bytes()).unwrap_or(path),
            _ => path,
        };
        let groups = match pattern {
            PathPattern::Regex(regex) => regex.captures(path),
            _ => None,
        };
        PathValues { rest: rest.strip_prefix(b"/").unwrap_or(rest), groups }
    }

    /// `{path}` is what follows the route's prefix, without its first slash; a group that took no part is empty.
    pub fn get(&self, word: &str) -> Option<Cow<'p, [u8]>> {
        if word == "path" {
            return Some(Cow::Borrowed(self.rest));
        }
        let groups = self.groups.as_ref()?;
        let known = match word.parse::<usize>() {
            Ok(number) => number > 0 && number < groups.len(),
            Err(_) => return groups.name(word).map(|group| Cow::Borrowed(group.as_bytes())),
        };
        let group = match word.parse() {
            Ok(number) if known => groups.get(number),
            _ => return None,
        };
        Some(Cow::Borrowed(group.map_or(&b""[..], |group| group.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathRegex;

    fn filled(template: &str, pattern: &PathPattern, path: &str) -> String {
        let values = PathValues::new(pattern, path.as_bytes());
        String::from_utf8(fill(template, |word| values.get(word)).into_owned()).unwrap()
    }

    #[test]
    fn words_are_filled_in_once_and_other_braces_stay() {
        let prefix = PathPattern::Prefix("/a".into());
        assert_eq!(filled("/x/{path}?{}{y", &prefix, "/a/{path}/b"), "/x/{path}/b?{}{y");
        assert_eq!(filled("/x/{path}", &prefix, "/a"), "/x/");
        assert_eq!(filled("{\"a\":{\"b\":1}}", &prefix, "/a"), "{\"a\":{\"b\":1}}");
    }

    #[test]
    fn groups_are_numbered_and_named() {
        let regex = PathPattern::Regex(PathRegex::new("/(?<user>[a-z]+)/([0-9]+)?(x)?").unwrap());
        assert_eq!(filled("{user}-{1}-{2}-{3}-{4}-{0}", &regex, "/joe/12"), "joe-joe-12--{4}-{0}");
    }
}
