//! What differs between two generations, in one line for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::status::Report;
use crate::config::{CertFiles, Config, Site, SiteTls, identity};

/// Names shown of each kind before the rest is counted.
const SHOWN: usize = 5;

/// The difference, in words, and what of the old generation it touches.
pub(super) struct Changes {
    parts: Vec<String>,
    /// Upstreams that are gone or changed, by their place in the old config.
    touched: Vec<usize>,
}

impl Changes {
    /// Names what has come, gone and changed.
    pub fn between(old: &Config, new: &Config) -> Changes {
        let mut parts = Vec::new();
        part("listeners", &listeners(old), &listeners(new), &mut parts);
        part("sites", &sites(old), &sites(new), &mut parts);
        part("routes", &routes(old, new), &routes(new, old), &mut parts);
        part("certificates", &certificates(old, new), &certificates(new, old), &mut parts);
        let (before, after) = (upstreams(old), upstreams(new));
        part("upstreams", &before, &after, &mut parts);
        let touched = old.upstreams.iter().enumerate();
        let touched = touched.filter(|(_, upstream)| before.get(&upstream.name) != after.get(&upstream.name));
        let touched = touched.map(|(index, _)| index).collect();
        if format!("{:?}", old.defaults) != format!("{:?}", new.defaults) {
            parts.push("changed defaults".into());
        }
        if old.access_log != new.access_log {
            parts.push("changed access log".into());
        }
        if old.server.workers != new.server.workers || old.server.max_connections != new.server.max_connections {
            parts.push("server.workers and server.max_connections wait for a restart".into());
        }
        if old.log.level != new.log.level {
            parts.push("log.level waits for a restart".into());
        }
        Changes { parts, touched }
    }

    /// How many requests are at servers that are gone or changed: they end as they began. Empty where there are none.
    pub fn affected(&self, reports: &[Option<Report>]) -> String {
        let at = |&index: &usize| reports.iter().flatten().filter_map(move |report| report.upstreams.get(index));
        let requests: usize = self.touched.iter().flat_map(at).flatten().map(|server| server.in_flight).sum();
        match requests {
            0 => String::new(),
            1 => "; 1 request is in flight at what changes".into(),
            more => format!("; {more} requests are in flight at what changes"),
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() { f.write_str("the same config") } else { f.write_str(&self.parts.join("; ")) }
    }
}

/// Names, each with everything it means but where it stands in the file.
type Named = BTreeMap<String, String>;

fn listeners(config: &Config) -> Named {
    let doors = config.listeners.iter().flat_map(|door| {
        let meaning = format!("{:?}", (door.tls, door.h1, door.h2, &door.proxy_protocol));
        door.addresses.iter().map(move |at| (format!("{} {at}", door.name), meaning.clone()))
    });
    doors.collect()
}

fn sites(config: &Config) -> Named {
    let meaning = |site: &Site| format!("{:?}", (&site.aliases, site.aliases_redirect, site.http));
    config.sites.iter().map(|site| (site.host.to_string(), meaning(site))).collect()
}

/// The routes of sites that are in both.
fn routes(config: &Config, other: &Config) -> Named {
    let hosts: BTreeSet<String> = other.sites.iter().map(|site| site.host.to_string()).collect();
    let mut all = Named::new();
    for site in &config.sites {
        let host = site.host.to_string();
        if hosts.contains(&host) {
            for route in &site.routes {
                // Routes of one path tell each other apart by conditions: they are taken together.
                all.entry(format!("{host} {}", route.path)).or_default().push_str(&identity::route(config, route));
            }
        }
    }
    all
}

/// The certificates of sites that are in both, and those that serve by their names.
fn certificates(config: &Config, other: &Config) -> Named {
    let hosts: BTreeSet<String> = other.sites.iter().map(|site| site.host.to_string()).collect();
    let bare = |files: &CertFiles| format!("{:?}", (&files.cert, &files.key));
    let mut all = Named::new();
    for site in &config.sites {
        let host = site.host.to_string();
        if hosts.contains(&host) {
            let meaning = match &site.tls {
                SiteTls::Files(files) => bare(files),
                other => format!("{other:?}"),
            };
            all.insert(host, meaning);
        }
    }
    all.extend(config.tls.certificates.iter().map(|files| (files.cert.display().to_string(), bare(files))));
    all
}

fn upstreams(config: &Config) -> Named {
    config.upstreams.iter().map(|upstream| (upstream.name.clone(), identity::upstream(upstream))).collect()
}

fn part(what: &str, old: &Named, new: &Named, parts: &mut Vec<String>) {
    let only = |here: &Named, there: &Named| here.keys().filter(|name| !there.contains_key(*name)).cloned().collect();
    let changed = old.iter().filter(|(name, meaning)| new.get(*name).is_some_and(|now| now != *meaning));
    let changed: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
    let all: [(&str, Vec<String>); 3] = [("new", only(new, old)), ("gone", only(old, new)), ("changed", changed)];
    for (verb, names) in all {
        if names.is_empty() {
            continue;
        }
        let more = match names.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("{verb} {what}: {}{more}", names[..names.len().min(SHOWN)].join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(sites: &str) -> Config {
        crate::config::parse("t", sites, Path::new("")).unwrap().config
    }

    #[test]
    fn what_comes_goes_and_changes_is_named() {
        let old = config("[sites]\n\"a.localhost\" = 1\n\"b.localhost\" = 2\n");
        let new = config("[listeners]\nextra = \":8088\"\n[sites]\n\"a.localhost\" = 1\n\"c.localhost\" = 2\n");
        let text = Changes::between(&old, &new).to_string();
        assert_eq!(text, "new listeners: extra :8088; new sites: c.localhost; gone sites: b.localhost");
        assert_eq!(Changes::between(&new, &new.clone()).to_string(), "the same config");
    }

    #[test]
    fn a_changed_route_and_its_upstream_are_named_and_another_line_is_no_change() {
        let text = |target: &str, top: &str| {
            format!(
                "{top}[sites.\"a.localhost\"]\nproxy = \"127.0.0.1:1\"\n[[sites.\"a.localhost\".routes]]\n\
                 path = \"/x/*\"\nupstream = \"app\"\n[upstreams.app]\nservers = [\"{target}\"]\n"
            )
        };
        let old = config(&text("127.0.0.1:2", ""));
        assert_eq!(
            Changes::between(&old, &config(&text("127.0.0.1:2", "# one\n# two\n"))).to_string(),
            "the same config"
        );
        let moved = Changes::between(&old, &config(&text("127.0.0.1:3", "")));
        assert_eq!(moved.to_string(), "changed upstreams: app");
        assert_eq!(moved.touched, [0]);
        let direct = config(&text("127.0.0.1:2", "").replace("upstream = \"app\"", "proxy = \"127.0.0.1:9\""));
        let text = Changes::between(&old, &direct).to_string();
        assert!(text.contains("changed routes: a.localhost /x/*"), "{text}");
    }
}
