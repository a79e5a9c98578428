//! What is looked at: the certificates of a file, and the key that should belong to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};

use crate::config::diagnostics::Diagnostic;
use crate::config::{CertFiles, Origin};
use crate::tls::hints;
use crate::tls::load::Part;

/// Certificates in the order they stand, with their key where it is known.
pub struct Subject {
    /// The names of the files in messages; the same twice where there is no key file.
    pub(super) files: CertFiles,
    pub(super) certs: Vec<CertificateDer<'static>>,
    pub(super) key: Option<Arc<dyn SigningKey>>,
    pub(super) key_file: Option<PathBuf>,
    /// There is no file of certificates.
    pub(super) in_memory: bool,
    pub(super) problems: Vec<Diagnostic>,
}

impl Subject {
    /// Reads a PEM file. The key is the one named, else one in the same file, else one beside it by the names in use, or
    /// whichever belongs to the certificate.
    ///
    /// # Errors
    /// It holds no certificate, with what it holds instead.
    pub fn read(path: &Path, key: Option<&Path>) -> Result<Subject, Vec<Diagnostic>> {
        let origin = Origin::default();
        let mut problems = Vec::new();
        let certs = Part { path, origin: &origin, key: false };
        let file = certs.read(&mut problems);
        let both = file.as_ref().is_some_and(|file| file.key.is_some());
        let Some(certs) = file.and_then(|file| certs.certificates(file, &mut problems)) else { return Err(problems) };
        let key_file = match key {
            Some(key) => Some(key.to_path_buf()),
            None if both => Some(path.to_path_buf()),
            None => beside(path).or_else(|| belonging(path, &certs)),
        };
        let key = key_file.as_deref().and_then(|path| {
            let part = Part { path, origin: &origin, key: true };
            let file = part.read(&mut problems)?;
            part.private_key(file, &mut problems)
        });
        let files = CertFiles {
            cert: path.into(),
            key: key_file.clone().unwrap_or_else(|| path.into()),
            cert_origin: origin.clone(),
            key_origin: origin,
        };
        Ok(Subject { files, certs, key, key_file, in_memory: false, problems })
    }

    /// A certificate that is in no file.
    pub fn shown(key: &CertifiedKey) -> Subject {
        let origin = Origin::default();
        let files =
            CertFiles { cert: PathBuf::new(), key: PathBuf::new(), cert_origin: origin.clone(), key_origin: origin };
        let (certs, key) = (key.cert.clone(), Some(key.key.clone()));
        Subject { files, certs, key, key_file: None, in_memory: true, problems: Vec::new() }
    }
}

/// The key file that goes with a certificate file by its name: `site.key`, mkcert's `site-key.pem`, certbot's `privkey.pem`.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = path.file_stem()?.to_str()?;
    let certbot = ["fullchain", "cert"].iter().find(|front| stem.starts_with(**front));
    let certbot = certbot.map(|front| name.replacen(front, "privkey", 1));
    let names = [Some(format!("{stem}.key")), Some(format!("{stem}-key.pem")), certbot];
    names.into_iter().flatten().map(|name| path.with_file_name(name)).find(|found| found != path && found.is_file())
}

fn belonging(path: &Path, certs: &[CertificateDer<'_>]) -> Option<PathBuf> {
    certs.iter().find_map(|der| {
        let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
        // The key of an authority above the leaf is none for a server.
        let leaf = certs.len() == 1 || !cert.is_ca();
        leaf.then_some(())?;
        hints::key_of(&[path], cert.public_key().raw)
    })
}
