//! Who believes a chain, why not, and what a browser says then.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::roots::{Doubt, RootList};
use super::subject::Subject;
use crate::config::HostPattern;
use crate::config::diagnostics::{Diagnostic, Severity};
use crate::tls::names::CertNames;
use crate::tls::{facts, hints, is_local};

const INVALID: &str = "ERR_CERT_INVALID";
const AUTHORITY: &str = "ERR_CERT_AUTHORITY_INVALID";
const NAME: &str = "ERR_CERT_COMMON_NAME_INVALID";
const SIGNATURE: &str = "cert-weak-signature";

/// What Chromium shows for a problem, the most serious first (net/cert/cert_status_flags.cc).
const WORDS: [(&str, &[&str]); 5] = [
    (INVALID, &["cert-usage", "cert-refused", SIGNATURE]),
    (AUTHORITY, &["cert-issuer-unknown", "cert-chain-incomplete", "cert-chain-broken"]),
    (NAME, &["cert-name-mismatch"]),
    ("ERR_CERT_WEAK_KEY", &["cert-weak-key"]),
    ("ERR_CERT_DATE_INVALID", &["cert-expired", "cert-not-yet-valid"]),
];

/// The errors of a browser for these problems.
pub(super) fn in_words(problems: &[Diagnostic]) -> Vec<&'static str> {
    let errors = || problems.iter().filter(|problem| problem.severity == Severity::Error);
    let met = |codes: &[&str]| errors().any(|problem| codes.contains(&problem.code));
    let mut words: Vec<&str> = WORDS.iter().filter(|(_, codes)| met(codes)).map(|(words, _)| *words).collect();
    // It stands for what is wrong with a path and has no word of its own. The name is no matter of the path, and a
    // signature that is not taken ends the look at it (net/cert/cert_verify_proc_builtin.cc).
    let others = words.iter().any(|word| ![INVALID, NAME].contains(word));
    if words.contains(&AUTHORITY) || (others && !met(&[SIGNATURE])) {
        words.retain(|word| *word != INVALID);
    }
    words
}

/// A chain in order.
pub(super) struct Chain<'a> {
    pub subject: &'a Subject,
    pub certs: &'a [X509Certificate<'a>],
    /// Places in `certs`, the leaf first.
    pub path: &'a [usize],
    pub now: i64,
}

