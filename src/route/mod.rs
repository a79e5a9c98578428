//! Which site and route a request meets: host exact, longest wildcard, `"*"`; then path exact, longest prefix, regular
//! expressions in file order; then the route with more matchers.

mod conditions;
mod paths;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

pub use self::conditions::Failed;
use self::paths::Paths;
pub use self::paths::why_not;
use crate::config::{Forwarding, HostPattern, Site};
use crate::error::Why;
use crate::http::ConnInfo;
use crate::http::headers::client_address;
use crate::message::{Fields, RequestHead, normalize};

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
    /// The site has one route, for every path and without conditions: its paths need no look.
    single: bool,
}

/// Where a request goes: indices into the config's sites and the site's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub site: usize,
    pub route: usize,
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

impl Router {
    pub fn new(sites: &[Site]) -> Router {
        let mut router = Router { paths: Vec::with_capacity(sites.len()), ..Router::default() };
        for (index, site) in sites.iter().enumerate() {
            let single = paths::is_single(site);
            router.add(&site.host, Host { site: index, alias: false, single });
            for alias in &site.aliases {
                router.add(alias, Host { site: index, alias: true, single });
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

    /// Finds the route of a request.
    ///
    /// # Errors
    /// `route.no_host`, `route.no_route`, or `route.ambiguous_path` where the path as sent and its normal form would meet
    /// different routes: a backend might read it either way, and only one way was checked here.
    pub fn find(&self, asked: &Asked<'_>) -> Result<Found, Why> {
        let Host { site, alias, single } = self.host(asked.host).ok_or(Why::RouteNoHost)?;
        if single {
            return Ok(Found { site, route: 0, alias });
        }
        let paths = self.paths.get(site).ok_or(Why::RouteNoHost)?;
        let normal = normalize(asked.path);
        let route = paths.find(&normal, asked);
        if matches!(normal, Cow::Owned(_)) && paths.find(asked.path, asked) != route {
            return Err(Why::RouteAmbiguousPath);
        }
        Ok(Found { site, route: route.ok_or(Why::RouteNoRoute)?, alias })
    }

    /// After `route.no_route`: the site, and its route whose path is most like the one asked for. Looks at every route, so
    /// only for a log.
    pub fn nearest(&self, asked: &Asked<'_>) -> Option<(usize, usize)> {
        let Host { site, .. } = self.host(asked.host)?;
        Some((site, self.paths.get(site)?.nearest(&normalize(asked.path))?))
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
