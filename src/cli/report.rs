//! What commands print: the log, problems of a config, and why a start failed.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::UtcTime;

use super::CONFIG;
use crate::config::{self, Config, Level, Problems, Sources};
use crate::server::{Bound, StartError};

/// Starts the process log on stderr.
pub(super) fn start_log(config: &Config, color: bool) {
    let level = match config.log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(color);
    let clock = UtcTime::new(time::macros::format_description!("[hour]:[minute]:[second]"));
    // A second log in one process (tests) keeps the first.
    let _ = log.with_target(false).with_timer(clock).try_init();
}

/// Prints data on stdout. A reader that has gone (`| head`) is no failure.
pub(super) fn data(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

/// Prints the problems of a config.
pub(super) fn problems(problems: &Problems, color: bool) -> ExitCode {
    eprint!("{}", problems.render(color));
    ExitCode::from(CONFIG)
}

/// Prints why nothing was started.
pub(super) fn start_error(error: &StartError, sources: &Sources, color: bool) -> ExitCode {
    match error {
        StartError::Config(diagnostics) => {
            eprint!("{}", config::render_diagnostics(diagnostics, sources, color));
            return ExitCode::from(CONFIG);
        }
        StartError::Bind(errors) => errors.iter().for_each(|error| eprintln!("{error}")),
        StartError::Io(what, error) => eprintln!("error: {what}: {error}"),
        StartError::Tls(error) => eprintln!("error: TLS: {error}"),
    }
    eprintln!("nothing was started");
    ExitCode::FAILURE
}

/// Says where the proxy listens.
pub(super) fn listening(addresses: &[(String, std::net::SocketAddr)]) {
    for (name, address) in addresses {
        eprintln!("listening on {address} ({name})");
    }
}

/// The addresses of a bound config with the names of their listeners.
pub(super) fn addresses(config: &Config, bound: &Bound) -> Vec<(String, std::net::SocketAddr)> {
    bound.addresses().map(|(index, address)| (config.listeners[index].name.clone(), address)).collect()
}
