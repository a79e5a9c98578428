//! The filters of a site or route: `hsts`, `allow` and `deny`, `rate_limit`, `basic_auth`, `forward_auth`, `cors`,
//! `compress`.

use std::sync::Arc;
use std::time::Duration;

use super::upstreams::Upstreams;
use super::{Checker, headers, hosts, matchers, targets, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::value::{Node, Table, Value, quote};
use crate::config::{AccessRules, BasicAuth, Coding, Cors, Filters, ForwardAuth, Hsts, RateKey, RateLimit};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Chromium keeps no answer to a preflight longer than two hours; ten minutes is long enough for a page.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

impl Checker<'_> {
    /// The filters of a table, on top of those it inherits. A key that is there replaces the inherited one whole; "off"
    /// switches it off.
    pub(super) fn filters(&mut self, table: &Table, inherited: &Filters, upstreams: &mut Upstreams) -> Filters {
        let mut filters = inherited.clone();
        if let Some(node) = table.get("hsts") {
            filters.hsts = node.table().map(|inner| self.hsts(inner, node));
        }
        if table.has("allow") || table.has("deny") {
            filters.access = Some(Arc::new(self.access(table)));
        }
        if let Some(node) = table.get("rate_limit") {
            filters.rate_limit = node.table().and_then(|inner| self.rate_limit(inner, node)).map(Arc::new);
        }
        if let Some(node) = table.get("basic_auth") {
            filters.basic_auth = node.table().and_then(|inner| self.basic_auth(inner, node)).map(Arc::new);
        }
        if let Some(node) = table.get("forward_auth") {
            filters.forward_auth =
                node.table().and_then(|inner| self.forward_auth(inner, node, upstreams)).map(Arc::new);
        }
        if let Some(node) = table.get("cors") {
            filters.cors = node.table().and_then(|inner| self.cors(inner, node)).map(Arc::new);
        }
        filters.compress = compress(table).unwrap_or(filters.compress);
        if let Some(pages) = self.error_pages(table) {
            filters.error_pages = pages;
        }
        filters
    }

    fn hsts(&mut self, table: &Table, node: &Node) -> Hsts {
        let max_age = match table.get("max_age").map(|node| &node.value) {
            Some(Value::Integer(_)) => Duration::ZERO,
            Some(Value::Duration(Some(age))) => *age,
            _ => YEAR,
        };
        let flag = |key| table.bool(key).unwrap_or(false);
        let hsts = Hsts { max_age, include_subdomains: flag("include_subdomains"), preload: flag("preload") };
        if !max_age.is_zero() && max_age < DAY {
            let diagnostic = Diagnostic::warning("short-hsts", "`max_age` of less than a day protects hardly anybody")
                .label("forgotten by the next visit")
                .help("a year is usual; `max_age = 0` makes browsers forget");
            self.report(diagnostic, table.get("max_age").map_or(node.at, |node| node.at));
        }
        if let (true, Some(entry)) = (hsts.preload, table.entry("preload"))
            && (!hsts.include_subdomains || max_age < YEAR)
        {
            let diagnostic = Diagnostic::error("bad-preload", "`preload` needs `include_subdomains` and a year")
                .label("the browsers' list refuses it like this")
                .help("leaving the list takes months: ask for it only when every subdomain speaks https");
            self.report(diagnostic, entry.key_at);
        }
        hsts
    }

    fn access(&mut self, table: &Table) -> AccessRules {
        let mut list = |key| texts(table, key).filter_map(|(text, at)| self.take(hosts::network(text), at)).collect();
        let (allow, deny) = (list("allow"), list("deny"));
        AccessRules { allow: table.has("allow").then_some(allow), deny }
    }

    fn rate_limit(&mut self, table: &Table, node: &Node) -> Option<RateLimit> {
        let Some(rate) = table.get("rate") else {
            if !table.has("rate") && !table.incomplete {
                self.missing("rate", node.at);
            }
            return None;
        };
        let (number, period) = self.take(rate_of(rate.text()?), rate.at)?;
        let key = match table.get("key") {
            Some(node) => self.take(rate_key(node.text()?), node.at)?,
            None => RateKey::ClientIp,
        };
        let burst = table.integer("burst").and_then(|burst| u32::try_from(burst).ok()).unwrap_or(number);
        Some(RateLimit { interval: period / number, burst, key, dry_run: table.bool("dry_run").unwrap_or(false) })
    }

    fn basic_auth(&mut self, table: &Table, node: &Node) -> Option<BasicAuth> {
        let realm = match table.get("realm") {
            Some(node) => self.take(headers::literal(node.text()?), node.at)?,
            None => "restricted".to_owned(),
        };
        let (users_file, origin) = self.file(table, "users_file", node.at)?;
        Some(BasicAuth { realm, users_file, origin })
    }

    fn forward_auth(&mut self, table: &Table, node: &Node, upstreams: &mut Upstreams) -> Option<ForwardAuth> {
        let Some(url) = table.get("url") else {
            if !table.has("url") && !table.incomplete {
                self.missing("url", node.at);
            }
            return None;
        };
        let (origin, target) = self.take(auth_url(url.text()?), url.at)?;
        let address = self.take(targets::target(&origin, self.sources.base_of(url.at.file)), url.at)?;
        let mut copy_headers = Vec::new();
        for (text, at) in texts(table, "copy_headers") {
            copy_headers.extend(self.take(headers::copied(text), at));
        }
        Some(ForwardAuth { upstream: upstreams.of_target(address, self.origin(url.at)), target, copy_headers })
    }

    fn cors(&mut self, table: &Table, node: &Node) -> Option<Cors> {
        let credentials = table.bool("credentials").unwrap_or(false);
        let (mut origins, mut any) = (Vec::new(), None);
        for (text, at) in texts(table, "origins") {
            match text {
                "*" => any = Some(at),
                text => origins.extend(self.take(web_origin(text), at)),
            }
        }
        if let (Some(at), true) = (any, credentials) {
            let diagnostic = Diagnostic::error("cors-any", "\"*\" does not go with `credentials`")
                .label("every page of the web could act as the user")
                .help("name the origins");
            self.report(diagnostic, at);
        }
        if any.is_none() && table.list("origins").next().is_none() {
            let diagnostic = Diagnostic::error("no-origins", "`cors` lets no origin in").label("no `origins`");
            self.report(diagnostic, table.entry("origins").map_or(node.at, |entry| entry.key_at));
            return None;
        }
        let mut methods = Vec::new();
        for (text, at) in texts(table, "methods") {
            methods.extend(self.take(matchers::method(text), at));
        }
        if !table.has("methods") {
            methods = vec!["GET".to_owned(), "POST".to_owned()];
        }
        let max_age = table.duration("max_age").flatten().unwrap_or(CORS_MAX_AGE);
        Some(Cors { origins: any.is_none().then_some(origins), methods, credentials, max_age })
    }
}

