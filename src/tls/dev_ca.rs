//! The development CA: a root limited to local names, kept in the user's folder, that vouches for exact-name leaves.
//!
//! The root's key never leaves the machine, and whoever steals it can still not pose as a public site: its critical name
//! constraints (RFC 5280 section 4.2.1.10) permit local domains and private addresses only, and clients enforce them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;

use super::names::{self, LINK_DOMAIN, LOCAL_DOMAINS};
use super::private_files::state_folder;
use super::root_files::{self, Problem, RootPem};
use crate::config;
use crate::config::diagnostics::Diagnostic;

const COMMON_NAME: &str = "vestibule development CA";
const ROOT_DAYS: i64 = 10 * 365;
/// Clocks differ: what is made now is valid since an hour ago.
const BACKDATE: time::Duration = time::Duration::HOUR;

/// Whether opening may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// A missing root is made and stored.
    #[default]
    CreateIfMissing,
    /// A missing root is made in memory and stored nowhere: for `check`, which starts and changes nothing.
    ReadOnly,
}

/// An open development CA.
#[derive(Debug)]
pub struct DevCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    /// Domains the root's name constraints permit, lower case.
    domains: Vec<String>,
    not_after: OffsetDateTime,
    /// The root is in its folder; otherwise it ends with the process.
    pub(super) stored: bool,
}

impl DevCa {
    /// Opens the root of its folder, or makes it. Where there is no folder to write to, the root lives in memory, and one
    /// warning says so.
    ///
    /// # Errors
    /// One diagnostic where the folder holds a root that cannot be used; it is never overwritten.
    pub fn open(settings: &config::DevCa, access: Access) -> Result<(DevCa, Option<Diagnostic>), Box<Diagnostic>> {
        let Some(dir) = root_dir(settings) else {
            return DevCa::in_memory(settings, "no folder for it: neither VESTIBULE_STATE_DIR nor HOME is set", access);
        };
        let make = || generate(&settings.extra_domains);
        let opened = match access {
            Access::CreateIfMissing => root_files::open_or_create(&dir, make),
            Access::ReadOnly => root_files::open(&dir).and_then(|found| found.ok_or(Problem::Missing)),
        };
        let cause = match opened {
            Ok(pem) => return DevCa::parse(&pem).map(|ca| (ca, None)).map_err(|why| broken(&dir, &why).into()),
            Err(Problem::Broken(why)) => return Err(broken(&dir, &why).into()),
            Err(Problem::Missing) => String::from("it is made at the first start"),
            Err(Problem::Io(error)) => format!("{} cannot be written: {error}", dir.display()),
        };
        DevCa::in_memory(settings, &cause, access)
    }

    fn in_memory(
        settings: &config::DevCa,
        cause: &str,
        access: Access,
    ) -> Result<(DevCa, Option<Diagnostic>), Box<Diagnostic>> {
        let failed = |why: String| Diagnostic::error("dev-ca-failed", format!("no development CA can be made: {why}"));
        let mut ca = generate(&settings.extra_domains).and_then(|pem| DevCa::parse(&pem)).map_err(failed)?;
        ca.stored = false;
        let warning = Diagnostic::warning("dev-ca-in-memory", "the development CA lives in memory only")
            .note(cause)
            .note("every restart makes a new one, which no browser trusts")
            .help("name a folder that can be written: dev_ca = { dir = \"/var/lib/vestibule/ca\" }");
        Ok((ca, (access == Access::CreateIfMissing).then_some(warning)))
    }

    /// Checks a pair: one certificate authority in its time, and the key that belongs to it.
    fn parse(pem: &RootPem) -> Result<DevCa, String> {
        let der = CertificateDer::from_pem_slice(pem.cert.as_bytes())
            .map_err(|_| "root.crt holds no certificate".to_string())?;
        let key = KeyPair::from_pem(&pem.key).map_err(|_| "root.key holds no usable private key".to_string())?;
        let (_, cert) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| "root.crt does not decode".to_string())?;
        if cert.public_key().raw != key.subject_public_key_info() {
            return Err("root.key does not belong to root.crt".into());
        }
        if !cert.is_ca() {
            return Err("root.crt is not a certificate authority".into());
        }
        let not_after = cert.validity().not_after.to_datetime();
        if not_after <= OffsetDateTime::now_utc() {
            return Err(format!("root.crt expired on {}", not_after.date()));
        }
        let domains = permitted_domains(&cert);
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| format!("root.crt: {error}"))?;
        let root = der.clone();
        Ok(DevCa { issuer, root, root_pem: pem.cert.clone(), domains, not_after, stored: true })
    }

    /// Whether clients accept a leaf of this root for a normalised host.
    pub fn allows(&self, host: &str) -> bool {
        match names::parse_ip(host) {
            Some(_) => names::is_local(host),
            None => self.domains.iter().any(|domain| names::is_within(host, domain)),
        }
    }

    /// What to say of a host that no leaf of this root is believed for. `extra_domains` are those of the config.
    pub(super) fn refusal(&self, host: &str, extra_domains: &[String]) -> Diagnostic {
        let domain = host.trim_start_matches("*.");
        let message = format!("the development CA may not vouch for `{host}`");
        let found = Diagnostic::error("dev-name-not-local", message)
            .label("its root is limited to local names, and clients enforce that");
        if names::parse_ip(domain).is_some() {
            return found.help("its root is for loopback, link-local and private addresses: use a host name instead");
        }
        if extra_domains.iter().any(|extra| names::is_within(domain, extra)) && self.stored {
            return found.note("dev_ca.extra_domains has the domain, but the root was made before it was added").help(
                "remove root.crt and root.key from the development CA's folder, start again, and trust the new root",
            );
        }
        found
            .help(format!("widen it: extra_domains = [\"{domain}\"] under [dev_ca]"))
            .help("or use a name under .localhost, .test, .internal or .home.arpa")
    }

    /// The root certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Makes a leaf for exactly these names, valid from an hour ago for `lifetime`, at most as long as the root.
    ///
    /// # Errors
    /// The names are not ASCII, or the library refuses; neither happens for names a ClientHello can carry.
    pub(super) fn leaf(
        &self,
        sans: Vec<SanType>,
        key: &KeyPair,
        lifetime: std::time::Duration,
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<(CertificateDer<'static>, OffsetDateTime), String> {
        let now = OffsetDateTime::now_utc();
        let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX);
        let not_after = now.checked_add(lifetime).unwrap_or(self.not_after).min(self.not_after);
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(random_serial()?);
        params.not_before = now - BACKDATE;
        params.not_after = not_after;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(key, &self.issuer).map_err(|error| error.to_string())?;
        Ok((cert.der().clone(), not_after))
    }
}

