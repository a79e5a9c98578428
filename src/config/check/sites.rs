//! `[sites]`: hosts, their routes, and what two of them cannot share.

use std::collections::HashMap;
use std::sync::Arc;

use super::actions::Found;
use super::matchers::Seen;
use super::settings::Settings;
use super::upstreams::Upstreams;
use super::{Checker, filters, hosts, paths, texts};
use crate::config::diagnostics::Diagnostic;
use crate::config::source::Mark;
use crate::config::value::{Entry, Node, Table, Value};
use crate::config::{
    Action, Defaults, ErrorPages, Filters, HeaderRules, HostPattern, Matchers, Origin, PathPattern, PlainMode, Route,
    RouteSettings, Site, SiteTls, Upstream,
};

/// Settings of routes that are looked at for the same.
const LAST: usize = 8;

/// What the routes of a site take from it.
struct Owner {
    settings: Settings,
    rules: (Arc<HeaderRules>, Arc<HeaderRules>),
    filters: Filters,
    action: Found,
}

impl Checker<'_> {
    /// What `[defaults]` says, all sites in file order, and the upstreams they forward to.
    pub(super) fn sites(
        &mut self,
        root: &Table,
        error_pages: &Option<Arc<ErrorPages>>,
    ) -> (Defaults, Vec<Site>, Vec<Upstream>) {
        let empty = Table::default();
        let table = root.table("defaults").unwrap_or(&empty);
        self.no_deadline(table);
        let defaults = self.settings(table, &Settings::default());
        let filters = Filters {
            compress: filters::compress(table).unwrap_or_default(),
            error_pages: error_pages.clone(),
            ..Filters::default()
        };
        let mut upstreams = self.upstreams(root);
        let mut hosts = HashMap::new();
        let mut out = Vec::new();
        match root.table("sites") {
            Some(table) if !table.entries.is_empty() || table.incomplete => {
                out.reserve_exact(table.entries.len());
                for entry in &table.entries {
                    out.extend(self.site(entry, (&defaults, &filters), &mut upstreams, &mut hosts));
                }
                self.unused(&upstreams);
            }
            // What was reported may be the sites: `[site]` for `[sites]`.
            _ if root.incomplete || root.has("sites") && root.table("sites").is_none() => {}
            _ => {
                let diagnostic = Diagnostic::error("no-sites", "the config has no site").help(
                    "write, for an app on port 3000 of this machine:  [sites]  and below it  \"app.localhost\" = 3000",
                );
                match root.entry("sites") {
                    Some(entry) => self.report(diagnostic.label("empty"), entry.key_at),
                    None => self.out.push(diagnostic),
                }
            }
        }
        let mut limits = defaults.limits;
        // A head is read before its route is known: as far as the most generous one lets it, and each looks again.
        let targets = out.iter().flat_map(|site: &Site| &site.routes).map(|route| route.settings.limits.uri_bytes);
        limits.uri_bytes = targets.fold(limits.uri_bytes, usize::max);
        (Defaults { timeouts: defaults.timeouts, limits }, out, upstreams.into_list())
    }

    fn site(
        &mut self,
        entry: &Entry,
        (defaults, inherited): (&Settings, &Filters),
        upstreams: &mut Upstreams,
        taken: &mut HashMap<HostPattern, Mark>,
    ) -> Option<Site> {
        let host = self.take(hosts::pattern(&entry.key), entry.key_at);
        if let Some(host) = &host {
            self.claim(host, entry.key_at, taken);
        }
        let origin = self.origin(entry.key_at);
        let node = &entry.value;
        let Value::Table(table) = &node.value else {
            if matches!(node.value, Value::Invalid) {
                return None;
            }
            let index = upstreams.of_target(self.target(node)?, self.origin(node.at));
            let rules = (HeaderRules::none(), HeaderRules::none());
            let filters = inherited.clone();
            let error_pages = filters.error_pages.clone();
            let owner = Owner { settings: defaults.clone(), rules, filters, action: Found::None };
            let route = self.own_route(&owner, Action::Forward(index), self.origin(node.at));
            return Some(Site {
                host: host?,
                aliases: Vec::new(),
                aliases_redirect: true,
                tls: SiteTls::Auto,
                client_auth: None,
                http: defaults.http,
                error_pages,
                routes: vec![route],
                origin,
            });
        };
        let mut aliases = Vec::new();
        for (text, at) in texts(table, "aliases") {
            let Some(alias) = self.take(hosts::pattern(text), at) else { continue };
            if self.claim(&alias, at, taken) {
                aliases.push(alias);
            }
        }
        let aliases_redirect = table.bool("aliases_redirect").unwrap_or(true);
        if let (true, false, Some(HostPattern::Wildcard(_) | HostPattern::Any)) =
            (aliases_redirect, aliases.is_empty(), &host)
        {
            let diagnostic = Diagnostic::error("alias-of-wildcard", "an alias redirects to the site's own name")
                .label("and this site has no single name")
                .help("`aliases_redirect = false` serves the site under its aliases");
            self.report(diagnostic, entry.key_at);
        }
        let mut settings = self.site_settings(table, defaults);
        let tls = self.site_tls(table);
        if tls == SiteTls::Off {
            settings.http = self.without_tls(table, settings.http);
        }
        let http = settings.http;
        let client_auth = self.client_auth(table, http);
        let rules = self.header_rules(table);
        let filters = self.filters(table, inherited, upstreams);
        if let (SiteTls::Off, Some(_), Some(entry)) = (&tls, filters.hsts, table.entry("hsts")) {
            let diagnostic = Diagnostic::error("tls-off", "`hsts` speaks of https, and the site has tls = \"off\"")
                .label("never sent")
                .help("browsers ignore it over plain HTTP (RFC 6797 section 8.1)");
            self.report(diagnostic, entry.key_at);
        }
        let action = self.action(table, None, upstreams);
        let owner = Owner { settings, rules, filters, action };
        let mut routes = self.routes(table, &owner, upstreams);
        match owner.action {
            Found::Action(ref action, at) => routes.push(self.own_route(&owner, action.clone(), self.origin(at))),
            Found::None if !table.has("routes") => {
                let diagnostic = Diagnostic::error("no-action", "the site does nothing")
                    .label("no action and no routes")
                    .help("give it one of `proxy`, `upstream`, `redirect`, `respond`, or `routes`");
                self.report(diagnostic, entry.key_at);
            }
            Found::None | Found::Reported => {}
        }
        let error_pages = owner.filters.error_pages;
        Some(Site { host: host?, aliases, aliases_redirect, tls, client_auth, http, error_pages, routes, origin })
    }

    /// Notes who has a host. Gives false, with a report, when another site has it.
    fn claim(&mut self, host: &HostPattern, at: Mark, taken: &mut HashMap<HostPattern, Mark>) -> bool {
        let Some(first) = taken.get(host) else {
            taken.insert(host.clone(), at);
            return true;
        };
        let diagnostic = Diagnostic::error("duplicate-host", format!("the host `{host}` is served twice"))
            .label("the second time")
            .also(&self.origin(*first), "the first time")
            .help("a host belongs to one site; put the routes of both into that");
        self.report(diagnostic, at);
        false
    }

    fn site_tls(&mut self, table: &Table) -> SiteTls {
        let Some(node) = table.get("tls") else { return SiteTls::Auto };
        match (&node.value, node.text()) {
            (_, Some("dev")) => SiteTls::Dev,
            (_, Some("acme")) => SiteTls::Acme,
            (_, Some("off")) => SiteTls::Off,
            (Value::Table(_), _) => self.site_tls_table(node),
            _ => SiteTls::Auto,
        }
    }

    /// The plain door of a site without TLS: it is the only one.
    fn without_tls(&mut self, table: &Table, inherited: PlainMode) -> PlainMode {
        let Some(node) = table.get("http") else {
            // Inherited: a redirect to https would lead nowhere.
            return PlainMode::Serve;
        };
        if inherited != PlainMode::Serve {
            let why =
                if inherited == PlainMode::Off { "no listener serves it" } else { "it has no https to redirect to" };
            let diagnostic = Diagnostic::error("tls-off", format!("the site has tls = \"off\": {why}"))
                .label("not with tls = \"off\"")
                .help("a site without TLS is served on the plain listener")
                .replace("\"serve\"");
            self.report(diagnostic, node.at);
        }
        PlainMode::Serve
    }

    fn routes(&mut self, table: &Table, owner: &Owner, upstreams: &mut Upstreams) -> Vec<Route> {
        let mut seen = Seen::default();
        if let Found::Action(_, at) = owner.action {
            seen.add(PathPattern::Any, Matchers::default(), at);
        }
        // With room for the site's own action: a config may have very many of them.
        let mut routes = Vec::with_capacity(table.list("routes").count() + 1);
        for node in table.list("routes") {
            let Some(table) = node.table() else { continue };
            let path = self.route_path(table, node.at);
            let matchers = self.matchers(table);
            if let Some((path, at)) = &path {
                self.tie(path, &matchers, *at, &mut seen);
            }
            routes.extend(self.route(node, table, (path.map(|(path, _)| path), matchers), owner, upstreams));
        }
        routes
    }

    fn route(
        &mut self,
        node: &Node,
        table: &Table,
        (path, matchers): (Option<PathPattern>, Matchers),
        owner: &Owner,
        upstreams: &mut Upstreams,
    ) -> Option<Route> {
        let strip_prefix = table
            .get("strip_prefix")
            .and_then(|node| self.take(paths::strip_prefix(node.text()?, path.as_ref()), node.at));
        let rewrite = self.rewrite(table, path.as_ref());
        let filters = self.filters(table, &owner.filters, upstreams);
        let settings = self.route_settings(table, &owner.settings);
        let action = match (self.action(table, path.as_ref(), upstreams), &owner.action) {
            (Found::Action(action, _), _) => Some(action),
            // A route without an action of its own changes how the site's action is done.
            (Found::None, Found::Action(action, _)) => Some(action.clone()),
            (Found::None, Found::None) => {
                let diagnostic = Diagnostic::error("no-action", "the route does nothing")
                    .label("no action here and none on its site")
                    .help("give it one of `proxy`, `upstream`, `redirect`, `respond`");
                self.report(diagnostic, place(node, table));
                None
            }
            _ => None,
        };
        let settings = self.shared(settings, owner);
        Some(Route {
            path: path?,
            matchers,
            strip_prefix,
            rewrite,
            filters,
            action: action?,
            settings,
            origin: self.origin(place(node, table)),
        })
    }

    /// The route of a site's own action.
    fn own_route(&mut self, owner: &Owner, action: Action, origin: Origin) -> Route {
        Route {
            path: PathPattern::Any,
            matchers: Matchers::default(),
            strip_prefix: None,
            rewrite: None,
            filters: owner.filters.clone(),
            action,
            settings: self.shared(owner.settings.clone(), owner),
            origin,
        }
    }

    /// The settings of a route, shared with one of the last ones that has the same.
    fn shared(&mut self, settings: Settings, owner: &Owner) -> Arc<RouteSettings> {
        let Settings { http: _, timeouts, limits, forwarding, upgrade, buffer_request } = settings;
        let (request_headers, response_headers) = owner.rules.clone();
        let settings =
            RouteSettings { request_headers, response_headers, timeouts, limits, forwarding, upgrade, buffer_request };
        if let Some(same) = self.settings.iter().find(|other| ***other == settings) {
            return same.clone();
        }
        let settings = Arc::new(settings);
        self.settings.truncate(LAST - 1);
        self.settings.insert(0, settings.clone());
        settings
    }
}

/// Where a route stands: at its path, where there is one.
fn place(node: &Node, table: &Table) -> Mark {
    table.get("path").or_else(|| table.get("path_regex")).map_or(node.at, |path| path.at)
}
