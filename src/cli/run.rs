//! `run`: the proxy in the foreground. It never falls back to other ports: it fails with the reason.

use std::process::ExitCode;
use std::time::Instant;

use super::{ConfigFile, find, inspector, report};
use crate::server;

pub(super) fn main(file: &ConfigFile, began: Instant, color: bool) -> anyhow::Result<ExitCode> {
    let source = find::find(file).ok_or_else(find::none_found)?;
    Ok(run(&source, began, color))
}

/// Loads, binds, serves.
pub(super) fn run(source: &find::Source, began: Instant, color: bool) -> ExitCode {
    let inherited = server::Inherited::from_environment();
    let loaded = match find::load(source) {
        Ok(loaded) => loaded,
        Err(problems) => {
            inherited.refuse(&problems.render(false));
            return report::problems(&problems, color);
        }
    };
    report::start_log(&loaded.config, color);
    eprint!("{}", loaded.render_warnings(color));
    let bound = match server::bind_or_inherit(&loaded.config, inherited) {
        Ok(bound) => bound,
        Err(error) => return report::start_error(&error, &loaded.sources, color),
    };
    let page = match inspector::open(&loaded.config, &bound, bound.takes_over()) {
        Ok(page) => page,
        Err(error) => return report::start_error(&error, &loaded.sources, color),
    };
    let addresses = report::addresses(&loaded.config, &bound);
    let sources = loaded.sources.clone();
    let again = source.clone();
    let read = Box::new(move || find::load(&again).map_err(|problems| problems.render(false)));
    let origin = server::Source { name: source.name(), read };
    let served = bound.serve(loaded, began, Some(origin), |snapshot| {
        report::listening(&addresses);
        page.start(snapshot);
        eprintln!("ready in {:.3} s", began.elapsed().as_secs_f64());
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::start_error(&error, &sources, color),
    }
}
