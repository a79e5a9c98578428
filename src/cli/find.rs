//! Which config a command means.

use std::path::{Path, PathBuf};

use super::ConfigFile;
use crate::config::{self, Loaded, Problems};

/// The demonstration, as compiled in.
pub(super) const DEMONSTRATION: &str = include_str!("../../config/vestibule.toml");

const PLACES: [&str; 2] = ["vestibule.toml", "/etc/vestibule/vestibule.toml"];

/// Where a config comes from.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    /// `VESTIBULE_SITES`: sites without a file.
    Environment(String),
}

impl Source {
    /// What tells this config from others on the machine: the whole path of its file.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            Source::Environment(_) => "VESTIBULE_SITES".into(),
        }
    }
}

/// Looks for a config: `--config`, then `VESTIBULE_SITES`, then the usual places.
pub(super) fn find(file: &ConfigFile) -> Option<Source> {
    if let Some(path) = &file.config {
        return Some(Source::File(path.clone()));
    }
    if let Ok(sites) = std::env::var("VESTIBULE_SITES")
        && !sites.trim().is_empty()
    {
        return Some(Source::Environment(sites));
    }
    PLACES.iter().map(Path::new).find(|path| path.exists()).map(|path| Source::File(path.into()))
}

/// Loads a found config.
pub(super) fn load(source: &Source) -> Result<Loaded, Problems> {
    match source {
        Source::File(path) => config::load(path),
        Source::Environment(sites) => config::from_env_sites(sites),
    }
}

/// What a command says where there is no config.
pub(super) fn none_found() -> anyhow::Error {
    anyhow::anyhow!(
        "no config file: looked for ./{} and {}\nhelp: name one with --config FILE, or start the demonstration with a bare \
         `vestibule`, or an app's own with `vestibule dev PORT`",
        PLACES[0],
        PLACES[1]
    )
}
