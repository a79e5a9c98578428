//! The inspector: the difference between HTTP and HTTPS on the user's own traffic, as a page for this machine.
//!
//! A thread of its own with its own runtime serves it; workers only hand it entries ([`crate::inspect`]), and the control
//! thread says how the process is. Nothing here can change anything: there is no route that writes.

mod events;
mod guard;
mod handler;
mod page;
mod posture;
mod probe;
mod ring;
mod words;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use self::handler::Handler;
use crate::config::{self, Defaults};
use crate::http::serve::{self, Protocols};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Rare, Settings, Shared};
use crate::net::{Io, Socket};
use crate::server::Asker;
use crate::snapshot::Snapshot;

/// Connections at once; a browser opens six.
const CONNECTIONS: usize = 32;
/// Idle time of a connection.
const IDLE: Duration = Duration::from_secs(60);
/// How long accepting rests when there is no room.
const REST: Duration = Duration::from_millis(50);

/// A page whose address is open, and which nobody serves yet.
pub struct Inspector {
    listener: std::net::TcpListener,
    address: SocketAddr,
    token: String,
}

impl Inspector {
    /// Opens the address. With `any_port` a port of the system's choice will do where the wanted one is taken.
    ///
    /// # Errors
    /// The address cannot be had, or the system has no random numbers.
    pub fn open(settings: &config::Inspector, any_port: bool) -> io::Result<Inspector> {
        let listener = match std::net::TcpListener::bind(settings.listen) {
            Err(_) if any_port => std::net::TcpListener::bind(SocketAddr::new(settings.listen.ip(), 0))?,
            listener => listener?,
        };
        listener.set_nonblocking(true)?;
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Inspector { address: listener.local_addr()?, listener, token })
    }

    /// The address to open, with the token.
    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token)
    }

    /// Serves on a thread that ends with the process.
    ///
    /// # Errors
    /// There is no thread or runtime to be had.
    pub fn start(self, snapshot: &Snapshot, asker: Asker) -> io::Result<()> {
        let recorder = snapshot.recorder.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let work = move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let handler = Handler::new(self.token, recorder, asker);
                if let Err(error) = accept(self.listener, self.address, handler).await {
                    tracing::error!("the inspector: {error}");
                }
            });
        };
        std::thread::Builder::new().name("inspector".into()).spawn(work)?;
        Ok(())
    }
}

async fn accept(listener: std::net::TcpListener, local: SocketAddr, handler: Handler) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut defaults = Defaults::default();
    defaults.timeouts.keep_alive = Some(IDLE);
    defaults.limits.body = Some(0);
    let settings = Settings { timeouts: defaults.timeouts, limits: defaults.limits, h2_keep_alive: IDLE };
    handler.gather();
    let shared = Rc::new(Shared::new(Rare::new(handler), settings));
    loop {
        if shared.connections.open() >= CONNECTIONS {
            tokio::time::sleep(REST).await;
            continue;
        }
        // Out of descriptors: the workers need them more.
        let Ok((tcp, peer)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            let place = shared.connections.enter();
            let conn = Rc::new(ConnInfo::new(peer, local, 0, None));
            serve::connection(Wire::new(Io::Tcp(Socket::new(tcp))), conn, &shared, Protocols { h1: true, h2: false })
                .await;
            drop(place);
        });
    }
}
