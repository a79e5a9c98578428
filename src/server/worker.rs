//! A worker: one thread, one runtime, its own connections, pools and view; nothing of a request leaves it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::accept::{self, Door, Handed};
use crate::http::{Settings, Shared, connections::Connections};
use crate::net::clock;
use crate::proxy::{Proxy, access_log::AccessLog};
use crate::snapshot::{Snapshot, View};

/// How often pooled connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// How often a draining worker looks whether its last connection is gone.
const DRAIN_CHECK: Duration = Duration::from_millis(5);
/// Idle time of an HTTP/2 connection.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(180);

/// A running worker, as the control thread holds it.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    finished: oneshot::Receiver<()>,
}

/// What a worker is told.
pub(super) enum Command {
    /// A connection that another worker accepted and this one has more room for.
    Take(Handed),
    Drain,
}

/// The other workers, as each of them sees them: how busy, and how to hand over a connection.
pub(super) struct Peers {
    pub open: Vec<AtomicUsize>,
    pub commands: Vec<mpsc::UnboundedSender<Command>>,
}

impl Handle {
    pub fn drain(&self) {
        // A worker that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain);
    }

    pub async fn finished(self) {
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.finished.await;
    }
}

/// Starts one worker for each seat.
pub(super) fn spawn_all(
    seats: Vec<Vec<Door>>,
    snapshot: &Arc<Snapshot>,
    log: &Option<AccessLog>,
    max: usize,
) -> io::Result<Vec<Handle>> {
    let (commands, receivers): (Vec<_>, Vec<_>) = seats.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let open = seats.iter().map(|_| AtomicUsize::new(0)).collect();
    let peers = Arc::new(Peers { open, commands: commands.clone() });
    let mut handles = Vec::new();
    for (index, ((doors, receiver), sender)) in seats.into_iter().zip(receivers).zip(commands).enumerate() {
        let (done, finished) = oneshot::channel();
        let (snapshot, log, peers) = (snapshot.clone(), log.clone(), peers.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_unpark(clock::tick)
            .build()?;
        let work = move || {
            clock::tick();
            let seat = Seat { index, max, peers };
            LocalSet::new().block_on(&runtime, run(seat, doors, receiver, snapshot, log));
            // The control thread may be gone already.
            let _ = done.send(());
        };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
        handles.push(Handle { commands: sender, finished });
    }
    Ok(handles)
}

/// A worker's place among the others.
pub(super) struct Seat {
    pub index: usize,
    /// Connections this worker takes at most.
    pub max: usize,
    pub peers: Arc<Peers>,
}

async fn run(
    seat: Seat,
    doors: Vec<Door>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    snapshot: Arc<Snapshot>,
    log: Option<AccessLog>,
) {
    let defaults = snapshot.config.defaults;
    let settings = Settings { timeouts: defaults.timeouts, limits: defaults.limits, h2_keep_alive: H2_KEEP_ALIVE };
    let view = Rc::new(View::new(snapshot));
    let proxy = Proxy::new(view, log);
    let shared = Rc::new(Shared { handler: proxy, settings, connections: Connections::default() });
    let seat = Rc::new(seat);
    let (doors, accepting) = accept::start(doors, &seat, &shared);
    let sweeping = tokio::task::spawn_local({
        let shared = shared.clone();
        async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                shared.handler.view().sweep();
            }
        }
    });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Take(handed) => accept::take(handed, &doors, &seat, &shared),
            Command::Drain => break,
        }
    }
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    sweeping.abort();
    shared.connections.drain();
    while shared.connections.open() > 0 {
        tokio::time::sleep(DRAIN_CHECK).await;
    }
}

impl Seat {
    /// Says how busy this worker is.
    pub fn publish(&self, open: usize) {
        if let Some(own) = self.peers.open.get(self.index) {
            own.store(open, Ordering::Relaxed);
        }
    }
}
