//! Loads a certificate chain with its key, and turns each way this goes wrong into a diagnostic with a remedy.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::hints;
use super::names::CertNames;
use super::pem::{self, PemFile, ReadError, Shape};
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::config::{CertFiles, HostPattern, Origin};

/// A chain that can be served: the leaf first, its key checked against it.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub key: Arc<CertifiedKey>,
    /// The names of the leaf.
    pub names: CertNames,
}

/// Loads both files. Every problem goes into `out`; `None` where one of them is an error. `now` is in seconds since the
/// epoch.
pub(super) fn load(files: &CertFiles, now: i64, out: &mut Vec<Diagnostic>) -> Option<Loaded> {
    let cert = Part { path: &files.cert, origin: &files.cert_origin, key: false };
    let key = Part { path: &files.key, origin: &files.key_origin, key: true };
    let cert_file = cert.read(out);
    let key_file = key.read(out);
    if let (Some(c), Some(k)) = (&cert_file, &key_file)
        && swapped(c, k)
    {
        out.push(
            Diagnostic::error("not-pem", "`cert` and `key` look swapped")
                .at(cert.origin)
                .label(format!("{} holds a private key", cert.path.display()))
                .note(format!("{} holds a certificate", key.path.display()))
                .help("exchange the two values"),
        );
        return None;
    }
    let chain = cert_file.and_then(|file| cert.certificates(file, out));
    let private = key_file.and_then(|file| key.private_key(file, out));
    pair(files, chain?, private?, now, out)
}

/// The certificates of a file of roots. Every problem goes into `out`.
pub(super) fn roots(path: &Path, origin: &Origin, out: &mut Vec<Diagnostic>) -> Option<Vec<CertificateDer<'static>>> {
    let part = Part { path, origin, key: false };
    part.read(out).and_then(|file| part.certificates(file, out))
}

/// The first error among the problems of some files, in one line for a log.
pub(super) fn reason(problems: &[Diagnostic]) -> Arc<str> {
    let error = problems.iter().find(|problem| problem.severity == Severity::Error);
    error.map_or_else(|| "its files cannot be used".into(), |error| error.line().into())
}

fn swapped(cert: &PemFile, key: &PemFile) -> bool {
    cert.certs.is_empty() && cert.key.is_some() && key.key.is_none() && !key.certs.is_empty()
}

/// One of the two files, with the words that name it.
pub(super) struct Part<'a> {
    pub path: &'a Path,
    pub origin: &'a Origin,
    pub key: bool,
}

