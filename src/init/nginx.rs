//! nginx: `http`, `upstream`, `server`, `location` and what reverse proxies commonly hold.

use super::draft::{Draft, Keys, Upstream, quoted, whole_path};
use super::tokens::{Directive, Failure, parse};

/// Fields that are sent without asking, or that make a WebSocket pass.
const SENT_ANYWAY: &[&str] = &[
    "host",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "upgrade",
    "connection",
];

/// Directives that have no counterpart because there is nothing to set.
const NEEDLESS: &[&str] = &[
    "events",
    "user",
    "pid",
    "include",
    "default_type",
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "keepalive_timeout",
    "ssl_protocols",
    "ssl_ciphers",
    "ssl_prefer_server_ciphers",
    "ssl_session_cache",
    "ssl_session_timeout",
    "proxy_http_version",
    "proxy_buffering",
    "types_hash_max_size",
    "server_tokens",
    "log_format",
    "proxy_redirect",
    "ssl_session_tickets",
    "map",
    "worker_connections",
    "http2",
    "proxy_request_buffering",
    "types",
];

const NO_FILES: &str = "vestibule serves no files";

pub(super) fn translate(text: &str) -> Result<Draft, Failure> {
    let directives = parse(text, false)?;
    let mut draft = Draft::default();
    level(&directives, &mut draft);
    Ok(draft)
}

/// The top of the file, and `http`.
fn level(directives: &[Directive], draft: &mut Draft) {
    for directive in directives.iter().filter(|directive| directive.name() == "upstream") {
        upstream(directive, draft);
    }
    for directive in directives {
        match directive.name() {
            "http" => level(directive.inner(), draft),
            "server" => server(directive, draft),
            "upstream" => {}
            "worker_processes" if directive.argument(0) == "auto" => {}
            "gzip" if directive.argument(0) == "on" => draft.top.push("defaults.compress = [\"gzip\"]".to_owned()),
            "gzip" if directive.argument(0) == "off" => {}
            "access_log" if directive.argument(0) == "off" => draft.top.push("access_log = \"off\"".to_owned()),
            name if NEEDLESS.contains(&name) => {}
            _ => draft.leave(directive.line, directive.text(), "no counterpart"),
        }
    }
}

fn upstream(directive: &Directive, draft: &mut Draft) {
    let mut found = Upstream { name: directive.argument(0).to_owned(), ..Upstream::default() };
    for inner in directive.inner() {
        match inner.name() {
            "server" => {
                let address = address(inner.argument(0));
                let mut parts = vec![format!("address = {}", quoted(&address))];
                for option in inner.arguments().iter().skip(1) {
                    match option.split_once('=') {
                        Some(("weight", weight)) if weight.parse::<u16>().is_ok() => {
                            parts.push(format!("weight = {weight}"))
                        }
                        None if option == "backup" => parts.push("backup = true".to_owned()),
                        _ => draft.leave(
                            inner.line,
                            format!("server ... {option}"),
                            "servers that fail are left out anyway",
                        ),
                    }
                }
                found.servers.push(match parts.as_slice() {
                    [_] => quoted(&address),
                    parts => format!("{{ {} }}", parts.join(", ")),
                });
            }
            "least_conn" => found.keys.set("balance", "\"least-requests\""),
            "random" => found.keys.set("balance", "\"random\""),
            "keepalive" if inner.argument(0).parse::<u16>().is_ok() => {
                found.keys.set("keepalive", format!("{{ idle = {} }}", inner.argument(0)));
            }
            "zone" => {}
            _ => draft.leave(inner.line, inner.text(), "no counterpart"),
        }
    }
    // What nginx does without a word.
    found.keys.set("balance", "\"round-robin\"");
    draft.upstreams.push(found);
}

/// `host:port` of a server, 80 where there is no port.
fn address(text: &str) -> String {
    if text.starts_with("unix:") {
        return text.to_owned();
    }
    let end = text.rsplit(':').next().unwrap_or_default();
    let ported = text.contains(':') && !text.ends_with(']') && end.chars().all(|c| c.is_ascii_digit());
    if ported { text.to_owned() } else { format!("{text}:80") }
}

