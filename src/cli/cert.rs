//! `cert`: the certificates of a config, as the next handshake would find them, with the plan of those that ACME renews.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use time::OffsetDateTime;

use super::{CONFIG, ConfigFile, find, report};
use crate::acme::store::{Notes, Store};
use crate::config::{self, Acme, Config};
use crate::snapshot::Snapshot;
use crate::tls::{Access, CertFacts, CertStore, DevAuthority, Managed, ManagedCert, Provenance, ServedCert};

const DAY: i64 = 86_400;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// One line a host: days left, issuer, where the certificate is from, and what is planned
    List,
    /// Everything about the certificate of a host, or of a PEM file
    Show {
        /// A host of the config, or a file
        #[arg(value_name = "HOST|FILE")]
        what: String,
    },
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    if let What::Show { what } = &arguments.what
        && Path::new(what).is_file()
    {
        let text = std::fs::read_to_string(what)?;
        let all = CertFacts::of_pem(&text).map_err(|why| anyhow::anyhow!("{what}: {why}"))?;
        let blocks: Vec<String> = all.iter().map(facts).collect();
        report::data(&blocks.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let loaded = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let authority = DevAuthority::new(Access::ReadOnly);
    let snapshot = match Snapshot::build(loaded.config, &authority, &Managed::default(), None, None) {
        Ok(snapshot) => snapshot,
        Err(problems) => {
            eprint!("{}", config::render_diagnostics(&problems, &loaded.sources, color));
            return Ok(ExitCode::from(CONFIG));
        }
    };
    let Some(certs) = &snapshot.certs else { anyhow::bail!("this config has no TLS listener, and so no certificates") };
    match &arguments.what {
        What::List => report::data(&list(&snapshot.config, certs)),
        What::Show { what } => report::data(&show(what, &snapshot.config, certs)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of the certificate of one host.
struct Row {
    facts: Option<CertFacts>,
    from: &'static str,
    plan: String,
}

fn list(config: &Config, certs: &CertStore) -> String {
    let mut lines = vec![["HOST", "DAYS LEFT", "ISSUER", "FROM", "PLAN"].map(str::to_owned)];
    for site in &config.sites {
        for host in std::iter::once(&site.host).chain(&site.aliases) {
            let host = host.to_string();
            let row = row(&host, config, certs);
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

fn show(host: &str, config: &Config, certs: &CertStore) -> anyhow::Result<String> {
    let known = certs.provenance(host).is_some();
    anyhow::ensure!(known, "no site of this config serves {host:?} with TLS, and there is no such file");
    let row = row(host, config, certs);
    let mut out = row.facts.as_ref().map(facts).unwrap_or_default();
    let _ = writeln!(out, "from:         {}", row.from);
    let _ = writeln!(out, "plan:         {}", row.plan);
    Ok(out)
}

fn facts(facts: &CertFacts) -> String {
    let left = match days_left(facts) {
        days if days < 0 => format!("expired {} days ago", -days),
        days => format!("{days} days left"),
    };
    format!(
        "names:        {}\nissuer:       {}\nvalid from:   {}\nvalid until:  {} ({left})\nSHA-256:      {}\n",
        facts.names,
        facts.issuer,
        moment(facts.not_before),
        moment(facts.not_after),
        facts.fingerprint
    )
}

fn row(host: &str, config: &Config, certs: &CertStore) -> Row {
    match certs.provenance(host) {
        None => Row { facts: None, from: "-", plan: "not served with TLS".into() },
        Some(Provenance::DevCa) => {
            Row { facts: None, from: "development CA", plan: "made at the handshake, renewed by itself".into() }
        }
        Some(Provenance::File(key)) => {
            let facts = key.cert.first().and_then(|leaf| CertFacts::of(leaf).ok());
            Row { facts, from: "file", plan: "yours to renew; a new file is served within a second".into() }
        }
        Some(Provenance::Acme(cert)) => match config.acme.as_ref().and_then(|acme| Some((acme, stored_at(acme)?))) {
            None => Row { facts: None, from: "ACME", plan: "nothing: there is no state folder".into() },
            Some((acme, store)) => {
                let stored = store.cert(cert.names()).ok().flatten();
                let plan = plan(acme, &cert, stored.as_ref(), &store.notes(cert.names()));
                Row { facts: stored.map(|stored| stored.facts), from: "ACME", plan }
            }
        },
    }
}

fn stored_at(acme: &Acme) -> Option<Store> {
    Store::of(&acme.directory)
}

/// What the thread of ACME does next.
fn plan(acme: &Acme, cert: &ManagedCert, stored: Option<&ServedCert>, notes: &Notes) -> String {
    let (due, _) = crate::acme::due(stored, cert.names(), notes);
    let now = now();
    let what = if stored.is_some() { "renewal" } else { "order" };
    let when = if due <= now { "now".to_owned() } else { format!("after {}", moment(due)) };
    if !acme.accept_terms {
        return format!("{what} when acme.accept_terms is true");
    }
    if notes.failures > 0 {
        return format!("{what} {when}; {} failed: {}", notes.failures, notes.last_error);
    }
    let why = match (stored, notes.renew_at) {
        (None, _) => "there is none yet",
        (Some(_), Some(_)) => "in the server's window",
        (Some(_), None) => "a third of its life is left then",
    };
    format!("{what} {when} ({why})")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn days_left(facts: &CertFacts) -> i64 {
    (facts.not_after - now()).div_euclid(DAY)
}

fn moment(seconds: i64) -> String {
    let form = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|at| at.format(form).ok());
    at.unwrap_or_else(|| format!("{seconds} s after 1970"))
}
