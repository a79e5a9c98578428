//! Reads certificate revocation lists (RFC 5280 section 5), and says what a file holds instead.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::load::date;
use super::pem;
use crate::config::Origin;
use crate::config::diagnostics::Diagnostic;

/// Bytes of a revocation list at most: the largest public ones have some ten MiB.
const MAX_FILE: u64 = 64 << 20;

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// The lists of a PEM file. Every problem goes into `out`; `None` where one is an error. `now` is in seconds since the epoch.
pub(super) fn read(path: &Path, origin: &Origin, now: i64, out: &mut Vec<Diagnostic>) -> Option<Lists> {
    match lists(path) {
        Ok(lists) => {
            warn_stale(path, origin, &lists, now, out);
            Some(lists)
        }
        Err(problem) => {
            out.push(problem.at(origin));
            None
        }
    }
}

fn lists(path: &Path) -> Result<Lists, Box<Diagnostic>> {
    let shown = path.display();
    let bad = |message: String, label: String| Diagnostic::error("bad-crl", message).label(label);
    let unreadable = |error: std::io::Error| {
        let found = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
                bad("revocation list does not exist".into(), format!("looked for {}", full.display()))
            }
            ErrorKind::PermissionDenied => {
                bad("revocation list may not be read".into(), format!("permission denied: {shown}"))
                    .help(format!("let the user vestibule runs as read it: ls -l {shown}"))
            }
            _ => bad("revocation list cannot be read".into(), format!("{shown}: {error}")),
        };
        found.boxed()
    };
    let meta = fs::metadata(path).map_err(unreadable)?;
    let wanted = || "expected a file with `-----BEGIN X509 CRL-----`".to_owned();
    if !meta.is_file() {
        return Err(bad(format!("`{shown}` is a folder or a device"), wanted()).boxed());
    }
    if meta.len() > MAX_FILE {
        return Err(bad(format!("`{shown}` is larger than 64 MiB"), wanted()).boxed());
    }
    let text = fs::read(path).map_err(unreadable)?;
    let lists: Result<Lists, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    let found = match lists {
        Ok(lists) if !lists.is_empty() => return Ok(lists),
        Err(error) => bad(format!("`{shown}` is damaged or still being written"), wanted())
            .help(format!("write the file anew; reading it ended with: {}", pem::reason(&error))),
        Ok(_) if CertificateRevocationList::from_der(&text).is_ok() => {
            let pem = path.with_extension("pem");
            bad(format!("`{shown}` is a revocation list in DER form"), wanted())
                .help(format!("openssl crl -inform DER -in {shown} -out {}", pem.display()))
        }
        Ok(_) => bad(format!("`{shown}` holds no revocation list"), wanted()),
    };
    Err(found.boxed())
}

/// A list past its time still holds, since to refuse everybody is worse; who keeps it should hear.
fn warn_stale(
    path: &Path,
    origin: &Origin,
    lists: &[CertificateRevocationListDer<'_>],
    now: i64,
    out: &mut Vec<Diagnostic>,
) {
    for list in lists {
        let Ok((_, parsed)) = CertificateRevocationList::from_der(list.as_ref()) else { continue };
        let Some(next) = parsed.next_update().map(|next| next.timestamp()).filter(|next| *next < now) else { continue };
        let message = format!("`{}`: a revocation list is out of date", path.display());
        let found = Diagnostic::warning("crl-out-of-date", message).at(origin);
        let found = found.label(format!("the next one was due on {}", date(next)));
        out.push(found.note("it is used all the same: certificates revoked since then are let in"));
    }
}
