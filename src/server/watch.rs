//! Certificate files, looked at twice a second. Looking follows links, so a rename, a swapped symlink and a bind-mounted
//! file show alike; notifications of the kernel would miss the last two.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::{CertFiles, Config, SiteTls};

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The files of one generation.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were last served, or given up.
    known: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl Watch {
    pub fn new(config: &Config) -> Watch {
        let of_sites = config.sites.iter().filter_map(|site| match &site.tls {
            SiteTls::Files(files) => Some(files),
            _ => None,
        });
        let of_upstreams = config.upstreams.iter().filter_map(|upstream| upstream.tls.client.as_ref());
        let pairs = config.tls.certificates.iter().chain(of_sites).chain(of_upstreams);
        let of_clients = config.sites.iter().filter_map(|site| site.client_auth.as_ref());
        let of_clients = of_clients.flat_map(|auth| std::iter::once(&auth.ca).chain(&auth.crl));
        let roots = config.upstreams.iter().filter_map(|upstream| upstream.tls.ca.as_ref());
        let mut files: Vec<PathBuf> =
            pairs.flat_map(|CertFiles { cert, key, .. }| [cert.clone(), key.clone()]).collect();
        files.extend(roots.chain(of_clients).map(|(path, _)| path.clone()));
        files.sort();
        files.dedup();
        let known: Vec<Stamp> = files.iter().map(stamp).collect();
        Watch { files, seen: known.clone(), known }
    }

    /// Looks. `Some` when the files are not those that are served; true in it when they were the same at the last look,
    /// so that nobody is in the middle of writing them.
    pub fn changed(&mut self) -> Option<bool> {
        let now: Vec<Stamp> = self.files.iter().map(stamp).collect();
        if now == self.known {
            self.seen = now;
            return None;
        }
        let settled = now == self.seen;
        self.seen = now;
        Some(settled)
    }

    /// What was seen last is served, or given up: it is not tried again until it changes.
    pub fn settle(&mut self) {
        self.known.clone_from(&self.seen);
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}
