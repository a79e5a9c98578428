//! The development CA: what its root permits, where it is kept, and that there is only ever one.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use rcgen::{KeyPair, SanType};

use super::support::*;
use crate::config::diagnostics::Severity;
use crate::config::{self, SiteTls};
use crate::tls::{Access, CertStore, DevAuthority, DevCa, Managed, root_path, root_pem};

fn open(settings: &config::DevCa) -> DevCa {
    let (ca, warning) = DevCa::open(settings, Access::CreateIfMissing).unwrap();
    assert_eq!(warning, None);
    ca
}

/// Whether openssl accepts a leaf of this CA for this name, and what it says.
fn verify(folder: &Folder, ca: &DevCa, name: &str) -> (bool, String) {
    let key = KeyPair::generate().unwrap();
    let san = match name.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    };
    let (leaf, _) = ca.leaf(vec![san], &key, std::time::Duration::from_secs(86_400), &[]).unwrap();
    fs::write(folder.path("leaf.der"), &leaf).unwrap();
    openssl_in(folder, &["x509", "-inform", "DER", "-in", "@leaf.der", "-out", "@leaf.pem"]);
    let (root, leaf) = (folder.path("ca/root.crt"), folder.path("leaf.pem"));
    let (root, leaf) = (root.display().to_string(), leaf.display().to_string());
    let check = if name.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
    let output = openssl(&["verify", "-x509_strict", "-purpose", "sslserver", check, name, "-CAfile", &root, &leaf]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn openssl_accepts_local_names_and_refuses_all_others() {
    let folder = Folder::new();
    let mut settings = dev_ca(folder.0.path());
    settings.extra_domains = vec!["Corp.example".into()];
    let ca = open(&settings);
    for name in [
        "localhost",
        "app.localhost",
        "a.b.test",
        "db.internal",
        "nas.home.arpa",
        "laptop.local",
        "x.corp.example",
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.20",
        "fd12::1",
        "fe80::1",
    ] {
        assert!(ca.allows(name), "{name}");
        let (accepted, said) = verify(&folder, &ca, name);
        assert!(accepted, "{name}: {said}");
    }
    for name in ["example.com", "localhost.example.com", "notlocal", "8.8.8.8", "172.32.0.1", "2001:db8::1"] {
        assert!(!ca.allows(name), "{name}");
        let (accepted, said) = verify(&folder, &ca, name);
        assert!(!accepted && said.contains("permitted subtree violation"), "{name}: {said}");
    }
}

#[test]
fn the_root_is_ecdsa_with_a_critical_scope_and_no_authority_below_it() {
    let folder = Folder::new();
    let ca = open(&dev_ca(folder.0.path()));
    let (_, root) = x509_parser::parse_x509_certificate(ca.root()).unwrap();
    assert_eq!(root.subject().to_string(), "CN=vestibule development CA");
    assert!(root.name_constraints().unwrap().unwrap().critical);
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert_eq!((constraints.critical, constraints.value.path_len_constraint), (true, Some(0)));
    assert!(root.key_usage().unwrap().unwrap().value.key_cert_sign());
    let years = root.validity().not_after.timestamp() - root.validity().not_before.timestamp();
    assert_eq!(years / (365 * 86_400), 10);
}

#[test]
fn the_root_is_stored_for_its_owner_only_and_found_again() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let settings = dev_ca(folder.0.path());
    let first = open(&settings);
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca"), mode("ca/root.key")), (0o700, 0o600));
    assert_eq!(open(&settings).root(), first.root());
    assert_eq!(root_path(&settings), Some(folder.path("ca/root.crt")));
    assert_eq!(root_pem(&settings).unwrap(), fs::read_to_string(folder.path("ca/root.crt")).unwrap());
    let left: HashSet<_> = fs::read_dir(folder.path("ca")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["root.crt", "root.key", "root.lock"].map(Into::into).into(), "no temporary file stays");
}

#[test]
fn many_that_start_at_once_end_with_one_root() {
    let folder = Folder::new();
    let settings = dev_ca(folder.0.path());
    let barrier = std::sync::Barrier::new(8);
    let roots: HashSet<Vec<u8>> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    open(&settings).root().to_vec()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(roots.len(), 1);
    assert_eq!(open(&settings).root().as_ref(), roots.iter().next().unwrap().as_slice());
}

