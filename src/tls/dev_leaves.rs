//! Leaves of the development CA: made at the handshake for the exact name asked for, kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::OffsetDateTime;

use super::dev_ca::{Access, DevCa};
use super::names;
use crate::config;
use crate::config::diagnostics::Diagnostic;

/// Leaves kept at most. A client can ask a wildcard site for any number of names.
const MAX_LEAVES: usize = 1024;

/// The development CA of a process: opened when the first site needs it, the same across reloads.
#[derive(Debug, Default)]
pub struct DevAuthority {
    access: Access,
    opened: Mutex<Option<(config::DevCa, Arc<DevLeaves>)>>,
}

impl DevAuthority {
    pub fn new(access: Access) -> DevAuthority {
        DevAuthority { access, opened: Mutex::default() }
    }

    /// The root certificate, once a site has needed it.
    pub fn root(&self) -> Option<CertificateDer<'static>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().map(|(_, leaves)| leaves.ca.root().clone())
    }

    /// The CA of these settings. The folder is looked at anew each time, so that a reload picks up a replaced root.
    pub(super) fn open(
        &self,
        settings: &config::DevCa,
    ) -> Result<(Arc<DevLeaves>, Option<Diagnostic>), Box<Diagnostic>> {
        let (ca, warning) = DevCa::open(settings, self.access)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, leaves)) = &*opened
            && same_settings(before, settings)
            && (ca.root() == leaves.ca.root() || !(ca.stored || leaves.ca.stored))
        {
            return Ok((leaves.clone(), warning));
        }
        let leaves = DevLeaves::new(ca, settings.leaf_lifetime).map_err(|why| {
            Diagnostic::error("dev-ca-failed", format!("no development certificate can be made: {why}"))
        })?;
        let leaves = Arc::new(leaves);
        *opened = Some((settings.clone(), leaves.clone()));
        Ok((leaves, warning))
    }
}

fn same_settings(a: &config::DevCa, b: &config::DevCa) -> bool {
    a.dir == b.dir && a.leaf_lifetime == b.leaf_lifetime && a.extra_domains == b.extra_domains
}

/// A CA with the leaves it has made. One P-256 key serves them all, so that a leaf costs one signature.
#[derive(Debug)]
pub(super) struct DevLeaves {
    pub ca: DevCa,
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    lifetime: Duration,
    made: RwLock<HashMap<Box<str>, Leaf>>,
}

#[derive(Debug)]
struct Leaf {
    key: Arc<CertifiedKey>,
    /// Two thirds of the lifetime are over.
    renew_at: OffsetDateTime,
}

impl DevLeaves {
    fn new(ca: DevCa, lifetime: Duration) -> Result<DevLeaves, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = any_ecdsa_type(&der).map_err(|error| error.to_string())?;
        Ok(DevLeaves { ca, key, signing, lifetime, made: RwLock::default() })
    }

    /// The leaf for exactly these names, joined by commas: DNS names or addresses. Made where it is missing or has less
    /// than a third of its life left. `None` where a name cannot stand in a certificate.
    pub fn leaf(&self, names: &str) -> Option<Arc<CertifiedKey>> {
        let now = OffsetDateTime::now_utc();
        {
            let made = self.made.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(leaf) = made.get(names).filter(|leaf| now < leaf.renew_at) {
                return Some(leaf.key.clone());
            }
        }
        let leaf = self.make(names, now)?;
        let key = leaf.key.clone();
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MAX_LEAVES && !made.contains_key(names) {
            let oldest = made.iter().min_by_key(|(_, leaf)| leaf.renew_at).map(|(names, _)| names.clone());
            oldest.and_then(|names| made.remove(&names));
        }
        made.insert(names.into(), leaf);
        Some(key)
    }

    fn make(&self, names: &str, now: OffsetDateTime) -> Option<Leaf> {
        let sans = names.split(',').map(san).collect::<Option<Vec<_>>>()?;
        let (cert, not_after) =
            match self.ca.leaf(sans, &self.key, self.lifetime, &[ExtendedKeyUsagePurpose::ServerAuth]) {
                Ok(made) => made,
                Err(error) => {
                    tracing::error!(names, error, "no development certificate could be made");
                    return None;
                }
            };
        // The root is not sent: a client that trusts it has it.
        let key = Arc::new(CertifiedKey::new(vec![cert], self.signing.clone()));
        Some(Leaf { key, renew_at: now + (not_after - now) * 2 / 3 })
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.made.read().unwrap().len()
    }
}

fn san(name: &str) -> Option<SanType> {
    if let Some(ip) = names::parse_ip(name) {
        return Some(SanType::IpAddress(ip));
    }
    let hostname = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let fits = (1..=253).contains(&name.len()) && name.bytes().all(hostname);
    if fits { name.try_into().ok().map(SanType::DnsName) } else { None }
}
