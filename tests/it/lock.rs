//! What Cargo.lock may hold: versions below these have known holes, and some crates have no place here at all.

use toml::{Table, Value};

/// The lowest version of each crate that is safe to use.
const FLOORS: &[(&str, &str)] = &[
    ("aws-lc-sys", "0.39.0"),
    ("bytes", "1.11.1"),
    ("h2", "0.4.20"),
    ("rustls", "0.23.18"),
    ("rustls-webpki", "0.103.13"),
    ("time", "0.3.47"),
    ("tokio", "1.44.2"),
    ("tracing-subscriber", "0.3.20"),
];

/// A second TLS stack, RSA with a timing leak, and a PEM reader nobody maintains.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "rsa", "rustls-pemfile"];

/// Name and version of every locked package.
fn locked() -> Vec<(String, Vec<u64>)> {
    let lock: Table = include_str!("../../Cargo.lock").parse().expect("Cargo.lock is TOML");
    let packages = lock.get("package").and_then(Value::as_array).expect("packages");
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).expect("a text").to_string();
    packages.iter().map(|package| (text(package, "name"), version(&text(package, "version")))).collect()
}

fn version(text: &str) -> Vec<u64> {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    numbers.split('.').map(|number| number.parse().expect("a number")).collect()
}

#[test]
fn no_locked_crate_is_older_than_its_last_known_hole() {
    let locked = locked();
    for (name, floor) in FLOORS {
        let found: Vec<_> = locked.iter().filter(|(locked, _)| locked == name).collect();
        assert!(!found.is_empty(), "{name} is not locked: take it out of this list");
        for (_, found) in found {
            assert!(*found >= version(floor), "{name} {found:?} is below {floor}");
        }
    }
}

#[test]
fn banned_crates_are_not_locked() {
    let banned: Vec<_> = locked().into_iter().filter(|(name, _)| BANNED.contains(&name.as_str())).collect();
    assert!(banned.is_empty(), "{banned:?}");
}

#[test]
fn versions_are_compared_by_number() {
    assert!(version("0.4.16") > version("0.4.9"));
    assert!(version("1.0.0-rc.1") >= version("1.0.0"));
}
