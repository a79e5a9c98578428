//! Certificate and key files: what is served, and what is said of each mistake.

use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::SignatureAlgorithm;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use super::support::*;
use crate::config::CertFiles;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::tls::load::{Loaded, load};

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Loads files that have nothing wrong with them.
fn good(files: &CertFiles) -> Loaded {
    let mut problems = vec![];
    let loaded = load(files, now(), &mut problems);
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    loaded.unwrap()
}

/// Loads files with one problem.
fn one(files: &CertFiles) -> (Option<Loaded>, Diagnostic) {
    let mut problems = vec![];
    let loaded = load(files, now(), &mut problems);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(loaded.is_some(), problems[0].severity == Severity::Warning);
    (loaded, problems.remove(0))
}

#[track_caller]
fn refused(files: &CertFiles, code: &str, column: usize, parts: &[&str]) {
    let (_, problem) = one(files);
    assert_eq!((problem.code, problem.severity), (code, Severity::Error));
    assert_eq!(problem.origin.as_ref().map(|o| (o.line, o.column)), Some((7, column)));
    for part in parts {
        assert!(text(&problem).contains(part), "{part:?} is not in {}", text(&problem));
    }
}

#[test]
fn every_kind_of_key_is_served_in_every_form() {
    let folder = Folder::new();
    let kinds = [
        ("rsa", &PKCS_RSA_SHA256, SignatureAlgorithm::RSA),
        ("p256", &rcgen::PKCS_ECDSA_P256_SHA256, SignatureAlgorithm::ECDSA),
        ("p384", &PKCS_ECDSA_P384_SHA384, SignatureAlgorithm::ECDSA),
        ("ed25519", &PKCS_ED25519, SignatureAlgorithm::ED25519),
    ];
    for (name, alg, expected) in kinds {
        let made = Made::with(&["example.com"], alg, |_| {});
        let files = folder.pair_of(name, &made);
        let loaded = good(&files);
        assert_eq!(loaded.key.key.algorithm(), expected, "{name}");
        assert_eq!(loaded.names.to_string(), "example.com");
    }
    openssl_in(&folder, &["rsa", "-in", "@rsa.key", "-traditional", "-out", "@rsa.pkcs1"]);
    openssl_in(&folder, &["ec", "-in", "@p256.key", "-out", "@p256.sec1"]);
    openssl_in(&folder, &["ec", "-in", "@p384.key", "-out", "@p384.sec1"]);
    for (cert, key, label) in [
        ("rsa.pem", "rsa.pkcs1", "BEGIN RSA PRIVATE KEY"),
        ("p256.pem", "p256.sec1", "BEGIN EC PRIVATE KEY"),
        ("p384.pem", "p384.sec1", "BEGIN EC PRIVATE KEY"),
    ] {
        assert!(std::fs::read_to_string(folder.path(key)).unwrap().contains(label));
        set_mode(&folder.path(key), 0o600);
        good(&folder.files(cert, key));
    }
}

#[test]
fn a_chain_out_of_order_or_with_doubles_is_mended() {
    let folder = Folder::new();
    let ([root, middle, leaf], key) = chain(&["example.com"]);
    folder.write("site.key", key.serialize_pem());
    let expected: Vec<_> =
        [&leaf, &middle, &root].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).into();
    for (name, order) in [
        ("right.pem", vec![&leaf, &middle, &root]),
        ("reversed.pem", vec![&root, &middle, &leaf]),
        ("mixed.pem", vec![&middle, &leaf, &root, &leaf]),
        ("double.pem", vec![&leaf, &leaf, &middle, &root, &middle]),
    ] {
        folder.write(name, order.into_iter().cloned().collect::<String>());
        assert_eq!(good(&folder.files(name, "site.key")).key.cert, expected, "{name}");
    }
}

