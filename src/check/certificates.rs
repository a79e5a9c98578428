//! The certificates of a config, opened as a start would open them.

use std::sync::Arc;

use crate::config::{Config, Diagnostic, Severity};
use crate::tls::{Access, CertStore, DevAuthority, Managed};

/// Problems of a file itself: they hold whatever else is wrong with the config.
const OF_FILES: &[&str] = &[
    "cert-not-found",
    "cert-unreadable",
    "cert-expired",
    "cert-not-yet-valid",
    "cert-name-mismatch",
    "key-not-found",
    "key-unreadable",
    "key-unsupported",
    "key-mismatch",
    "key-readable",
    "not-pem",
];

/// Opens every certificate. Problems go into `out`; the store is there when none of them is an error.
pub fn certificates(config: &Config, out: &mut Vec<Diagnostic>) -> Option<Arc<CertStore>> {
    let (problems, store) = match CertStore::build(config, &DevAuthority::new(Access::ReadOnly), &Managed::default()) {
        Ok(store) => (store.warnings().to_vec(), Some(Arc::new(store))),
        Err(problems) => (problems, None),
    };
    out.extend(problems.into_iter().map(|problem| match problem.code {
        // A start serves it and keeps warning; who checks wants to know.
        "cert-expired" => Diagnostic { severity: Severity::Error, ..problem },
        _ => problem,
    }));
    store
}

/// The problems of the files alone, of a config that has errors.
pub fn certificate_files(partial: &Config) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    certificates(partial, &mut problems);
    problems.retain(|problem| OF_FILES.contains(&problem.code));
    problems
}
