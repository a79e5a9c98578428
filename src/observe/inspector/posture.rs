//! What is risky in the config that is served, read from the config alone.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::page::escape;
use super::words::Words;
use crate::config::{Config, Origin, PlainMode, Route, Site, SiteTls, Upstream, UpstreamAddress};
use crate::server::Seen;
use crate::tls::is_local;

/// Findings shown; a config may have thousands of sites.
const SHOWN: usize = 60;

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Risk,
    Care,
    Good,
}

/// One finding: what it is about, and what to say in English and Chinese.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    about: String,
    place: Option<Origin>,
    says: [&'static str; 2],
}

/// Writes the findings, the worst first.
pub(super) fn list(out: &mut String, seen: &Seen, words: &Words) {
    let found = findings(&seen.snapshot.config);
    out.push_str("<ul class=\"posture\">\n");
    if found.iter().all(|finding| finding.weight == Weight::Good) {
        let _ = write!(out, "<li class=\"good\"><b>{}</b> {}</li>", words.good, words.all_well);
    }
    for finding in found.iter().take(SHOWN) {
        let (class, word) = match finding.weight {
            Weight::Risk => ("risk", words.risk),
            Weight::Care => ("care", words.care),
            Weight::Good => ("good", words.good),
        };
        let says = finding.says[usize::from(words.lang == "zh")];
        let place = finding.place.as_ref().filter(|origin| origin.line > 0);
        let place = place
            .map_or_else(String::new, |origin| format!(" <small>{}:{}</small>", escape(&origin.file), origin.line));
        let _ = writeln!(
            out,
            "<li class=\"{class}\"><b>{word}</b> <code>{}</code> {says}{place}</li>",
            escape(&finding.about)
        );
    }
    out.push_str("</ul>\n");
}

fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for site in &config.sites {
        of_site(site, &mut found);
    }
    for upstream in &config.upstreams {
        of_upstream(upstream, &mut found);
    }
    if config.tls.only_tls13 {
        add(&mut found, Weight::Good, "tls.min_version", None, ["Only TLS 1.3 is spoken.", "只使用 TLS 1.3。"]);
    } else {
        add(
            &mut found,
            Weight::Good,
            "tls.min_version",
            None,
            [
                "TLS 1.2 and 1.3 with AEAD suites only; key exchange prefers the post-quantum hybrid.",
                "TLS 1.2 与 1.3，只用 AEAD 套件；密钥交换优先后量子混合算法。",
            ],
        );
    }
    found.sort_by_key(|finding| finding.weight);
    found
}

