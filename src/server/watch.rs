//! Certificate files, and the config's where that is wanted, looked at twice a second. Looking follows links, so a rename, a swapped symlink and a bind-mounted
//! file show alike; notifications of the kernel would miss the last two.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::control::Control;
use super::unusable;
use crate::config::{CertFiles, SiteTls, Sources};
use crate::snapshot::Snapshot;

/// What tells one state of a file from another.
type Stamp = Option<[i64; 6]>;

/// The files of one generation.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were last served, or given up.
    known: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl Watch {
    pub fn new(snapshot: &Snapshot) -> Watch {
        let config = &snapshot.config;
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
        files.extend(snapshot.certs.iter().flat_map(|certs| certs.unusable_dev_ca(&config.dev_ca)));
        Watch::of(files)
    }

    /// The config's own files, and their folders: an include may gain one.
    pub fn of_sources(sources: &Sources) -> Watch {
        let mut files: Vec<PathBuf> = sources.iter().map(|(name, _)| PathBuf::from(name)).collect();
        let folders: Vec<PathBuf> = files.iter().filter_map(|file| file.parent().map(PathBuf::from)).collect();
        files.extend(folders.into_iter().map(|folder| if folder.as_os_str().is_empty() { ".".into() } else { folder }));
        Watch::of(files)
    }

    fn of(mut files: Vec<PathBuf>) -> Watch {
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

impl Control {
    /// Reads the config again when its files have changed and nobody is in the middle of writing them.
    pub fn look_at_config(&mut self) {
        let Some(watch) = &mut self.config_watch else { return };
        if watch.changed() == Some(true) {
            watch.settle();
            // Another file of the folder is no change of the config.
            if self.read().is_ok_and(|loaded| loaded.sources.iter().eq(self.sources.iter())) {
                return;
            }
            tracing::info!("the config files have changed");
            // The log says how it went.
            drop(self.reload(None));
        }
    }

    /// Serves the certificate files as they are now, when they have changed. One that cannot be used costs nothing that was
    /// served before; what is half written changes nothing.
    pub fn look_at_files(&mut self) {
        let Some(settled) = self.watch.changed() else { return };
        match self.build(self.snapshot.config.clone(), &self.doors, None) {
            // Perhaps only one of two files is there yet.
            Ok(snapshot) if !settled && unusable::refuse_new(&snapshot, &self.snapshot).is_err() => {}
            Ok(snapshot) => {
                self.watch.settle();
                let doors = self.doors.clone();
                let before = self.snapshot.clone();
                match self.adopt(snapshot, doors, None) {
                    Ok(()) => {
                        tracing::info!("certificate files have changed: generation {}", self.generation);
                        unusable::say(&self.snapshot, before.certs.as_deref(), &self.sources);
                        self.systemd.ready(&self.one_line());
                    }
                    Err(error) => tracing::error!("certificate files have changed, but: {}", self.text(&error)),
                }
            }
            Err(error) if settled => {
                self.watch.settle();
                tracing::error!(
                    "certificate files have changed and cannot be served, the last good ones stay:\n{}",
                    self.text(&error)
                );
            }
            // Perhaps only one of two files is there yet.
            Err(_) => {}
        }
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    // The time of the last change of its owner or mode too: they decide whether it can be read.
    let (ino, size) = (data.ino().cast_signed(), data.size().cast_signed());
    Some([ino, size, data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()])
}
