//! The system's roots and ours in one file, for programs that take a whole list in place of one more root.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::tls::private_files;

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
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(cert.as_ref());
        for line in encoded.as_bytes().chunks(64) {
            // Base64 is ASCII.
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    private_files::write(dir, NAME, &text)?;
    Ok(bundle_path(dir))
}
