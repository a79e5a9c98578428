//! Which site and route a request meets: host exact, longest wildcard, `"*"`; then path exact, longest prefix, regular
//! expressions in file order; then the route with more matchers.

mod conditions;
mod hosts;
mod paths;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

pub use self::conditions::Failed;
use self::hosts::Hosts;
use self::paths::Paths;
pub use self::paths::why_not;
use crate::config::{Forwarding, HostPattern, Site};
use crate::error::Why;
use crate::http::ConnInfo;
use crate::http::headers::client_address;
use crate::message::{Fields, RequestHead, normalize};

/// The hosts and paths of all sites. Built once a generation; a lookup allocates nothing for a plain path. With each route
/// goes a `T`, for what has to be known of it at once.
#[derive(Debug)]
pub struct Router<T> {
    exact: Hosts<T>,
    /// Keyed by what follows `*.`.
    wildcard: Hosts<T>,
    any: Option<Host<T>>,
    /// The routes of each site; `None` where it has only one, which every request meets.
    paths: Vec<Option<Box<Paths>>>,
    /// What goes with each route of all sites, one after the other.
    with: Vec<T>,
}

#[derive(Debug, Clone, Copy)]
struct Host<T> {
    site: u32,
    /// The place of its first route.
    first: u32,
    alias: bool,
    /// The site has one route, for every path and without conditions: its paths need no look.
    single: bool,
    /// What goes with its first route.
    of_first: T,
}

/// Where a request goes: indices into the config's sites and the site's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub site: usize,
    pub route: usize,
    /// The route among those of all sites, one after the other.
    pub place: usize,
    /// The host is one of the site's aliases.
    pub alias: bool,
}

/// What a request is routed by.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Without port, in any case.
    pub host: &'a [u8],
    /// As the client sent it.
    pub path: &'a [u8],
    /// Path and query, as the client sent them.
    pub target: &'a [u8],
    pub method: &'a str,
    pub fields: &'a Fields,
    pub from: From<'a>,
}

/// Who asks: looked up only where a route wants to know.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// The peer, or who a trusted proxy says it is.
    Conn(&'a ConnInfo),
    Address(IpAddr),
}

impl From<'_> {
    fn address(&self, fields: &Fields, forwarding: &Forwarding) -> IpAddr {
        match self {
            From::Conn(conn) => client_address(fields, conn, forwarding),
            From::Address(address) => *address,
        }
    }
}

impl<T> Host<T> {
    /// One of its routes.
    fn route(&self, route: usize) -> Found {
        Found { site: self.site as usize, route, place: self.first as usize + route, alias: self.alias }
    }
}

impl<'a> Asked<'a> {
    pub fn of(head: &'a RequestHead, conn: &'a ConnInfo) -> Asked<'a> {
        Asked {
            host: head.host(),
            path: head.path(),
            target: head.target(),
            method: head.method.as_str(),
            fields: &head.fields,
            from: From::Conn(conn),
        }
    }
}

impl Router<()> {
    /// A router that says where requests go and no more.
    pub fn bare(sites: &[Site]) -> Router<()> {
        Router::new(sites, sites.iter().flat_map(|site| &site.routes).map(|_| ()).collect())
    }
}

impl<T: Copy> Router<T> {
    /// `with`: what goes with each route of all sites, one after the other.
    pub fn new(sites: &[Site], with: Vec<T>) -> Router<T> {
        let mut router = Router {
            exact: Hosts::default(),
            wildcard: Hosts::default(),
            any: None,
            paths: Vec::with_capacity(sites.len()),
            with: Vec::new(),
        };
        let mut first = 0;
        for (index, site) in sites.iter().enumerate() {
            let single = paths::is_single(site);
            // A site has a route, and no config has so many that a place does not fit.
            if let (Some(of_first), Ok(site_at), Ok(first)) = (with.get(first), index.try_into(), first.try_into()) {
                let host = Host { site: site_at, first, alias: false, single, of_first: *of_first };
                router.add(&site.host, host);
                for alias in &site.aliases {
                    router.add(alias, Host { alias: true, ..host });
                }
            }
            router.paths.push((!single).then(|| Box::new(Paths::new(site))));
            first += site.routes.len();
        }
        router.with = with;
        router
    }

    fn add(&mut self, pattern: &HostPattern, host: Host<T>) {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.as_bytes(), host),
            HostPattern::Wildcard(base) => self.wildcard.insert(base.as_bytes(), host),
            HostPattern::Any => self.any = Some(host),
        }
    }

    /// Finds the route of a request, and what goes with it.
    ///
    /// # Errors
    /// `route.no_host`, `route.no_route`, or `route.ambiguous_path` where the path as sent and its normal form would meet
    /// different routes: a backend might read it either way, and only one way was checked here.
    pub fn find(&self, asked: &Asked<'_>) -> Result<(Found, T), Why> {
        let host = self.host(asked.host).ok_or(Why::RouteNoHost)?;
        if host.single {
            return Ok((host.route(0), host.of_first));
        }
        let paths = self.paths(&host).ok_or(Why::RouteNoHost)?;
        let normal = normalize(asked.path);
        let route = paths.find(&normal, asked);
        if matches!(normal, Cow::Owned(_)) && paths.find(asked.path, asked) != route {
            return Err(Why::RouteAmbiguousPath);
        }
        let found = route.map(|route| host.route(route)).ok_or(Why::RouteNoRoute)?;
        Ok((found, *self.with.get(found.place).ok_or(Why::RouteNoRoute)?))
    }

    /// After `route.no_route`: the site, and its route whose path is most like the one asked for. Looks at every route, so
    /// only for a log.
    pub fn nearest(&self, asked: &Asked<'_>) -> Option<(usize, usize)> {
        let host = self.host(asked.host)?;
        Some((host.site as usize, self.paths(&host)?.nearest(&normalize(asked.path))?))
    }

    /// The site of a host alone, and whether the host is one of its aliases.
    pub fn site(&self, host: &[u8]) -> Option<(usize, bool)> {
        self.host(host).map(|found| (found.site as usize, found.alias))
    }

    /// `None` where there is no choice.
    fn paths(&self, host: &Host<T>) -> Option<&Paths> {
        self.paths.get(host.site as usize)?.as_deref()
    }

    fn host(&self, host: &[u8]) -> Option<Host<T>> {
        let lower: Cow<'_, [u8]> = match host.iter().any(u8::is_ascii_uppercase) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        // The config names IPv6 addresses without the brackets of an authority.
        let bare = lower.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        if let Some(found) = self.exact.get(bare.unwrap_or(&lower)) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            let mut rest = &*lower;
            while let Some(dot) = memchr::memchr(b'.', rest) {
                rest = &rest[dot + 1..];
                if let Some(found) = self.wildcard.get(rest) {
                    return Some(found);
                }
            }
        }
        self.any
    }
}
