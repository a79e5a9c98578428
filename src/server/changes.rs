//! What differs between two generations, in one line for the log.

use std::collections::BTreeSet;

use crate::config::Config;

/// Names shown of each kind before the rest is counted.
const SHOWN: usize = 5;

/// Names what has come and gone; settings of what stayed are not compared.
pub(super) fn between(old: &Config, new: &Config) -> String {
    let listeners = |config: &Config| -> BTreeSet<String> {
        let doors = config.listeners.iter();
        doors.flat_map(|door| door.addresses.iter().map(|at| format!("{} {at}", door.name))).collect()
    };
    let sites = |config: &Config| config.sites.iter().map(|site| site.host.to_string()).collect();
    let upstreams = |config: &Config| config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let mut parts = Vec::new();
    part("listeners", &listeners(old), &listeners(new), &mut parts);
    part("sites", &sites(old), &sites(new), &mut parts);
    part("upstreams", &upstreams(old), &upstreams(new), &mut parts);
    if old.server.workers != new.server.workers || old.server.max_connections != new.server.max_connections {
        parts.push("server.workers and server.max_connections wait for a restart".into());
    }
    if old.log.level != new.log.level {
        parts.push("log.level waits for a restart".into());
    }
    if parts.is_empty() { "the same listeners, sites and upstreams".into() } else { parts.join("; ") }
}

fn part(what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>, parts: &mut Vec<String>) {
    for (verb, found) in [("new", new.difference(old)), ("gone", old.difference(new))] {
        let all: Vec<&str> = found.map(String::as_str).collect();
        if all.is_empty() {
            continue;
        }
        let more = match all.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("{verb} {what}: {}{more}", all[..all.len().min(SHOWN)].join(", ")));
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
    fn what_comes_and_goes_is_named() {
        let old = config("[sites]\n\"a.localhost\" = 1\n\"b.localhost\" = 2\n");
        let new = config("[listeners]\nextra = \":8088\"\n[sites]\n\"a.localhost\" = 1\n\"c.localhost\" = 2\n");
        let text = between(&old, &new);
        assert_eq!(text, "new listeners: extra :8088; new sites: c.localhost; gone sites: b.localhost");
        assert_eq!(between(&new, &new.clone()), "the same listeners, sites and upstreams");
    }
}