/// `compress` of a table: `true` is every coding.
pub(super) fn compress(table: &Table) -> Option<Vec<Coding>> {
    match &table.get("compress")?.value {
        Value::Bool(true) => Some(Coding::ALL.to_vec()),
        Value::Bool(false) => Some(Vec::new()),
        _ => {
            let coding = |text| Coding::ALL.into_iter().find(|coding| coding.as_str() == text);
            let mut list = Vec::new();
            for coding in texts(table, "compress").filter_map(|(text, _)| coding(text)) {
                if !list.contains(&coding) {
                    list.push(coding);
                }
            }
            Some(list)
        }
    }
}

/// `"100/s"`, `"10/m"`, `"5/10s"`: requests and the time they are counted over.
fn rate_of(text: &str) -> Checked<(u32, Duration)> {
    let bad = || {
        Diagnostic::error("bad-rate", format!("{} is no rate", quote(text)))
            .label("not a rate")
            .help("rates are written \"100/s\", \"10/m\", \"1000/h\" or \"5/10s\"")
            .boxed()
    };
    let (number, period) = text.split_once('/').ok_or_else(bad)?;
    let number = number.trim().parse::<u32>().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(bad)?;
    let period = period.trim();
    let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
        true => crate::config::units::duration(period),
        false => crate::config::units::duration(&format!("1{period}")),
    };
    let period = period.ok().filter(|period| *period <= DAY * 31).ok_or_else(bad)?;
    Ok((number, period))
}

