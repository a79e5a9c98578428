//! What `check` finds out beyond the text of a config: ports that can be had, servers that answer, settings that do harm,
//! and whether the config's own tests hold.

mod certificates;
mod dial;
mod expectations;
mod lint;
mod ports;

pub use certificates::{certificate_files, certificates};
pub use dial::dial;
pub use expectations::{Outcome, expectations};
pub use lint::lint;
pub use ports::ports;
