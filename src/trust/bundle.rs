//! The system's roots and ours in one file, for programs that take a whole list in place of one more root.

use std::io;
use std::path::{Path, PathBuf};

use crate::tls::{self, private_files};

const NAME: &str = "bundle.pem";

/// Where the bundle is or will be.
pub fn bundle_path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Writes the bundle anew beside the root.
///
/// # Errors
/// The folder cannot be written.
pub fn write_bundle(dir: &Path, root_pem: &str) -> io::Result<PathBuf> {
    let mut text = String::from(root_pem);
    for cert in rustls_native_certs::load_native_certs().certs {
        text += &tls::certificate_pem(&cert);
    }
    private_files::write(dir, NAME, &text)?;
    Ok(bundle_path(dir))
}
