//! `check`: read, resolve and open everything a start would, start nothing.

use std::process::ExitCode;

use super::{CONFIG, ConfigFile, find, report};
use crate::check;
use crate::config::{self, Config, Loaded, Severity};
use crate::explain;
use crate::snapshot::Snapshot;

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
    let Loaded { config, warnings, sources, values } = match find::load(&source) {
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
    // Only the tests ask where a value stands.
    let values = if config.tests.is_empty() { config::Values::default() } else { values };
    let mut problems = warnings;
    let certs = check::certificates(&config, &mut problems);
    problems.extend(check::lint(&config));
    if !arguments.offline {
        problems.extend(check::ports(&config));
        problems.extend(check::dial(&config));
    }
    let count = Count::of(&config);
    let (tests, others) = match config.tests.is_empty() {
        true => (check::Outcome::default(), Snapshot::with_certificates(config, certs, None, None).1),
        false => {
            let (view, others) = explain::view(config, certs);
            (check::expectations(&view, &values, &sources), others)
        }
    };
    problems.extend(others);
    problems.extend(tests.failures.iter().cloned());
    config::sort_diagnostics(&mut problems, &sources);
    let failed = problems.iter().any(|problem| arguments.deny_warnings || problem.severity == Severity::Error);
    if arguments.json {
        report::data(&format!("{}\n", config::diagnostics_to_json(&problems)));
    } else {
        eprint!("{}", config::render_diagnostics(&problems, &sources, color));
        summary(&count, &tests, failed);
    }
    Ok(if failed { ExitCode::from(CONFIG) } else { ExitCode::SUCCESS })
}

/// How much of everything a config has.
struct Count {
    sites: usize,
    upstreams: usize,
    listeners: usize,
    tests: usize,
}

impl Count {
    fn of(config: &Config) -> Count {
        Count {
            sites: config.sites.len(),
            upstreams: config.upstreams.len(),
            listeners: config.listeners.len(),
            tests: config.tests.len(),
        }
    }
}

fn summary(count: &Count, tests: &check::Outcome, failed: bool) {
    if count.tests > 0 {
        eprintln!("tests: {} of {} passed", tests.passed, count.tests);
    }
    if !tests.unmet.is_empty() {
        let shown = tests.unmet[..tests.unmet.len().min(UNMET)].join(", ");
        let more = tests.unmet.len().saturating_sub(UNMET);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        eprintln!("routes no test meets: {shown}{more}");
    }
    if !failed {
        let some = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let (sites, upstreams) = (some(count.sites, "site"), some(count.upstreams, "upstream"));
        eprintln!("ok: {sites}, {upstreams}, {}", some(count.listeners, "listener"));
    }
}
