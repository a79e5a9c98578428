//! A certificate looked at as its clients look at it: chain, names, dates, key, and who believes it.
//!
//! What a start finds wrong with a pair of files is found by the same code here ([`load`]); what is added is what
//! a client does with it afterwards.

mod belief;
mod links;
mod roots;
mod subject;

use std::path::PathBuf;

use x509_parser::certificate::X509Certificate;

use super::facts;
use super::load;
use super::names::CertNames;
use crate::config::HostPattern;
use crate::config::diagnostics::{Diagnostic, Severity};

pub use links::{Link, Signed};
pub use roots::RootList;
pub use subject::Subject;

/// What is known of a certificate.
pub struct Examined {
    /// The leaf first, each issued by the next.
    pub links: Vec<Link>,
    /// Who vouches for the last link, and the lists of roots that have one of that name.
    pub issuer: String,
    pub known_to: Vec<&'static str>,
    pub key: KeyFile,
    /// What a client with each list says of the chain, whatever its names and the dates of the leaf.
    pub believed: Vec<(&'static str, Result<(), String>)>,
    /// Errors keep a browser away; warnings do not.
    pub problems: Vec<Diagnostic>,
    /// What a browser shows, in Chromium's words, the one that it tells first; empty where it is content.
    pub errors: Vec<&'static str>,
}

/// The private key beside a certificate.
pub struct KeyFile {
    pub path: Option<PathBuf>,
    /// Permission bits, where the system has them.
    pub mode: Option<u32>,
    /// Whether it belongs to the certificate; `None`: there is no usable key to compare.
    pub belongs: Option<bool>,
}

impl Examined {
    /// A browser opens the site without a warning, and a server can be this one.
    pub fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// Looks at a certificate. `host` is the one it should be for; its own names where there is none. `now` is in seconds since
/// the epoch.
///
/// # Errors
/// A certificate of the file does not decode.
pub fn examine(
    subject: &Subject,
    host: Option<&HostPattern>,
    lists: &[RootList],
    now: i64,
) -> Result<Examined, Vec<Diagnostic>> {
    let mut problems = subject.problems.clone();
    let mut certs = Vec::with_capacity(subject.certs.len());
    for der in &subject.certs {
        match x509_parser::parse_x509_certificate(der) {
            Ok((_, cert)) => certs.push(cert),
            Err(_) => {
                problems.push(load::damaged(&subject.files, certs.len() + 1));
                return Err(problems);
            }
        }
    }
    let spki = subject.key.as_ref().and_then(|key| key.public_key());
    let own = spki.as_ref().and_then(|spki| certs.iter().position(|cert| cert.public_key().raw == spki.as_ref()));
    if let (Some(spki), None) = (&spki, own) {
        problems.push(load::mismatch(&subject.files, &certs, spki));
    }
    // Without the key, the one that is no authority is the leaf.
    let leaf = own.or_else(|| certs.iter().position(|cert| !cert.is_ca())).unwrap_or_default();
    let (path, strays) = links::path(&certs, leaf);
    links::arrangement(&certs, &path, &strays, &mut problems);
    let links = links::links(&certs, &path, &mut problems);
    let chain = belief::Chain { subject, certs: &certs, path: &path, now };
    dates(&chain, lists, &mut problems);
    purpose(&certs[leaf], &mut problems);
    names(&chain, host, &mut problems);
    let believed = chain.ask(lists, &mut problems);
    problems.sort_by_key(|problem| problem.severity);
    let top = chain.top();
    let has = |list: &&RootList| list.has(top.issuer().as_raw());
    Ok(Examined {
        links,
        issuer: facts::issuer_of(top),
        known_to: lists.iter().filter(has).map(|list| list.name).collect(),
        key: KeyFile {
            mode: subject.key_file.as_deref().and_then(load::mode),
            path: subject.key_file.clone(),
            belongs: spki.map(|_| own.is_some()),
        },
        believed,
        errors: belief::in_words(&problems),
        problems,
    })
}

/// The leaf's dates, as a start tells them, and those above it.
fn dates(chain: &belief::Chain<'_>, lists: &[RootList], out: &mut Vec<Diagnostic>) {
    let development = lists.iter().any(|list| list.development && list.has(chain.top().issuer().as_raw()));
    for (depth, place) in chain.path.iter().enumerate() {
        let from = out.len();
        let cert = &chain.certs[*place];
        load::warn_dates(&chain.subject.files, cert, chain.now, out);
        let root = cert.subject().as_raw() == cert.issuer().as_raw();
        for problem in &mut out[from..] {
            // Clients have the root themselves.
            problem.severity = if depth > 0 && root { Severity::Warning } else { Severity::Error };
            if depth > 0 {
                problem.message = format!("of `{}`: {}", links::name_of(cert), problem.message);
            } else if development {
                problem.help = vec![chain.again(None)];
            }
        }
    }
}

/// What the leaf may be used for (RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12).
fn purpose(leaf: &X509Certificate<'_>, out: &mut Vec<Diagnostic>) {
    let refused = |why: &str| {
        let found = Diagnostic::error("cert-usage", format!("the certificate may not be used by a server: {why}"));
        found.help("have it issued for servers: extendedKeyUsage = serverAuth, keyUsage = digitalSignature")
    };
    if let Ok(Some(usages)) = leaf.extended_key_usage()
        && !(usages.value.server_auth || usages.value.any)
    {
        out.push(refused("its extended key usage is without serverAuth"));
    }
    if let Ok(Some(usage)) = leaf.key_usage()
        && !usage.value.digital_signature()
    {
        out.push(refused("its key usage is without digitalSignature, which every handshake of TLS 1.3 needs"));
    }
    if leaf.is_ca() {
        let found = Diagnostic::warning("cert-usage", "the certificate is an authority itself (CA:TRUE)");
        out.push(found.note("Firefox and others refuse such a one as a server's").help("make it with CA:FALSE"));
    }
}

fn names(chain: &belief::Chain<'_>, host: Option<&HostPattern>, out: &mut Vec<Diagnostic>) {
    let names = chain.path.first().map(|place| CertNames::of(&chain.certs[*place])).unwrap_or_default();
    match host {
        Some(host) if names.covers(host) => {}
        Some(host) => {
            let problem = load::uncovered(host, &names);
            out.push(Diagnostic { severity: Severity::Error, ..problem }.help(chain.again(Some(host))));
        }
        None if names.is_empty() => out.push(
            Diagnostic::error("cert-name-mismatch", "the certificate is for no name at all")
                .note("no browser reads the common name: names stand in the subject alternative name")
                .help("have it issued with a subjectAltName"),
        ),
        None => {}
    }
    for name in names.dns.iter().filter(|name| name.strip_prefix("*.").is_some_and(|base| !base.contains('.'))) {
        let found = Diagnostic::warning("cert-name-mismatch", format!("`{name}` covers nothing"));
        out.push(found.note("clients refuse a wildcard over one label").help("name each host"));
    }
}