impl Part<'_> {
    /// `either(a, b)`: `a` for the certificate, `b` for the key.
    fn either<T>(&self, cert: T, key: T) -> T {
        if self.key { key } else { cert }
    }

    fn noun(&self) -> &'static str {
        self.either("certificate file", "key file")
    }

    fn problem(&self, code: &'static str, message: String, label: String) -> Diagnostic {
        Diagnostic::error(code, message).at(self.origin).label(label)
    }

    pub(super) fn read(&self, out: &mut Vec<Diagnostic>) -> Option<PemFile> {
        let error = match pem::read(self.path) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let path = self.path.display();
        let unreadable = self.either("cert-unreadable", "key-unreadable");
        out.push(match error {
            ReadError::NotFound => {
                let full = std::path::absolute(self.path).unwrap_or_else(|_| self.path.to_path_buf());
                let found = self.problem(
                    self.either("cert-not-found", "key-not-found"),
                    format!("{} does not exist", self.noun()),
                    format!("looked for {}", full.display()),
                );
                match (full.parent(), self.either(hints::likely_cert(self.path), hints::likely_key(self.path))) {
                    (_, Some(hint)) => found.help(hint),
                    (Some(folder), None) if !folder.is_dir() => {
                        found.note(format!("there is no folder {}", folder.display()))
                    }
                    _ => found,
                }
            }
            ReadError::Denied => self
                .problem(unreadable, format!("{} may not be read", self.noun()), format!("permission denied: {path}"))
                .help(format!("let the user vestibule runs as read it: ls -l {path}")),
            ReadError::NotAFile => self.problem(
                unreadable,
                format!("{} is not a regular file", self.noun()),
                format!("{path} is a folder or a device"),
            ),
            ReadError::TooLarge => self.problem(
                unreadable,
                format!("{} is larger than 1 MiB", self.noun()),
                format!("{path} cannot be {}", self.either("a certificate chain", "a private key")),
            ),
            ReadError::Io(error) => {
                self.problem(unreadable, format!("{} cannot be read", self.noun()), format!("{path}: {error}"))
            }
        });
        None
    }

    pub(super) fn certificates(
        &self,
        file: PemFile,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Vec<CertificateDer<'static>>> {
        // A chain that breaks off is a file still being written: never served in part.
        if file.certs.is_empty() || matches!(file.shape, Shape::Damaged(_)) {
            out.push(self.not_pem(&file));
            return None;
        }
        Some(file.certs)
    }

    pub(super) fn private_key(&self, file: PemFile, out: &mut Vec<Diagnostic>) -> Option<Arc<dyn SigningKey>> {
        let Some(der) = &file.key else {
            out.push(self.not_pem(&file));
            return None;
        };
        self.warn_readable(out);
        match any_supported_type(der) {
            Ok(key) => Some(key),
            Err(_) => {
                out.push(
                    self.problem(
                        "key-unsupported",
                        "this private key cannot be used".into(),
                        format!("{} ({})", self.path.display(), kind_of(der)),
                    )
                    .note("usable are RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519"),
                );
                None
            }
        }
    }

    /// Names what the file holds in place of what was wanted, with the command that mends it.
    fn not_pem(&self, file: &PemFile) -> Diagnostic {
        let path = self.path.display();
        let (message, help) = match &file.shape {
            Shape::Empty => (
                format!("`{path}` is empty"),
                Some("write the file anew: a full disk or a renewal that failed leaves such files".into()),
            ),
            Shape::EncryptedKey => (
                format!("`{path}` is encrypted: a passphrase cannot be asked for at a start"),
                Some(format!("openssl pkey -in {path} -out decrypted.key")),
            ),
            Shape::DerCertificate => (
                format!("`{path}` is a certificate in DER form"),
                Some(format!("openssl x509 -inform DER -in {path} -out {}", pem_name(self.path))),
            ),
            Shape::DerKey => (
                format!("`{path}` is a private key in DER form"),
                Some(format!("openssl pkey -inform DER -in {path} -out {}", pem_name(self.path))),
            ),
            Shape::Pkcs12 => (
                format!("`{path}` is a PKCS#12 bundle (.p12, .pfx)"),
                Some(format!(
                    "openssl pkcs12 -in {path} -nodes {} -out {}",
                    self.either("-nokeys", "-nocerts"),
                    pem_name(self.path)
                )),
            ),
            Shape::Pkcs7 => (
                format!("`{path}` is a PKCS#7 bundle"),
                Some(format!("openssl pkcs7 -print_certs -in {path} -out {}", pem_name(self.path))),
            ),
            Shape::Request => (
                format!("`{path}` is a certificate request, not the certificate"),
                Some("the certificate is what the certificate authority sent back for it".into()),
            ),
            Shape::Damaged(reason) => (
                format!("`{path}` is damaged or still being written"),
                Some(format!("write the file anew; reading it ended with: {reason}")),
            ),
            Shape::Pem if self.key => (format!("`{path}` holds a certificate but no private key"), None),
            Shape::Pem => (format!("`{path}` holds a private key but no certificate"), None),
            Shape::Unknown => (format!("`{path}` holds no {}", self.either("certificate", "private key")), None),
        };
        let wanted = self.either("-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----");
        let found = self.problem("not-pem", message, format!("expected a file with `{wanted}`"));
        match help {
            Some(help) => found.help(help),
            None => found,
        }
    }

    /// Whoever reads the key can be this server.
    fn warn_readable(&self, out: &mut Vec<Diagnostic>) {
        let Some(mode) = mode(self.path) else { return };
        if mode & 0o044 == 0 {
            return;
        }
        let path = self.path.display();
        let who = if mode & 0o004 != 0 { "everybody" } else { "its group" };
        out.push(
            Diagnostic::warning("key-readable", format!("the private key can be read by {who}"))
                .at(self.origin)
                .label(format!("mode is {mode:04o}"))
                .help(format!("chmod 600 {path}")),
        );
    }
}

/// The permission bits of a file, where the system has them.
#[cfg(unix)]
pub(super) fn mode(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
pub(super) fn mode(_path: &Path) -> Option<u32> {
    None
}

/// `shop.pem` beside `shop.der`.
fn pem_name(path: &Path) -> String {
    let new = path.with_extension("pem");
    if new == path { format!("{}.pem", path.display()) } else { new.display().to_string() }
}

fn kind_of(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "PKCS#1",
        PrivateKeyDer::Sec1(_) => "SEC1",
        _ => "PKCS#8",
    }
}

