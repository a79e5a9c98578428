//! The map: doors, sites, routes, and the servers behind them with how they fare.

use std::fmt::Write as _;

use serde_json::Value;

use super::{View, escape};
use crate::config::{Action, Upstream};

/// Sites and routes of a site that are drawn; a config may have thousands.
const SITES: usize = 100;
const ROUTES: usize = 50;

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    let config = &view.seen.snapshot.config;
    super::section(out, "map", w.map, w.map_lead);
    let _ = write!(out, "<div class=\"map\"><div><h3>{}</h3><ul>", w.doors);
    for (index, address) in &view.seen.doors {
        let Some(listener) = config.listeners.get(*index) else { continue };
        let (class, wire) = if listener.tls { ("s", "TLS") } else { ("c", w.plain) };
        let _ = write!(
            out,
            "<li><b>{}</b> <code>{address}</code> <span class=\"tag {class}\">{wire}</span></li>",
            escape(&listener.name)
        );
    }
    out.push_str("</ul></div><div class=\"sites\">\n");
    for site in config.sites.iter().take(SITES) {
        let _ = writeln!(
            out,
            "<article class=\"card\"><h3>{}</h3><p class=\"note\">{}</p><ul class=\"routes\">",
            escape(&site.host.to_string()),
            escape(&place(&site.origin))
        );
        for route in site.routes.iter().take(ROUTES) {
            let _ = write!(out, "<li><code>{}</code> ", escape(&route.path.to_string()));
            match &route.action {
                Action::Forward(index) => {
                    if let Some(upstream) = config.upstreams.get(*index) {
                        let _ = write!(out, "{} <b>{}</b>", w.goes_to, escape(&upstream.name));
                        servers(out, view, *index, upstream);
                    }
                }
                Action::Redirect(rule) => {
                    let _ = write!(out, "{} <code>{}</code> ({})", w.redirects_to, escape(&rule.to), rule.status);
                }
                Action::Respond(rule) => {
                    let _ = write!(out, "{} {}", w.answers, rule.status);
                }
            }
            out.push_str("</li>\n");
        }
        out.push_str("</ul></article>\n");
    }
    out.push_str("</div></div></section>\n");
}

fn servers(out: &mut String, view: &View<'_>, index: usize, upstream: &Upstream) {
    let w = view.words;
    let servers = view.seen.status["upstreams"][index]["servers"].as_array();
    out.push_str("<ul class=\"servers\">");
    for (place, server) in upstream.servers.iter().enumerate() {
        let state = servers.and_then(|servers| servers.get(place)).unwrap_or(&Value::Null);
        let number = |name: &str| state[name].as_u64().unwrap_or(0);
        let out_of_use = matches!(state["health"].as_str(), Some("ejected" | "down"));
        let (class, word) = if out_of_use { ("down", w.out) } else { ("up", w.up) };
        let _ = write!(
            out,
            "<li><span class=\"dot {class}\"></span><code>{}{}</code> {word} \u{b7} {} {} \u{b7} {} {}</li>",
            server.protocol.scheme(),
            escape(&server.address.to_string()),
            number("in_flight"),
            w.in_flight,
            number("idle"),
            w.idle
        );
    }
    out.push_str("</ul>");
}

/// Where it stands in the config; nothing for what comes from the command line.
fn place(origin: &crate::config::Origin) -> String {
    if origin.line == 0 { String::new() } else { format!("{}:{}", origin.file, origin.line) }
}
