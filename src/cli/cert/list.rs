//! `cert list` and `cert show`: the certificate of each host as the next handshake would find it.

use std::fmt::Write as _;

use super::plan::Ahead;
use super::{Opened, days_left, facts};
use crate::tls::{CertFacts, Provenance};

/// What is known of the certificate of one host.
struct Row {
    facts: Option<CertFacts>,
    from: &'static str,
    plan: String,
}

/// One line a host.
pub(super) fn all(opened: &Opened) -> String {
    let mut lines = vec![["HOST", "DAYS LEFT", "ISSUER", "FROM", "PLAN"].map(str::to_owned)];
    for site in &opened.config.sites {
        for host in std::iter::once(&site.host).chain(&site.aliases) {
            let host = host.to_string();
            let row = row(&host, opened);
            let days = row.facts.as_ref().map_or("-".into(), |facts| days_left(facts).to_string());
            let issuer = row.facts.map_or("-".into(), |facts| facts.issuer);
            lines.push([host, days, issuer, row.from.into(), row.plan]);
        }
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut out = String::new();
    for [host, days, issuer, from, plan] in &lines {
        // Writing into a text cannot fail.
        let _ = writeln!(
            out,
            "{host:<0$}  {days:<1$}  {issuer:<2$}  {from:<3$}  {plan}",
            widths[0], widths[1], widths[2], widths[3]
        );
    }
    out
}

/// Everything about one host.
///
/// # Errors
/// Nobody serves it with TLS.
pub(super) fn show(host: &str, opened: &Opened) -> anyhow::Result<String> {
    let known = opened.certs.provenance(host).is_some();
    anyhow::ensure!(known, "no site of this config serves {host:?} with TLS, and there is no such file");
    let row = row(host, opened);
    let mut out = row.facts.as_ref().map(facts).unwrap_or_default();
    let _ = writeln!(out, "from:         {}", row.from);
    let _ = writeln!(out, "plan:         {}", row.plan);
    Ok(out)
}

/// Every certificate of a PEM file.
///
/// # Errors
/// It cannot be read, or holds none.
pub(super) fn file(path: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)?;
    let all = CertFacts::of_pem(&text).map_err(|why| anyhow::anyhow!("{path}: {why}"))?;
    Ok(all.iter().map(facts).collect::<Vec<_>>().join("\n"))
}

fn row(host: &str, opened: &Opened) -> Row {
    match opened.certs.provenance(host) {
        None => Row { facts: None, from: "-", plan: "not served with TLS".into() },
        Some(Provenance::DevCa) => {
            Row { facts: None, from: "development CA", plan: "made at the handshake, renewed by itself".into() }
        }
        Some(Provenance::File(key)) => {
            let facts = key.cert.first().and_then(|leaf| CertFacts::of(leaf).ok());
            Row { facts, from: "file", plan: "yours to renew; a new file is served within a second".into() }
        }
        Some(Provenance::Acme(cert)) => {
            let ahead = Ahead::of(&opened.config, cert.names());
            Row { plan: ahead.sentence(), facts: ahead.stored.map(|stored| stored.facts), from: "ACME" }
        }
    }
}
