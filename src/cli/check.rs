//! `check`: read, resolve and open everything a start would, start nothing.

use std::process::ExitCode;

use super::{CONFIG, ConfigFile, find, report};
use crate::config::{self, Loaded};
use crate::snapshot::Snapshot;
use crate::tls::{Access, DevAuthority};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the problems as a JSON array on stdout
    #[arg(long)]
    json: bool,
    /// Warnings are errors
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let Loaded { config, mut warnings, sources, .. } = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(problems) if arguments.json => {
            report::data(&format!("{}\n", problems.to_json()));
            return Ok(ExitCode::from(CONFIG));
        }
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let summary = format!(
        "{} sites, {} upstreams, {} listeners",
        config.sites.len(),
        config.upstreams.len(),
        config.listeners.len()
    );
    let failed = match Snapshot::build(config, &DevAuthority::new(Access::ReadOnly), None, None) {
        Ok(snapshot) => {
            warnings.extend(snapshot.certs.iter().flat_map(|certs| certs.warnings().iter().cloned()));
            arguments.deny_warnings && !warnings.is_empty()
        }
        Err(diagnostics) => {
            warnings.extend(diagnostics);
            true
        }
    };
    if arguments.json {
        report::data(&format!("{}\n", config::diagnostics_to_json(&warnings)));
    } else {
        eprint!("{}", config::render_diagnostics(&warnings, &sources, color));
        if !failed {
            eprintln!("ok: {summary}");
        }
    }
    Ok(if failed { ExitCode::from(CONFIG) } else { ExitCode::SUCCESS })
}
