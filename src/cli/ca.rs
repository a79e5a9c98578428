//! `ca`: the root certificate of the development CA, for clients that should trust it.

use std::path::Path;
use std::process::ExitCode;

use super::{ConfigFile, find, report};
use crate::config::{self, DevCa, Sources};
use crate::tls;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Print where the root certificate is, making it if it is missing
    Path,
    /// Print the root certificate as PEM, making it if it is missing
    Print,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let (settings, sources) = match settings(&arguments.file) {
        Ok(found) => found,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let pem = match tls::root_pem(&settings) {
        Ok(pem) => pem,
        Err(problem) => {
            eprint!("{}", config::render_diagnostics(&[*problem], &sources, color));
            return Ok(ExitCode::FAILURE);
        }
    };
    match arguments.what {
        What::Print => report::data(&pem),
        What::Path => match tls::root_path(&settings) {
            Some(path) => report::data(&format!("{}\n", path.display())),
            None => anyhow::bail!("the root has no folder here: set HOME, VESTIBULE_STATE_DIR or dev_ca.dir"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// The `[dev_ca]` of the config a bare `vestibule` would run.
fn settings(file: &ConfigFile) -> Result<(DevCa, Sources), config::Problems> {
    let loaded = match find::find(file) {
        Some(source) => find::load(&source)?,
        None => config::parse("the built-in config", find::DEMONSTRATION, Path::new(""))?,
    };
    Ok((loaded.config.dev_ca, loaded.sources))
}
