//! Which site and route a request meets: host exact, longest wildcard, `"*"`; then path exact, longest prefix, the rest.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::{HostPattern, PathPattern, Route, Site};
use crate::error::Why;

/// The hosts and paths of all sites. Built once a generation; a lookup allocates nothing for a plain path.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<[u8]>, Host>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<[u8]>, Host>,
    any: Option<Host>,
    /// The routes of each site.
    paths: Vec<Paths>,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    site: usize,
    alias: bool,
}

/// Where a request goes: indices into the config's sites and the site's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub site: usize,
    pub route: usize,
    /// The host is one of the site's aliases.
    pub alias: bool,
}

#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<[u8]>, usize>,
    /// Longest first.
    prefixes: Vec<(Box<[u8]>, usize)>,
    any: Option<usize>,
}

impl Router {
    pub fn new(sites: &[Site]) -> Router {
        let mut router = Router::default();
        for (index, site) in sites.iter().enumerate() {
            router.add(&site.host, Host { site: index, alias: false });
            for alias in &site.aliases {
                router.add(alias, Host { site: index, alias: true });
            }
            router.paths.push(Paths::new(site));
        }
        router
    }

    fn add(&mut self, pattern: &HostPattern, host: Host) {
        match pattern {
            HostPattern::Exact(name) => {
                self.exact.insert(name.as_bytes().into(), host);
            }
            HostPattern::Wildcard(base) => {
                self.wildcard.insert(base.as_bytes().into(), host);
            }
            HostPattern::Any => self.any = Some(host),
        }
    }

    /// Finds the route for a host (without port) and a path as the client sent it.
    ///
    /// # Errors
    /// `route.no_host`, `route.no_route`, or `route.ambiguous_path` where the path as sent and its normal form would meet
    /// different routes: a backend might read it either way, and only one way was checked here.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Result<Found, Why> {
        let Host { site, alias } = self.host(host).ok_or(Why::RouteNoHost)?;
        let paths = self.paths.get(site).ok_or(Why::RouteNoHost)?;
        let normal = normalize(path);
        let route = paths.find(&normal);
        if matches!(normal, Cow::Owned(_)) && paths.find(path) != route {
            return Err(Why::RouteAmbiguousPath);
        }
        Ok(Found { site, route: route.ok_or(Why::RouteNoRoute)?, alias })
    }

    /// The site of a host alone, and whether the host is one of its aliases.
    pub fn site(&self, host: &[u8]) -> Option<(usize, bool)> {
        self.host(host).map(|found| (found.site, found.alias))
    }

    fn host(&self, host: &[u8]) -> Option<Host> {
        let lower: Cow<'_, [u8]> = match host.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        // The config names IPv6 addresses without the brackets of an authority.
        let bare = lower.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        if let Some(found) = self.exact.get(bare.unwrap_or(&lower)) {
            return Some(*found);
        }
        if !self.wildcard.is_empty() {
            let mut rest = &*lower;
            while let Some(dot) = memchr::memchr(b'.', rest) {
                rest = &rest[dot + 1..];
                if let Some(found) = self.wildcard.get(rest) {
                    return Some(*found);
                }
            }
        }
        self.any
    }
}

impl Paths {
    fn new(site: &Site) -> Paths {
        let mut paths = Paths::default();
        for (index, route) in site.routes.iter().enumerate() {
            match &route.path {
                PathPattern::Exact(path) => {
                    paths.exact.insert(path.as_bytes().into(), index);
                }
                PathPattern::Prefix(prefix) => paths.prefixes.push((prefix.as_bytes().into(), index)),
                PathPattern::Any => paths.any = Some(index),
            }
        }
        paths.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        paths
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        if !self.exact.is_empty()
            && let Some(route) = self.exact.get(path)
        {
            return Some(*route);
        }
        let below = |prefix: &[u8]| matches!(path.strip_prefix(prefix), Some([] | [b'/', ..]));
        self.prefixes.iter().find(|(prefix, _)| below(prefix)).map(|(_, route)| *route).or(self.any)
    }
}

/// Why a route is not for a request with this path (in normal form); `None` where it is, and another one was more exact.
pub fn why_not(route: &Route, path: &[u8]) -> Option<String> {
    match &route.path {
        PathPattern::Exact(exact) if exact.as_bytes() != path => Some(format!("the path is not {}", exact)),
        PathPattern::Prefix(prefix) if !matches!(path.strip_prefix(prefix.as_bytes()), Some([] | [b'/', ..])) => {
            Some(format!("the path is not below {}", prefix))
        }
        _ => None,
    }
}

/// The normal form a path is matched in: unreserved octets decoded (RFC 3986 section 6.2.2.2), repeated slashes joined,
/// dot segments removed. Borrowed when the path has it already.
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    let suspicious = |pair: &[u8]| matches!(pair, b"//" | b"/.");
    if memchr::memchr(b'%', path).is_none() && !path.windows(2).any(suspicious) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut normal: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." if last => normal.push(b'/'),
            b"" | b"." => {}
            b".." => {
                let parent = normal.iter().rposition(|b| *b == b'/').unwrap_or(0);
                normal.truncate(parent);
                if last {
                    normal.push(b'/');
                }
            }
            segment => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
            }
        }
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) }
}

