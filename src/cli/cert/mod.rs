//! `cert`: certificates as files, as a config serves them, as clients see them, and as ACME renews them.

mod explain;
mod explanation;
mod list;
mod new;
mod plan;

use std::process::ExitCode;
use std::time::SystemTime;

use time::OffsetDateTime;

use super::find::Source;
use super::{CONFIG, ConfigFile, find, report};
use crate::config::{self, Config, Sources};
use crate::tls::{Access, CertFacts, CertStore, DevAuthority, Managed};

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
    #[command(after_help = "Examples:\n  vestibule cert list\n  vestibule cert list --config app.toml\n  \
        vestibule cert list | grep ACME")]
    List,
    /// Everything about the certificate of a host, or of a PEM file
    #[command(after_help = "Examples:\n  vestibule cert show shop.example.com\n  vestibule cert show site.pem\n  \
        vestibule cert show app.localhost --config app.toml")]
    Show {
        /// A host of the config, or a file
        #[arg(value_name = "HOST|FILE")]
        what: String,
    },
    /// Why a host has its certificate, who believes it, what a browser says, and what mends it
    #[command(
        after_help = "Examples:\n  vestibule cert explain shop.example.com\n  vestibule cert explain fullchain.pem \
        --key privkey.pem\n  vestibule cert explain site.pem --name shop.test --json\n\n\
        Exit: 0 when a browser of this machine accepts the certificate, 1 when it does not, 2 when there is nothing to look at"
    )]
    Explain(explain::Arguments),
    /// A certificate of the development CA as PEM files, for programs other than this one
    #[command(after_help = "Examples:\n  vestibule cert new app.test '*.app.test' 127.0.0.1\n  \
        vestibule cert new --cert-file db.pem --key-file db.key db.internal\n  vestibule cert new --client me.test")]
    New(new::Arguments),
    /// What will be ordered and renewed by ACME, when and why; nothing is contacted
    #[command(after_help = "Examples:\n  vestibule cert plan\n  vestibule cert plan --config app.toml\n  \
        vestibule cert plan --json")]
    Plan {
        /// Print a JSON array on stdout
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::New(new) => return new::main(new, &arguments.file, color),
        What::Explain(explain) => return explain::main(explain, &arguments.file, color),
        What::Show { what } if std::path::Path::new(what).is_file() => {
            report::data(&list::file(what)?);
            return Ok(ExitCode::SUCCESS);
        }
        What::Show { .. } | What::List | What::Plan { .. } => {}
    }
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let opened = match open(&source, color) {
        Ok(opened) => opened,
        Err(code) => return Ok(code),
    };
    report::data(&match &arguments.what {
        What::Show { what } => list::show(what, &opened)?,
        What::Plan { json } => plan::all(&opened, *json),
        What::List | What::New(_) | What::Explain(_) => list::all(&opened),
    });
    Ok(ExitCode::SUCCESS)
}

/// A config with its certificates, opened as a start would open them.
struct Opened {
    config: Config,
    certs: CertStore,
    authority: DevAuthority,
}

/// Opens a config; its problems are printed.
fn open(source: &Source, color: bool) -> Result<Opened, ExitCode> {
    let loaded = find::load(source).map_err(|problems| report::problems(&problems, color))?;
    let (config, authority) = (loaded.config, DevAuthority::new(Access::ReadOnly));
    match CertStore::build(&config, &authority, &Managed::default()) {
        Ok(_) if !config.listeners.iter().any(|listener| listener.tls) => {
            eprintln!("error: this config has no TLS listener, and so no certificates");
            Err(ExitCode::from(CONFIG))
        }
        Ok(certs) => Ok(Opened { config, certs, authority }),
        Err(problems) => {
            eprint!("{}", config::render_diagnostics(&problems, &loaded.sources, color));
            Err(ExitCode::from(CONFIG))
        }
    }
}

/// Problems that have no place in a config: the words that stand under the caret elsewhere become a note.
fn render(problems: &[config::Diagnostic], color: bool) -> String {
    let plain = problems.iter().cloned().map(|mut problem| {
        if !problem.label.is_empty() {
            problem.notes.insert(0, std::mem::take(&mut problem.label));
        }
        problem.origin = None;
        problem
    });
    config::render_diagnostics(&plain.collect::<Vec<_>>(), &Sources::default(), color)
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

/// Seconds since the epoch.
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

/// RFC 3339, for machines.
fn stamp(seconds: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}
