//! A Caddyfile: sites with `reverse_proxy`, `handle`, `handle_path`, `redir`, `respond`, `header` and `tls`.

use super::draft::{Draft, Keys, Site, Upstream, quoted, whole_path};
use super::tokens::{Directive, Failure, parse};
use crate::tls::is_local;

/// Directives that have no counterpart because there is nothing to set.
const NEEDLESS: &[&str] = &["log", "bind", "route"];

pub(super) fn translate(text: &str) -> Result<Draft, Failure> {
    let directives = parse(text, true)?;
    let mut draft = Draft::default();
    let (global, mut rest) = directives.split_at(usize::from(directives.first().is_some_and(|d| d.words.is_empty())));
    let mut email = String::new();
    for option in global.iter().flat_map(Directive::inner) {
        match option.name() {
            "email" => email = format!("email = {}, ", quoted(option.argument(0))),
            "admin" | "auto_https" | "http_port" | "https_port" if option.argument(0) == "off" => {}
            _ => draft.leave(option.line, option.text(), "global options have no counterpart"),
        }
    }
    // A file of one site may leave its braces out.
    let bare = match rest {
        [first, inner @ ..] if first.block.is_none() => {
            let whole = Directive { words: first.words.clone(), block: Some(inner.to_vec()), line: first.line };
            rest = &[];
            Some(whole)
        }
        _ => None,
    };
    for directive in bare.iter().chain(rest) {
        match directive.name() {
            name if name.starts_with('(') => draft.leave(directive.line, directive.text(), "snippets are not followed"),
            _ if directive.block.is_none() => draft.leave(directive.line, directive.text(), "outside of a site"),
            _ => site(directive, &mut draft),
        }
    }
    if draft.needs_acme {
        draft.top.push(
            "# As Caddy does: certificates of public names are ordered, and the terms of the server accepted.".into(),
        );
        draft.top.push(format!("acme = {{ {email}accept_terms = true }}"));
    }
    Ok(draft)
}

fn site(directive: &Directive, draft: &mut Draft) {
    let mut names = Vec::new();
    let mut plain = false;
    for word in directive.words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        let (http, rest) = match word.split_once("://") {
            Some((scheme, rest)) => (scheme == "http", rest),
            None => (false, word),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse::<u16>().ok()),
            _ => (rest, None),
        };
        plain |= http || port == Some(80);
        let kind = if http || port == Some(80) || host.is_empty() && port != Some(443) { "http" } else { "https" };
        plain |= kind == "http" && host.is_empty();
        if let Some(port) = port.filter(|port| !matches!(port, 80 | 443))
            && !draft.listeners.iter().any(|(there, _)| there == kind)
        {
            draft.listeners.push((kind.to_owned(), quoted(&format!(":{port}"))));
        }
        names.push(if host.is_empty() { "*".to_owned() } else { host.to_owned() });
    }
    let public = names.first().is_some_and(|name| !is_local(name.trim_start_matches("*.")) && name != "*");
    let mut left = Draft::default();
    let Some(site) = draft.site(&names) else { return };
    let mut keys = Keys::default();
    for inner in directive.inner() {
        one(inner, site, &mut keys, None, &mut left);
    }
    let ordered = !plain && public && !keys.has("tls");
    if plain {
        keys.set("tls", "\"off\"");
    }
    if !keys.has_action() && site.routes.is_empty() {
        keys.set("respond", "{ status = 200 }");
    }
    site.keys = keys;
    draft.upstreams.extend(left.upstreams);
    draft.left.extend(left.left);
    draft.needs_acme |= ordered;
}

