//! The listener of `[metrics]`: it asks the control thread, which sums up the workers' counters. Nothing of it touches a
//! worker's requests.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::status::Report;
use crate::config::{BindAddress, Config, Defaults};
use crate::error::Why;
use crate::http::respond::{self, Format};
use crate::http::serve::{self, Protocols};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Handler, Rare, Request, Response, Settings, Shared};
use crate::message::Method;
use crate::metrics::{Acme, Certificate, Scrape, Server};
use crate::net::listener::{self, BindError};
use crate::net::{Io, Socket};
use crate::snapshot::Snapshot;
use crate::tls::{CertFacts, CertStore, Provenance};
use crate::upstream::{ServerState, Shared as SharedServers, State};

/// Scrapes that may wait for the control thread.
const QUEUE: usize = 16;
/// Connections at a time.
const MOST: usize = 64;
/// Idle time of a connection here: longer than the usual time between two scrapes.
const IDLE: Duration = Duration::from_secs(90);

/// A scrape that waits for its text.
pub(super) type Asked = oneshot::Sender<String>;

/// The listener, where there is one, and the scrapes it takes.
pub(super) struct Door {
    asks: mpsc::Sender<Asked>,
    open: Option<Open>,
}

struct Open {
    address: BindAddress,
    /// Until it is served.
    socket: Option<TcpListener>,
    serving: Option<JoinHandle<()>>,
}

impl Door {
    /// A closed door, and where scrapes come out.
    pub fn new() -> (Door, mpsc::Receiver<Asked>) {
        let (asks, asked) = mpsc::channel(QUEUE);
        (Door { asks, open: None }, asked)
    }

    /// Binds the listener of a config where it is another than the open one.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn bind(&self, config: &Config) -> Result<Option<TcpListener>, BindError> {
        let Some(settings) = config.metrics else { return Ok(None) };
        if self.open.as_ref().is_some_and(|open| open.address == settings.listen) {
            return Ok(None);
        }
        Ok(listener::bind(settings.listen, 1)?.pop())
    }

    /// Puts what [`Door::bind`] has bound in place, and closes what the config has no more.
    pub fn adopt(&mut self, config: &Config, bound: Option<TcpListener>) {
        if config.metrics.is_none() || bound.is_some() {
            self.close();
        }
        if let (Some(settings), Some(socket)) = (config.metrics, bound) {
            self.open = Some(Open { address: settings.listen, socket: Some(socket), serving: None });
        }
    }

    /// Begins to answer, inside the control thread's runtime.
    pub fn serve(&mut self) {
        let Some(open) = &mut self.open else { return };
        let Some(socket) = open.socket.take() else { return };
        match tokio::net::TcpListener::from_std(socket) {
            Ok(listener) => open.serving = Some(tokio::task::spawn_local(accept(listener, self.asks.clone()))),
            Err(error) => tracing::error!("metrics: {error}"),
        }
    }

    /// Stops listening: another process may want the address.
    pub fn close(&mut self) {
        if let Some(Open { serving: Some(serving), .. }) = self.open.take() {
            serving.abort();
        }
    }

    /// The address that is listened on.
    pub fn address(&self) -> Option<String> {
        Some(self.open.as_ref()?.address.to_string())
    }
}

async fn accept(listener: tokio::net::TcpListener, asks: mpsc::Sender<Asked>) {
    let mut defaults = Defaults::default();
    defaults.timeouts.keep_alive = Some(IDLE);
    let settings = Settings { timeouts: defaults.timeouts, limits: defaults.limits, h2_keep_alive: IDLE };
    let shared = Rc::new(Shared::new(Rare::new(Scrapes { asks }), settings));
    let local = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) if shared.connections.open() < MOST => {
                let shared = shared.clone();
                tokio::task::spawn_local(async move {
                    let _place = shared.connections.enter();
                    let conn = Rc::new(ConnInfo::new(peer, local, 0, None));
                    serve::connection(
                        Wire::new(Io::Tcp(Socket::new(tcp))),
                        conn,
                        &shared,
                        Protocols { h1: true, h2: false },
                    )
                    .await;
                });
            }
            Ok(_) => {}
            // Out of descriptors: the workers need them more.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Scrapes {
    asks: mpsc::Sender<Asked>,
}

