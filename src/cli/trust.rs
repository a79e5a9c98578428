//! `trust` and `untrust`: the development root into the stores of this machine, and out again.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{ConfigFile, ca, report};
use crate::config;
use crate::tls;
use crate::trust::{self, Machine, Record, Root, State, Store};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(clap::Args)]
pub(super) struct Untrust {
    #[command(flatten)]
    arguments: Arguments,
    /// Delete the root and its key too: the next start makes a new one
    #[arg(long)]
    delete_root: bool,
}

/// The root of a config; made where it is missing and `make` says so. `None` where there is none.
pub(super) fn root(file: &ConfigFile, make: bool, color: bool) -> anyhow::Result<Result<Option<Root>, ExitCode>> {
    let (settings, sources) = match ca::settings(file) {
        Ok(found) => found,
        Err(problems) => return Ok(Err(report::problems(&problems, color))),
    };
    let no_folder = || anyhow::anyhow!("the root has no folder here: set HOME, VESTIBULE_STATE_DIR or dev_ca.dir");
    let path = std::path::absolute(tls::root_path(&settings).ok_or_else(no_folder)?)?;
    if !make && !path.exists() {
        return Ok(Ok(None));
    }
    let pem = match tls::root_pem(&settings) {
        Ok(pem) => pem,
        Err(problem) => {
            eprint!("{}", config::render_diagnostics(&[*problem], &sources, color));
            return Ok(Err(ExitCode::FAILURE));
        }
    };
    let der = CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec();
    Ok(Ok(Some(Root { path, pem, der })))
}

fn folder(root: &Root) -> PathBuf {
    root.path.parent().map(PathBuf::from).unwrap_or_default()
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let machine = Machine::here().map_err(anyhow::Error::msg)?;
    let root = match root(&arguments.file, true, color)? {
        Ok(Some(root)) => root,
        Ok(None) => anyhow::bail!("there is no root"),
        Err(code) => return Ok(code),
    };
    let (stores, notes) = trust::stores(&machine);
    let (done, open): (Vec<Store>, Vec<Store>) =
        stores.into_iter().partition(|store| store.state(&machine, &root) == State::Trusted);
    for store in &done {
        eprintln!("trusted already: {} ({})", store.title(), store.place());
    }
    if open.is_empty() && done.is_empty() {
        notes.iter().for_each(|note| eprintln!("  - {note}"));
        anyhow::bail!("there is no store here that the root could be added to");
    }
    if open.is_empty() {
        eprintln!("nothing to do. Undo: vestibule untrust");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "One root certificate, usable only for localhost, test, internal, home.arpa, local and private IPs, will be added to:"
    );
    plan(&open, &machine);
    notes.iter().for_each(|note| eprintln!("  - {note}"));
    eprintln!("  - Node.js and Python's requests keep their own lists: eval \"$(vestibule ca env)\"");
    if !arguments.yes && !consent()? {
        eprintln!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    let mut record = Record::open(&folder(&root));
    let mut failed = false;
    for (number, store) in open.iter().enumerate() {
        let began = Instant::now();
        let added = store.add(&machine, &root, &mut record);
        // Kept step by step: an interrupted run can be undone too.
        record.save()?;
        let outcome = added.and_then(|()| match store.state(&machine, &root) {
            State::Trusted => Ok(()),
            State::Absent => Err("written, but the root does not show in it".into()),
            State::Unusable(why) => Err(why),
        });
        match outcome {
            Ok(()) => {
                let seconds = began.elapsed().as_secs_f64();
                eprintln!("  ok {} {} ({seconds:.1} s)", number + 1, store.title());
            }
            Err(why) => {
                failed = true;
                eprintln!("  failed {} {}: {why}", number + 1, store.title());
            }
        }
    }
    eprintln!("checked: each store was read again. Browsers that are open need a restart. Undo: vestibule untrust");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn untrust(untrust: &Untrust, color: bool) -> anyhow::Result<ExitCode> {
    let machine = Machine::here().map_err(anyhow::Error::msg)?;
    let root = match root(&untrust.arguments.file, false, color)? {
        Ok(Some(root)) => root,
        Ok(None) => {
            eprintln!("there is no development root here, so nothing can trust it");
            return Ok(ExitCode::SUCCESS);
        }
        Err(code) => return Ok(code),
    };
    let mut record = Record::open(&folder(&root));
    let holds = |store: &Store| match store {
        Store::System(system) => system.has_file() || store.state(&machine, &root) == State::Trusted,
        Store::Nss(database) => store.state(&machine, &root) != State::Absent || record.created(&database.dir),
        _ => store.state(&machine, &root) != State::Absent,
    };
    let (unknown, all): (Vec<Store>, Vec<Store>) = trust::all_stores(&machine).into_iter().partition(|store| {
        let ours = matches!(store, Store::Nss(database) if record.created(&database.dir));
        !ours && matches!(store.state(&machine, &root), State::Unusable(_))
    });
    for store in &unknown {
        if let State::Unusable(why) = store.state(&machine, &root) {
            eprintln!("not looked into: {} ({}): {why}", store.title(), store.place());
        }
    }
    let stores: Vec<Store> = all.into_iter().filter(holds).collect();
    if stores.is_empty() {
        eprintln!("no store here has the root");
    } else {
        eprintln!("The root certificate will be removed from:");
        plan(&stores, &machine);
        if !untrust.arguments.yes && !consent()? {
            eprintln!("nothing was changed");
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut failed = false;
    for (number, store) in stores.iter().enumerate() {
        let removed = store.remove(&machine, &root, &mut record);
        let outcome = removed.and_then(|()| match store.state(&machine, &root) {
            State::Trusted => Err("it is still there".into()),
            State::Absent | State::Unusable(_) => Ok(()),
        });
        match outcome {
            Ok(()) => eprintln!("  ok {} {}", number + 1, store.title()),
            Err(why) => {
                failed = true;
                eprintln!("  failed {} {}: {why}", number + 1, store.title());
            }
        }
    }
    record.sweep(&machine);
    if !failed {
        record.left().for_each(|path| eprintln!("kept, since others use it by now: {}", path.display()));
        record.forget();
    }
    record.save()?;
    remove_file(&trust::bundle_path(&folder(&root)))?;
    if untrust.delete_root && !failed {
        for name in ["root.crt", "root.key", "root.lock"] {
            remove_file(&folder(&root).join(name))?;
        }
        // Others may have put something there.
        let _ = std::fs::remove_dir(folder(&root));
        let data = folder(&root).parent().map(PathBuf::from).filter(|parent| parent.ends_with("vestibule"));
        let _ = data.map(std::fs::remove_dir);
        eprintln!("the root and its key are deleted");
    } else if !failed {
        eprintln!("checked: no store has it. The root itself stays in {}", folder(&root).display());
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn remove_file(path: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn plan(stores: &[Store], machine: &Machine) {
    let width = |text: fn(&Store) -> String| stores.iter().map(|store| text(store).len()).max().unwrap_or_default();
    let (titles, places) = (width(Store::title), width(Store::place));
    for (number, store) in stores.iter().enumerate() {
        let (title, place, means) = (store.title(), store.place(), store.means(machine));
        eprintln!("  {} {title:<titles$}  {place:<places$}  {means}", number + 1);
    }
}

/// Asks on a terminal.
///
/// # Errors
/// There is none: nothing is changed without a word.
fn consent() -> anyhow::Result<bool> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "this is no terminal to ask on: --yes says that you agree");
    eprint!("Continue? [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    anyhow::ensure!(std::io::stdin().read_line(&mut answer)? > 0, "no answer");
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes" | "Yes"))
}