/// Finds the leaf the key belongs to, puts the chain in order and looks at the dates.
fn pair(
    files: &CertFiles,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
    now: i64,
    out: &mut Vec<Diagnostic>,
) -> Option<Loaded> {
    let mut parsed = Vec::with_capacity(chain.len());
    for der in &chain {
        match x509_parser::parse_x509_certificate(der) {
            Ok((_, cert)) => parsed.push(cert),
            Err(_) => {
                out.push(damaged(files, parsed.len() + 1));
                return None;
            }
        }
    }
    // The public keys are compared as bytes; a signature would prove the same at a hundred times the cost.
    let spki = key.public_key();
    let spki = spki.as_deref().unwrap_or_default();
    let Some(leaf) = parsed.iter().position(|cert| cert.public_key().raw == spki) else {
        out.push(mismatch(files, &parsed, spki));
        return None;
    };
    warn_dates(files, &parsed[leaf], now, out);
    let names = CertNames::of(&parsed[leaf]);
    let order = in_order(&parsed, leaf);
    let chain = order.into_iter().map(|i| chain[i].clone()).collect();
    Some(Loaded { key: Arc::new(CertifiedKey::new(chain, key)), names })
}

/// The certificate with this number, from 1, is none.
pub(super) fn damaged(files: &CertFiles, number: usize) -> Diagnostic {
    Diagnostic::error("not-pem", format!("`{}` holds a damaged certificate", files.cert.display()))
        .at(&files.cert_origin)
        .label(format!("certificate {number} of this file does not decode"))
}

/// The leaf, then each certificate's issuer, then what is left in file order (cross-signed ones). Doubles are dropped.
pub(super) fn in_order(certs: &[X509Certificate<'_>], leaf: usize) -> Vec<usize> {
    let mut order = vec![leaf];
    let double = |order: &[usize], i: usize| order.iter().any(|&o| certs[o].as_raw() == certs[i].as_raw());
    let mut last = leaf;
    while let Some(next) =
        (0..certs.len()).find(|&i| certs[i].subject().as_raw() == certs[last].issuer().as_raw() && !double(&order, i))
    {
        order.push(next);
        last = next;
    }
    for i in 0..certs.len() {
        if !double(&order, i) {
            order.push(i);
        }
    }
    order
}

pub(super) fn mismatch(files: &CertFiles, certs: &[X509Certificate<'_>], spki: &[u8]) -> Diagnostic {
    let found = Diagnostic::error("key-mismatch", "this private key does not belong to this certificate")
        .at(&files.key_origin)
        .label(format!("its public key is {}", describe(spki)))
        .note(format!("{} is for {}", files.cert.display(), describe(certs[0].public_key().raw)));
    match hints::matching_key(files, certs[0].public_key().raw) {
        Some(hint) => found.help(hint),
        None => found,
    }
}

/// "ECDSA P-256, ends in 3f9a81bc" of a SubjectPublicKeyInfo.
fn describe(spki: &[u8]) -> String {
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(spki) else { return "of an unknown kind".into() };
    let bytes = &info.subject_public_key.data;
    let tail: String = bytes[bytes.len().saturating_sub(4)..].iter().map(|b| format!("{b:02x}")).collect();
    format!("{}, ends in {tail}", key_kind(spki))
}

/// "ECDSA P-256" of a SubjectPublicKeyInfo.
pub(super) fn key_kind(spki: &[u8]) -> String {
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(spki) else { return "of an unknown kind".into() };
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", if point.key_size() == 528 { 521 } else { point.key_size() }),
        _ => "Ed25519 or another kind".into(),
    }
}

/// An expired certificate is served all the same: a browser's own words are worth more than a proxy that is down.
pub(super) fn warn_dates(files: &CertFiles, leaf: &X509Certificate<'_>, now: i64, out: &mut Vec<Diagnostic>) {
    const DAY: i64 = 86_400;
    let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let (code, message) = if now > to {
        ("cert-expired", format!("certificate expired {} days ago", (now - to) / DAY))
    } else if now < from {
        ("cert-not-yet-valid", format!("certificate is not valid for another {} days", (from - now + DAY - 1) / DAY))
    } else {
        return;
    };
    out.push(
        Diagnostic::warning(code, message)
            .at(&files.cert_origin)
            .label(format!("{} to {}", date(from), date(to)))
            .note(format!("the clock of this machine says {}", date(now)))
            .note("it is served anyway; browsers will show ERR_CERT_DATE_INVALID")
            .help("renew it, or let vestibule do it: tls = \"acme\""),
    );
}

/// A certificate that is served for a host it is not for.
pub(super) fn uncovered(host: &HostPattern, names: &CertNames) -> Diagnostic {
    Diagnostic::warning("cert-name-mismatch", format!("certificate does not cover `{host}`"))
        .label(format!("it covers {names}"))
        .note("it is served anyway; browsers will show ERR_CERT_COMMON_NAME_INVALID")
}

/// RFC 3339.
pub(super) fn date_time(timestamp: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(timestamp).ok();
    let text = at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| format!("{timestamp} s"))
}

pub(super) fn date(timestamp: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(timestamp) {
        Ok(at) => at.date().to_string(),
        Err(_) => format!("{timestamp} s"),
    }
}