impl Handler for Scrapes {
    async fn handle(&self, request: Request) -> Box<Response> {
        let text = "text/plain; charset=utf-8";
        let head = &request.head;
        if !matches!(head.method, Method::GET | Method::HEAD) || head.path() != b"/metrics" {
            return respond::own(404, text, "GET /metrics\n".into());
        }
        let (reply, answer) = oneshot::channel();
        if self.asks.send(reply).await.is_err() {
            return respond::own(503, text, "stopping\n".into());
        }
        match answer.await {
            Ok(metrics) => respond::own(200, Scrape::CONTENT_TYPE, metrics.into()),
            Err(_) => respond::own(503, text, "stopping\n".into()),
        }
    }

    fn refuse(&self, _: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        respond::error(why, Format::Text, "-")
    }
}

/// The servers of each upstream, summed over the workers that answered.
pub(super) fn servers(config: &Config, shared: &[Arc<SharedServers>], reports: &[Option<Report>]) -> Vec<Server> {
    let mut servers = Vec::new();
    for (index, upstream) in config.upstreams.iter().enumerate() {
        for (number, server) in upstream.servers.iter().enumerate() {
            let states = reports.iter().flatten().filter_map(|report| report.upstreams.get(index)?.get(number));
            let sum = states.fold(ServerState::default(), |sum, state| sum.and(*state));
            servers.push(Server {
                upstream: upstream.name.clone(),
                address: server.address.to_string(),
                in_flight: sum.in_flight as u64,
                idle: sum.idle as u64,
                up: u64::from(
                    shared.get(index).and_then(|shared| shared.state(number, upstream)).is_some_and(State::is_up),
                ),
                stale: sum.stale,
            });
        }
    }
    // A server that stands twice in its upstream would be a series twice.
    servers.sort_by(|a, b| (&a.upstream, &a.address).cmp(&(&b.upstream, &b.address)));
    servers.dedup_by(|b, a| {
        let same = (&a.upstream, &a.address) == (&b.upstream, &b.address);
        if same {
            (a.in_flight, a.idle) = (a.in_flight + b.in_flight, a.idle + b.idle);
            (a.up, a.stale) = (a.up.min(b.up), a.stale + b.stale);
        }
        same
    });
    servers
}

/// When the certificates of sites end. Reading one costs more than the rest of a scrape, so each is read once.
#[derive(Default)]
pub(super) struct Expiry {
    known: HashMap<usize, (Arc<CertifiedKey>, Option<i64>)>,
}

impl Expiry {
    fn not_after(&mut self, key: &Arc<CertifiedKey>) -> Option<i64> {
        // The key is kept, so no other can come to stand in its place.
        let read = || key.cert.first().and_then(|leaf| CertFacts::of(leaf).ok()).map(|facts| facts.not_after);
        self.known.entry(Arc::as_ptr(key) as usize).or_insert_with(|| (key.clone(), read())).1
    }

    /// Forgets certificates that nobody serves any more.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    pub fn certificates(&mut self, config: &Config, certs: Option<&CertStore>) -> Vec<Certificate> {
        let Some(certs) = certs else { return Vec::new() };
        let of = |site: &crate::config::Site| {
            let host = site.host.to_string();
            let (key, source) = match certs.provenance(&host)? {
                Provenance::File(key) => (key, "file"),
                Provenance::Acme(cert) => (cert.key()?, "acme"),
                Provenance::DevCa => return None,
            };
            Some(Certificate { site: host, source, not_after: self.not_after(&key)? })
        };
        config.sites.iter().filter_map(of).collect()
    }
}

/// The sites that the TLS doors refuse, since their files cannot be used.
pub(super) fn unusable(snapshot: &Snapshot) -> Vec<String> {
    let sites = snapshot.config.sites.iter().filter(|site| snapshot.unusable(site).is_some());
    sites.map(|site| site.host.to_string()).collect()
}

/// The certificates that ACME looks after.
pub(super) fn acme(certs: Option<&CertStore>) -> Vec<Acme> {
    let certs = certs.map_or(&[][..], |certs| certs.managed());
    let of = |cert: &Arc<crate::tls::ManagedCert>| Acme {
        site: cert.names().first().cloned().unwrap_or_default(),
        ready: cert.key().is_some(),
        orders: cert.orders(),
    };
    certs.iter().map(of).collect()
}
