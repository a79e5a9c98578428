//! `cert explain HOST|FILE`: which certificate it is, and what clients make of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::super::{CONFIG, ConfigFile, ca, find, report};
use super::explanation::{Explanation, Origin};
use super::plan::Ahead;
use super::{Opened, now, open, render};
use crate::config::{DevCa, HostPattern};
use crate::tls::{self, Choice, Examined, Provenance, RootList, Subject};
use crate::trust::{self, Machine, Root, State};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A host of the config, or a PEM file
    #[arg(value_name = "HOST|FILE")]
    what: String,
    /// The private key of the FILE; otherwise one in it or beside it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The host that the certificate of the FILE should be for
    #[arg(long, value_name = "HOST")]
    name: Option<String>,
    /// Print a JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments, file: &ConfigFile, color: bool) -> anyhow::Result<ExitCode> {
    let path = Path::new(&arguments.what);
    if path.is_file() {
        return of_file(path, arguments, file, color);
    }
    let looks_like_file = arguments.what.contains("/") && !arguments.what.contains("://");
    let extension = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    if looks_like_file || matches!(extension, "pem" | "crt" | "cer" | "key" | "der" | "p12" | "pfx") {
        eprintln!("error: there is no file {}", path.display());
        return Ok(ExitCode::from(CONFIG));
    }
    of_host(arguments, file, color)
}

fn of_file(path: &Path, arguments: &Arguments, file: &ConfigFile, color: bool) -> anyhow::Result<ExitCode> {
    let host = match arguments.name.as_deref().map(host).transpose() {
        Ok(host) => host,
        Err(code) => return Ok(code),
    };
    let subject = match Subject::read(path, arguments.key.as_deref()) {
        Ok(subject) => subject,
        Err(problems) => {
            eprint!("{}", render(&problems, color));
            return Ok(ExitCode::FAILURE);
        }
    };
    // A file can be looked at whatever the config here says; without one the root is where it always is.
    let root = ca::settings(file).ok().and_then(|(settings, _)| stored_root(&settings));
    let examined = match tls::examine(&subject, host.as_ref(), &lists(root), now()) {
        Ok(examined) => examined,
        Err(problems) => {
            eprint!("{}", render(&problems, color));
            return Ok(ExitCode::FAILURE);
        }
    };
    let origin = Origin::File(path.into());
    Ok(tell(
        &Explanation { host: host.map(|host| host.to_string()), origin, examined: Some(examined) },
        arguments,
        color,
    ))
}

fn of_host(arguments: &Arguments, file: &ConfigFile, color: bool) -> anyhow::Result<ExitCode> {
    if arguments.key.is_some() || arguments.name.is_some() {
        eprintln!("error: --key and --name go with a FILE, and there is no file {:?}", arguments.what);
        return Ok(ExitCode::from(CONFIG));
    }
    let host = match host(&arguments.what) {
        Ok(host) => host,
        Err(code) => return Ok(code),
    };
    let Some(source) = find::find(file) else {
        eprintln!("error: {:#}", find::none_found());
        return Ok(ExitCode::from(CONFIG));
    };
    let opened = match open(&source, color) {
        Ok(opened) => opened,
        Err(code) => return Ok(code),
    };
    let choice = opened.certs.choice(&opened.config, &host.to_string());
    let ahead = match &choice.provenance {
        Some(Provenance::Acme(cert)) => Some(cert.names()),
        _ => None,
    };
    let ahead = ahead.map(|names| Ahead::of(&opened.config, names));
    let subject = subject(&choice, ahead.as_ref())?;
    let root = stored_root(&opened.config.dev_ca).or_else(|| made_root(&opened));
    let examined = subject.map(|subject| tls::examine(&subject, Some(&host), &lists(root), now()));
    let examined: Option<Examined> = match examined.transpose() {
        Ok(examined) => examined,
        Err(problems) => {
            eprint!("{}", render(&problems, color));
            return Ok(ExitCode::FAILURE);
        }
    };
    let origin = Origin::Config { choice: &choice, ahead: ahead.as_ref() };
    Ok(tell(&Explanation { host: Some(host.to_string()), origin, examined }, arguments, color))
}

fn tell(explanation: &Explanation<'_>, arguments: &Arguments, color: bool) -> ExitCode {
    report::data(&match arguments.json {
        true => format!("{:#}\n", explanation.json()),
        false => explanation.text(color),
    });
    if explanation.is_accepted() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A host of the command line; what is wrong with it is printed.
fn host(text: &str) -> Result<HostPattern, ExitCode> {
    HostPattern::parse(text).map_err(|mut problem| {
        problem.label.clear();
        problem.help.extend(problem.replacement.take().map(|right| format!("write {}", right.trim_matches('"'))));
        eprint!("{}", render(&[*problem], false));
        ExitCode::from(CONFIG)
    })
}

/// What the handshake would show: files where there are some, so that these can be named.
fn subject(choice: &Choice, ahead: Option<&Ahead<'_>>) -> anyhow::Result<Option<Subject>> {
    let read = |cert: &Path, key: Option<&Path>| {
        let problems = |problems: Vec<crate::config::Diagnostic>| anyhow::anyhow!("{}", render(&problems, false));
        Subject::read(cert, key).map(Some).map_err(problems)
    };
    if let Some(files) = &choice.files {
        return read(&files.cert, Some(&files.key));
    }
    if let Some(path) = ahead.and_then(Ahead::file) {
        return read(&path, None);
    }
    Ok(choice.shown.as_deref().map(Subject::shown))
}

/// The development root of its folder; nothing is made.
fn stored_root(settings: &DevCa) -> Option<Root> {
    let path = tls::root_path(settings)?;
    let pem = std::fs::read_to_string(&path).ok()?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?.to_vec();
    Some(Root { path, pem, der })
}

/// The root that lives as long as this command, where none is stored yet: it stands for the one a start makes.
fn made_root(opened: &Opened) -> Option<Root> {
    let der = opened.authority.root()?.to_vec();
    Some(Root { path: PathBuf::new(), pem: tls::certificate_pem(&der), der })
}

/// The lists of roots, with the development root, which browsers of this machine believe where a store has it.
fn lists(root: Option<Root>) -> Vec<RootList> {
    let trusted = |root: &Root| {
        let Ok(machine) = Machine::here() else { return false };
        trust::stores(&machine).0.iter().any(|store| store.state(&machine, root) == State::Trusted)
    };
    RootList::all(root.map(|root| (CertificateDer::from(root.der.clone()), trusted(&root))))
}
