//! Every key with its default, as a config that loads: `config --defaults` and config/reference.toml.
//!
//! A line that begins with `#` and a key is an example: the key has no default, or stands in a table that is not there
//! by default.

use std::fmt::Write as _;

use super::places::{Place, places};
use super::{Key, Kind, ROOT};
use crate::config::units::show_size;

const HEAD: &str = "#:schema ./vestibule.schema.json
# Every key of the config language with its default, made from the schema (`vestibule config --defaults`).
# A config needs none of it but one site. Lines that begin with `#` and a key are examples.
";

/// Tables written out although nobody asked for them; the others are examples.
const LIVE: &[&str] = &[
    "top",
    "listeners",
    "tls",
    "dev_ca",
    "defaults",
    "defaults.timeouts",
    "defaults.limits",
    "sites.HOST",
    "sites.HOST.routes",
    "upstreams.NAME",
    "upstreams.NAME.keepalive",
    "access_log",
    "access_log.redact",
    "log",
    "admin",
    "server",
];

/// Keys without a default that the reference needs to be a config, with their values.
const NEEDED: &[(&str, &str, &str)] = &[
    ("sites.HOST", "upstream", "\"app\""),
    ("sites.HOST.routes", "path", "\"/api/*\""),
    ("upstreams.NAME", "servers", "[\"127.0.0.1:3000\"]"),
];

/// The column where comments begin, when the value leaves room.
const COMMENT_AT: usize = 44;

/// The reference as TOML text.
pub fn reference() -> String {
    let mut places = places(&ROOT);
    // What belongs together stands together, in the order of the top of the file.
    places.sort_by_key(|place| place.path.first().map(|first| ROOT.keys.iter().position(|key| key.name == first)));
    let mut out = HEAD.to_owned();
    for place in &places {
        let live = LIVE.contains(&place.name().as_str());
        let lines: String = place.table.keys.iter().filter_map(|key| line(place, key, live)).collect();
        if lines.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match header(place) {
            Some(header) if live => write!(out, "\n{header}\n{lines}"),
            Some(header) => write!(out, "\n#{header}\n{lines}"),
            None => write!(out, "\n{lines}"),
        };
    }
    out
}

fn header(place: &Place) -> Option<String> {
    if place.path.is_empty() {
        return None;
    }
    let names = place.path.iter().map(|name| match name.as_str() {
        "HOST" => "\"app.localhost\"",
        "NAME" => "app",
        name => name,
    });
    let path = names.collect::<Vec<_>>().join(".");
    Some(if place.item { format!("[[{path}]]") } else { format!("[{path}]") })
}

/// One key; `None` for a table, which has lines of its own.
fn line(place: &Place, key: &Key, live: bool) -> Option<String> {
    let needed = NEEDED.iter().find(|(table, name, _)| *table == place.name() && *name == key.name);
    let default = key.default_text();
    let (value, live) = match needed {
        Some((.., value)) => ((*value).to_owned(), live),
        None if is_tables(&key.kind) && (default.is_empty() || default == "[]") => return None,
        None if default.is_empty() => (example(&key.kind), false),
        None => (default, live && key.supported),
    };
    let mark = if live { "" } else { "#" };
    let pair = format!("{mark}{} = {value}", key.name);
    let later = if key.supported { "" } else { "(not supported yet) " };
    Some(format!("{pair:<COMMENT_AT$} # {later}{}\n", key.doc))
}

/// The value is a table, a list of tables, or a map of them.
fn is_tables(kind: &Kind) -> bool {
    match kind {
        Kind::Table(_) => true,
        Kind::List(kind) | Kind::Map(_, kind) => is_tables(kind),
        Kind::OneOf(kinds) => kinds.iter().any(is_tables),
        _ => false,
    }
}

/// A value of this kind.
fn example(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true".to_owned(),
        Kind::Integer { min, max } => if *max == 65_535 { 8443 } else { (*min).max(100) }.to_string(),
        Kind::Text(what) => format!("\"{}\"", text(what)),
        Kind::Duration { .. } => "\"30s\"".to_owned(),
        Kind::Size { min, .. } => format!("\"{}\"", show_size((*min).max(1 << 20))),
        Kind::Choice { now, later } => format!("\"{}\"", now.iter().chain(*later).next().unwrap_or(&"off")),
        Kind::List(kind) => format!("[{}]", example(kind)),
        Kind::Map(what, kind) => format!("{{ \"{}\" = {} }}", text(what), example(kind)),
        Kind::Table(_) => "{}".to_owned(),
        // The longest form shows most; a port alone is not the usual target.
        Kind::OneOf(kinds) => kinds.iter().rev().find(|kind| !is_tables(kind)).map_or_else(String::new, example),
    }
}

/// An example of a text, by the word the schema has for it.
fn text(what: &str) -> &'static str {
    match what {
        "a file" => "file.pem",
        "a file pattern" => "sites.d/*.toml",
        "a folder" => "ca",
        "a socket" => "vestibule.sock",
        "a target" => "127.0.0.1:3000",
        "an address" => "127.0.0.1:8443",
        "a host" | "a domain" => "app.example.com",
        "a network" => "10.0.0.0/8",
        "a name" | "the name of an upstream" => "app",
        "a URL or path" => "/new/{path}",
        "a URL" => "http://127.0.0.1:9091/",
        "an origin" => "https://app.example.com",
        "a path" => "/api",
        "a regular expression" => "/v[0-9]+/.*",
        "a method" => "GET",
        "a header name" => "X-Name",
        "a parameter" | "a cookie name" => "name",
        "a rate" => "100/s",
        "a share" => "20%",
        "a status" | "a range of statuses" => "200-399",
        "a mail address" => "ops@example.com",
        "a media type" => "text/plain",
        "a command" => "/usr/local/bin/hook",
        "a request" => "GET http://app.example.com/",
        "an IP address" => "127.0.0.1",
        "a why-code" => "route.no_host",
        _ => "value",
    }
}
