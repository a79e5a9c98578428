//! How long what began in one generation may go on in the next ones: routes and servers that are the same keep their
//! [`Term`], those that a reload has changed or removed are told to end.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::{Rc, Weak};

use super::{Snapshot, View};
use crate::config::identity;
use crate::http::term::Term;
use crate::upstream::Endpoint;

/// The terms of one worker's routes.
#[derive(Debug, Default)]
pub struct Terms {
    /// Of all routes of all sites, one after the other.
    routes: Rc<Vec<Rc<Term>>>,
    /// Routes that are gone, by their meaning, while something that began there goes on: they may come back.
    gone_routes: Vec<(u64, Weak<Term>)>,
    /// The same of servers, by the name of their upstream.
    gone_servers: Vec<(Rc<str>, Weak<Endpoint>)>,
}

impl Terms {
    pub(super) fn new(snapshot: &Snapshot) -> Terms {
        let routes = snapshot.config.sites.iter().flat_map(|site| &site.routes);
        Terms { routes: Rc::new(routes.map(|_| Rc::default()).collect()), ..Terms::default() }
    }

    /// Of all routes, by their places.
    pub fn of_routes(&self) -> &Rc<Vec<Rc<Term>>> {
        &self.routes
    }

    /// Servers of an upstream that are gone and still at work.
    pub(super) fn gone_servers(&self, upstream: &str) -> Vec<Rc<Endpoint>> {
        let of = self.gone_servers.iter().filter(|(name, _)| **name == *upstream);
        of.filter_map(|(_, server)| server.upgrade()).collect()
    }
}

/// Hands the terms of the last generation on to what is the same in the next; gives those of what is not.
pub(super) fn hand_on(before: &View, next: &mut View) -> Vec<Rc<Term>> {
    let mut gone = routes(before, next);
    gone.extend(servers(before, next));
    gone
}

fn routes(before: &View, next: &mut View) -> Vec<Rc<Term>> {
    let of_before = before.snapshot.meanings().iter().flatten().zip(before.terms.routes.iter());
    let of_before: HashMap<u64, &Rc<Term>> = of_before.map(|(meaning, term)| (*meaning, term)).collect();
    let mut left: HashMap<u64, Weak<Term>> = before.terms.gone_routes.iter().cloned().collect();
    let mut met = HashSet::new();
    let mut routes = Vec::with_capacity(next.terms.routes.len());
    for (meaning, fresh) in next.snapshot.meanings().iter().flatten().zip(next.terms.routes.iter()) {
        met.insert(*meaning);
        let back = || left.get(meaning)?.upgrade();
        let same = of_before.get(meaning).map(|same| (*same).clone()).or_else(back);
        routes.push(same.filter(|same| same.keep()).unwrap_or_else(|| fresh.clone()));
    }
    next.terms.routes = Rc::new(routes);
    let gone: Vec<_> = of_before.into_iter().filter(|(meaning, _)| !met.contains(meaning)).collect();
    left.extend(gone.iter().map(|(meaning, term)| (*meaning, Rc::downgrade(term))));
    left.retain(|meaning, term| !met.contains(meaning) && term.strong_count() > 0);
    next.terms.gone_routes = left.into_iter().collect();
    gone.into_iter().map(|(_, term)| term.clone()).collect()
}

fn servers(before: &View, next: &mut View) -> Vec<Rc<Term>> {
    let of = |view: &View| -> Vec<(Rc<str>, Rc<Endpoint>)> {
        let clusters = view.clusters.iter().map(|cluster| (Rc::from(cluster.name.as_str()), &cluster.endpoints));
        clusters.flat_map(|(name, all): (Rc<str>, _)| all.iter().map(move |one| (name.clone(), one.clone()))).collect()
    };
    let kept: HashSet<*const Term> = of(next).iter().map(|(_, server)| Rc::as_ptr(&server.term)).collect();
    let mut gone = of(before);
    gone.retain(|(_, server)| !kept.contains(&Rc::as_ptr(&server.term)));
    let mut left = before.terms.gone_servers.clone();
    left.extend(gone.iter().map(|(name, server)| (name.clone(), Rc::downgrade(server))));
    left.retain(|(_, server)| server.upgrade().is_some_and(|server| !kept.contains(&Rc::as_ptr(&server.term))));
    next.terms.gone_servers = left;
    gone.into_iter().map(|(_, server)| server.term.clone()).collect()
}

