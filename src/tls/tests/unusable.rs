//! Files that cannot be used: their hosts are refused, nobody else's certificate takes their place, the rest is served.

use super::support::*;
use crate::config::{ClientAuth, ClientAuthMode, Config, Origin, SiteTls, UnknownHost};
use crate::tls::{CertStore, DevAuthority, Managed};

fn open(config: &Config, last: Option<&CertStore>) -> CertStore {
    CertStore::open(config, &DevAuthority::default(), &Managed::default(), last)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The names in the certificate a name gets, "refused" where its files cannot be used, "-" where nobody serves it.
fn got(store: &CertStore, sni: &str) -> String {
    let key = store.resolve(Some(sni));
    assert_eq!(key.is_some(), store.serves(Some(sni)), "{sni}");
    match (key, store.unusable(sni)) {
        (Some(key), None) => names_of(&key),
        (None, Some(_)) => "refused".into(),
        (None, None) => "-".into(),
        (Some(_), Some(why)) => panic!("{sni} is served and refused: {why}"),
    }
}

#[track_caller]
fn table(store: &CertStore, rows: &[(&str, &str)]) {
    for (sni, expected) in rows {
        assert_eq!(got(store, sni), *expected, "{sni}");
    }
}

#[test]
fn a_site_whose_files_cannot_be_used_is_refused_and_the_others_are_served() {
    let folder = Folder::new();
    let wild = folder.pair("wild", &["*.example.com"]);
    let broken = SiteTls::Files(folder.files("nope.pem", "wild.key"));
    let sites = vec![site("shop.example.com", broken), site("www.example.com", SiteTls::Auto)];
    let store = open(&config(folder.0.path(), vec![wild], sites), None);
    table(&store, &[("shop.example.com", "refused"), ("www.example.com", "*.example.com"), ("x.test", "-")]);
    assert_eq!(codes(store.errors()), ["cert-not-found"]);
    let why = store.unusable("shop.example.com").unwrap();
    assert_eq!(&*why, "cert-not-found: certificate file does not exist (vestibule.toml:7:8)");
    assert!(!store.same_certificate("www.example.com", "shop.example.com"));
}

#[test]
fn without_a_server_name_nothing_takes_the_place_of_a_default_that_cannot_be_used() {
    let folder = Folder::new();
    let (good, bad) = (folder.pair("good", &["good.example.com"]), folder.files("nope.pem", "good.key"));
    let of_site = |host, files: &crate::config::CertFiles| site(host, SiteTls::Files(files.clone()));
    let listed = |certs, sites| open(&config(folder.0.path(), certs, sites), None).serves(None);
    let both = || vec![of_site("bad.example.com", &bad), of_site("good.example.com", &good)];
    assert!(!listed(vec![], both()), "the first site's");
    assert!(listed(vec![], both().into_iter().rev().collect()));
    assert!(!listed(vec![bad.clone(), good.clone()], vec![of_site("good.example.com", &good)]), "the first listed");
    assert!(listed(vec![good.clone(), bad.clone()], vec![of_site("good.example.com", &good)]));
}

#[test]
fn a_listed_certificate_with_a_wrong_key_refuses_its_names_and_no_others() {
    let folder = Folder::new();
    folder.pair("wrong", &["www.example.com", "*.example.org", "own.test"]);
    folder.pair("other", &["other.example.com"]);
    let certs = vec![folder.files("other.pem", "other.key"), folder.files("wrong.pem", "other.key")];
    let hosts = ["www.example.com", "a.example.org", "own.test", "app.test", "other.example.com"];
    let sites = hosts.map(|host| site(host, SiteTls::Auto)).into_iter().chain([site("*", SiteTls::Auto)]).collect();
    let store = open(&config(folder.0.path(), certs, sites), None);
    table(
        &store,
        &[
            ("www.example.com", "refused"),
            ("a.example.org", "refused"),
            ("b.example.org", "refused"),
            ("own.test", "refused"),
            ("app.test", "app.test"),
            ("other.example.com", "other.example.com"),
            ("x.example.net", "other.example.com"),
        ],
    );
}

#[test]
fn a_listed_certificate_that_cannot_be_read_may_be_for_any_public_name() {
    let folder = Folder::new();
    let certs = vec![folder.pair("first", &["first.example.com"]), folder.files("nope.pem", "first.key")];
    let hosts = ["first.example.com", "shop.example.com", "app.localhost"];
    let mut config = config(folder.0.path(), certs, hosts.map(|host| site(host, SiteTls::Auto)).into());
    let rows = [
        ("first.example.com", "first.example.com"),
        ("shop.example.com", "refused"),
        ("app.localhost", "app.localhost"),
    ];
    table(&open(&config, None), &rows);
    config.tls.unknown_host = UnknownHost::Default;
    table(&open(&config, None), &rows);
}

#[test]
fn what_cannot_be_read_any_more_is_served_as_before_until_it_can() {
    let folder = Folder::new();
    let files = folder.pair("site", &["a.example.com"]);
    let config = config(folder.0.path(), vec![], vec![site("a.example.com", SiteTls::Files(files.clone()))]);
    let first = open(&config, None);
    std::fs::write(&files.cert, "half").unwrap();
    let second = open(&config, Some(&first));
    assert_eq!(codes(second.errors()), ["not-pem"]);
    assert_eq!(second.new_errors(&first).count(), 1);
    let third = open(&config, Some(&second));
    assert_eq!(third.new_errors(&second).count(), 0);
    table(&third, &[("a.example.com", "a.example.com")]);
    folder.pair("site", &["a.example.com", "b.example.com"]);
    let mended = open(&config, Some(&third));
    assert!(mended.errors().is_empty());
    table(&mended, &[("a.example.com", "a.example.com, b.example.com")]);
}

#[test]
fn nobody_comes_in_where_the_authorities_of_clients_cannot_be_used() {
    let folder = Folder::new();
    let wild = folder.pair("wild", &["*.example.com", "deep.example.com", "open.test"]);
    let auth = |mode| {
        let origin = Origin { file: "vestibule.toml".into(), line: 9, column: 1, span: 0..0 };
        ClientAuth { mode, ca: (folder.path("nope.pem"), origin.clone()), crl: vec![], origin }
    };
    for (mode, required) in [(ClientAuthMode::Require, true), (ClientAuthMode::Request, false)] {
        let mut closed = site("*.example.com", SiteTls::Auto);
        closed.client_auth = Some(Box::new(auth(mode)));
        let sites = vec![closed, site("open.test", SiteTls::Auto)];
        let store = open(&config(folder.0.path(), vec![wild.clone()], sites), None);
        // The certificate names the second exactly; it asks what the site of its name asks.
        let names = "*.example.com, deep.example.com, open.test";
        table(&store, &[("a.example.com", "refused"), ("deep.example.com", "refused"), ("open.test", names)]);
        assert!(!store.same_certificate("open.test", "a.example.com"));
        assert!(!store.asks(0, None) && store.asks(1, None), "a connection that was asked nothing");
        assert_eq!(store.requires_client_cert(0), required);
        assert!(store.serves(None), "who names no server is asked nothing, and comes to open.test only");
    }
}

#[test]
fn a_development_ca_that_cannot_be_used_costs_its_own_hosts_only() {
    let folder = Folder::new();
    let files = folder.pair("site", &["a.example.com"]);
    let local = ["app.localhost", "*.dev.test"].map(|host| site(host, SiteTls::Auto));
    let sites = local.into_iter().chain([site("a.example.com", SiteTls::Files(files))]).collect();
    let config = config(folder.0.path(), vec![], sites);
    let good = open(&config, None);
    std::fs::write(folder.path("ca/root.crt"), "broken").unwrap();
    table(&open(&config, Some(&good)), &[("app.localhost", "app.localhost"), ("x.dev.test", "x.dev.test")]);
    let store = open(&config, None);
    assert_eq!(codes(store.errors()), ["dev-ca-broken"]);
    table(&store, &[("app.localhost", "refused"), ("x.dev.test", "refused"), ("a.example.com", "a.example.com")]);
    assert!(!store.serves(None));
}
