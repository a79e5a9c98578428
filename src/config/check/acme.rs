//! `[acme]`, and the sites that ask for it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::{Checker, texts};
use crate::config::diagnostics::{Checked, Diagnostic};
use crate::config::source::Mark;
use crate::config::value::{Table, quote};
use crate::config::{Acme, Challenge, Eab, HostPattern, Listener, Secret, Site, SiteTls};

impl Checker<'_> {
    /// The table where it is there and usable, checked together with the doors and sites.
    pub(super) fn acme(&mut self, root: &Table, listeners: &[Listener], sites: &[Site]) -> Option<Acme> {
        let mut acme = root.entry("acme").and_then(|entry| {
            let table = entry.value.table()?;
            self.acme_table(table, entry.key_at)
        });
        match &mut acme {
            Some(acme) => {
                self.reachable(root, acme, listeners);
                self.orderable(acme, sites);
            }
            None if !root.has("acme") => self.acme_missing(sites),
            None => {}
        }
        acme
    }

    fn acme_table(&mut self, table: &Table, at: Mark) -> Option<Acme> {
        let text = |key: &str| table.get(key).and_then(|node| Some((node.text()?, node.at)));
        let email = text("email").and_then(|(text, at)| self.take(mail_address(text), at));
        let url = match text("directory") {
            Some((text, at)) => self.take(directory(text), at),
            None => Some(Acme::LETS_ENCRYPT.into()),
        };
        let ca_root = if table.has("ca_root") { self.file(table, "ca_root", at) } else { None };
        let dns01_hook: Vec<String> = texts(table, "dns01_hook").map(|(text, _)| text.to_owned()).collect();
        let challenges = self.challenges(table, !dns01_hook.is_empty());
        let eab = table.get("eab").and_then(|node| self.eab(node.table()?, node.at));
        let accept_terms = table.bool("accept_terms").unwrap_or(false);
        if !accept_terms && !table.incomplete {
            let diagnostic =
                Diagnostic::warning("acme-terms", "no certificate is ordered before its terms are accepted")
                    .label("accept_terms is not true here")
                    .note("an ACME server opens an account only for those who accept its terms of service")
                    .help("read them, then write: accept_terms = true");
            self.report(diagnostic, at);
        }
        Some(Acme {
            email,
            directory: url?,
            ca_root,
            challenges,
            eab,
            dns01_hook,
            accept_terms,
            profile: table.text("profile").filter(|profile| !profile.is_empty()).map(str::to_owned),
            ephemeral_ok: table.bool("ephemeral_ok").unwrap_or(false),
            origin: self.origin(at),
        })
    }

    fn challenges(&mut self, table: &Table, hook: bool) -> Vec<Challenge> {
        let mut challenges = Vec::new();
        for (text, at) in texts(table, "challenges") {
            let challenge = match text {
                "http-01" => Challenge::Http01,
                "dns-01" => Challenge::Dns01,
                _ => Challenge::TlsAlpn01,
            };
            if challenge == Challenge::Dns01 && !hook {
                let diagnostic = Diagnostic::error("acme-no-hook", "dns-01 needs a command that sets TXT records")
                    .label("no dns01_hook")
                    .help("name it: dns01_hook = [\"/etc/vestibule/dns01\"]; it is called with present or cleanup, the record's name and its value");
                self.report(diagnostic, at);
            }
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        if challenges.is_empty() { vec![Challenge::TlsAlpn01, Challenge::Http01] } else { challenges }
    }

    fn eab(&mut self, table: &Table, at: Mark) -> Option<Eab> {
        for key in ["key_id", "hmac_key"] {
            if !table.has(key) && !table.incomplete {
                self.missing(key, at);
            }
        }
        let key = table.get("hmac_key")?;
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(key.text()?.trim().trim_end_matches('='));
        let Some(hmac_key) = decoded.ok().filter(|key| !key.is_empty()) else {
            // The value is a secret: it is not shown.
            let diagnostic = Diagnostic::error("acme-bad-key", "`hmac_key` is not base64url")
                .label("letters, digits, `-` and `_` as the server gave them");
            self.report(diagnostic, key.at);
            return None;
        };
        Some(Eab { key_id: table.text("key_id")?.to_owned(), hmac_key: Secret(hmac_key) })
    }

    /// The server must be able to reach a door for at least one of the challenges; the others are left out.
    fn reachable(&mut self, root: &Table, acme: &mut Acme, listeners: &[Listener]) {
        let plain = listeners.iter().any(|listener| !listener.tls);
        let tls = listeners.iter().any(|listener| listener.tls);
        let possible = |challenge: &Challenge| match challenge {
            Challenge::Http01 => plain,
            Challenge::TlsAlpn01 => tls,
            Challenge::Dns01 => true,
        };
        if acme.challenges.iter().any(possible) {
            // A door that is closed proves nothing: its challenge is not tried.
            acme.challenges.retain(possible);
            return;
        }
        if listeners.is_empty() {
            return;
        }
        let table = root.table("acme");
        let at = table.and_then(|table| table.entry("challenges")).map(|entry| entry.value.at);
        let door = if plain { "https" } else { "http" };
        let diagnostic = Diagnostic::error(
            "acme-unreachable",
            "the ACME server cannot check a name of this proxy by these challenges",
        )
        .label(format!("the `{door}` listener is off"))
        .help(format!("open the `{door}` listener, or use another challenge"));
        self.report(diagnostic, at.or(root.entry("acme").map(|entry| entry.key_at)).unwrap_or_default());
    }

    /// What a certificate cannot be ordered for.
    fn orderable(&mut self, acme: &Acme, sites: &[Site]) {
        for site in sites.iter().filter(|site| site.tls == SiteTls::Acme) {
            for host in std::iter::once(&site.host).chain(&site.aliases) {
                let diagnostic = match host {
                    HostPattern::Exact(_) => continue,
                    HostPattern::Wildcard(_) if acme.has_dns01() => continue,
                    HostPattern::Wildcard(_) => {
                        Diagnostic::error("acme-wildcard", format!("a certificate for `{host}` needs dns-01"))
                            .label("a wildcard, and there is no dns01_hook")
                            .note(
                                "only a TXT record proves that all names below a domain are yours (RFC 8555 section 8)",
                            )
                            .help("name a command that sets TXT records: dns01_hook under [acme]")
                            .help("or name the hosts one by one")
                    }
                    HostPattern::Any => Diagnostic::error("acme-any", "no certificate covers every host")
                        .label("tls = \"acme\" needs hosts by name")
                        .help("name the hosts as sites of their own, or as aliases"),
                };
                self.out.push(diagnostic.at(&site.origin));
            }
        }
    }

    fn acme_missing(&mut self, sites: &[Site]) {
        for site in sites.iter().filter(|site| site.tls == SiteTls::Acme) {
            self.out.push(
                Diagnostic::error("acme-missing", format!("`{}` asks for ACME, and there is no [acme]", site.host))
                    .at(&site.origin)
                    .label("tls = \"acme\" on this site")
                    .help("add at the top of the file:  acme = { email = \"you@example.com\", accept_terms = true }"),
            );
        }
    }
}

fn mail_address(text: &str) -> Checked<String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let fits = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if fits && !address.contains(char::is_whitespace) && address.is_ascii() {
        return Ok(address.to_owned());
    }
    Err(Diagnostic::error("bad-email", format!("{} is no mail address", quote(text)))
        .label("not a mail address")
        .boxed())
}

/// The names of well-known servers, or an https URL.
fn directory(text: &str) -> Checked<String> {
    match text {
        "letsencrypt" => return Ok(Acme::LETS_ENCRYPT.into()),
        "letsencrypt-staging" => return Ok(Acme::LETS_ENCRYPT_STAGING.into()),
        _ => {}
    }
    let bad = |why: &str| {
        Diagnostic::error("bad-directory", format!("{} is no ACME directory: {why}", quote(text)))
            .label("not a directory")
            .help("directories are \"letsencrypt\", \"letsencrypt-staging\", or the https URL your server documents")
            .boxed()
    };
    if !text.starts_with("https://") {
        return Err(bad("it is not an https URL (RFC 8555 section 6.1)"));
    }
    match text.parse::<http::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(text.to_owned()),
        _ => Err(bad("the URL does not parse")),
    }
}
