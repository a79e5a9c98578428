//! Config texts: none panics, and every one that is refused says where.

use std::path::Path;

use vestibule::config::{self, Action, Severity};
use vestibule::route::Router;

/// # Panics
/// A problem without a place, or a config that points outside itself.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match config::parse("fuzz.toml", text, Path::new("corpus-has-no-such-folder")) {
        Ok(loaded) => {
            let config = loaded.config;
            assert!(!config.listeners.is_empty());
            for route in config.sites.iter().flat_map(|site| &site.routes) {
                if let Action::Forward(upstream) = route.action {
                    assert!(upstream < config.upstreams.len());
                }
            }
            assert!(config.upstreams.iter().all(|upstream| !upstream.servers.is_empty()));
            let _ = Router::bare(&config.sites);
            let _ = loaded.warnings.iter().for_each(|warning| assert!(warning.origin.is_some(), "{warning:?}"));
        }
        Err(problems) => {
            assert!(problems.diagnostics.iter().any(|problem| problem.severity == Severity::Error));
            // What is missing altogether stands nowhere.
            for problem in problems.diagnostics.iter().filter(|problem| problem.code != "no-sites") {
                let origin = problem.origin.as_ref().unwrap_or_else(|| panic!("no place: {problem:?}"));
                assert!(origin.line >= 1 && origin.column >= 1, "{problem:?}");
                if &*origin.file == "fuzz.toml" {
                    assert!(origin.line <= text.matches('\n').count() + 1, "{problem:?}");
                    assert!(text.get(origin.span.clone()).is_some(), "{problem:?}");
                }
            }
            assert!(!problems.render(false).is_empty());
            assert!(problems.to_json().starts_with('['));
        }
    }
}
