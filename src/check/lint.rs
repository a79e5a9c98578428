//! Settings that load and do harm: content in clear, sites that nobody can reach, redirects that go round in a circle.

use std::net::Ipv4Addr;

use crate::config::{Action, Config, Diagnostic, HostPattern, PathPattern, PlainMode, Redirect, Route, Site, SiteTls};
use crate::message::Fields;
use crate::route::{Asked, From, Router};
use crate::tls::is_local;

/// Every doubt about a config that loads.
pub fn lint(config: &Config) -> Vec<Diagnostic> {
    let plain = config.listeners.iter().any(|listener| !listener.tls);
    let tls = config.listeners.iter().any(|listener| listener.tls);
    let router = Router::bare(&config.sites);
    let mut out = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        out.extend(unreachable(site, plain, tls));
        out.extend(in_clear(site, plain && tls));
        for route in &site.routes {
            out.extend(circle(index, site, route, &router));
        }
    }
    out
}

/// A site that no listener serves.
fn unreachable(site: &Site, plain: bool, tls: bool) -> Option<Diagnostic> {
    let over_tls = tls && site.tls != SiteTls::Off;
    let over_plain = plain && site.http != PlainMode::Off;
    if over_tls || over_plain {
        return None;
    }
    let label =
        if tls { "without TLS, and no plain listener is open" } else { "http = \"off\", and no listener speaks TLS" };
    Some(
        Diagnostic::warning("unreachable-site", format!("no listener serves the site \"{}\"", site.host))
            .label(label)
            .at(&site.origin),
    )
}

/// A public site whose content may be read on the way although it has a certificate.
fn in_clear(site: &Site, both: bool) -> Option<Diagnostic> {
    let HostPattern::Exact(name) = &site.host else { return None };
    if !both || site.http != PlainMode::Serve || site.tls == SiteTls::Off || is_local(name) {
        return None;
    }
    Some(
        Diagnostic::warning("content-in-clear", format!("the site \"{name}\" serves the same content without TLS"))
            .label("http = \"serve\"")
            .note("cookies and passwords of clients that come by http:// can be read on the way")
            .help("http = \"redirect\", the default, sends them to https")
            .at(&site.origin),
    )
}

/// A redirect to a path of the site that is redirected by the same route.
fn circle(index: usize, site: &Site, route: &Route, router: &Router<()>) -> Option<Diagnostic> {
    let Action::Redirect(Redirect { to, .. }) = &route.action else { return None };
    let HostPattern::Exact(host) = &site.host else { return None };
    let path = match to.strip_prefix("https://{host}").or_else(|| to.strip_prefix(&format!("https://{host}"))) {
        Some("") => "/",
        Some(path) => path,
        None => to.as_str(),
    };
    if !path.starts_with('/') || matches!(&route.path, PathPattern::Exact(exact) if exact != path) {
        return None;
    }
    let sample = path.split(['?', '#']).next().unwrap_or(path).replace("{path}", "x");
    if route.matchers.count() > 0 || sample.contains('{') {
        return None;
    }
    let asked = Asked {
        host: host.as_bytes(),
        path: sample.as_bytes(),
        target: sample.as_bytes(),
        method: "GET",
        fields: &Fields::default(),
        from: From::Address(Ipv4Addr::LOCALHOST.into()),
    };
    let (found, ()) = router.find(&asked).ok()?;
    let same = found.site == index && site.routes.get(found.route).is_some_and(|there| std::ptr::eq(there, route));
    same.then(|| {
        Diagnostic::warning("redirect-circle", format!("the redirect of \"{}\" leads back to itself", route.path))
            .label(format!("{sample} meets this route again"))
            .note("clients give up after some 20 of them")
            .at(&route.origin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        let loaded = crate::config::parse("t.toml", text, std::path::Path::new("")).unwrap_or_else(|p| panic!("{p}"));
        lint(&loaded.config).iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn content_in_clear_is_said_of_public_names_only() {
        assert_eq!(codes("[sites.\"a.example\"]\nproxy = 1\nhttp = \"serve\"\n"), ["content-in-clear"]);
        for site in [
            "[sites.\"a.test\"]\nhttp = \"serve\"\n",
            "[sites.\"a.example\"]\ntls = \"off\"\n",
            "[sites.\"a.example\"]\n",
        ] {
            assert_eq!(codes(&format!("{site}proxy = 1\n")), [""; 0], "{site}");
        }
    }

    #[test]
    fn a_site_without_a_door_is_said() {
        let off = "[listeners]\nhttp = \"off\"\n[sites.\"a.test\"]\ntls = \"off\"\nproxy = 1\n";
        assert_eq!(codes(off), ["unreachable-site"]);
        let plain = "[listeners]\nhttps = \"off\"\n[sites.\"a.test\"]\nhttp = \"off\"\nproxy = 1\n";
        assert_eq!(codes(plain), ["unreachable-site"]);
    }

    #[test]
    fn a_redirect_that_meets_itself_is_said_and_one_that_leads_away_is_not() {
        let site = |to: &str| {
            format!(
                "[sites.\"a.test\"]\nredirect = \"{to}\"\n[[sites.\"a.test\".routes]]\npath = \"/b/*\"\nproxy = 1\n"
            )
        };
        for to in ["/x", "/{path}", "https://{host}/x", "https://a.test"] {
            assert_eq!(codes(&site(to)), ["redirect-circle"], "{to}");
        }
        for to in ["/b/x", "https://b.test/", "https://a.test.example/"] {
            assert_eq!(codes(&site(to)), [""; 0], "{to}");
        }
    }
}