#[test]
fn certificate_and_key_may_share_one_file() {
    let folder = Folder::new();
    let made = Made::new(&["example.com"]);
    folder.write("both.pem", made.cert.clone() + &made.key.serialize_pem());
    good(&folder.files("both.pem", "both.pem"));
}

#[test]
fn a_missing_certificate_names_the_path_and_a_file_that_was_meant() {
    let folder = Folder::new();
    folder.pair("shop", &["shop.example.com"]);
    folder.pair("unrelated", &["other.test"]);
    let full = folder.path("shop.crt").display().to_string();
    let hint = "that folder has shop.pem, which is a certificate for shop.example.com";
    refused(&folder.files("shop.crt", "shop.key"), "cert-not-found", 8, &[&full, hint]);
    refused(&folder.files("shop.pem", "shop.kye"), "key-not-found", 30, &["that folder has shop.key"]);
    refused(&folder.files("nowhere/shop.pem", "shop.key"), "cert-not-found", 8, &["there is no folder"]);
}

#[test]
fn two_missing_files_are_two_problems() {
    let mut problems = vec![];
    assert!(load(&Folder::new().files("a.pem", "a.key"), now(), &mut problems).is_none());
    assert_eq!(codes(&problems), ["cert-not-found", "key-not-found"]);
}

#[test]
fn files_in_another_form_come_with_the_command_that_mends_them() {
    let folder = Folder::new();
    folder.pair("good", &["example.com"]);
    openssl_in(&folder, &["x509", "-in", "@good.pem", "-outform", "DER", "-out", "@cert.der"]);
    openssl_in(&folder, &["pkey", "-in", "@good.key", "-outform", "DER", "-out", "@key.der"]);
    openssl_in(
        &folder,
        &["pkcs12", "-export", "-in", "@good.pem", "-inkey", "@good.key", "-passout", "pass:x", "-out", "@good.p12"],
    );
    openssl_in(&folder, &["crl2pkcs7", "-nocrl", "-certfile", "@good.pem", "-out", "@good.p7b"]);
    openssl_in(&folder, &["req", "-new", "-key", "@good.key", "-subj", "/CN=x", "-out", "@good.csr"]);
    openssl_in(&folder, &["pkcs8", "-topk8", "-in", "@good.key", "-passout", "pass:secret", "-out", "@encrypted.key"]);
    folder.write("empty.pem", "");
    folder.write("text.pem", "this is not a certificate\n");
    let half: String = std::fs::read_to_string(folder.path("good.pem")).unwrap().chars().take(200).collect();
    folder.write("half.pem", half);
    for (cert, parts) in [
        ("cert.der", &["is a certificate in DER form", "openssl x509 -inform DER -in"][..]),
        ("good.p12", &["PKCS#12", "openssl pkcs12"]),
        ("good.p7b", &["PKCS#7", "openssl pkcs7 -print_certs"]),
        ("good.csr", &["certificate request"]),
        ("empty.pem", &["is empty"]),
        ("text.pem", &["holds no certificate"]),
        ("half.pem", &["damaged or still being written"]),
    ] {
        refused(&folder.files(cert, "good.key"), "not-pem", 8, parts);
    }
    for (key, parts) in [
        ("key.der", &["is a private key in DER form", "openssl pkey -inform DER -in"][..]),
        ("encrypted.key", &["is encrypted", "openssl pkey -in"]),
        ("good.p12", &["PKCS#12", "-nocerts"]),
        ("empty.pem", &["is empty"]),
        ("good.pem", &["holds a certificate but no private key"]),
    ] {
        refused(&folder.files("good.pem", key), "not-pem", 30, parts);
    }
}

#[test]
fn swapped_files_are_one_problem() {
    let folder = Folder::new();
    folder.pair("site", &["example.com"]);
    refused(&folder.files("site.key", "site.pem"), "not-pem", 8, &["look swapped", "exchange the two values"]);
}