fn server(directive: &Directive, draft: &mut Draft) {
    let inner = directive.inner();
    let mut names: Vec<String> = Vec::new();
    let (mut tls, mut port) = (false, None);
    for directive in inner {
        match directive.name() {
            "server_name" => {
                names.extend(directive.arguments().iter().filter_map(|name| host(name, directive.line, draft)))
            }
            "listen" => {
                tls |= directive.arguments().iter().any(|word| word == "ssl");
                port = directive.argument(0).rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).or(port);
            }
            _ => {}
        }
    }
    let default =
        inner.iter().any(|d| d.name() == "listen" && d.arguments().iter().any(|word| word == "default_server"));
    if names.is_empty() || default && names.iter().all(|name| name == "_") {
        names = vec!["*".to_owned()];
    }
    names.retain(|name| name != "_");
    match (tls, port) {
        (true, Some(port)) if port != 443 => listener(draft, "https", port),
        (false, Some(port)) if port != 80 => listener(draft, "http", port),
        _ => {}
    }
    // A server that only sends everybody to https is what `http = "redirect"` does by itself.
    if !tls && inner.iter().any(to_https) {
        return;
    }
    let mut left = Draft::default();
    let Some(site) = draft.site(&names) else { return };
    if !tls {
        // The same host may have a server with TLS: then this one is its plain door.
        match site.keys.has("tls") {
            true => site.keys.set("http", "\"serve\""),
            false => site.keys.set("tls", "\"off\""),
        }
    }
    let mut pairs = (None, None);
    for directive in inner {
        match (directive.name(), directive.argument(0)) {
            ("server_name" | "listen", _) => {}
            ("ssl_certificate", file) => pairs.0 = Some(file.to_owned()),
            ("ssl_certificate_key", file) => pairs.1 = Some(file.to_owned()),
            ("location", _) => location(directive, site, &mut left),
            ("add_header" | "proxy_set_header", _) => field(directive, site, &mut left),
            ("proxy_hide_header", name) => site.remove.push(name.to_owned()),
            _ => common(directive, &mut site.keys, &At { path: None, prefix: "" }, &mut left),
        }
    }
    if let (Some(cert), Some(key)) = pairs {
        site.keys.set("tls", format!("{{ cert = {}, key = {} }}", quoted(&cert), quoted(&key)));
    }
    if !site.keys.has_action() && site.routes.is_empty() {
        site.keys.set("respond", "{ status = 404 }");
    }
    draft.left.extend(left.left);
}

fn listener(draft: &mut Draft, name: &str, port: u16) {
    if !draft.listeners.iter().any(|(there, _)| there == name) {
        draft.listeners.push((name.to_owned(), quoted(&format!(":{port}"))));
    }
}

fn host(name: &str, line: usize, draft: &mut Draft) -> Option<String> {
    if name.starts_with('~') || name.ends_with(".*") {
        draft.leave(line, format!("server_name {name}"), "hosts are names or \"*.name\"");
        return None;
    }
    // ".example.com" is the name and everything below it; the wildcard has both here.
    Some(name.strip_prefix('.').map_or(name.to_owned(), |base| format!("*.{base}")))
}

/// `return 301 https://$host$request_uri`, or the same by `rewrite`.
fn to_https(directive: &Directive) -> bool {
    directive.name() == "return"
        && directive.arguments().last().is_some_and(|to| to.starts_with("https://$"))
        && directive.argument(0).starts_with("30")
}

fn location(directive: &Directive, site: &mut super::draft::Site, draft: &mut Draft) {
    let (path, exact) = match directive.arguments() {
        [sign, path] if sign == "=" => (path.as_str(), true),
        [sign, path] if sign == "^~" => (path.as_str(), false),
        [path] if path.starts_with('/') => (path.as_str(), false),
        _ => return draft.leave(directive.line, directive.text(), "patterns are not translated"),
    };
    if !path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '"' | '<' | '>' | '\\' | '%' | '?'))
        || path.contains("//")
    {
        return draft.leave(directive.line, directive.text(), "the path needs a look");
    }
    let own = path == "/" && !exact;
    let mut keys = Keys::default();
    let prefix = path.trim_end_matches('/');
    let route = if exact { path.to_owned() } else { format!("{prefix}/*") };
    let at = At { path: Some(&route), prefix: if exact { "" } else { prefix } };
    for inner in directive.inner() {
        match (inner.name(), inner.argument(0)) {
            ("proxy_set_header" | "add_header", name) if own || is_sent_anyway(name) => field(inner, site, draft),
            ("proxy_set_header" | "add_header", _) => {
                draft.leave(inner.line, inner.text(), "fields are set for a whole site");
            }
            _ => common(inner, &mut keys, &at, draft),
        }
    }
    if keys.is_empty() || !keys.has_action() && !site.keys.has_action() {
        return draft.leave(directive.line, directive.text(), "nothing in it has a counterpart");
    }
    if own {
        site.keys = merged(keys, &site.keys);
    } else {
        if !exact && !path.ends_with('/') {
            draft.leave(directive.line, format!("location {path}"), "prefixes end at a segment here: /a is not /ab");
        }
        if !site.routes.iter().any(|(there, _)| *there == route) {
            site.routes.push((route, keys));
        }
    }
}

fn is_sent_anyway(name: &str) -> bool {
    SENT_ANYWAY.contains(&name.to_ascii_lowercase().as_str())
}

/// `add_header` or `proxy_set_header` of a whole site.
fn field(directive: &Directive, site: &mut super::draft::Site, draft: &mut Draft) {
    let (name, value) = (directive.argument(0), value(directive.argument(1)));
    match directive.name() {
        "proxy_set_header" if is_sent_anyway(name) => {}
        _ if value.contains('$') || name.is_empty() => {
            draft.leave(directive.line, directive.text(), "variables in it have no counterpart");
        }
        "add_header" => site.set_response(name, value),
        _ => site.set_request(name, value),
    }
}