/// One directive of a site, or of the block of a path (`within`).
fn one(directive: &Directive, site: &mut Site, keys: &mut Keys, within: Option<&str>, draft: &mut Draft) {
    let arguments = directive.arguments();
    let (matcher, rest) = match arguments.split_first() {
        Some((first, rest)) if first.starts_with(['/', '@']) && directive.name() != "tls" => {
            (Some(first.as_str()), rest)
        }
        Some((first, rest)) if first == "*" => (None, rest),
        _ => (None, arguments),
    };
    let path = match (matcher, within) {
        (None, _) => None,
        (Some(path), None) if path.starts_with('/') => match self::path(path) {
            Some(path) => Some(path),
            None => return draft.leave(directive.line, directive.text(), "the path needs a look"),
        },
        _ => return draft.leave(directive.line, directive.text(), "matchers but one path are not translated"),
    };
    let mut own = Keys::default();
    match directive.name() {
        "reverse_proxy" => reverse_proxy(directive, rest, site, &mut own, draft),
        "redir" => redir(directive, rest, path.as_deref().or(within), &mut own, draft),
        "respond" => respond(directive, rest, &mut own, draft),
        "handle" | "handle_path" if within.is_none() => {
            for inner in directive.inner() {
                one(inner, site, &mut own, path.as_deref().or(Some("/*")), draft);
            }
            let prefix = path.as_deref().and_then(|path| path.strip_suffix("/*")).filter(|prefix| !prefix.is_empty());
            if let (Some(prefix), "handle_path") = (prefix, directive.name()) {
                own.set("strip_prefix", quoted(prefix));
            }
        }
        "header" if path.is_none() && within.is_none() => header(directive, rest, site, draft),
        "tls" => tls(directive, keys, draft),
        "encode" if path.is_none() && within.is_none() && directive.block.is_none() => {
            let known = ["zstd", "br", "gzip"];
            let codings: Vec<_> =
                rest.iter().filter(|name| known.contains(&name.as_str())).map(|n| quoted(n)).collect();
            keys.set(
                "compress",
                if codings.is_empty() { "true".to_owned() } else { format!("[{}]", codings.join(", ")) },
            );
        }
        "root" | "file_server" | "try_files" | "php_fastcgi" => {
            draft.leave(directive.line, directive.text(), "vestibule serves no files");
        }
        name if NEEDLESS.contains(&name) && directive.block.is_none() => {}
        _ => draft.leave(directive.line, directive.text(), "no counterpart"),
    }
    if !own.has_action() {
        return;
    }
    match path.filter(|path| path != "/*") {
        None => own.pairs().for_each(|(key, value)| keys.set(key, value)),
        Some(path) if !site.routes.iter().any(|(there, _)| *there == path) => site.routes.push((path, own)),
        Some(_) => draft.leave(directive.line, directive.text(), "the path has a route already"),
    }
}

/// `/api/*`, `/api` and `/api*` as a path of a route.
fn path(text: &str) -> Option<String> {
    let plain =
        |text: &str| text.starts_with('/') && text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.~".contains(c));
    let (front, prefix) = match text.strip_suffix('*') {
        Some(front) => (front.trim_end_matches('/'), true),
        None => (text, false),
    };
    let dots = front.split('/').any(|segment| matches!(segment, "." | ".."));
    if dots || front.contains("//") || !(plain(front) || prefix && front.is_empty()) {
        return None;
    }
    Some(if prefix { format!("{front}/*") } else { front.to_owned() })
}

fn reverse_proxy(directive: &Directive, to: &[String], site: &mut Site, keys: &mut Keys, draft: &mut Draft) {
    let mut servers: Vec<String> = to.iter().filter_map(|to| target(to)).collect();
    let mut wanted = to.len();
    let mut balance = "\"random\"";
    for inner in directive.inner() {
        match (inner.name(), inner.argument(0)) {
            ("to", _) => {
                wanted += inner.arguments().len();
                servers.extend(inner.arguments().iter().filter_map(|to| target(to)));
            }
            ("lb_policy", "round_robin") => balance = "\"round-robin\"",
            ("lb_policy", "first") => balance = "\"first\"",
            ("lb_policy", "least_conn") => balance = "\"least-requests\"",
            ("lb_policy", "random") => {}
            ("header_up", "Host" | "X-Real-IP" | "X-Forwarded-For" | "X-Forwarded-Proto" | "X-Forwarded-Host") => {}
            ("header_up", name) if !name.starts_with(['-', '+', '?']) => match value(inner.argument(1)) {
                Some(value) => site.set_request(name, value),
                None => draft.leave(inner.line, inner.text(), "placeholders in it have no counterpart"),
            },
            _ => draft.leave(inner.line, inner.text(), "no counterpart"),
        }
    }
    if servers.len() != wanted {
        draft.leave(directive.line, directive.text(), "only plain http:// to a host and port");
    }
    servers.dedup();
    match servers.as_slice() {
        [] => {}
        [one] => keys.set("proxy", quoted(one)),
        many => {
            let name = format!("{}-{}", site.host.replace(['*', '.'], "-").trim_matches('-'), directive.line);
            let mut upstream = Upstream { name: name.clone(), ..Upstream::default() };
            upstream.servers = many.iter().map(|server| quoted(server)).collect();
            upstream.keys.set("balance", balance);
            draft.upstreams.push(upstream);
            keys.set("upstream", quoted(&name));
        }
    }
}