fn decode_unreserved(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            // Two hexadecimal digits fit in a byte.
            let octet = (high * 16 + low) as u8;
            rest = after;
            if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
                decoded.push(octet);
            } else {
                decoded.extend_from_slice(format!("%{octet:02X}").as_bytes());
            }
        } else {
            decoded.push(*byte);
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn router(text: &str) -> Router {
        let loaded =
            crate::config::parse("t.toml", text, Path::new(".")).unwrap_or_else(|p| panic!("{}", p.render(false)));
        Router::new(&loaded.config.sites)
    }

    #[test]
    fn the_more_exact_host_wins_then_the_longest_wildcard() {
        let router = router(
            "[sites]\n\"a.b.test\" = 1\n\"*.b.test\" = 2\n\"*.test\" = 3\n\"*\" = 4\n[sites.\"x.test\"]\nproxy = 5\naliases = [\"y.test\"]\n",
        );
        let site = |host: &str| router.find(host.as_bytes(), b"/").unwrap().site;
        let table = [
            ("a.b.test", 0),
            ("A.B.TEST", 0),
            ("c.b.test", 1),
            ("d.c.b.test", 1),
            ("b.test", 2),
            ("z.test", 2),
            ("test", 3),
            ("other", 3),
        ];
        for (host, index) in table {
            assert_eq!(site(host), index, "{host}");
        }
        assert!(router.find(b"y.test", b"/").unwrap().alias);
    }

    #[test]
    fn prefixes_match_whole_segments_and_the_longest_wins() {
        let router = router(
            "[sites.\"a.test\"]\nproxy = 1\n[[sites.\"a.test\".routes]]\npath = \"/api/*\"\nproxy = 2\n\
             [[sites.\"a.test\".routes]]\npath = \"/api/v2/*\"\nproxy = 3\n[[sites.\"a.test\".routes]]\npath = \"/ping\"\nproxy = 4\n",
        );
        let route = |path: &str| router.find(b"a.test", path.as_bytes()).unwrap().route;
        for (path, index) in
            [("/api", 0), ("/api/x", 0), ("/apix", 3), ("/api/v2/x", 1), ("/ping", 2), ("/ping/", 3), ("/", 3)]
        {
            assert_eq!(route(path), index, "{path}");
        }
        assert_eq!(router.find(b"a.test", b"/x/../api/y"), Err(Why::RouteAmbiguousPath));
        assert_eq!(router.find(b"a.test", b"/%61pi/y"), Err(Why::RouteAmbiguousPath));
        assert_eq!(route("/files/a%2Fb//c"), 3);
        assert_eq!(router.find(b"b.test", b"/"), Err(Why::RouteNoHost));
    }

    #[test]
    fn paths_have_one_normal_form() {
        let table = [
            ("/a/b", "/a/b"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/", "/a/b/"),
            ("//", "/"),
            ("/%7euser/%2f", "/~user/%2F"),
            ("/%2e%2e/b", "/b"),
            ("/%zz", "/%zz"),
        ];
        for (path, normal) in table {
            assert_eq!(String::from_utf8_lossy(&normalize(path.as_bytes())), normal, "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_route_found_has_no_reason_against_it_and_every_other_one_is_less_exact(path in "(/(a|b|c)){0,4}/?") {
            let text = "[sites.\"a.test\"]\nproxy = 1\n".to_owned()
                + &["/a", "/a/*", "/a/b/*", "/b", "/b/c"].iter().map(|path| {
                    format!("[[sites.\"a.test\".routes]]\npath = \"{path}\"\nproxy = 2\n")
                }).collect::<String>();
            let loaded = crate::config::parse("t.toml", &text, Path::new(".")).unwrap();
            let routes = &loaded.config.sites[0].routes;
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let found = Router::new(&loaded.config.sites).find(b"a.test", path.as_bytes()).unwrap().route;
            prop_assert_eq!(why_not(&routes[found], path.as_bytes()), None);
            let rank = |pattern: &PathPattern| match pattern {
                PathPattern::Exact(path) => 1000 + path.len(),
                PathPattern::Prefix(prefix) => prefix.len(),
                PathPattern::Any => 0,
            };
            for (index, route) in routes.iter().enumerate() {
                let against = why_not(route, path.as_bytes());
                prop_assert!(index == found || against.is_some() || rank(&route.path) < rank(&routes[found].path));
            }
        }

        #[test]
        fn a_normal_form_is_its_own_normal_form(path in "/[a-c./%2eE25]{0,24}") {
            let once = normalize(path.as_bytes()).into_owned();
            let twice = normalize(&once).into_owned();
            // Decoding "%252e" once gives "%2e" only if "%25" were unreserved, which it is not.
            prop_assert_eq!(&once, &twice);
            prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
        }
    }
}
