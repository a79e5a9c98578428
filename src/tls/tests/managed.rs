//! Certificates of ACME in the store: who gets one, and what handshakes get before and after it is there.

use super::support::*;
use crate::config::{Acme, Challenge, Config, Origin, Secret, SiteTls, UnknownHost};
use crate::tls::{CertStore, DevAuthority, Managed, ServedCert};

fn acme(dns01_hook: &[&str]) -> Acme {
    Acme {
        email: None,
        directory: "https://127.0.0.1:14000/dir".into(),
        ca_root: None,
        challenges: vec![Challenge::Http01],
        eab: None,
        dns01_hook: dns01_hook.iter().map(|word| word.to_string()).collect(),
        accept_terms: true,
        profile: None,
        ephemeral_ok: false,
        origin: Origin::default(),
    }
}

fn build(config: &Config, managed: &Managed) -> CertStore {
    CertStore::build(config, &DevAuthority::default(), managed).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn refused(config: &Config) -> Vec<&'static str> {
    let problems = CertStore::build(config, &DevAuthority::default(), &Managed::default()).unwrap_err();
    codes(&problems)
}

/// A certificate for these names, as the state folder has it.
fn stored(names: &[&str]) -> ServedCert {
    let made = Made::new(names);
    ServedCert::from_pem(&format!("{}{}", made.key.serialize_pem(), made.cert)).unwrap()
}

#[test]
fn public_names_without_a_file_are_ordered_one_certificate_a_site() {
    let folder = Folder::new();
    let file = folder.pair("file", &["file.example.com"]);
    let mut shop = site("shop.example.com", SiteTls::Auto);
    shop.aliases = ["WWW.shop.example.com", "file.example.com", "shop.localhost"].map(pattern).to_vec();
    let sites = vec![shop, site("a.example.com", SiteTls::Acme), site("b.localhost", SiteTls::Auto)];
    let mut config = config(folder.0.path(), vec![file], sites);
    config.acme = Some(acme(&[]));
    let managed = Managed::default();
    let store = build(&config, &managed);
    let names: Vec<_> = store.managed().iter().map(|cert| cert.names().join(" ")).collect();
    assert_eq!(names, ["shop.example.com www.shop.example.com", "a.example.com"]);
    assert!(
        store.challenges().is_some() && store.serves(Some("file.example.com")) && store.serves(Some("b.localhost"))
    );
    config.acme = None;
    config.sites.truncate(1);
    assert_eq!(refused(&config), ["no-certificate", "no-certificate"]);
}

#[test]
fn a_name_whose_certificate_is_to_come_gets_nobody_elses_and_then_its_own_in_every_generation() {
    let folder = Folder::new();
    let file = folder.pair("file", &["file.example.com"]);
    let mut shop = site("shop.example.com", SiteTls::Acme);
    shop.aliases = vec![pattern("www.shop.example.com")];
    let mut config = config(folder.0.path(), vec![file], vec![shop]);
    config.acme = Some(acme(&[]));
    config.tls.unknown_host = UnknownHost::Default;
    let managed = Managed::default();
    let (before, after) = (build(&config, &managed), build(&config, &managed));
    let sni = Some("shop.example.com");
    assert!(!before.serves(sni) && before.resolve(sni).is_none());
    assert_eq!(before.pending("Shop.example.com").as_deref(), Some("it has not been ordered yet"));
    assert_eq!(before.pending("nobody.example.com"), None);

    let stored = stored(&["shop.example.com", "www.shop.example.com"]);
    after.managed()[0].serve(stored.key.clone());
    for store in [&before, &after] {
        assert_eq!(store.resolve(sni).unwrap().cert, stored.key.cert);
        assert!(store.serves(Some("www.shop.example.com")) && store.pending("shop.example.com").is_none());
        assert!(store.same_certificate("shop.example.com", "www.shop.example.com"));
        assert!(!store.same_certificate("shop.example.com", "file.example.com"));
    }
}

#[test]
fn a_wildcard_is_ordered_where_a_hook_sets_records() {
    let folder = Folder::new();
    let mut config = config(folder.0.path(), vec![], vec![site("*.example.com", SiteTls::Auto)]);
    config.acme = Some(acme(&[]));
    assert_eq!(refused(&config), ["no-certificate"]);
    config.acme = Some(acme(&["/hook"]));
    let store = build(&config, &Managed::default());
    assert_eq!(store.managed()[0].names(), ["*.example.com"]);
    assert!(store.pending("any.example.com").is_some() && store.pending("example.com").is_none());
}

#[test]
fn no_order_is_placed_for_what_nobody_outside_can_check() {
    let folder = Folder::new();
    for name in ["app.localhost", "app.test", "intranet", "10.0.0.1", "93.184.216.34"] {
        let mut config = config(folder.0.path(), vec![], vec![site(name, SiteTls::Acme)]);
        config.acme = Some(acme(&[]));
        assert_eq!(refused(&config), ["acme-local-name"], "{name}");
    }
}

#[test]
fn what_is_stored_is_read_whole_or_refused() {
    let made = Made::new(&["a.example.com"]);
    let key = made.key.serialize_pem();
    let facts = stored(&["a.example.com"]).facts;
    assert_eq!(facts.names.dns, ["a.example.com"]);
    assert!(facts.not_after > facts.not_before && facts.fingerprint.len() == 64);
    let other = Made::new(&["a.example.com"]);
    let table = [
        (format!("{}{}", other.key.serialize_pem(), made.cert), "the key does not belong to the certificate"),
        (key.clone(), "there is no certificate"),
        (made.cert.clone(), "no usable key"),
        (format!("{key}{}", &made.cert[..100]), "the chain does not decode"),
    ];
    for (text, expected) in table {
        let why = ServedCert::from_pem(&text).unwrap_err();
        assert!(why.starts_with(expected), "{why}");
    }
}

#[test]
fn a_secret_of_the_config_is_not_shown() {
    assert_eq!(format!("{:?}", Secret(b"key".to_vec())), "Secret");
}

#[test]
fn a_name_is_not_ordered_while_a_file_that_cannot_be_read_may_be_for_it() {
    let folder = Folder::new();
    let sites = vec![site("auto.example.com", SiteTls::Auto), site("asked.example.com", SiteTls::Acme)];
    let mut config = config(folder.0.path(), vec![folder.files("nope.pem", "nope.key")], sites);
    config.acme = Some(acme(&[]));
    let open = |config: &Config| {
        let store = CertStore::open(config, &DevAuthority::default(), &Managed::default(), None).unwrap();
        store.managed().iter().map(|cert| store.holds(cert)).collect::<Vec<_>>()
    };
    assert_eq!(open(&config), [true, false]);
    folder.pair("nope", &["nope.example.com"]);
    assert_eq!(open(&config), [false, false]);
}
