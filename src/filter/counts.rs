//! The counts of `rate_limit` over a reload: a limit that stands at the same route with the same rules goes on counting.

use std::collections::HashMap;
use std::sync::Arc;

use super::Chains;
use super::rate_limit::Limiter;
use crate::config::Site;

/// Gives the new chains the limiters of the old ones, where site, route and rules are the same. What routes share in the new
/// generation they go on sharing.
pub fn keep_counts(new: (&[Site], &mut Chains), old: (&[Site], &Chains)) {
    let limited = |chains: &Chains| chains.iter().flatten().flatten().any(|chain| chain.rate_limit.is_some());
    if !limited(new.1) || !limited(old.1) {
        return;
    }
    let sites: HashMap<_, _> = old.0.iter().zip(old.1).map(|(site, chains)| (&site.host, (site, chains))).collect();
    // What each new limiter became, by where it is; and no old one counts for two.
    let mut kept: HashMap<usize, Arc<Limiter>> = HashMap::new();
    for (site, chains) in new.0.iter().zip(new.1) {
        let Some((old_site, old_chains)) = sites.get(&site.host) else { continue };
        for (route, chain) in site.routes.iter().zip(chains) {
            let Some(limiter) = chain.as_mut().and_then(|chain| chain.rate_limit.as_mut()) else { continue };
            let place = Arc::as_ptr(limiter) as usize;
            if let Some(same) = kept.get(&place) {
                *limiter = same.clone();
                continue;
            }
            let mut olds = old_site.routes.iter().zip(old_chains.iter());
            let old = olds.find(|(old, _)| old.path == route.path && old.matchers == route.matchers);
            let Some(old) = old.and_then(|(_, chain)| chain.as_ref()?.rate_limit.as_ref()) else { continue };
            if limiter.has_rules_of(old) && !kept.values().any(|taken| Arc::ptr_eq(taken, old)) {
                kept.insert(place, old.clone());
                *limiter = old.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, parse};
    use crate::filter::{Chain, Shared};

    fn chains(text: &str) -> (Config, Chains) {
        let config = parse("t", text, Path::new("")).unwrap().config;
        let mut shared = Shared::default();
        let mut of = |site: &Site| {
            let host = site.host.to_string();
            site.routes.iter().map(|route| Chain::build(&route.filters, &host, false, &mut shared).unwrap()).collect()
        };
        let chains = config.sites.iter().map(&mut of).collect();
        (config, chains)
    }

    fn limiters(chains: &Chains) -> Vec<usize> {
        let limiter = |chain: &Chain| chain.rate_limit.as_ref().map_or(0, |limiter| Arc::as_ptr(limiter) as usize);
        chains.iter().flatten().map(|chain| chain.as_deref().map_or(0, limiter)).collect()
    }

    fn text(site: &str, other: &str) -> String {
        let route = |path: &str| format!("[[sites.\"a.test\".routes]]\npath = \"{path}\"\nproxy = 3001\n");
        let limit = |rate: &str| format!("rate_limit = {{ rate = \"{rate}\", burst = 2 }}\n");
        format!(
            "[sites.\"b.test\"]\nproxy = 3000\n{}[sites.\"a.test\"]\nproxy = 3000\n{}{}{}{}",
            limit(other),
            limit(site),
            route("/x/*"),
            limit("5/s"),
            route("/y/*"),
        )
    }

    #[test]
    fn a_limit_with_the_same_rules_at_the_same_route_goes_on_counting() {
        let (old_config, old) = chains(&text("1/s", "1/s"));
        let (config, mut new) = chains(&text("1/s", "2/s"));
        let (before, fresh) = (limiters(&old), limiters(&new));
        keep_counts((&config.sites, &mut new), (&old_config.sites, &old));
        let after = limiters(&new);
        // b.test has another rate; the routes of a.test keep theirs, and share what they shared.
        let own: Vec<_> = after.iter().zip(&fresh).filter(|(after, fresh)| after == fresh).collect();
        assert_eq!(own.len(), 1, "{before:?} {fresh:?} {after:?}");
        assert!(after.iter().zip(&before).filter(|(after, before)| after == before).count() == after.len() - 1);
        assert_ne!(before, fresh);
    }
}