fn rate_key(text: &str) -> Checked<RateKey> {
    match text {
        "client_ip" => Ok(RateKey::ClientIp),
        "route" => Ok(RateKey::Route),
        _ => match text.strip_prefix("header:") {
            Some(name) => headers::name(name).map(|name| RateKey::Header(name.to_ascii_lowercase())),
            None => Err(Diagnostic::error("bad-rate-key", format!("{} is nothing to count by", quote(text)))
                .label("not a key")
                .help("keys are \"client_ip\", \"route\" and \"header:NAME\"")
                .boxed()),
        },
    }
}

/// The target and the path of `forward_auth.url`: `http://host:port/path` or `unix:/socket`.
fn auth_url(text: &str) -> Checked<(String, String)> {
    if text.starts_with("unix:") {
        return Ok((text.to_owned(), "/".to_owned()));
    }
    let bad = |why: &str| {
        Diagnostic::error("bad-url", format!("{} is no URL to ask: {why}", quote(text)))
            .label("not a URL")
            .help("write \"http://host:port/path\"")
            .boxed()
    };
    let rest = text.strip_prefix("http://").ok_or_else(|| bad("it does not begin with `http://`"))?;
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        return Err(bad(&format!("it holds `{}`", c.escape_default())));
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((format!("http://{authority}"), path))
}

/// An origin as browsers send it (RFC 6454 section 6.2): scheme and host in lower case, a port unless it is the scheme's.
fn web_origin(text: &str) -> Checked<String> {
    let bad = |why: &str| {
        Diagnostic::error("bad-origin", format!("{} is no origin: {why}", quote(text))).label("not an origin")
    };
    if text == "null" {
        return Err(bad("any sandboxed page and any local file has it").boxed());
    }
    let Some((scheme, host)) = text.split_once("://").filter(|(scheme, host)| !scheme.is_empty() && !host.is_empty())
    else {
        return Err(bad("origins are written \"https://app.example.com\"").boxed());
    };
    if let Some((host, _)) = host.split_once(['/', '?', '#']) {
        return Err(bad("it has a path").replace(quote(&format!("{scheme}://{host}"))).boxed());
    }
    if !text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '*' | ',' | '"' | '\\')) {
        return Err(bad("it holds a character no origin has").boxed());
    }
    let lower = text.to_ascii_lowercase();
    let default = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let plain = if default.is_empty() { None } else { lower.strip_suffix(default) };
    if plain.is_some() || lower != text {
        let fixed = quote(plain.unwrap_or(&lower));
        return Err(bad("browsers send it in another form").replace(fixed).boxed());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_requests_over_time() {
        let seconds = Duration::from_secs;
        let table =
            [("100/s", 100, seconds(1)), ("10/m", 10, seconds(60)), ("5/10s", 5, seconds(10)), ("1/1d", 1, DAY)];
        for (text, number, period) in table {
            assert_eq!(rate_of(text), Ok((number, period)), "{text}");
        }
        for text in ["100", "0/s", "x/s", "1/", "1/q", "-1/s", "1/100y", ""] {
            assert_eq!(rate_of(text).expect_err(text).code, "bad-rate");
        }
        assert_eq!(rate_key("header:X-Api-Key"), Ok(RateKey::Header("x-api-key".to_owned())));
        assert_eq!(rate_key("cookie").unwrap_err().code, "bad-rate-key");
    }

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        assert_eq!(web_origin("https://a.test:8443"), Ok("https://a.test:8443".to_owned()));
        let table = [
            ("https://A.test", Some("\"https://a.test\"")),
            ("https://a.test:443", Some("\"https://a.test\"")),
            ("https://a.test/", Some("\"https://a.test\"")),
            ("a.test", None),
            ("null", None),
            ("https://*.a.test", None),
        ];
        for (text, fix) in table {
            let problem = web_origin(text).expect_err(text);
            assert_eq!((problem.code, problem.replacement.as_deref()), ("bad-origin", fix), "{text}");
        }
    }
}
