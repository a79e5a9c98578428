//! Certificates of the development CA that go into files, for programs other than this one.

use std::path::PathBuf;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType};

use super::{dev_ca, names, root_path};
use crate::config::diagnostics::Diagnostic;
use crate::config::{DevCa, HostPattern};
use crate::tls::CertNames;

/// Names of a certificate at most: more do not fit into a handshake of usual size.
const MAX_NAMES: usize = 100;

/// A new certificate and its key.
pub struct Issued {
    pub names: CertNames,
    /// The leaf alone: a client that trusts the root has it.
    pub cert_pem: String,
    /// PKCS#8.
    pub key_pem: String,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// The root that signed it.
    pub root: Option<PathBuf>,
}

/// Makes a certificate for host names, `*.name` and addresses, signed by the development root, which is made where it is
/// missing. `client` makes one that a client shows; it serves too, as mkcert's does.
///
/// # Errors
/// Every name that cannot stand in it, or that the root may not vouch for; or why there is no root.
pub fn issue(settings: &DevCa, hosts: &[String], client: bool) -> Result<Issued, Vec<Diagnostic>> {
    let mut names = CertNames::default();
    let mut problems = Vec::new();
    for host in hosts {
        match read(host) {
            Ok(Name::Address(ip)) if !names.ips.contains(&ip) => names.ips.push(ip),
            Ok(Name::Dns(name)) if !names.dns.contains(&name) => names.dns.push(name),
            Ok(_) => {}
            Err(problem) => problems.push(*problem),
        }
    }
    if hosts.len() > MAX_NAMES {
        let message = format!("{} names are too many for one certificate: at most {MAX_NAMES}", hosts.len());
        problems.push(Diagnostic::error("bad-host", message).help("make several, or name a wildcard"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let ca = dev_ca::stored(settings).map_err(|problem| vec![*problem])?;
    let refused = names.texts().into_iter().filter(|name| !ca.allows(name.trim_start_matches("*.")));
    let refused: Vec<Diagnostic> = refused.map(|name| ca.refusal(&name, &settings.extra_domains)).collect();
    if !refused.is_empty() {
        return Err(refused.into_iter().map(explained).collect());
    }
    let failed = |why: String| {
        vec![Diagnostic::error("dev-ca-failed", format!("no development certificate can be made: {why}"))]
    };
    let dns = names.dns.iter().map(|name| name.as_str().try_into().map(SanType::DnsName));
    let sans = dns.chain(names.ips.iter().map(|ip| Ok(SanType::IpAddress(*ip))));
    let sans = sans.collect::<Result<Vec<_>, rcgen::Error>>().map_err(|error| failed(error.to_string()))?;
    let key = KeyPair::generate().map_err(|error| failed(error.to_string()))?;
    let usages: &[_] = match client {
        true => &[ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        false => &[ExtendedKeyUsagePurpose::ServerAuth],
    };
    let (cert, not_after) = ca.leaf(sans, &key, settings.leaf_lifetime, usages).map_err(failed)?;
    Ok(Issued {
        names,
        cert_pem: super::pem::certificate(&cert),
        key_pem: key.serialize_pem(),
        not_after: not_after.unix_timestamp(),
        root: root_path(settings),
    })
}

/// The cause stands under the caret where there is a config text; here is none.
fn explained(found: Diagnostic) -> Diagnostic {
    let mut found = found;
    found.notes.insert(0, std::mem::take(&mut found.label));
    found
}

enum Name {
    Dns(String),
    Address(std::net::IpAddr),
}

fn read(host: &str) -> Result<Name, Box<Diagnostic>> {
    match HostPattern::parse(host) {
        Ok(HostPattern::Exact(name)) => Ok(names::parse_ip(&name).map_or(Name::Dns(name), Name::Address)),
        Ok(HostPattern::Wildcard(base)) if base.contains('.') => Ok(Name::Dns(format!("*.{base}"))),
        Ok(HostPattern::Wildcard(base)) => {
            let message =
                format!("a certificate for `*.{base}` covers nothing: clients refuse a wildcard over one label");
            let found = Diagnostic::error("bad-host", message);
            Err(found.help(format!("name each host, or a wildcard one label lower: *.app.{base}")).boxed())
        }
        Ok(HostPattern::Any) => {
            let found = Diagnostic::error("bad-host", "a certificate for `*` covers nothing: it needs names");
            Err(found.help("name each host, or a wildcard such as *.app.localhost").boxed())
        }
        Err(mut problem) => {
            problem.label.clear();
            if let Some(right) = problem.replacement.take() {
                problem.help = vec![format!("write {}", right.trim_matches('"'))];
            }
            Err(problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::support::dev_ca as settings;
    use super::*;

    fn refused(dir: &std::path::Path, names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let problems = issue(&settings(dir), &names, false).err().unwrap_or_default();
        problems.into_iter().map(|problem| format!("{} {}", problem.code, problem.help.join("; "))).collect()
    }

    #[test]
    fn a_name_that_no_client_would_accept_is_refused_with_what_to_write() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            refused(dir.path(), &["https://x.test/a", "x.test:8443"]),
            ["bad-host write x.test", "bad-host write x.test"]
        );
        assert!(refused(dir.path(), &["*.localhost"])[0].ends_with("*.app.localhost"));
        assert!(refused(dir.path(), &["*"])[0].starts_with("bad-host"));
        assert_eq!(refused(dir.path(), &["a.test"; 101]).len(), 1);
        assert!(!root_path(&settings(dir.path())).unwrap().exists(), "no root is made for nothing");
        assert!(refused(dir.path(), &["shop.example.com"])[0].contains("extra_domains = [\"shop.example.com\"]"));
        assert!(refused(dir.path(), &["8.8.8.8"])[0].contains("private addresses"));
        assert_eq!(refused(dir.path(), &["a.test", "*.a.test", "10.0.0.1", "::1"]), [""; 0]);
    }

    #[test]
    fn names_stand_once_in_the_form_of_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["A.test.", "a.test", "[::1]", "::1"].map(String::from);
        let issued = issue(&settings(dir.path()), &names, true).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!((issued.names.dns, issued.names.ips), (vec!["a.test".into()], vec!["::1".parse().unwrap()]));
        assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
