//! What the request path reads of a route, small enough to lie beside the name of its host.
//!
//! The config says all of it too, but here and there: with thousands of hosts each of these places is in no cache, and waiting for
//! it takes longer than a lookup.

use std::collections::HashMap;
use std::sync::Arc;

use super::Snapshot;
use crate::config::{Action, Route, RouteSettings, SiteTls};
use crate::filter::door::Doors;

/// The upstream of a route that answers itself.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub struct Brief {
    /// A place in [`super::View::settings`].
    settings: u32,
    upstream: u32,
    pub doors: Doors,
    /// The route strips a prefix or rewrites the path.
    pub changes_path: bool,
    /// The route has filters.
    pub has_chain: bool,
    /// Nobody comes to the site without a client certificate, whatever the door.
    pub requires_client_cert: bool,
}

impl Brief {
    pub fn settings(&self) -> usize {
        self.settings as usize
    }

    /// Where the route forwards to, an index into the config's upstreams; `None`: it answers itself.
    pub fn upstream(&self) -> Option<usize> {
        (self.upstream != NONE).then_some(self.upstream as usize)
    }
}

/// Of all routes of all sites, one after the other; and the settings that they have.
pub(super) fn all(snapshot: &Snapshot) -> (Vec<Brief>, Vec<Arc<RouteSettings>>) {
    let (mut briefs, mut settings) = (Vec::new(), Vec::new());
    // Routes with the same settings share them.
    let mut places: HashMap<*const RouteSettings, u32> = HashMap::new();
    for (index, site) in snapshot.config.sites.iter().enumerate() {
        let dev = snapshot.dev.get(index).copied().unwrap_or(false);
        let doors = Doors { plain: site.http, tls: site.tls != SiteTls::Off, dev };
        let requires_client_cert = snapshot.requires_client_cert(index);
        let brief = |(number, route): (usize, &Route)| Brief {
            settings: *places.entry(Arc::as_ptr(&route.settings)).or_insert_with(|| {
                settings.push(route.settings.clone());
                place(settings.len() - 1)
            }),
            upstream: match &route.action {
                Action::Forward(upstream) => place(*upstream),
                Action::Redirect(_) | Action::Respond(_) => NONE,
            },
            doors,
            changes_path: route.strip_prefix.is_some() || route.rewrite.is_some(),
            has_chain: snapshot.chain(index, number).is_some(),
            requires_client_cert,
        };
        briefs.extend(site.routes.iter().enumerate().map(brief));
    }
    (briefs, settings)
}

/// No config has so much that a place does not fit.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