#[test]
fn a_key_of_another_certificate_names_the_matching_one() {
    let folder = Folder::new();
    folder.pair("shop", &["example.com"]);
    let other = Made::with(&["other.test"], &PKCS_ECDSA_P384_SHA384, |_| {});
    folder.pair_of("other", &other);
    let matching = format!("{} is the matching key", folder.path("shop.key").display());
    let parts = ["ECDSA P-256", "ECDSA P-384", matching.as_str()];
    refused(&folder.files("shop.pem", "other.key"), "key-mismatch", 30, &parts);
}

#[test]
fn a_key_too_weak_to_use_is_said_to_be_so() {
    let folder = Folder::new();
    folder.pair("site", &["example.com"]);
    openssl_in(&folder, &["genrsa", "-out", "@weak.key", "1024"]);
    set_mode(&folder.path("weak.key"), 0o600);
    refused(&folder.files("site.pem", "weak.key"), "key-unsupported", 30, &["RSA of 2048"]);
}

#[test]
fn a_damaged_certificate_inside_good_pem_is_refused() {
    let folder = Folder::new();
    folder.pair("site", &["example.com"]);
    folder.write("odd.pem", "-----BEGIN CERTIFICATE-----\nMAAwADAA\n-----END CERTIFICATE-----\n");
    refused(&folder.files("odd.pem", "site.key"), "not-pem", 8, &["certificate 1 of this file does not decode"]);
}

#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let folder = Folder::new();
    folder.pair("site", &["example.com"]);
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.write("large.pem", vec![b'\n'; (1 << 20) + 1]);
    refused(&folder.files("folder", "site.key"), "cert-unreadable", 8, &["not a regular file"]);
    refused(&folder.files("large.pem", "site.key"), "cert-unreadable", 8, &["larger than 1 MiB"]);
    refused(&folder.files("site.pem", "folder"), "key-unreadable", 30, &["not a regular file"]);
}

#[test]
fn an_expired_certificate_is_a_warning_and_served() {
    let folder = Folder::new();
    let at = |days: i64| OffsetDateTime::now_utc() + Duration::days(days);
    for (days, code, words) in [
        ((-40, -10), "cert-expired", "expired 10 days ago"),
        ((10, 40), "cert-not-yet-valid", "not valid for another 10 days"),
    ] {
        let made = Made::with(&["example.com"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            (params.not_before, params.not_after) = (at(days.0), at(days.1));
        });
        let (_, problem) = one(&folder.pair_of(code, &made));
        assert_eq!((problem.code, problem.severity), (code, Severity::Warning));
        assert!(text(&problem).contains(words), "{}", text(&problem));
        assert!(problem.label.contains(&at(days.1).date().to_string()), "{}", problem.label);
    }
}

#[test]
fn a_key_others_can_read_is_a_warning_and_served() {
    let folder = Folder::new();
    let files = folder.pair("site", &["example.com"]);
    for (mode, who) in [(0o644, "everybody"), (0o640, "its group")] {
        set_mode(&files.key, mode);
        let (_, problem) = one(&files);
        assert_eq!((problem.code, problem.severity), ("key-readable", Severity::Warning));
        assert!(problem.message.contains(who) && problem.help[0].starts_with("chmod 600"), "{problem:?}");
    }
}

#[test]
fn a_thousand_pairs_load_and_are_found() {
    let folder = Folder::new();
    let files: Vec<_> =
        (0..1000).map(|i| folder.pair(&format!("site{i}"), &[&format!("site{i}.example.com")])).collect();
    let config = config(folder.0.path(), files, vec![]);
    let start = std::time::Instant::now();
    let store =
        crate::tls::CertStore::build(&config, &crate::tls::DevAuthority::default(), &crate::tls::Managed::default())
            .unwrap();
    eprintln!("1,000 pairs: {:?}", start.elapsed());
    assert_eq!(names_of(&store.resolve(Some("site999.example.com")).unwrap()), "site999.example.com");
}
