//! Whole configs: the fixtures of `tests/config`, the configs that ship, and what a loaded config means.

mod coverage;
mod texts;

use std::env::VarError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::load::parse_with;
use super::*;

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn env(name: &str) -> Result<String, VarError> {
    match name {
        "PORT" => Ok("8000".to_owned()),
        "BACKEND" => Ok("backend:8000".to_owned()),
        "WORD" => Ok("no target".to_owned()),
        "YES" => Ok("true".to_owned()),
        _ => Err(VarError::NotPresent),
    }
}

fn load_fixture(path: &Path) -> Result<Loaded, Problems> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    parse_with(name, &text, path.parent().unwrap(), &env)
}

fn good(text: &str) -> Config {
    match parse_with("test.toml", text, Path::new("/base"), &env) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems}"),
    }
}

fn codes(text: &str) -> Vec<&'static str> {
    match parse_with("test.toml", text, Path::new("/base"), &env) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| warning.code).collect(),
        Err(problems) => problems.diagnostics.iter().map(|problem| problem.code).collect(),
    }
}

/// `UPDATE=1` rewrites the expected texts; read the diff then.
#[test]
fn every_bad_config_is_refused_with_exactly_the_expected_text() {
    let update = std::env::var_os("UPDATE").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let mut wrong = Vec::new();
    for path in fixtures("tests/config/bad") {
        let problems = load_fixture(&path).expect_err(&path.display().to_string());
        assert!(problems.diagnostics.iter().any(|problem| problem.severity == Severity::Error));
        let text = problems.render(false).replace(&root, "ROOT");
        let expected = path.with_extension("txt");
        if update {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_good_config_loads_without_a_warning() {
    for path in fixtures("tests/config/good") {
        match load_fixture(&path) {
            Ok(loaded) => assert_eq!(loaded.render_warnings(false), "", "{}", path.display()),
            Err(problems) => panic!("{}:\n{problems}", path.display()),
        }
    }
}

#[test]
fn every_config_that_ships_loads_without_a_warning() {
    for path in fixtures("config") {
        match load(&path) {
            Ok(loaded) => assert_eq!(loaded.render_warnings(false), "", "{}", path.display()),
            Err(problems) => panic!("{}:\n{problems}", path.display()),
        }
    }
}

#[test]
fn the_least_config_is_one_site_with_every_default() {
    let config = good("[sites]\n\"app.localhost\" = 3000\n");
    let doors: Vec<_> = config.listeners.iter().map(|l| (&*l.name, l.addresses[0], l.tls, l.h2, l.h1)).collect();
    let any = BindAddress::Any;
    assert_eq!(doors, [("http", any(80), false, true, true), ("https", any(443), true, true, true)]);
    let site = &config.sites[0];
    assert_eq!(site.host, HostPattern::Exact("app.localhost".into()));
    assert_eq!((&site.tls, site.http), (&SiteTls::Auto, PlainMode::Redirect));
    assert_eq!(site.origin.to_string(), "test.toml:2:1");
    let route = &site.routes[0];
    assert_eq!((&route.path, &route.action), (&PathPattern::Any, &Action::Forward(0)));
    assert_eq!((route.settings.timeouts, route.settings.limits), (Timeouts::default(), Limits::default()));
    assert_eq!(config.upstreams[0].servers[0].address, UpstreamAddress::Tcp { host: "localhost".into(), port: 3000 });
    assert!(matches!(config.access_log, AccessLog::On { format: LogFormat::Auto, .. }));
    let server = &config.server;
    assert_eq!((server.shutdown_grace, server.shutdown_delay), (Duration::from_secs(8), None));
    assert_eq!((server.generation_grace, server.watch_config), (Duration::from_secs(600), false));
}

#[test]
fn the_shape_of_the_benchmark_loads() {
    let text = r#"
access_log = "off"

[server]
workers = 2

[listeners]
http = "127.0.0.1:8080"
https = "127.0.0.1:8443"

[tls]
certificates = [
  { cert = "/c/a.pem", key = "/c/a.key" },
  { cert = "/c/b.pem", key = "/c/b.key" },
]
unknown_host = "default"

[defaults]
http = "serve"
timeouts = { keep_alive = "10m" }

[sites."*"]
proxy = "127.0.0.1:9000"

[sites."host1.test"]
proxy = "127.0.0.1:9000"
"#;
    let config = good(text);
    assert_eq!(config.access_log, AccessLog::Off);
    assert_eq!(config.server.workers, Some(2));
    assert_eq!((config.tls.certificates.len(), config.tls.unknown_host), (2, UnknownHost::Default));
    assert_eq!(config.upstreams.len(), 1, "equal targets share one upstream");
    let site = &config.sites[1];
    assert_eq!(site.http, PlainMode::Serve);
    assert_eq!(site.routes[0].settings.timeouts.keep_alive, Some(Duration::from_secs(600)));
}

#[test]
fn routes_with_the_same_settings_share_them_and_others_do_not() {
    let text = "[sites]\n\"a.test\" = 1\n[sites.\"b.test\"]\nproxy = 2\n[[sites.\"b.test\".routes]]\npath = \"/x\"\n\
                timeouts = { connect = \"7s\" }\n[sites.\"c.test\"]\nproxy = 3\nheaders.request.set = { X = \"y\" }\n\
                [sites.\"d.test\"]\nproxy = 4\n";
    let config = good(text);
    let settings: Vec<_> = config.sites.iter().flat_map(|site| &site.routes).map(|route| &route.settings).collect();
    let same = |a: usize, b: usize| Arc::ptr_eq(settings[a], settings[b]);
    // a, b's own and d; not b's /x, nor c.
    let own: Vec<bool> = (0..5).map(|other| same(0, other)).collect();
    assert_eq!(own, [true, false, true, false, true]);
    assert_eq!(settings[1].timeouts.connect, Some(Duration::from_secs(7)));
    assert_eq!(settings[3].request_headers.set.len(), 1);
}

#[test]
fn a_full_config_means_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good/full.toml");
    let folder = path.parent().unwrap().to_path_buf();
    let config = load_fixture(&path).unwrap().config;
    let names: Vec<_> = config.listeners.iter().map(|l| (&*l.name, l.tls, l.h2, l.h1)).collect();
    let expected = [("http", false, true, true), ("https", true, false, true), ("internal", false, true, true)];
    assert_eq!(names, [&expected[..], &[("h2c", false, true, false)]].concat());
    assert_eq!(config.public_https_port, Some(8443));
    assert!(config.tls.only_tls13);
    assert_eq!(config.tls.certificates[0].cert, folder.join("certs/site.pem"));
    assert_eq!(config.dev_ca.dir, Some(folder.join("ca")));

    let shop = &config.sites[0];
    assert_eq!(shop.host, HostPattern::Exact("shop.example.com".into()));
    assert!(!shop.aliases_redirect);
    let SiteTls::Files(files) = &shop.tls else { panic!("{:?}", shop.tls) };
    assert_eq!(files.key, Path::new("/etc/shop.key"));
    let [api, old, ping, slow, own] = shop.routes.as_slice() else { panic!("{:?}", shop.routes) };
    assert_eq!((&api.path, api.strip_prefix.as_deref()), (&PathPattern::Prefix("/api".into()), Some("/api")));
    assert_eq!(api.settings.timeouts.response_header, Some(Duration::from_secs(300)));
    assert_eq!(api.settings.timeouts.connect, Some(Duration::from_secs(2)), "from the site");
    assert_eq!(api.settings.timeouts.handshake, Some(Duration::from_secs(5)), "from the defaults");
    assert_eq!((api.settings.limits.body, own.settings.limits.body), (Some(1 << 30), Some(10_000_000)));
    assert_eq!(
        api.settings.request_headers.set,
        [("X-Client".to_owned(), "{client_ip} {tls.client.subject}".to_owned())]
    );
    assert_eq!(old.action, Action::Redirect(Redirect { to: "/new/{path}".into(), status: 301 }));
    assert!(matches!(&ping.action, Action::Respond(respond) if respond.body == "pong\n"));
    assert_eq!((&slow.action, &own.action), (&Action::Forward(0), &Action::Forward(0)), "from the site");
    assert_eq!(own.path, PathPattern::Any);
    assert_eq!(own.settings.forwarding, Forwarding { trusted_proxies: vec![], style: ForwardedStyle::Off });

    let plain = &config.sites[1];
    assert_eq!((&plain.tls, plain.http), (&SiteTls::Off, PlainMode::Serve), "an inherited redirect leads nowhere");
    assert_eq!(plain.routes[0].settings.forwarding.trusted_proxies.len(), 3);
    assert_eq!(plain.routes[0].settings.timeouts.connect, None);

    let upstream = &config.upstreams[0];
    assert_eq!((upstream.name.as_str(), &upstream.balance), ("shop", &Balance::RoundRobin));
    assert_eq!((upstream.servers[1].weight, upstream.servers[2].backup), (2, true));
    assert_eq!(upstream.host_header, HostHeader::Name("shop.internal".into()));
    assert_eq!(upstream.retries, Retries { attempts: 2, budget: 0.5 });
    let minute = Duration::from_secs(60);
    let outlier = Outlier { failures: 5, window: minute, eject: minute / 2, max_ejected: 0.34 };
    assert_eq!((upstream.outlier, upstream.proxy_protocol), (Some(outlier), None));
    let waiting = MaxRequests { per_server: 100, queue_timeout: Duration::from_secs(2) };
    assert_eq!(upstream.max_requests, Some(waiting));
    let balanced = &config.upstreams[1];
    assert_eq!((balanced.retries.attempts, balanced.outlier), (0, None));
    assert_eq!((balanced.proxy_protocol, balanced.max_requests), (Some(ProxyHeader::V2), None));
    assert_eq!(config.upstreams[2].name, "127.0.0.1:9000");

    assert_eq!(
        (&*own.settings.upgrade, own.settings.buffer_request),
        (&["websocket".to_owned(), "irc/6.9".to_owned()][..], false)
    );
    assert_eq!((api.settings.upgrade.len(), api.settings.buffer_request, slow.settings.upgrade.len()), (0, true, 2));
    let rules = config.listeners[2].proxy_protocol.as_ref().unwrap();
    assert_eq!((rules.trust.len(), rules.timeout), (2, Duration::from_secs(2)));
    assert_eq!(config.sites[0].routes.len(), 5);
    let AccessLog::On { output, redact, sample, .. } = &config.access_log else { panic!() };
    assert_eq!(*sample, 0.25);
    assert_eq!(config.metrics.unwrap().listen, BindAddress::Any(9181));
    let tracing = config.tracing.as_ref().unwrap();
    let Collector { host, port, path } = &tracing.collector;
    assert_eq!((&**host, *port, &**path, tracing.sample), ("::1", 4319, "/otlp/v1/traces", 0.01));
    assert_eq!(*output, LogOutput::File(folder.join("logs/access.log")));
    assert_eq!(redact.headers, ["x-secret"]);
}

/// A config without the places its values stand at.
fn meaning(config: &Config) -> String {
    let text = format!("{config:?}");
    let mut parts = text.split("Origin {");
    let first = parts.next().unwrap_or_default().to_owned();
    // The last field of a place is its span.
    parts.fold(first, |all, part| all + part.split_once('}').map_or("", |(_, rest)| rest))
}

#[test]
fn what_config_show_prints_is_a_config_of_the_same_meaning() {
    // Relative paths of included files start at their own folder, which one text cannot say.
    let apart = |path: &PathBuf| !path.ends_with("include.toml");
    for path in fixtures("tests/config/good").into_iter().chain(fixtures("config")).filter(apart) {
        let first = load_fixture(&path).unwrap();
        let shown = first.values.show(&first.sources, None);
        let again = parse_with("shown.toml", &shown, path.parent().unwrap(), &env);
        let again = again.unwrap_or_else(|problems| panic!("{}:\n{shown}\n{problems}", path.display()));
        assert_eq!(meaning(&first.config), meaning(&again.config), "{}:\n{shown}", path.display());
    }
}

#[test]
fn every_value_shown_has_its_origin() {
    let text = "[defaults]\nhttp = \"serve\"\n[sites]\n\"a.test\" = \"${env:BACKEND}\"\n\"b.test\" = \"${file:/dev/null}x:1\"\n";
    let loaded = parse_with("a.toml", text, Path::new(""), &env).unwrap();
    let shown = loaded.values.show(&loaded.sources, None);
    let line = |start: &str| {
        let found = shown.lines().filter(|line| line.starts_with(start)).map(|line| line.split_once(" # ").unwrap());
        found.map(|(pair, origin)| format!("{} # {origin}", pair.trim())).collect::<Vec<_>>()
    };
    assert_eq!(line("http = \"s")[1], "http = \"serve\" # a.toml:2", "inherited: {shown}");
    assert_eq!(line("tls = \"auto\"")[0], "tls = \"auto\" # default");
    assert_eq!(line("proxy")[0], "proxy = \"backend:8000\" # a.toml:4 \"${env:BACKEND}\"");
    assert_eq!(line("proxy")[1], "proxy = \"(from a file, not shown)\" # a.toml:5 \"${file:/dev/null}x:1\"");
}

#[test]
fn servers_are_spoken_to_as_their_scheme_and_the_protocol_of_their_upstream_say() {
    use ServerProtocol::{H2, H2c, Http1, Http1Tls};
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good/upstreams.toml");
    let upstreams = load_fixture(&path).unwrap().config.upstreams;
    let spoken = |upstream: &Upstream| upstream.servers.iter().map(|s| s.protocol).collect::<Vec<_>>();
    let seen: Vec<_> = upstreams.iter().map(|upstream| (upstream.name.as_str(), spoken(upstream))).collect();
    let expected = [
        ("tls", vec![Http1Tls, Http1Tls, Http1]),
        ("h2", vec![H2; 2]),
        ("h2c", vec![H2c; 3]),
        ("h2c://127.0.0.1:50051", vec![H2c]),
        ("https://127.0.0.1:8443", vec![Http1Tls]),
    ];
    assert_eq!(seen, expected);
    let tls = &upstreams[0].tls;
    assert_eq!((tls.server_name.as_deref(), tls.verify), (Some("api.internal"), true));
    assert!(tls.ca.as_ref().unwrap().0.ends_with("good/internal-ca.pem"));
    assert!(tls.client.as_ref().unwrap().key.ends_with("good/us.key"));
}

#[test]
fn expanded_texts_may_be_targets_ports_numbers_and_booleans() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good/expansion.toml");
    let config = load_fixture(&path).unwrap().config;
    let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["backend:8000", "localhost:4000", "localhost:8000"]);
    let Action::Respond(respond) = &config.sites[3].routes[0].action else { panic!() };
    assert_eq!((respond.status, respond.body.as_str()), (201, "${env:PORT} is 8000"));
}