impl Chain<'_> {
    /// What clients with each list say. Where no list of this machine's browsers has a root for it, one problem says why.
    pub fn ask(&self, lists: &[RootList], out: &mut Vec<Diagnostic>) -> Vec<(&'static str, Result<(), String>)> {
        let Some(leaf) = self.path.first().map(|place| &self.certs[*place]) else { return Vec::new() };
        // The dates of the leaf are a matter of their own: would it be believed within them?
        let validity = leaf.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let at = self.now.clamp(from, to.max(from));
        let chain: Vec<CertificateDer<'static>> =
            self.path.iter().map(|place| self.subject.certs[*place].clone()).collect();
        let said: Vec<Result<(), Doubt>> = lists.iter().map(|list| list.believes(&chain, at)).collect();
        let decided = || lists.iter().zip(&said).filter(|(list, _)| list.decides);
        if !decided().any(|(_, said)| said.is_ok()) {
            let doubt = decided().find(|(list, _)| list.has(self.top().issuer().as_raw())).map(|(_, said)| said);
            let known = doubt.and_then(|said| said.as_ref().err());
            // A broken, weak or outdated link has been told already.
            let told = ["cert-chain-broken", "cert-weak-signature", "cert-weak-key", "cert-usage"];
            let told = out.iter().any(|problem| told.contains(&problem.code) && problem.severity == Severity::Error);
            match known {
                Some(Doubt::Date) => {}
                Some(Doubt::Rule(_)) if told => {}
                Some(Doubt::Rule(words)) => out.push(
                    Diagnostic::error("cert-refused", format!("the chain breaks a rule: {words}"))
                        .help("have it issued anew"),
                ),
                Some(Doubt::Issuer) if told => {}
                _ => out.push(self.unknown(lists, &said)),
            }
        }
        lists.iter().map(|list| list.name).zip(said.into_iter().map(|said| said.map_err(|d| d.to_string()))).collect()
    }

    /// The last certificate.
    pub fn top(&self) -> &X509Certificate<'_> {
        // The path has the leaf at least.
        &self.certs[self.path.last().copied().unwrap_or_default()]
    }

    /// No root that a browser here believes vouches for the chain.
    fn unknown(&self, lists: &[RootList], said: &[Result<(), Doubt>]) -> Diagnostic {
        let top = self.top();
        let issuer = facts::issuer_of(top);
        let unknown = |message: String| Diagnostic::error("cert-issuer-unknown", message);
        let mut by = lists.iter().zip(said);
        if by.clone().any(|(list, said)| list.development && said.is_ok()) {
            let found = unknown("no store of this machine has the development root".into());
            return found.note("it is signed by that root, and nobody else believes it").help("vestibule trust");
        }
        if lists.iter().any(|list| list.development && list.has(top.issuer().as_raw())) {
            let found = unknown(format!("it is signed by another `{issuer}` than the one of this machine"));
            return found.note("that root was made anew, or on another machine").help(self.again(None));
        }
        if let Some((list, _)) = by.find(|(_, said)| said.is_ok()) {
            let found = unknown(format!("the system's roots are without `{issuer}`"));
            return found
                .note(format!("{} have it", list.name))
                .help("bring the system's list up to date: its package is ca-certificates");
        }
        let own = top.subject().as_raw() == top.issuer().as_raw();
        if !own && lists.iter().any(|list| list.has(top.issuer().as_raw())) {
            let found = unknown(format!("it is not signed by the `{issuer}` that clients know"));
            return found.note("the name is that root's, the key is another one").help(self.again(None));
        }
        if own && self.path.len() == 1 {
            let found = unknown("it is self-signed: nobody vouches for it".into());
            return found.help(self.again(None));
        }
        if own {
            let found = unknown(format!("its root `{issuer}` is in no list that browsers here believe"));
            return found.note("who wants to believe it adds that root to the stores of clients");
        }
        self.incomplete(&issuer)
    }

    /// The issuer of the last certificate is neither in the file nor a root: it is elsewhere, or nobody knows it.
    fn incomplete(&self, issuer: &str) -> Diagnostic {
        let top = self.top();
        let missing = |message: String| Diagnostic::error("cert-chain-incomplete", message);
        let here = self.subject.files.cert.as_path();
        let signed = |cert: &X509Certificate<'_>| {
            cert.subject().as_raw() == top.issuer().as_raw() && top.verify_signature(Some(cert.public_key())).is_ok()
        };
        let beside = if self.subject.in_memory { None } else { hints::issuer_beside(here, signed) };
        let strict = "some browsers fetch it or know it from elsewhere; curl, Python and most programs do not";
        match (beside, fetched_from(top)) {
            (Some((file, true)), _) => Diagnostic::error(
                "cert-issuer-unknown",
                format!("its root `{issuer}` is in no list that browsers here believe"),
            )
            .note(format!(
                "{} has that root: who wants to believe it adds it to the stores of clients",
                file.display()
            )),
            (Some((file, false)), _) => missing(format!("the intermediate `{issuer}` is missing"))
                .note(strict)
                .help(format!("cat {} {} > fullchain.pem", here.display(), file.display())),
            (None, Some(url)) => missing(format!("the intermediate `{issuer}` is missing")).note(strict).help(format!(
                "curl -s {url} | openssl x509 -inform DER >> {}",
                if self.subject.in_memory { "fullchain.pem".into() } else { here.display().to_string() }
            )),
            (None, None) => missing(format!("its issuer `{issuer}` is neither in the file nor in a list of roots"))
                .note("an intermediate is missing, or that is a root of somebody's own")
                .help("append the intermediate that the authority gives with the certificate"),
        }
    }

    /// How to have one that is believed, and that covers a further host.
    pub fn again(&self, host: Option<&HostPattern>) -> String {
        let names = self.path.first().map(|place| CertNames::of(&self.certs[*place])).unwrap_or_default();
        let mut all = names.texts();
        all.extend(host.map(ToString::to_string));
        if all.is_empty() || !all.iter().all(|name| is_local(name.trim_start_matches("*."))) {
            return match host {
                Some(host) => format!("have it issued for {host} too"),
                None => "have it issued by an authority that browsers believe: `tls = \"acme\"` orders one".into(),
            };
        }
        let files = &self.subject.files;
        let into = if self.subject.in_memory {
            String::new()
        } else if files.cert == files.key {
            format!(" --cert-file {}", files.cert.display())
        } else {
            format!(" --cert-file {} --key-file {}", files.cert.display(), files.key.display())
        };
        format!("vestibule cert new --force{into} {}", all.join(" "))
    }
}

/// Where the issuer's certificate can be had (RFC 5280 section 4.2.2.1).
fn fetched_from(cert: &X509Certificate<'_>) -> Option<String> {
    const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
    let places = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    places.accessdescs.iter().find_map(|place| match &place.access_location {
        // It goes into a command: nothing that a shell would read as its own.
        GeneralName::URI(url) if place.access_method.to_id_string() == CA_ISSUERS && is_plain(url) => {
            Some((*url).to_owned())
        }
        _ => None,
    })
}

fn is_plain(url: &str) -> bool {
    url.starts_with("http") && url.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.-_~%".contains(&b))
}