/// Where `root.crt` is or will be; `None` where no folder is known.
pub fn root_path(settings: &config::DevCa) -> Option<PathBuf> {
    root_dir(settings).map(|dir| dir.join(root_files::CERT))
}

/// Where the root and its key are or will be.
pub(super) fn files(settings: &config::DevCa) -> Vec<PathBuf> {
    let dir = root_dir(settings);
    dir.iter().flat_map(|dir| [root_files::CERT, root_files::KEY].map(|name| dir.join(name))).collect()
}

/// The root certificate as PEM; made and stored where it is missing.
///
/// # Errors
/// One diagnostic where the root cannot be used, or has no folder: a root that ends with this process helps nobody.
pub fn root_pem(settings: &config::DevCa) -> Result<String, Box<Diagnostic>> {
    stored(settings).map(|ca| ca.root_pem)
}

/// The root of its folder; made and stored where it is missing.
///
/// # Errors
/// As [`root_pem`].
pub(super) fn stored(settings: &config::DevCa) -> Result<DevCa, Box<Diagnostic>> {
    match DevCa::open(settings, Access::CreateIfMissing)? {
        (ca, None) => Ok(ca),
        (_, Some(mut warning)) => {
            warning.severity = config::diagnostics::Severity::Error;
            warning.message = "the development CA cannot be stored".into();
            Err(warning.into())
        }
    }
}

fn root_dir(settings: &config::DevCa) -> Option<PathBuf> {
    settings.dir.clone().or_else(|| state_folder("ca"))
}

fn broken(dir: &Path, why: &str) -> Diagnostic {
    let (cert, key) = (dir.join(root_files::CERT), dir.join(root_files::KEY));
    Diagnostic::error("dev-ca-broken", format!("the development CA in {} cannot be used", dir.display()))
        .note(why)
        .note("it is not overwritten: browsers may trust it")
        .help(format!(
            "to start with a new one: rm {} {}; clients must then trust the new root",
            cert.display(),
            key.display()
        ))
}

/// A new root: ECDSA P-256, ten years, no further authority below it (path length 0).
fn generate(extra_domains: &[String]) -> Result<RootPem, String> {
    let said = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(said)?;
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    params.serial_number = Some(random_serial()?);
    params.not_before = now - BACKDATE;
    params.not_after = now + time::Duration::days(ROOT_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted(extra_domains), excluded_subtrees: vec![] });
    let cert = params.self_signed(&key).map_err(said)?;
    Ok(RootPem { cert: cert.pem(), key: key.serialize_pem() })
}

fn permitted(extra_domains: &[String]) -> Vec<GeneralSubtree> {
    let extra = extra_domains.iter().map(|domain| names::normalize(domain).into_owned());
    let local = LOCAL_DOMAINS.iter().chain([&LINK_DOMAIN]).map(|domain| domain.to_string());
    let domains = local.chain(extra).map(GeneralSubtree::DnsName);
    let v4 = |a, b, c, d, bits| (IpAddr::from([a, b, c, d]), bits);
    let v6 = |first: u16, last, bits| (IpAddr::from([first, 0, 0, 0, 0, 0, 0, last]), bits);
    let ranges = [
        v4(127, 0, 0, 0, 8),
        v4(10, 0, 0, 0, 8),
        v4(172, 16, 0, 0, 12),
        v4(192, 168, 0, 0, 16),
        v4(169, 254, 0, 0, 16),
        v6(0, 1, 128),
        v6(0xfc00, 0, 7),
        v6(0xfe80, 0, 10),
    ];
    let subnets =
        ranges.into_iter().map(|(ip, bits)| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, bits)));
    domains.chain(subnets).collect()
}

fn permitted_domains(cert: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(constraints)) = cert.name_constraints() else { return Vec::new() };
    let subtrees = constraints.value.permitted_subtrees.iter().flatten();
    subtrees
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(domain) => Some(names::normalize(domain).into_owned()),
            _ => None,
        })
        .collect()
}

/// Browsers refuse two certificates of one issuer with the same serial number, and all our leaves share one key, from
/// which the library would derive it.
fn random_serial() -> Result<SerialNumber, String> {
    let mut bytes = [0u8; 16];
    default_provider().secure_random.fill(&mut bytes).map_err(|_| "no random numbers".to_string())?;
    // Positive and of full length (RFC 5280 section 4.1.2.2).
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}