#[test]
fn a_root_that_cannot_be_used_is_an_error_and_left_alone() {
    let (folder, other) = (Folder::new(), Folder::new());
    let settings = dev_ca(folder.0.path());
    open(&settings);
    open(&dev_ca(other.0.path()));
    let (cert, key) = (folder.path("ca/root.crt"), folder.path("ca/root.key"));
    let (good_cert, good_key) = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
    let plain = Made::new(&["localhost"]);
    let (plain_cert, plain_key) = (plain.cert.into_bytes(), plain.key.serialize_pem().into_bytes());
    let other_key = fs::read(other.path("ca/root.key")).unwrap();
    type Content<'a> = Option<&'a [u8]>;
    let pairs: [(&str, Content, Content); 6] = [
        ("without root.crt", None, Some(&good_key)),
        ("without root.key", Some(&good_cert), None),
        ("holds no certificate", Some(b""), Some(&good_key)),
        ("no usable private key", Some(&good_cert), Some(b"x")),
        ("does not belong", Some(&good_cert), Some(&other_key)),
        ("not a certificate authority", Some(&plain_cert), Some(&plain_key)),
    ];
    for (expected, new_cert, new_key) in pairs {
        for (path, content) in [(&cert, new_cert), (&key, new_key)] {
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        let before = (fs::read(&cert).ok(), fs::read(&key).ok());
        for access in [Access::CreateIfMissing, Access::ReadOnly] {
            let problem = DevCa::open(&settings, access).unwrap_err();
            assert_eq!((problem.code, problem.severity), ("dev-ca-broken", Severity::Error));
            assert!(text(&problem).contains(expected), "{expected}: {}", text(&problem));
            assert!(problem.help[0].contains("rm "), "{problem:?}");
        }
        assert_eq!((fs::read(&cert).ok(), fs::read(&key).ok()), before, "{expected}: files were changed");
    }
}

#[test]
fn without_a_folder_to_write_to_the_root_lives_in_memory_and_one_warning_says_so() {
    let folder = Folder::new();
    folder.write("file", "");
    let settings = config::DevCa { dir: Some(folder.path("file/ca")), ..dev_ca(folder.0.path()) };
    let (ca, warning) = DevCa::open(&settings, Access::CreateIfMissing).unwrap();
    let warning = warning.unwrap();
    assert_eq!((warning.code, warning.severity), ("dev-ca-in-memory", Severity::Warning));
    assert!(ca.allows("app.localhost"));
    assert_eq!(root_pem(&settings).unwrap_err().severity, Severity::Error);
    // The same root serves across reloads.
    let authority = DevAuthority::default();
    let (first, second) = (authority.open(&settings).unwrap(), authority.open(&settings).unwrap());
    assert!(Arc::ptr_eq(&first.0, &second.0) && second.1.is_some());
}

#[test]
fn a_check_makes_no_root() {
    let folder = Folder::new();
    let config = config(folder.0.path(), vec![], vec![site("app.localhost", SiteTls::Auto)]);
    let store = CertStore::build(&config, &DevAuthority::new(Access::ReadOnly), &Managed::default()).unwrap();
    assert!(store.warnings().is_empty() && store.serves(Some("app.localhost")));
    assert!(!folder.path("ca").exists());
}

#[test]
fn a_leaf_is_made_once_and_kept_across_reloads_of_the_same_root() {
    let folder = Folder::new();
    let config = config(folder.0.path(), vec![], vec![site("*.app.localhost", SiteTls::Dev)]);
    let authority = DevAuthority::default();
    let leaf = || {
        CertStore::build(&config, &authority, &Managed::default()).unwrap().resolve(Some("a.app.localhost")).unwrap()
    };
    let first = leaf();
    assert!(Arc::ptr_eq(&first, &leaf()));
    fs::remove_dir_all(folder.path("ca")).unwrap();
    assert!(!Arc::ptr_eq(&first, &leaf()), "a new root makes new leaves");
}

#[test]
fn a_leaf_near_its_end_is_made_anew() {
    let folder = Folder::new();
    let settings = config::DevCa { leaf_lifetime: std::time::Duration::ZERO, ..dev_ca(folder.0.path()) };
    let (leaves, _) = DevAuthority::default().open(&settings).unwrap();
    let (first, second) = (leaves.leaf("localhost").unwrap(), leaves.leaf("localhost").unwrap());
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(leaves.count(), 1);
}

#[test]
fn leaves_have_exact_names_their_own_serials_and_a_bounded_number() {
    let folder = Folder::new();
    let (leaves, _) = DevAuthority::default().open(&dev_ca(folder.0.path())).unwrap();
    let mut serials = HashSet::new();
    for i in 0..1030 {
        let leaf = leaves.leaf(&format!("a{i}.localhost")).unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&leaf.cert[0]).unwrap();
        serials.insert(cert.raw_serial().to_vec());
        assert_eq!((leaf.cert.len(), names_of(&leaf)), (1, format!("a{i}.localhost")));
    }
    assert_eq!((serials.len(), leaves.count()), (1030, 1024));
    assert!(leaves.leaf("bad name").is_none() && leaves.leaf("").is_none() && leaves.leaf("ä.localhost").is_none());
}

#[test]
fn a_lifetime_beyond_all_calendars_ends_with_the_root() {
    let folder = Folder::new();
    let settings = config::DevCa { leaf_lifetime: std::time::Duration::MAX, ..dev_ca(folder.0.path()) };
    let ca = open(&settings);
    let (leaf, _) = ca.leaf(vec![], &KeyPair::generate().unwrap(), settings.leaf_lifetime, &[]).unwrap();
    let end = |der: &[u8]| x509_parser::parse_x509_certificate(der).unwrap().1.validity().not_after.timestamp();
    assert_eq!(end(&leaf), end(ca.root()));
}

#[test]
fn a_public_name_under_the_development_ca_is_an_error_until_its_domain_is_added() {
    let folder = Folder::new();
    let mut config = config(folder.0.path(), vec![], vec![site("app.corp.example", SiteTls::Dev)]);
    let problems = CertStore::build(&config, &DevAuthority::default(), &Managed::default()).unwrap_err();
    assert_eq!(codes(&problems), ["dev-name-not-local"]);
    assert!(text(&problems[0]).contains("extra_domains = [\"app.corp.example\"]"));
    // The root is there by now, without the domain.
    config.dev_ca.extra_domains = vec!["corp.example".into()];
    let problems = CertStore::build(&config, &DevAuthority::default(), &Managed::default()).unwrap_err();
    assert!(text(&problems[0]).contains("before it was added"), "{problems:?}");
    fs::remove_dir_all(folder.path("ca")).unwrap();
    config.sites.push(site("other.corp.example", SiteTls::Auto));
    let store = CertStore::build(&config, &DevAuthority::default(), &Managed::default()).unwrap();
    assert!(store.serves(Some("app.corp.example")) && store.serves(Some("other.corp.example")));
}