fn merged(mut inner: Keys, outer: &Keys) -> Keys {
    outer.pairs().for_each(|(key, value)| inner.set(key, value));
    inner
}

/// Where a directive stands.
struct At<'a> {
    /// The path of its route; `None` for the whole server.
    path: Option<&'a str>,
    /// What a `proxy_pass` with a path takes away.
    prefix: &'a str,
}

/// What may stand in a server and in a location.
fn common(directive: &Directive, keys: &mut Keys, at: &At<'_>, draft: &mut Draft) {
    let first = directive.argument(0);
    match directive.name() {
        "proxy_pass" => proxy_pass(directive, keys, at.prefix, draft),
        "return" => answer(directive, keys, at.path, draft),
        "gzip" if first == "on" => keys.set("compress", "[\"gzip\"]"),
        "gzip" if first == "off" => {}
        "client_max_body_size" => match size(first) {
            Some(size) => keys.set("limits.body", quoted(&size)),
            None => draft.leave(directive.line, directive.text(), "not a size"),
        },
        "proxy_connect_timeout" | "proxy_read_timeout" => {
            let text = if first.chars().all(|c| c.is_ascii_digit()) { format!("{first}s") } else { first.to_owned() };
            if crate::config::units::duration(&text).is_err() {
                return draft.leave(directive.line, directive.text(), "not a duration");
            }
            if directive.name() == "proxy_connect_timeout" {
                return keys.set("timeouts.connect", quoted(&text));
            }
            keys.set("timeouts.response_header", quoted(&text));
            keys.set("timeouts.response_body_idle", quoted(&text));
        }
        "root" | "index" | "try_files" | "alias" | "autoindex" => {
            draft.leave(directive.line, directive.text(), NO_FILES)
        }
        name if NEEDLESS.contains(&name) => {}
        _ => draft.leave(directive.line, directive.text(), "no counterpart"),
    }
}

fn proxy_pass(directive: &Directive, keys: &mut Keys, prefix: &str, draft: &mut Draft) {
    let Some(rest) = directive.argument(0).strip_prefix("http://").filter(|rest| !rest.contains('$')) else {
        return draft.leave(directive.line, directive.text(), "only plain http:// without variables");
    };
    let (to, path) = match rest.strip_prefix("unix:") {
        Some(socket) => {
            let (socket, path) = socket.split_once(':').unwrap_or((socket, ""));
            (format!("unix:{socket}"), path)
        }
        None => rest.find('/').map_or((rest.to_owned(), ""), |at| (rest[..at].to_owned(), &rest[at..])),
    };
    match path {
        "" => {}
        "/" if !prefix.is_empty() => keys.set("strip_prefix", quoted(prefix)),
        "/" => {}
        path if !prefix.is_empty() && path.ends_with('/') && !path.contains(['{', '?', '%']) => {
            keys.set("rewrite", quoted(&format!("{path}{{path}}")));
        }
        _ => return draft.leave(directive.line, directive.text(), "the path it is rewritten to needs a look"),
    }
    // A name of an upstream of this file holds no port and no dot.
    match to.contains([':', '.']) || to == "localhost" {
        true => keys.set("proxy", quoted(&address(&to))),
        false => keys.set("upstream", quoted(&to)),
    }
}

/// `path` is that of the route; `None` for the whole server.
fn answer(directive: &Directive, keys: &mut Keys, path: Option<&str>, draft: &mut Draft) {
    let status = directive.argument(0).parse::<u16>().unwrap_or(0);
    let text = directive.argument(1);
    match status {
        301 | 302 | 303 | 307 | 308 => {
            let to = text.replace("$host", "{host}").replace("$request_uri", &whole_path(path));
            match to.contains('$') || !(to.starts_with('/') || to.starts_with("http")) {
                true => draft.leave(directive.line, directive.text(), "variables in it have no counterpart"),
                false => keys.set("redirect", format!("{{ to = {}, status = {status} }}", quoted(&to))),
            }
        }
        200..=599 => keys.set(
            "respond",
            match text.is_empty() || matches!(status, 204 | 205 | 304) {
                true => format!("{{ status = {status} }}"),
                false => format!("{{ status = {status}, body = {} }}", quoted(text)),
            },
        ),
        _ => draft.leave(directive.line, directive.text(), "this status closes the connection in nginx"),
    }
}

/// `10m` of nginx as `10MiB`; 0 is no limit.
fn size(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    digits.parse::<u32>().ok()?;
    Some(match lower.strip_prefix(digits)? {
        _ if digits == "0" => "off".to_owned(),
        "" => format!("{digits}B"),
        "k" => format!("{digits}KiB"),
        "m" => format!("{digits}MiB"),
        _ => format!("{digits}GiB"),
    })
}

/// Variables of nginx as placeholders, where there are such.
fn value(text: &str) -> String {
    [
        ("$remote_addr", "{client_ip}"),
        ("$host", "{host}"),
        ("$http_host", "{host}"),
        ("$scheme", "{scheme}"),
        ("$request_id", "{request_id}"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
