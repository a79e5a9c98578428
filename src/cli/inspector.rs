//! The inspector of the commands that serve: opened before, started when connections are accepted.

use crate::config::Config;
use crate::observe::inspector::Inspector;
use crate::server::{Asker, Bound, StartError};
use crate::snapshot::Snapshot;

/// What the config asks for, open; nothing where it asks for nothing.
pub(super) struct Opened(Option<(Inspector, Asker)>);

/// Opens the page's address. With `any_port` another port will do.
///
/// # Errors
/// The address cannot be had.
pub(super) fn open(config: &Config, bound: &Bound, any_port: bool) -> Result<Opened, StartError> {
    let Some(settings) = &config.admin.inspector else { return Ok(Opened(None)) };
    match Inspector::open(settings, any_port) {
        Ok(inspector) => Ok(Opened(Some((inspector, bound.asker())))),
        Err(error) => Err(StartError::Io(format!("the inspector on {}", settings.listen), error)),
    }
}

impl Opened {
    /// Starts the page, and says where it is. The proxy serves without it rather than not at all.
    pub fn start(self, snapshot: &Snapshot) {
        let Some((inspector, asker)) = self.0 else { return };
        let url = inspector.url();
        match inspector.start(snapshot, asker) {
            Ok(()) => eprintln!("  inspector   {url}"),
            Err(error) => tracing::error!("no inspector: {error}"),
        }
    }
}
