//! Panics: a defect of ours ends one connection, not the process. Here they are counted and logged.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

/// Writes every panic to the log, in one line with its place.
pub(super) fn watch() {
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            let thread = std::thread::current();
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(
                "panic in {} at {place}: {message}: please report it; what it was doing is lost, the rest goes on",
                thread.name().unwrap_or("a thread")
            );
        }));
    });
}

/// Panics since the start.
pub(super) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
