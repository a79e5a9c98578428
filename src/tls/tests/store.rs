//! Which certificate a name gets, and which configs have none for it.

use super::support::*;
use crate::config::{Config, SiteTls, UnknownHost};
use crate::tls::{CertStore, DevAuthority, Managed};

fn build(config: &Config) -> CertStore {
    CertStore::build(config, &DevAuthority::default(), &Managed::default())
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The names in the certificate a name gets, "-" for none.
fn got(store: &CertStore, sni: Option<&str>) -> String {
    let key = store.resolve(sni);
    assert_eq!(key.is_some(), store.serves(sni), "{sni:?}");
    key.map_or("-".into(), |key| names_of(&key))
}

#[track_caller]
fn table(store: &CertStore, rows: &[(&str, &str)]) {
    for (sni, expected) in rows {
        assert_eq!(got(store, Some(sni)), *expected, "{sni}");
    }
}

#[test]
fn the_certificate_is_chosen_exact_then_wildcard_then_none() {
    let folder = Folder::new();
    let certs = vec![
        folder.pair("exact", &["www.example.com"]),
        folder.pair("wild", &["*.example.com"]),
        folder.pair("later", &["www.example.com", "later.test"]),
    ];
    let sites = ["www.example.com", "a.example.com"].map(|host| site(host, SiteTls::Auto)).into();
    let store = build(&config(folder.0.path(), certs, sites));
    table(
        &store,
        &[
            ("www.example.com", "www.example.com"),
            ("WWW.Example.COM.", "www.example.com"),
            ("a.example.com", "*.example.com"),
            ("b.example.com", "*.example.com"),
            ("a.b.example.com", "-"),
            ("example.com", "-"),
            ("later.test", "www.example.com, later.test"),
            ("other.test", "-"),
            ("", "-"),
            (".", "-"),
        ],
    );
    assert_eq!(got(&store, None), "www.example.com");
}

#[test]
fn a_sites_own_files_come_before_every_other_certificate() {
    let folder = Folder::new();
    let general = folder.pair("general", &["*.example.com", "shop.example.com"]);
    let own = folder.pair("own", &["shop.example.com", "*.shop.example.com"]);
    let sites = vec![
        site("shop.example.com", SiteTls::Files(own.clone())),
        site("*.shop.example.com", SiteTls::Files(own)),
        site("www.example.com", SiteTls::Auto),
    ];
    let store = build(&config(folder.0.path(), vec![general], sites));
    let (own, general) = ("shop.example.com, *.shop.example.com", "*.example.com, shop.example.com");
    table(
        &store,
        &[
            ("shop.example.com", own),
            ("a.shop.example.com", own),
            ("a.b.shop.example.com", own),
            ("www.example.com", general),
        ],
    );
    assert_eq!(got(&store, None), general);
}

#[test]
fn local_names_get_exact_leaves_unless_a_file_covers_them() {
    let folder = Folder::new();
    let certs = vec![folder.pair("own", &["own.test"])];
    let sites = ["own.test", "app.localhost", "*.dev.test"].map(|host| site(host, SiteTls::Auto)).into();
    let store = build(&config(folder.0.path(), certs, sites));
    table(
        &store,
        &[
            ("own.test", "own.test"),
            ("app.localhost", "app.localhost"),
            ("APP.localhost", "app.localhost"),
            ("a.dev.test", "a.dev.test"),
            ("a.b.dev.test", "a.b.dev.test"),
            ("dev.test", "-"),
            ("other.localhost", "-"),
        ],
    );
}

#[test]
fn without_a_server_name_the_leaf_names_this_machine() {
    let folder = Folder::new();
    let sites = ["app.localhost", "192.168.1.20", "127.0.0.1"].map(|host| site(host, SiteTls::Auto)).into();
    let store = build(&config(folder.0.path(), vec![], sites));
    assert_eq!(got(&store, None), "localhost, 127.0.0.1, ::1, 192.168.1.20");
}

#[test]
fn without_a_server_name_a_sites_file_is_better_than_nothing() {
    let folder = Folder::new();
    let files = folder.pair("own", &["shop.example.com"]);
    let store = build(&config(folder.0.path(), vec![], vec![site("shop.example.com", SiteTls::Files(files))]));
    assert_eq!(got(&store, None), "shop.example.com");
    assert!(!folder.path("ca").exists(), "no site needs the development CA");
}

#[test]
fn an_unknown_name_gets_the_first_certificate_only_where_the_config_says_so() {
    let folder = Folder::new();
    let certs = vec![folder.pair("first", &["first.example.com"]), folder.pair("second", &["second.example.com"])];
    let mut config = config(folder.0.path(), certs, vec![site("other.example.com", SiteTls::Auto)]);
    let problems = CertStore::build(&config, &DevAuthority::default(), &Managed::default()).unwrap_err();
    assert_eq!(codes(&problems), ["no-certificate"]);
    config.tls.unknown_host = UnknownHost::Default;
    let store = build(&config);
    table(
        &store,
        &[
            ("other.example.com", "first.example.com"),
            ("x.test", "first.example.com"),
            ("second.example.com", "second.example.com"),
        ],
    );
}

#[test]
fn the_site_of_every_host_is_served_by_the_default_certificate() {
    let folder = Folder::new();
    let certs = vec![folder.pair("first", &["first.example.com"]), folder.pair("second", &["*.example.org"])];
    let store = build(&config(folder.0.path(), certs, vec![site("*", SiteTls::Auto)]));
    table(&store, &[("x.test", "first.example.com"), ("a.example.org", "*.example.org")]);
    assert!(!folder.path("ca").exists(), "a certificate serves every name");
}

#[test]
fn the_site_of_every_host_without_a_certificate_serves_local_names_only() {
    let folder = Folder::new();
    for tls in [SiteTls::Auto, SiteTls::Dev] {
        let store = build(&config(folder.0.path(), vec![], vec![site("*", tls)]));
        table(&store, &[("x.test", "x.test"), ("example.com", "-"), ("8.8.8.8", "-")]);
        assert_eq!(got(&store, None), "localhost, 127.0.0.1, ::1");
    }
}

#[test]
fn a_public_name_without_a_certificate_is_an_error_with_the_ways_out() {
    let folder = Folder::new();
    let mut public = site("shop.example.com", SiteTls::Auto);
    public.aliases = vec![pattern("*.shop.example.com"), pattern("shop.localhost")];
    let mut config = config(folder.0.path(), vec![folder.pair("other", &["other.test"])], vec![public]);
    let problems = CertStore::build(&config, &DevAuthority::default(), &Managed::default()).unwrap_err();
    assert_eq!(codes(&problems), ["no-certificate", "no-certificate"]);
    assert_eq!(problems[0].origin.as_ref().unwrap().line, 3);
    assert_eq!(problems[0].message, "no certificate for `shop.example.com`");
    assert_eq!(problems[1].message, "no certificate for `*.shop.example.com`");
    for part in ["tls = { cert", "under [tls]", "tls = \"off\"", "app.localhost"] {
        assert!(text(&problems[0]).contains(part), "{part}");
    }
    config.listeners[0].tls = false;
    assert!(!build(&config).serves(None), "without a TLS listener nothing is needed");
}

#[test]
fn a_site_without_tls_needs_and_gets_no_certificate() {
    let folder = Folder::new();
    let store = build(&config(folder.0.path(), vec![], vec![site("shop.example.com", SiteTls::Off)]));
    assert_eq!((got(&store, Some("shop.example.com")), got(&store, None)), ("-".into(), "-".into()));
}

#[test]
fn a_file_that_does_not_cover_its_site_is_a_warning_and_served() {
    let folder = Folder::new();
    let files = folder.pair("other", &["other.test"]);
    let store = build(&config(folder.0.path(), vec![], vec![site("shop.example.com", SiteTls::Files(files))]));
    assert_eq!(codes(store.warnings()), ["cert-name-mismatch"]);
    assert_eq!(store.warnings()[0].label, "it covers other.test");
    assert_eq!(got(&store, Some("shop.example.com")), "other.test");
}

#[test]
fn all_problems_of_a_config_are_reported_at_once() {
    let folder = Folder::new();
    let readable = folder.pair("readable", &["readable.test"]);
    set_mode(&readable.key, 0o644);
    let sites = vec![
        site("a.example.com", SiteTls::Files(folder.files("missing.pem", "readable.key"))),
        site("b.example.com", SiteTls::Auto),
        site("c.example.com", SiteTls::Dev),
    ];
    let problems = CertStore::build(
        &config(folder.0.path(), vec![readable], sites),
        &DevAuthority::default(),
        &Managed::default(),
    )
    .unwrap_err();
    let mut found = codes(&problems);
    found.sort();
    found.dedup();
    assert_eq!(found, ["cert-not-found", "dev-name-not-local", "key-readable", "no-certificate"]);
}

#[test]
fn two_hosts_are_one_connection_where_one_certificate_serves_both() {
    let folder = Folder::new();
    let wild = folder.pair("wild", &["*.example.com"]);
    let own = folder.pair("own", &["own.example.com", "own.test"]);
    let sites = vec![
        site("a.example.com", SiteTls::Auto),
        site("own.example.com", SiteTls::Files(own.clone())),
        site("own.test", SiteTls::Files(own)),
        site("x.localhost", SiteTls::Auto),
        site("y.localhost", SiteTls::Auto),
    ];
    let store = build(&config(folder.0.path(), vec![wild], sites));
    for (a, b, same) in [
        ("a.example.com", "B.example.com.", true),
        ("a.example.com", "own.example.com", false),
        ("own.example.com", "own.test", true),
        ("x.localhost", "y.localhost", false),
        ("x.localhost", "X.localhost", true),
        ("a.example.com", "unknown.test", false),
    ] {
        assert_eq!(store.same_certificate(a, b), same, "{a} and {b}");
        assert_eq!(store.same_certificate(b, a), same, "{b} and {a}");
    }
}
