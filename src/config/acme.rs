//! `[acme]`: certificates from an ACME server (RFC 8555).

use std::path::PathBuf;

use super::Origin;

/// Everything an order needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The contact of the account.
    pub email: Option<String>,
    /// The URL of the server's directory.
    pub directory: String,
    /// The only root to trust when talking to the server; the public ones otherwise.
    pub ca_root: Option<(PathBuf, Origin)>,
    /// In order of preference; never empty.
    pub challenges: Vec<Challenge>,
    pub eab: Option<Eab>,
    /// The command of dns-01 with its first arguments; empty where there is none.
    pub dns01_hook: Vec<String>,
    /// The user accepts the terms of the server.
    pub accept_terms: bool,
    /// The profile of certificate asked for.
    pub profile: Option<String>,
    /// Orders are placed although the state folder is lost at a restart.
    pub ephemeral_ok: bool,
    pub origin: Origin,
}

/// How the server is shown that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A file on port 80 (RFC 8555 section 8.3).
    Http01,
    /// A certificate on port 443 (RFC 8737).
    TlsAlpn01,
    /// A TXT record (RFC 8555 section 8.4), set by the hook.
    Dns01,
}

impl Challenge {
    pub fn name(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01 => "dns-01",
        }
    }
}

/// External account binding (RFC 8555 section 7.3.4): the server knows its customer by another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eab {
    pub key_id: String,
    pub hmac_key: Secret,
}

/// Bytes that no log and no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Acme {
    pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
    pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

    /// Wildcard names can be proven: a hook sets TXT records.
    pub fn has_dns01(&self) -> bool {
        !self.dns01_hook.is_empty()
    }
}
