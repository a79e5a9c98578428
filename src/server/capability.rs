//! What the operating system lets this process do.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::config;

/// Raises CAP_NET_BIND_SERVICE where it is permitted but not effective: the container image gives it that way, so that
/// the program also starts where every capability is dropped. Call it before any other thread is made.
pub fn raise_bind_service() {
    let Ok(mut sets) = capabilities(None) else { return };
    let wanted = CapabilitySet::NET_BIND_SERVICE;
    if sets.permitted.contains(wanted) && !sets.effective.contains(wanted) {
        sets.effective |= wanted;
        // Without it binding fails next, with the cures in its message.
        let _ = set_capabilities(None, sets);
    }
}

/// Client connections one worker takes: half of the descriptors, since each may need one to a server, less a reserve.
pub fn max_connections(server: &config::Server, workers: usize) -> usize {
    let all = server.max_connections.unwrap_or_else(|| {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(descriptors.saturating_sub(64) / 2).unwrap_or(usize::MAX)
    });
    (all / workers).max(1)
}
