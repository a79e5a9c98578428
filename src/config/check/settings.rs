//! What a site takes from `[defaults]` and a route from its site: timeouts, limits, forwarding, the plain door.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Checker, headers, hosts, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::source::Mark;
use crate::config::value::{Table, quote};
use crate::config::{ForwardedStyle, Forwarding, Limits, PlainMode, Timeouts};

/// Timeouts that are over before a site is known.
pub(in crate::config) const EARLY_TIMEOUTS: &[&str] = &["handshake", "request_header", "keep_alive"];
/// Limits that are checked before a site is known.
pub(in crate::config) const EARLY_LIMITS: &[&str] = &["header_bytes", "header_fields"];

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub http: PlainMode,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub forwarding: Forwarding,
    /// Protocols a client may switch to.
    pub upgrade: Arc<[String]>,
    pub buffer_request: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            http: PlainMode::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            forwarding: Forwarding::default(),
            upgrade: Arc::new(["websocket".to_owned()]),
            buffer_request: false,
        }
    }
}

impl Checker<'_> {
    /// The settings of a table of `[defaults]` or of a site, on top of those it inherits.
    pub(super) fn settings(&mut self, table: &Table, inherited: &Settings) -> Settings {
        let mut settings = inherited.clone();
        settings.http = match table.text("http") {
            Some("redirect") => PlainMode::Redirect,
            Some("serve") => PlainMode::Serve,
            Some("upgrade") => PlainMode::Upgrade,
            Some("off") => PlainMode::Off,
            _ => inherited.http,
        };
        settings.forwarding.style = match table.text("forwarded") {
            Some("x-forwarded") => ForwardedStyle::XForwarded,
            Some("rfc7239") => ForwardedStyle::Rfc7239,
            Some("both") => ForwardedStyle::Both,
            Some("off") => ForwardedStyle::Off,
            _ => inherited.forwarding.style,
        };
        if table.has("trusted_proxies") {
            settings.forwarding.trusted_proxies =
                texts(table, "trusted_proxies").filter_map(|(text, at)| self.trusted(text, at)).collect();
        }
        bounds(table, &mut settings);
        settings
    }

    /// A network of `trusted_proxies`. One that holds every address lets any client say who it is.
    fn trusted(&mut self, text: &str, at: Mark) -> Option<IpNet> {
        let network = self.take(hosts::network(text), at)?;
        if network.prefix_len() == 0 {
            let diagnostic = Diagnostic::warning("trusts-everybody", "every client is believed to be a proxy in front")
                .label("every address")
                .note("a client can state any address, scheme and host in X-Forwarded-*")
                .help("name the networks of the proxies in front alone");
            self.report(diagnostic, at);
        }
        Some(network)
    }

    /// Says which deadlines of `[defaults]` are off that keep idle clients from filling the proxy.
    pub(super) fn no_deadline(&mut self, defaults: &Table) {
        let Some(table) = defaults.table("timeouts") else { return };
        for key in EARLY_TIMEOUTS {
            if let (Some(None), Some(node)) = (table.duration(key), table.get(key)) {
                let diagnostic = Diagnostic::warning("no-deadline", format!("`{key}` is off"))
                    .label("clients may wait for ever")
                    .note("connections that say nothing count against server.max_connections")
                    .help("leave it out for the default, or give a long one");
                self.report(diagnostic, node.at);
            }
        }
    }

    /// The settings of a site, on top of `[defaults]`.
    pub(super) fn site_settings(&mut self, table: &Table, defaults: &Settings) -> Settings {
        self.without_effect(table, "a site");
        let mut settings = self.settings(table, defaults);
        self.request_settings(table, &mut settings);
        settings
    }

    /// The settings of a route: timeouts and limits, and what is done with a request.
    pub(super) fn route_settings(&mut self, table: &Table, inherited: &Settings) -> Settings {
        let mut settings = inherited.clone();
        bounds(table, &mut settings);
        self.without_effect(table, "a route");
        self.request_settings(table, &mut settings);
        settings
    }

    /// `upgrade` and `buffer_request`.
    fn request_settings(&mut self, table: &Table, settings: &mut Settings) {
        if table.has("upgrade") {
            settings.upgrade = texts(table, "upgrade").filter_map(|(text, at)| self.take(protocol(text), at)).collect();
        }
        settings.buffer_request = table.bool("buffer_request").unwrap_or(settings.buffer_request);
    }

    /// Says which timeouts and limits come too late here: a connection and a head are bounded before a site is known.
    fn without_effect(&mut self, table: &Table, place: &str) {
        for (group, keys) in [("timeouts", EARLY_TIMEOUTS), ("limits", EARLY_LIMITS)] {
            let Some(table) = table.table(group) else { continue };
            for key in keys {
                let Some(entry) = table.entry(key) else { continue };
                let diagnostic = Diagnostic::warning("no-effect", format!("`{key}` has no effect on {place}"))
                    .label("over before the host is known")
                    .help(format!("put it into the `{group}` of `[defaults]`"));
                self.report(diagnostic, entry.key_at);
            }
        }
    }
}

/// Timeouts and limits of a table.
fn bounds(table: &Table, settings: &mut Settings) {
    if let Some(table) = table.table("timeouts") {
        let set = |key: &str, field: &mut Option<Duration>| {
            if let Some(duration) = table.duration(key) {
                *field = duration;
            }
        };
        let timeouts = &mut settings.timeouts;
        set("handshake", &mut timeouts.handshake);
        set("request_header", &mut timeouts.request_header);
        set("request_body_idle", &mut timeouts.request_body_idle);
        set("keep_alive", &mut timeouts.keep_alive);
        set("connect", &mut timeouts.connect);
        set("response_header", &mut timeouts.response_header);
        set("response_body_idle", &mut timeouts.response_body_idle);
        set("tunnel_idle", &mut timeouts.tunnel_idle);
    }
    if let Some(table) = table.table("limits") {
        let bytes = |key: &str| table.size(key).flatten().and_then(|size| usize::try_from(size).ok());
        let limits = &mut settings.limits;
        limits.header_bytes = bytes("header_bytes").unwrap_or(limits.header_bytes);
        limits.uri_bytes = bytes("uri_bytes").unwrap_or(limits.uri_bytes);
        let fields = table.integer("header_fields").and_then(|number| usize::try_from(number).ok());
        limits.header_fields = fields.unwrap_or(limits.header_fields);
        limits.body = table.size("body").unwrap_or(limits.body);
    }
}

/// A token of `Upgrade` (RFC 9110 section 7.8): a name, with or without a version.
fn protocol(text: &str) -> Checked<String> {
    let bad = |why: &str| {
        Diagnostic::error("bad-protocol", format!("{} is no protocol to switch to", quote(text))).label(why)
    };
    let (name, version) = text.split_once('/').map_or((text, None), |(name, version)| (name, Some(version)));
    if headers::name(name).is_err() || version.is_some_and(|version| headers::name(version).is_err()) {
        return Err(bad("a name, or a name/version").boxed());
    }
    if matches!(name.to_ascii_lowercase().as_str(), "h2c" | "h2" | "http" | "tls") {
        // What follows would be requests that no route and no rule has seen.
        return Err(bad("never passed on")
            .note("requests inside such a connection would reach the server unseen")
            .help("list protocols that are not HTTP, such as \"websocket\"")
            .boxed());
    }
    Ok(text.to_ascii_lowercase())
}