#[test]
fn included_files_are_merged_and_their_paths_start_at_their_own_folder() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good/include.toml");
    let config = load_fixture(&path).unwrap().config;
    let sites: Vec<_> = config.sites.iter().map(|site| (site.host.to_string(), site.origin.to_string())).collect();
    let place = |host: &str, place: &str| (host.to_owned(), place.to_owned());
    let expected = [
        place("main.test", "include.toml:4:1"),
        place("a.test", "sites.d/a.toml:2:1"),
        place("b.test", "sites.d/b.toml:1:8"),
    ];
    assert_eq!(sites, expected);
    let socket = path.parent().unwrap().join("sites.d/b.sock");
    assert_eq!(config.upstreams[0].servers[0].address, UpstreamAddress::Unix(socket));
}

#[test]
fn doubtful_settings_are_warnings_and_served() {
    let site = "[sites.\"a.test\"]\nproxy = 1\n";
    assert_eq!(codes(&format!("{site}[upstreams.b]\nservers = [1]\n")), ["unused-upstream"]);
    assert_eq!(codes(&format!("{site}[tls]\nunknown_host = \"default\"\n")), ["no-default-certificate"]);
    assert_eq!(codes(&format!("{site}[listeners]\nhttps = \"off\"\n")), ["redirect-nowhere"]);
    assert_eq!(codes(&format!("{site}[listeners]\nhtps = \":1\"\n")), ["unusual-listener"]);
    let route = "[[sites.\"a.test\".routes]]\npath = \"/x\"\ntimeouts = { keep_alive = \"1s\" }\n";
    assert_eq!(codes(&format!("{site}{route}")), ["no-effect"]);
    let upstream = "[sites.\"a.test\"]\nupstream = \"b\"\n[upstreams.b]\nservers = [1]\n";
    let keys =
        "proxy_protocol = \"v1\"\nkeepalive = { idle = 1 }\noutlier = { failures = 9 }\nqueue_timeout = \"9s\"\n";
    assert_eq!(codes(&format!("{upstream}{keys}")), ["no-effect"; 3]);
}