fn add(found: &mut Vec<Finding>, weight: Weight, about: &str, place: Option<&Origin>, says: [&'static str; 2]) {
    found.push(Finding { weight, about: about.into(), place: place.cloned(), says });
}

fn of_site(site: &Site, found: &mut Vec<Finding>) {
    let host = site.host.to_string();
    let local = site.tls == SiteTls::Dev || is_local(&host);
    let place = Some(&site.origin);
    let has_hsts = site.routes.iter().any(|route| route.filters.hsts.is_some());
    let has_password = site.routes.iter().any(|route| route.filters.basic_auth.is_some());
    let serves_plain = site.http == PlainMode::Serve || site.tls == SiteTls::Off;
    match (serves_plain, local) {
        (true, _) if has_password => add(
            found,
            Weight::Risk,
            &host,
            place,
            [
                "Passwords are asked for on the plain door too: anybody on the way can read them.",
                "明文端口也要求输入密码：途中的任何人都能读到。",
            ],
        ),
        (true, true) => add(
            found,
            Weight::Care,
            &host,
            place,
            [
                "The plain door serves the same content, so that it can be compared. Not for production.",
                "明文端口提供同样的内容，便于比较。不要用于生产环境。",
            ],
        ),
        (true, false) => add(
            found,
            Weight::Risk,
            &host,
            place,
            [
                "Content and cookies cross in clear: http = \"redirect\" is the default for a reason.",
                "内容和 Cookie 以明文传输：默认值 http = \"redirect\" 是有道理的。",
            ],
        ),
        (false, false) if !has_hsts => add(
            found,
            Weight::Care,
            &host,
            place,
            [
                "No HSTS: the first request of a visitor may cross in clear before the redirect.",
                "没有 HSTS：访问者的第一个请求可能在重定向之前以明文经过。",
            ],
        ),
        _ => {}
    }
    site.routes.iter().for_each(|route| of_route(&host, route, found));
}

fn of_route(host: &str, route: &Route, found: &mut Vec<Finding>) {
    let place = Some(&route.origin);
    let about = format!("{host} {}", route.path);
    let everybody = |net: &IpNet| net.prefix_len() == 0;
    if route.settings.forwarding.trusted_proxies.iter().any(everybody) {
        add(
            found,
            Weight::Risk,
            &about,
            place,
            [
                "trusted_proxies trusts everybody: any client can claim any address.",
                "trusted_proxies 信任所有人：任何客户端都能冒充任何地址。",
            ],
        );
    }
    if route.filters.cors.as_ref().is_some_and(|cors| cors.origins.is_none() && cors.credentials) {
        add(
            found,
            Weight::Risk,
            &about,
            place,
            [
                "CORS lets any site read answers with the visitor's cookies.",
                "CORS 允许任何网站带着访问者的 Cookie 读取响应。",
            ],
        );
    }
    if route.filters.rate_limit.as_ref().is_some_and(|limit| limit.dry_run) {
        add(
            found,
            Weight::Care,
            &about,
            place,
            [
                "rate_limit is on trial (dry_run): nothing is refused.",
                "rate_limit 处于试运行（dry_run）：不会拒绝任何请求。",
            ],
        );
    }
    if route.settings.limits.body.is_none() {
        add(found, Weight::Care, &about, place, ["Request bodies have no limit.", "请求正文没有大小限制。"]);
    }
}

fn of_upstream(upstream: &Upstream, found: &mut Vec<Finding>) {
    let place = Some(&upstream.origin);
    if !upstream.tls.verify && upstream.servers.iter().any(|server| server.protocol.is_tls()) {
        add(
            found,
            Weight::Risk,
            &upstream.name,
            place,
            [
                "Certificates of the servers are not verified: TLS without identity.",
                "不验证服务器证书：有加密而无身份。",
            ],
        );
    }
    let far = |address: &UpstreamAddress| match address {
        UpstreamAddress::Tcp { host, .. } => match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
            Ok(IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
            Err(_) => host.contains('.') && !is_local(host),
        },
        UpstreamAddress::Srv(name) => !is_local(name),
        UpstreamAddress::Unix(_) | UpstreamAddress::Builtin => false,
    };
    if upstream.servers.iter().any(|server| !server.protocol.is_tls() && far(&server.address)) {
        add(
            found,
            Weight::Risk,
            &upstream.name,
            place,
            [
                "Behind the proxy the request is plain again, and this server may be far away: use https:// for it.",
                "代理之后的请求又是明文，而这台服务器可能在远处：请使用 https://。",
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use std::path::Path;

    fn of(text: &str) -> Vec<(Weight, String)> {
        let config = parse("test.toml", text, Path::new("")).unwrap().config;
        findings(&config).into_iter().map(|finding| (finding.weight, finding.about)).collect()
    }

    #[test]
    fn what_is_risky_is_found_and_what_is_not_is_left_alone() {
        let calm = of("[sites]\n\"app.localhost\" = 3000\n");
        assert_eq!(calm, [(Weight::Good, "tls.min_version".to_string())]);
        let found =
            of("[defaults]\nhttp = \"serve\"\ntrusted_proxies = [\"0.0.0.0/0\"]\n[tls]\nmin_version = \"1.3\"\n\
             [sites.\"shop.test\"]\nproxy = \"https://203.0.113.7:443\"\ntls = \"dev\"\n\
             [sites.\"b.test\"]\nproxy = \"203.0.113.8:80\"\n");
        let risks: Vec<&str> =
            found.iter().filter(|(weight, _)| *weight == Weight::Risk).map(|(_, about)| about.as_str()).collect();
        assert_eq!(risks, ["shop.test /*", "b.test /*", "203.0.113.8:80"]);
        assert_eq!(found.iter().filter(|(weight, _)| *weight == Weight::Care).count(), 2);
    }
}
