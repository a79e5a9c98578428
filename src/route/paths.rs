//! The routes of one site by path, found in a time that hardly grows with their number.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::Asked;
use super::conditions::{self, Failed};
use crate::config::{Forwarding, Matchers, PathPattern, PathRegex, Route, Site};

/// Indices of the routes for one path: those with more conditions first, then in file order.
type Routes = Vec<usize>;

#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<[u8]>, Routes>,
    /// In an order in which everything below a prefix follows it at once.
    prefixes: Vec<Prefix>,
    /// In file order.
    regexes: Vec<(PathRegex, Routes)>,
    any: Routes,
    /// Of each route.
    patterns: Vec<PathPattern>,
    /// Of each route; empty where no route has conditions.
    matchers: Vec<Matchers>,
    forwarding: Forwarding,
}

#[derive(Debug)]
struct Prefix {
    path: Box<[u8]>,
    routes: Routes,
    /// The next shorter prefix that this one is below of.
    parent: Option<usize>,
}

impl Paths {
    pub fn new(site: &Site) -> Paths {
        let mut paths = Paths::default();
        let mut prefixes: HashMap<&str, Routes> = HashMap::new();
        let mut order: Vec<usize> = (0..site.routes.len()).collect();
        let conditions = |index: &usize| site.routes.get(*index).map_or(0, |route| route.matchers.count());
        order.sort_by_key(|index| std::cmp::Reverse(conditions(index)));
        for index in order {
            let Some(route) = site.routes.get(index) else { continue };
            match &route.path {
                PathPattern::Exact(path) => paths.exact.entry(path.as_bytes().into()).or_default().push(index),
                PathPattern::Prefix(prefix) => prefixes.entry(prefix).or_default().push(index),
                PathPattern::Regex(regex) => match paths.regexes.iter_mut().find(|(other, _)| other == regex) {
                    Some((_, routes)) => routes.push(index),
                    None => paths.regexes.push((regex.clone(), vec![index])),
                },
                PathPattern::Any => paths.any.push(index),
            }
        }
        // Found in the order of conditions; the file's order decides between two of them.
        paths.regexes.sort_by_key(|(_, routes)| routes.iter().min().copied());
        paths.prefixes = tree(prefixes);
        paths.patterns = site.routes.iter().map(|route| route.path.clone()).collect();
        if site.routes.iter().any(|route| route.matchers.count() > 0) {
            paths.matchers = site.routes.iter().map(|route| route.matchers.clone()).collect();
            paths.forwarding = site.routes.first().map(|route| route.settings.forwarding.clone()).unwrap_or_default();
        }
        paths
    }

    /// The route for a path; where none of a path's routes has its conditions met, the next best path is tried.
    pub fn find(&self, path: &[u8], asked: &Asked<'_>) -> Option<usize> {
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(path).and_then(|routes| self.first(routes, asked))
        {
            return Some(found);
        }
        if !self.prefixes.is_empty() {
            let mut at = self.prefixes.partition_point(|prefix| compare(&prefix.path, path).is_le()).checked_sub(1);
            while let Some(prefix) = at.and_then(|at| self.prefixes.get(at)) {
                if is_below(path, &prefix.path)
                    && let Some(found) = self.first(&prefix.routes, asked)
                {
                    return Some(found);
                }
                at = prefix.parent;
            }
        }
        for (regex, routes) in &self.regexes {
            if regex.is_match(path)
                && let Some(found) = self.first(routes, asked)
            {
                return Some(found);
            }
        }
        self.first(&self.any, asked)
    }

    fn first(&self, routes: &[usize], asked: &Asked<'_>) -> Option<usize> {
        if self.matchers.is_empty() {
            return routes.first().copied();
        }
        routes.iter().copied().find(|index| {
            self.matchers
                .get(*index)
                .is_none_or(|matchers| conditions::failed(matchers, &self.forwarding, asked).is_none())
        })
    }

    /// The route whose path shares most octets with this one.
    pub fn nearest(&self, path: &[u8]) -> Option<usize> {
        let shared = |pattern: &PathPattern| match pattern {
            PathPattern::Exact(other) | PathPattern::Prefix(other) => {
                path.iter().zip(other.as_bytes()).take_while(|(a, b)| a == b).count()
            }
            PathPattern::Regex(_) | PathPattern::Any => 0,
        };
        // The first of equals: `max_by_key` gives the last.
        self.patterns.iter().enumerate().rev().max_by_key(|(_, pattern)| shared(pattern)).map(|(index, _)| index)
    }
}

/// The site has one route, which every request meets.
pub(super) fn is_single(site: &Site) -> bool {
    matches!(&*site.routes, [route] if matches!(route.path, PathPattern::Any) && route.matchers.count() == 0)
}

/// Why a route is not for a request whose path is this one in its normal form; `None` where it is, and another one was
/// more exact.
pub fn why_not<'r>(route: &'r Route, path: &[u8], asked: &Asked<'_>) -> Option<Failed<'r>> {
    let fits = match &route.path {
        PathPattern::Exact(exact) => exact.as_bytes() == path,
        PathPattern::Prefix(prefix) => is_below(path, prefix.as_bytes()),
        PathPattern::Regex(regex) => regex.is_match(path),
        PathPattern::Any => true,
    };
    if fits {
        conditions::failed(&route.matchers, &route.settings.forwarding, asked)
    } else {
        Some(Failed::Path(&route.path))
    }
}

/// Sorts prefixes and links each to the one above it.
fn tree(prefixes: HashMap<&str, Routes>) -> Vec<Prefix> {
    let new = |(path, routes): (&str, Routes)| Prefix { path: path.as_bytes().into(), routes, parent: None };
    let mut tree: Vec<Prefix> = prefixes.into_iter().map(new).collect();
    tree.sort_by(|a, b| compare(&a.path, &b.path));
    // The prefixes above the current one, the shortest first.
    let mut above: Vec<usize> = Vec::new();
    // The indices of `above` and of the loop are all below the length.
    for index in 0..tree.len() {
        while above.last().is_some_and(|last| !is_below(&tree[index].path, &tree[*last].path)) {
            above.pop();
        }
        tree[index].parent = above.last().copied();
        above.push(index);
    }
    tree
}

/// The path is the prefix, or stands below it by whole segments.
fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    matches!(path.strip_prefix(prefix), Some([] | [b'/', ..]))
}

/// The order of octets, but that `/` comes before all others: so no path stands between a prefix and what is below it, and
/// the last prefix not after a path is the longest one for it, or below that.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((a, b)) => a.cmp(b),
        None => a.len().cmp(&b.len()),
    }
}
