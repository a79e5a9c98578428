//! Certificates, configs and the `openssl` command for the tests of this room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SignatureAlgorithm,
};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::config::diagnostics::Diagnostic;
use crate::config::*;

/// A folder with files, gone at the end of the test.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file only its owner can read.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }

    /// Writes `NAME.pem` and `NAME.key` of a self-signed certificate.
    pub fn pair(&self, name: &str, sans: &[&str]) -> CertFiles {
        self.pair_of(name, &Made::new(sans))
    }

    pub fn pair_of(&self, name: &str, made: &Made) -> CertFiles {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        self.write(&cert, &made.cert);
        self.write(&key, made.key.serialize_pem());
        self.files(&cert, &key)
    }

    pub fn files(&self, cert: &str, key: &str) -> CertFiles {
        let origin = |column| Origin { file: "vestibule.toml".into(), line: 7, column, span: 0..0 };
        CertFiles { cert: self.path(cert), key: self.path(key), cert_origin: origin(8), key_origin: origin(30) }
    }
}

#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A certificate with its key.
pub struct Made {
    pub cert: String,
    pub key: KeyPair,
}

impl Made {
    pub fn new(sans: &[&str]) -> Made {
        Made::with(sans, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub fn with(sans: &[&str], alg: &'static SignatureAlgorithm, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let key = KeyPair::generate_for(alg).unwrap();
        let mut params = params(sans);
        change(&mut params);
        Made { cert: params.self_signed(&key).unwrap().pem(), key }
    }
}

pub fn params(sans: &[&str]) -> CertificateParams {
    let names: Vec<String> = sans.iter().map(|san| san.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = OffsetDateTime::now_utc() - time::Duration::DAY;
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(30);
    params
}

/// Root, intermediate and leaf, as PEM in this order, and the key of the leaf.
pub fn chain(sans: &[&str]) -> ([String; 3], KeyPair) {
    let ca = |name: &str| {
        let mut params = params(&[]);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params, KeyPair::generate().unwrap())
    };
    let ((root, root_key), (middle, middle_key)) = (ca("root"), ca("intermediate"));
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let root = Issuer::new(root, root_key);
    let middle_pem = middle.signed_by(&middle_key, &root).unwrap().pem();
    let middle = Issuer::new(middle, middle_key);
    let key = KeyPair::generate().unwrap();
    let leaf_pem = params(sans).signed_by(&key, &middle).unwrap().pem();
    ([root_pem, middle_pem, leaf_pem], key)
}

/// A config with one TLS listener, the development CA in `dir`, and these sites.
pub fn config(dir: &Path, certificates: Vec<CertFiles>, sites: Vec<Site>) -> Config {
    Config {
        acme: None,
        defaults: Default::default(),
        error_pages: None,
        listeners: vec![listener(true, true)],
        public_https_port: None,
        tls: Tls { certificates, ..Tls::default() },
        dev_ca: dev_ca(dir),
        sites,
        upstreams: vec![],
        access_log: AccessLog::Off,
        metrics: None,
        tracing: None,
        log: Log { level: Level::Info },
        admin: Default::default(),
        server: Server {
            workers: None,
            shutdown_grace: Duration::from_secs(8),
            shutdown_delay: None,
            watch_config: false,
            generation_grace: Duration::from_secs(600),
            max_connections: None,
        },
        tests: Vec::new(),
    }
}

pub fn dev_ca(dir: &Path) -> DevCa {
    let leaf_lifetime = Duration::from_secs(90 * 86_400);
    DevCa { dir: Some(dir.join("ca")), leaf_lifetime, extra_domains: vec![], download: false }
}

pub fn listener(h2: bool, h1: bool) -> Listener {
    Listener {
        name: "https".into(),
        addresses: vec![],
        tls: true,
        h2,
        h1,
        proxy_protocol: None,
        origin: Origin::default(),
    }
}

/// A site of `host`: `"*"`, `*.base` or exact.
pub fn site(host: &str, tls: SiteTls) -> Site {
    Site {
        host: pattern(host),
        aliases: vec![],
        aliases_redirect: true,
        tls,
        client_auth: None,
        http: PlainMode::Redirect,
        error_pages: None,
        routes: vec![],
        origin: Origin { file: "vestibule.toml".into(), line: 3, column: 1, span: 0..0 },
    }
}

pub fn pattern(host: &str) -> HostPattern {
    match host.strip_prefix("*.") {
        _ if host == "*" => HostPattern::Any,
        Some(base) => HostPattern::Wildcard(base.into()),
        None => HostPattern::Exact(host.into()),
    }
}

pub fn codes(problems: &[Diagnostic]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code).collect()
}

/// Message, label, notes and help of a problem in one text.
pub fn text(problem: &Diagnostic) -> String {
    let mut all = vec![problem.message.clone(), problem.label.clone()];
    all.extend(problem.notes.iter().chain(&problem.help).cloned());
    all.join("\n")
}

/// The names in the leaf of a certificate.
pub fn names_of(key: &Arc<rustls::sign::CertifiedKey>) -> String {
    let (_, cert) = x509_parser::parse_x509_certificate(&key.cert[0]).unwrap();
    super::super::names::CertNames::of(&cert).to_string()
}

pub fn openssl(args: &[&str]) -> Output {
    Command::new("openssl").args(args).output().unwrap()
}

/// Runs openssl with paths of the folder for every `@NAME` argument; it must succeed.
pub fn openssl_in(folder: &Folder, args: &[&str]) {
    let args: Vec<String> = args
        .iter()
        .map(|arg| match arg.strip_prefix('@') {
            Some(name) => folder.path(name).display().to_string(),
            None => arg.to_string(),
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = openssl(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