/// An upstream address of Caddy as a target.
fn target(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix/") {
        return Some(format!("unix:{path}"));
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    if rest.contains("://") || rest.contains(['{', '/']) {
        return None;
    }
    Some(match rest.rsplit_once(':') {
        Some(("", port)) => format!("localhost:{port}"),
        Some(_) => rest.to_owned(),
        None => format!("{rest}:80"),
    })
}

/// `path` is the one the redirect is for.
fn redir(directive: &Directive, arguments: &[String], path: Option<&str>, keys: &mut Keys, draft: &mut Draft) {
    let [to, code @ ..] = arguments else { return draft.leave(directive.line, directive.text(), "no target") };
    let status = match code.first().map(String::as_str) {
        None | Some("temporary") => 302,
        Some("permanent") => 301,
        Some(code) => code.parse().unwrap_or(0),
    };
    // `{path}` of Caddy loses the query, which is kept here.
    let to = to.replace("{path}", "{").replace("{uri}", &whole_path(path));
    let known = to.replace("{path}", "").replace("{host}", "");
    if !matches!(status, 301 | 302 | 303 | 307 | 308)
        || known.contains('{')
        || !(to.starts_with('/') || to.starts_with("http"))
    {
        return draft.leave(directive.line, directive.text(), "placeholders or status have no counterpart");
    }
    keys.set("redirect", format!("{{ to = {}, status = {status} }}", quoted(&to)));
}

fn respond(directive: &Directive, arguments: &[String], keys: &mut Keys, draft: &mut Draft) {
    let status = |text: &String| text.parse::<u16>().ok().filter(|status| (200..600).contains(status));
    let (body, status) = match arguments {
        [one] => match status(one) {
            Some(status) => ("", status),
            None => (one.as_str(), 200),
        },
        [body, code] => match status(code) {
            Some(status) => (body.as_str(), status),
            None => return draft.leave(directive.line, directive.text(), "not a status"),
        },
        _ => return draft.leave(directive.line, directive.text(), "no counterpart"),
    };
    if body.contains('{') {
        return draft.leave(directive.line, directive.text(), "placeholders in it have no counterpart");
    }
    let body = match body.is_empty() || matches!(status, 204 | 205 | 304) {
        true => String::new(),
        false => format!(", body = {}", quoted(body)),
    };
    keys.set("respond", format!("{{ status = {status}{body} }}"));
}

fn header(directive: &Directive, arguments: &[String], site: &mut Site, draft: &mut Draft) {
    let lines: Vec<(usize, &[String])> = match directive.block {
        Some(_) => directive.inner().iter().map(|inner| (inner.line, inner.words.as_slice())).collect(),
        None => vec![(directive.line, arguments)],
    };
    for (line, words) in lines {
        match words {
            [name] if name.starts_with('-') && !name.contains('*') => site.remove.push(name[1..].to_owned()),
            [name, text] if !name.starts_with(['-', '+', '?', '>']) => match value(text) {
                Some(value) => site.set_response(name, value),
                None => draft.leave(line, words.join(" "), "placeholders in it have no counterpart"),
            },
            _ => draft.leave(line, format!("header {}", words.join(" ")), "no counterpart"),
        }
    }
}

fn tls(directive: &Directive, keys: &mut Keys, draft: &mut Draft) {
    match directive.arguments() {
        [word] if word == "internal" => keys.set("tls", "\"dev\""),
        [cert, key] => keys.set("tls", format!("{{ cert = {}, key = {} }}", quoted(cert), quoted(key))),
        _ => draft.leave(directive.line, directive.text(), "certificates come from files or the development CA"),
    }
}

/// A header value with our placeholders; `None` where one has no counterpart.
fn value(text: &str) -> Option<String> {
    let table = [("{remote_host}", "{client_ip}"), ("{http.request.remote.host}", "{client_ip}")];
    let text = table.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let known = ["{client_ip}", "{host}", "{scheme}"].iter().fold(text.clone(), |text, word| text.replace(word, ""));
    (!known.contains('{')).then_some(text)
}
