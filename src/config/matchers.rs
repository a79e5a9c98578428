//! What a route is for, beyond its path, and the regular expression a path may be given by.

use std::hash::{Hash, Hasher};

use ipnet::IpNet;
use regex::bytes::{Captures, Regex, RegexBuilder};

/// Bytes a compiled `path_regex` may take: a pattern that needs more is a mistake.
const REGEX_SIZE: usize = 1 << 20;

/// The conditions of a route beside its path. All must hold; none is the common case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers {
    /// Methods, any one of them; empty is every method.
    pub methods: Vec<String>,
    /// Request fields by lower-case name: each line of that name has the value; `None` is any value.
    pub headers: Vec<(String, Option<String>)>,
    /// Query parameters: each one of that name has the value; `None` is any value. Both are decoded text.
    pub query: Vec<(String, Option<String>)>,
    /// Client networks, any one of them; empty is every client.
    pub client_ip: Vec<IpNet>,
}

impl Matchers {
    /// How many conditions there are: of two routes for one path the one with more is asked first.
    pub fn count(&self) -> usize {
        usize::from(!self.methods.is_empty())
            + self.headers.len()
            + self.query.len()
            + usize::from(!self.client_ip.is_empty())
    }

    /// No request can meet both. Where this is not certain the answer is `false`.
    pub fn excludes(&self, other: &Matchers) -> bool {
        let apart = |ours: &[(String, Option<String>)], theirs: &[(String, Option<String>)]| {
            ours.iter().any(|(name, value)| {
                theirs
                    .iter()
                    .any(|(other, wanted)| name == other && value.is_some() && wanted.is_some() && value != wanted)
            })
        };
        let lists = |ours: bool, theirs: bool| !ours && !theirs;
        lists(self.methods.is_empty(), other.methods.is_empty())
            && !self.methods.iter().any(|method| other.methods.contains(method))
            || apart(&self.headers, &other.headers)
            || apart(&self.query, &other.query)
            || lists(self.client_ip.is_empty(), other.client_ip.is_empty())
                && !self
                    .client_ip
                    .iter()
                    .any(|ours| other.client_ip.iter().any(|theirs| ours.contains(theirs) || theirs.contains(ours)))
    }
}

/// A `path_regex`: anchored at both ends, over octets. Two are equal when their text is.
#[derive(Debug, Clone)]
pub struct PathRegex {
    text: String,
    regex: Regex,
}

impl PathRegex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in the words of the regex library.
    pub fn new(text: &str) -> Result<PathRegex, String> {
        let build = |text: &str| {
            RegexBuilder::new(text).unicode(false).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build().map_err(
                |error| match error {
                    regex::Error::CompiledTooBig(_) => "it needs more than 1 MiB when compiled".to_owned(),
                    // The last line says what is wrong; those above draw the pattern.
                    error => {
                        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
                    }
                },
            )
        };
        // Alone first: `a)(b` must not close the group that anchors it.
        build(text)?;
        Ok(PathRegex { text: text.to_owned(), regex: build(&format!(r"\A(?:{text})\z"))? })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn is_match(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }

    pub fn captures<'p>(&self, path: &'p [u8]) -> Option<Captures<'p>> {
        self.regex.captures(path)
    }

    /// What a template may name: "1" and up, and named groups.
    pub fn groups(&self) -> Vec<String> {
        let numbers = (1..self.regex.captures_len()).map(|number| number.to_string());
        numbers.chain(self.regex.capture_names().flatten().map(str::to_owned)).collect()
    }
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &PathRegex) -> bool {
        self.text == other.text
    }
}

impl Eq for PathRegex {}

impl Hash for PathRegex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_matches_the_whole_path_and_cannot_leave_its_anchors() {
        let regex = PathRegex::new("/v[0-9]+/.*|/x").unwrap();
        for (path, matches) in
            [("/v1/a", true), ("/v12/", true), ("/v1", false), ("/x", true), ("/xy", false), ("a/x", false)]
        {
            assert_eq!(regex.is_match(path.as_bytes()), matches, "{path}");
        }
        assert!(PathRegex::new("a)|(b").is_err());
        assert!(PathRegex::new("(a{1000}){1000}").unwrap_err().contains("1 MiB"));
        assert_eq!(PathRegex::new("/(?<user>[a-z]+)/(.*)").unwrap().groups(), ["1", "2", "user"]);
    }

    #[test]
    fn only_what_no_request_can_meet_at_once_excludes_each_other() {
        let methods =
            |list: &[&str]| Matchers { methods: list.iter().map(|m| m.to_string()).collect(), ..Default::default() };
        assert!(methods(&["GET"]).excludes(&methods(&["POST"])));
        assert!(!methods(&["GET", "PUT"]).excludes(&methods(&["PUT"])));
        let header = |value: Option<&str>| Matchers {
            headers: vec![("x-a".into(), value.map(str::to_owned))],
            ..Default::default()
        };
        assert!(header(Some("1")).excludes(&header(Some("2"))));
        assert!(!header(Some("1")).excludes(&header(None)));
        let ip = |net: &str| Matchers { client_ip: vec![net.parse().unwrap()], ..Default::default() };
        assert!(ip("10.0.0.0/8").excludes(&ip("192.168.0.0/16")));
        assert!(!ip("10.0.0.0/8").excludes(&ip("10.1.0.0/16")));
        assert!(!Matchers::default().excludes(&ip("10.1.0.0/16")));
    }
}
