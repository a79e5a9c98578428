//! The inspector's own requests: the comparison of a site, made when somebody opens the page and not before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ring::{Kept, Ring};
use crate::config::{Action, HostPattern, PathPattern, Site, UpstreamAddress};
use crate::inspect::OWN_COOKIE;
use crate::message::Method;
use crate::observe::compare::{self, Comparison};
use crate::observe::trust::Trust;
use crate::observe::{Doors, Request};
use crate::server::Seen;

/// How long an observation is shown before the next one; whoever asks for one waits at least [`PAUSE`] for it.
const FRESH: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);
/// Sites whose observations are kept.
const SITES: usize = 32;
/// How long a page waits for the site it observes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the records of our own requests may take from the workers to here.
const ARRIVAL: Duration = Duration::from_millis(300);

/// What the User-Agent of our own requests begins with.
pub(super) const AGENT: &str = "vestibule-inspector/";

/// A comparison, and what the proxy made of each of its requests.
pub(super) struct Observed {
    at: Instant,
    pub comparison: Comparison,
    /// By leg.
    pub behind: Vec<Option<Rc<Kept>>>,
}

/// The observations of each site, one at a time.
#[derive(Default)]
pub(super) struct Probes {
    known: RefCell<HashMap<String, Rc<Observed>>>,
    turn: tokio::sync::Mutex<()>,
}

/// The names that can be observed: sites with one name, in the order of the config.
pub(super) fn hosts(seen: &Seen) -> Vec<String> {
    let sites = seen.snapshot.config.sites.iter();
    sites.filter_map(|site| if let HostPattern::Exact(name) = &site.host { Some(name.clone()) } else { None }).collect()
}

impl Probes {
    /// The comparison of a site of the config: the known one, or a new one.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    pub async fn of(
        &self,
        seen: &Seen,
        host: &str,
        again: bool,
        ring: &RefCell<Ring>,
    ) -> Result<Rc<Observed>, &'static str> {
        let _turn = self.turn.lock().await;
        let known = self.known.borrow().get(host).cloned();
        let limit = if again { PAUSE } else { FRESH };
        if let Some(known) = known.filter(|known| known.at.elapsed() < limit) {
            return Ok(known);
        }
        let doors = doors(seen)?;
        let site = seen.snapshot.config.sites.iter().find(|site| site.host == HostPattern::Exact(host.into()));
        let request = request(host, site.is_some_and(|site| is_builtin(seen, site)));
        let mut trust = Trust::default();
        if let Some(root) = seen.dev_root.clone() {
            trust.add(root, "the development CA");
        }
        trust.add_system();
        let comparison = match tokio::time::timeout(PATIENCE, compare::run(doors, vec![request], trust)).await {
            Ok(comparison) => comparison.map_err(|_| "the TLS library does not work")?,
            Err(_) => return Err("the site did not answer in time"),
        };
        let behind = behind(&comparison, ring).await;
        let observed = Rc::new(Observed { at: Instant::now(), comparison, behind });
        let mut known = self.known.borrow_mut();
        if known.len() >= SITES {
            known.clear();
        }
        known.insert(host.to_string(), observed.clone());
        Ok(observed)
    }
}

/// What the workers have recorded of each leg's request: found by the address it came from.
async fn behind(comparison: &Comparison, ring: &RefCell<Ring>) -> Vec<Option<Rc<Kept>>> {
    let began = Instant::now();
    loop {
        let find =
            |local: Option<SocketAddr>| ring.borrow().newest().find(|kept| Some(kept.entry.peer) == local).cloned();
        let legs = comparison.exchanges.iter().flat_map(|exchange| &exchange.legs);
        let found: Vec<_> = legs.map(|leg| leg.answer.as_ref().and_then(|_| find(leg.local))).collect();
        let all = comparison.exchanges.iter().flat_map(|exchange| &exchange.legs).zip(&found);
        if all.filter(|(leg, _)| leg.answer.is_some()).all(|(_, kept)| kept.is_some()) || began.elapsed() > ARRIVAL {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The proxy's own doors, as this machine reaches them. One that waits for the header of a balancer is not ours to open.
fn doors(seen: &Seen) -> Result<Doors, &'static str> {
    let listeners = &seen.snapshot.config.listeners;
    let door = |tls: bool| {
        let mut doors = seen.doors.iter().filter(|(index, _)| {
            listeners.get(*index).is_some_and(|door| door.tls == tls && door.proxy_protocol.is_none() && door.h1)
        });
        doors.next().map(|(_, address)| match address.ip().is_unspecified() {
            true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
            false => *address,
        })
    };
    let http = door(false).ok_or("the config has no plain door to compare with")?;
    let https = door(true).ok_or("the config has no TLS door to compare with")?;
    Ok(Doors { http, https })
}

/// The demonstration gets a form with a password: it does nothing with it. An app gets a GET, which changes nothing.
fn request(host: &str, builtin: bool) -> Request {
    let field = |name: &str, value: &str| (name.to_string(), value.to_string());
    let mut fields = vec![
        field("User-Agent", concat!("vestibule-inspector/", env!("CARGO_PKG_VERSION"))),
        field("Accept", "text/plain, */*;q=0.5"),
        field("Cookie", OWN_COOKIE),
    ];
    let mut body = Bytes::new();
    if builtin {
        fields.push(field("Content-Type", "application/x-www-form-urlencoded"));
        body = Bytes::from_static(b"user=ada&password=my-secret-password");
    }
    let method = if builtin { Method::POST } else { Method::GET };
    Request { method, host: host.into(), target: "/?q=my-secret-search".into(), fields, body }
}

fn is_builtin(seen: &Seen, site: &Site) -> bool {
    let upstreams = &seen.snapshot.config.upstreams;
    let mut whole = site.routes.iter().filter(|route| route.path == PathPattern::Any && site.routes.len() == 1);
    whole.next().is_some_and(|route| match &route.action {
        Action::Forward(index) => upstreams
            .get(*index)
            .is_some_and(|upstream| upstream.servers.iter().all(|server| server.address == UpstreamAddress::Builtin)),
        _ => false,
    })
}
