//! A bare `vestibule`: the config of this folder or machine, else the demonstration.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use super::local::{self, HIGH, USUAL};
use super::{ConfigFile, find, inspector, report, run};
use crate::config;
use crate::tls;

pub(super) fn main(began: Instant, color: bool) -> anyhow::Result<ExitCode> {
    if let Some(source) = find::find(&ConfigFile::default()) {
        return Ok(run::run(&source, began, color));
    }
    let mut loaded = match config::parse("the built-in config", find::DEMONSTRATION, Path::new("")) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    report::start_log(&loaded.config, color);
    let (bound, ports) = match local::bind(&mut loaded.config, &[USUAL, HIGH], None) {
        Ok(bound) => bound,
        Err(error) => return Ok(report::start_error(&error, &loaded.sources, color)),
    };
    loaded.config.admin.inspector = Some(config::Inspector::default());
    let page = match inspector::open(&loaded.config, &bound, true) {
        Ok(page) => page,
        Err(error) => return Ok(report::start_error(&error, &loaded.sources, color)),
    };
    let root = tls::root_path(&loaded.config.dev_ca);
    let sources = loaded.sources.clone();
    let served = bound.serve(loaded, began, None, |snapshot| {
        let (plain, secure) =
            (local::url("http", "localhost", ports.http), local::url("https", "localhost", ports.https));
        eprintln!("vestibule demonstration: one site on two doors, and a backend that shows what it receives");
        eprintln!("  {plain}/    plain: everybody on the way can read it");
        eprintln!("  {secure}/   TLS: ended here, plain again to the backend");
        if ports != USUAL {
            eprintln!("  ports 80 and 443 cannot be had here, so 8080 and 8443 are used");
        }
        page.start(snapshot);
        eprintln!("try next:");
        eprintln!("  curl {plain}/");
        match root {
            Some(root) => eprintln!("  curl --cacert {} {secure}/", root.display()),
            None => eprintln!("  curl -k {secure}/"),
        }
        eprintln!("  vestibule dev 3000    the same for your own app on port 3000");
        eprintln!("ready in {:.3} s. Ctrl-C stops.", began.elapsed().as_secs_f64());
    });
    Ok(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::start_error(&error, &sources, color),
    })
}
