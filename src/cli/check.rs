//! `check`: read, resolve and open everything a start would, start nothing.

use std::process::ExitCode;

use super::{CONFIG, ConfigFile, find, report};
use crate::check;
use crate::config::{self, Loaded, Severity};
use crate::explain;

/// Routes without a test that are named.
const UNMET: usize = 10;

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
    /// Ask nothing of this machine and its network: no name is resolved, no server dialled, no port tried
    #[arg(long)]
    offline: bool,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let mut loaded = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(mut problems) => {
            problems.diagnostics.extend(problems.partial.take().iter().flat_map(|c| check::certificate_files(c)));
            config::sort_diagnostics(&mut problems.diagnostics, &problems.sources);
            if arguments.json {
                report::data(&format!("{}\n", problems.to_json()));
                return Ok(ExitCode::from(CONFIG));
            }
            return Ok(report::problems(&problems, color));
        }
    };
    if loaded.config.tests.is_empty() {
        // Only the tests ask where a value stands.
        loaded.values = config::Values::default();
    }
    let mut problems = std::mem::take(&mut loaded.warnings);
    let certs = check::certificates(&loaded.config, &mut problems);
    problems.extend(check::lint(&loaded.config));
    if !arguments.offline {
        problems.extend(check::ports(&loaded.config));
        problems.extend(check::dial(&loaded.config));
    }
    let tests = match loaded.config.tests.is_empty() {
        true => check::Outcome::default(),
        false => check::expectations(&loaded, &explain::view(&loaded, certs)),
    };
    problems.extend(tests.failures.iter().cloned());
    config::sort_diagnostics(&mut problems, &loaded.sources);
    let failed = problems.iter().any(|problem| arguments.deny_warnings || problem.severity == Severity::Error);
    if arguments.json {
        report::data(&format!("{}\n", config::diagnostics_to_json(&problems)));
    } else {
        eprint!("{}", config::render_diagnostics(&problems, &loaded.sources, color));
        summary(&loaded, &tests, failed);
    }
    Ok(if failed { ExitCode::from(CONFIG) } else { ExitCode::SUCCESS })
}

fn summary(loaded: &Loaded, tests: &check::Outcome, failed: bool) {
    let config = &loaded.config;
    if !config.tests.is_empty() {
        eprintln!("tests: {} of {} passed", tests.passed, config.tests.len());
    }
    if !tests.unmet.is_empty() {
        let shown = tests.unmet[..tests.unmet.len().min(UNMET)].join(", ");
        let more = tests.unmet.len().saturating_sub(UNMET);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        eprintln!("routes no test meets: {shown}{more}");
    }
    if !failed {
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let (sites, upstreams) = (count(config.sites.len(), "site"), count(config.upstreams.len(), "upstream"));
        eprintln!("ok: {sites}, {upstreams}, {}", count(config.listeners.len(), "listener"));
    }
}
