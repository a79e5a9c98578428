//! Certificate files that cannot be used: which of them stop a start or a reload, and what is said of the others.

use super::StartError;
use crate::config::{self, Diagnostic, Sources};
use crate::snapshot::Snapshot;
use crate::tls::CertStore;

/// Hosts whose files cannot be used are refused, and the rest is served; but not where nothing is left, or where the place of
/// another process is taken, which may serve them.
pub(super) fn may_start(snapshot: &Snapshot, takes_over: bool) -> Result<(), StartError> {
    let is_whole = snapshot.certs.as_ref().is_none_or(|certs| certs.errors().is_empty());
    if is_whole || !(takes_over || snapshot.serves_nothing()) {
        return Ok(());
    }
    Err(StartError::Config(snapshot.problems()))
}

/// A reload is all or nothing. What could not be used before it either is no reason against it.
pub(super) fn refuse_new(next: &Snapshot, now: &Snapshot) -> Result<(), StartError> {
    if new_errors(next, now.certs.as_deref()).is_empty() { Ok(()) } else { Err(StartError::Config(next.problems())) }
}

/// Says what is wrong with a generation that is served all the same. Of files that cannot be used only what is new is said.
pub(super) fn say(snapshot: &Snapshot, before: Option<&CertStore>, sources: &Sources) {
    let errors = new_errors(snapshot, before);
    if !errors.is_empty() {
        tracing::error!(
            "files that cannot be used: the last good ones stay, hosts without one are refused until the files are \
             mended\n{}",
            rendered(errors, sources)
        );
    }
    let certs = snapshot.certs.iter().flat_map(|certs| certs.warnings());
    let warnings: Vec<Diagnostic> = certs.chain(&snapshot.warnings).cloned().collect();
    if !warnings.is_empty() {
        tracing::warn!("served all the same\n{}", rendered(warnings, sources));
    }
}

fn new_errors(next: &Snapshot, before: Option<&CertStore>) -> Vec<Diagnostic> {
    let nothing = CertStore::default();
    let certs = next.certs.iter();
    certs.flat_map(|certs| certs.new_errors(before.unwrap_or(&nothing))).cloned().collect()
}

/// The problems in the order of the files, for a log.
fn rendered(mut problems: Vec<Diagnostic>, sources: &Sources) -> String {
    config::sort_diagnostics(&mut problems, sources);
    config::render_diagnostics(&problems, sources, false).trim_end().to_owned()
}
