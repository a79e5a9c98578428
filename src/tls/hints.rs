//! Looks into the folder of a certificate file for what was probably meant. Bounded, and only after a mistake.

use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;

use x509_parser::certificate::X509Certificate;

use super::names::CertNames;
use super::pem::{self, PemFile};
use crate::config::CertFiles;

/// Files opened at most, in the order of their names.
const MAX_FILES: usize = 64;

/// "that folder has shop.pem, which is a certificate for shop.example.com", the file with the most similar name.
pub(super) fn likely_cert(missing: &Path) -> Option<String> {
    let (path, file) = most_similar(missing, |file| !file.certs.is_empty())?;
    let (_, cert) = x509_parser::parse_x509_certificate(file.certs.first()?).ok()?;
    Some(format!("that folder has {}, which is a certificate for {}", name(&path), CertNames::of(&cert)))
}

/// "that folder has shop.key, which holds a private key".
pub(super) fn likely_key(missing: &Path) -> Option<String> {
    let (path, _) = most_similar(missing, |file| file.key.is_some())?;
    Some(format!("that folder has {}, which holds a private key", name(&path)))
}

/// Names the key file beside the certificate or beside the wrong key that belongs to the certificate.
pub(super) fn matching_key(files: &CertFiles, spki: &[u8]) -> Option<String> {
    let path = key_of(&[&files.key, &files.cert], spki)?;
    Some(format!("{} is the matching key", path.display()))
}

/// The file beside one of these that holds the private key of a public one.
pub(super) fn key_of(beside: &[&Path], spki: &[u8]) -> Option<PathBuf> {
    let belongs = |file: &PemFile| {
        let key = file.key.as_ref().and_then(|der| any_supported_type(der).ok());
        key.is_some_and(|key| key.public_key().is_some_and(|public| public.as_ref() == spki))
    };
    let mut all = beside.iter().flat_map(|path| readable(folder(path)));
    all.find(|(_, file)| belongs(file)).map(|(path, _)| path)
}

/// The file beside this one with a certificate for which `wanted` holds, and whether that one is self-signed.
pub(super) fn issuer_beside(path: &Path, wanted: impl Fn(&X509Certificate<'_>) -> bool) -> Option<(PathBuf, bool)> {
    readable(folder(path)).find_map(|(found, file)| {
        let parsed = file.certs.iter().filter_map(|der| x509_parser::parse_x509_certificate(der).ok());
        let (_, issuer) = parsed.into_iter().find(|(_, cert)| wanted(cert))?;
        Some((found, issuer.subject().as_raw() == issuer.issuer().as_raw()))
    })
}

fn most_similar(missing: &Path, wanted: impl Fn(&PemFile) -> bool) -> Option<(PathBuf, PemFile)> {
    let target = name(missing);
    readable(folder(missing))
        .filter(|(_, file)| wanted(file))
        .max_by(|(a, _), (b, _)| strsim::jaro(&name(a), &target).total_cmp(&strsim::jaro(&name(b), &target)))
}

/// The PEM files of a folder that may be read.
fn readable(folder: PathBuf) -> impl Iterator<Item = (PathBuf, PemFile)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.take(16 * MAX_FILES).map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().take(MAX_FILES).filter_map(|path| Some((path.clone(), pem::read(&path).ok()?)))
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