#[test]
fn ten_thousand_sites_load() {
    let site = |n| format!("[sites.\"host{n}.example.com\"]\nproxy = \"127.0.0.1:9000\"\n");
    let config = good(&(0..10_000).map(site).collect::<String>());
    assert_eq!((config.sites.len(), config.upstreams.len()), (10_000, 1));
    assert_eq!(config.sites[9_999].origin.line, 19_999);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_load_or_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Err(problems) = parse_with("x.toml", &text, Path::new("/nonexistent"), &env) {
            problems.render(true);
            problems.to_json();
        }
        if let Err(problems) = from_env_sites(&text) {
            problems.render(false);
        }
    }

    #[test]
    fn a_config_with_a_piece_cut_or_changed_never_panics(
        file in 0usize..64, at in 0.0..1.0f64, len in 0usize..12, put in "[\\[\\]{}=\".,#\na-z0-9$é ]{0,6}",
    ) {
        let files = fixtures("tests/config/bad");
        let text = std::fs::read_to_string(&files[file % files.len()]).unwrap();
        let start = text.floor_char_boundary((text.len() as f64 * at) as usize);
        let end = text.ceil_char_boundary((start + len).min(text.len()));
        let text = format!("{}{put}{}", &text[..start], &text[end..]);
        if let Err(problems) = parse_with("x.toml", &text, Path::new("/nonexistent"), &env) {
            problems.render(false);
        }
    }
}
