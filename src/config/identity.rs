//! What tells one thing of a config from another by what it means, wherever it stands in the file: so two generations can
//! be compared.

use std::sync::Arc;

use super::{Action, Config, Origin, Route, Upstream};

/// Everything a route means but where it stands in the file, and but the servers of its upstreams, which go by name.
pub fn route(config: &Config, route: &Route) -> String {
    let mut route = Route { origin: Origin::default(), ..route.clone() };
    if let Some(auth) = &mut route.filters.basic_auth {
        Arc::make_mut(auth).origin = Origin::default();
    }
    if let Some(pages) = &mut route.filters.error_pages {
        Arc::make_mut(pages).files.iter_mut().for_each(|page| page.origin = Origin::default());
    }
    let name = |index: &mut usize| config.upstreams.get(std::mem::take(index)).map(|upstream| upstream.name.as_str());
    let asked = route.filters.forward_auth.as_mut().map(|auth| name(&mut Arc::make_mut(auth).upstream));
    let upstream = match &mut route.action {
        Action::Forward(index) => name(index),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    format!("{route:?}{upstream:?}{asked:?}")
}

/// Everything an upstream means.
pub fn upstream(upstream: &Upstream) -> String {
    let mut upstream = Upstream { origin: Origin::default(), ..upstream.clone() };
    if let Some((_, origin)) = &mut upstream.tls.ca {
        *origin = Origin::default();
    }
    if let Some(files) = &mut upstream.tls.client {
        (files.cert_origin, files.key_origin) = Default::default();
    }
    format!("{upstream:?}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn routes(text: &str) -> Vec<String> {
        let config = crate::config::parse("t", text, Path::new("")).unwrap().config;
        config.sites.iter().flat_map(|site| &site.routes).map(|of| route(&config, of)).collect()
    }

    #[test]
    fn a_route_means_the_same_on_another_line_and_behind_other_upstreams_and_not_with_another_filter() {
        let sites = "[sites.\"a.localhost\"]\nproxy = \"127.0.0.1:1\"\nerror_pages = { \"404\" = \"p.html\" }\n\
                     basic_auth = { users_file = \"u\" }\nforward_auth = { url = \"http://127.0.0.1:3/\" }\n";
        let before = routes(sites);
        let other =
            "# one\n[upstreams.first]\nservers = [\"127.0.0.1:9\"]\n[sites.\"0.localhost\"]\nupstream = \"first\"\n";
        assert_eq!(routes(&format!("{other}{sites}"))[1..], before);
        assert_ne!(routes(&sites.replace("127.0.0.1:1", "127.0.0.1:2")), before);
        assert_ne!(routes(&sites.replace("127.0.0.1:3", "127.0.0.1:4")), before);
        assert_ne!(routes(&format!("{sites}deny = [\"10.0.0.0/8\"]\n")), before);
    }
}