/// What each route means, as a number: what a request that has begun on it was let in by and is served with. The servers
/// of its upstream have terms of their own, and a certificate changes nothing for those who are in.
pub(super) fn meanings(snapshot: &Snapshot) -> Vec<Vec<u64>> {
    let of = |(index, site): (usize, &crate::config::Site)| {
        let asked = snapshot.certs.as_ref().and_then(|certs| certs.client_policy(index));
        let mut of_site = DefaultHasher::new();
        (site.host.to_string(), format!("{:?}", site.http), asked).hash(&mut of_site);
        snapshot.requires_client_cert(index).hash(&mut of_site);
        let routes = site.routes.iter().map(|route| {
            let mut meaning = of_site.clone();
            identity::route(&snapshot.config, route).hash(&mut meaning);
            meaning.finish()
        });
        routes.collect()
    };
    snapshot.config.sites.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    fn view(before: Option<&View>, text: &str) -> (View, Vec<Rc<Term>>) {
        let config = crate::config::parse("t", text, Path::new("")).unwrap().config;
        let (mut snapshot, _) = Snapshot::with_certificates(config, None, None, None);
        before.into_iter().for_each(|before| snapshot.inherit(&before.snapshot));
        let snapshot = Arc::new(snapshot);
        match before {
            Some(before) => View::after(before, snapshot),
            None => (View::new(snapshot), Vec::new()),
        }
    }

    fn config(servers: &str, extra: &str) -> String {
        format!(
            "[sites.\"a.localhost\"]\nupstream = \"app\"\n{extra}\n[[sites.\"a.localhost\".routes]]\npath = \"/x\"\n\
             respond = {{ status = 200 }}\n[upstreams.app]\nservers = [{servers}]\n"
        )
    }

    fn same(a: &View, b: &View, route: usize) -> bool {
        Rc::ptr_eq(&a.terms.of_routes()[route], &b.terms.of_routes()[route])
    }

    #[test]
    fn a_route_keeps_its_term_until_its_meaning_changes_and_gets_it_back_in_time() {
        let (first, _) = view(None, &config("\"127.0.0.1:1\"", ""));
        let (second, gone) = view(Some(&first), &format!("# moved\n{}", config("\"127.0.0.1:1\"", "")));
        assert!(same(&first, &second, 0) && same(&first, &second, 1) && gone.is_empty());
        let (third, gone) = view(Some(&second), &config("\"127.0.0.1:1\"", "deny = [\"10.0.0.1\"]"));
        assert!(!same(&second, &third, 0) && !same(&second, &third, 1));
        assert_eq!(gone.len(), 2);
        gone.iter().for_each(|term| term.give_notice(Instant::now()));
        let (fourth, more) = view(Some(&third), &config("\"127.0.0.1:1\"", ""));
        assert!(same(&first, &fourth, 0) && same(&first, &fourth, 1));
        assert_eq!(more.len(), 2);
        more[0].end(crate::error::Why::ProxyReloaded);
    }

    #[test]
    fn a_server_keeps_its_term_while_its_upstream_has_it_whatever_else_changes_there() {
        let (first, _) = view(None, &config("\"127.0.0.1:1\", \"127.0.0.1:2\"", ""));
        let weighted = "{ address = \"127.0.0.1:1\", weight = 7 }, \"127.0.0.1:3\"";
        let (second, gone) = view(Some(&first), &config(weighted, ""));
        let term = |view: &View, server: usize| view.clusters[0].endpoints[server].term.clone();
        assert!(Rc::ptr_eq(&term(&first, 0), &term(&second, 0)) && same(&first, &second, 0));
        assert_eq!(gone.len(), 1);
        assert!(Rc::ptr_eq(&gone[0], &term(&first, 1)));
        // It comes back while something that it was asked goes on.
        let (third, _) = view(Some(&second), &config("\"127.0.0.1:1\", \"127.0.0.1:2\"", ""));
        assert!(Rc::ptr_eq(&term(&third, 1), &term(&first, 1)));
        // And not when that has been ended.
        let (fourth, gone) = view(Some(&third), &config("\"127.0.0.1:1\"", ""));
        gone[0].end(crate::error::Why::ProxyReloaded);
        let (fifth, _) = view(Some(&fourth), &config("\"127.0.0.1:1\", \"127.0.0.1:2\"", ""));
        assert!(!term(&fifth, 1).is_over());
    }
}
