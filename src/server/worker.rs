//! A worker: one thread, one runtime, its own connections, pools and view; nothing of a request leaves it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::accept::{self, Handed};
use super::doors::{Door, Hall};
use super::status::Report;
use crate::http::{Settings, Shared};
use crate::net::clock;
use crate::proxy::{Proxy, Sinks};
use crate::snapshot::{Snapshot, View};
use crate::upstream::Cluster;

/// How often pooled connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a worker may take to report.
const REPORT_WAIT: Duration = Duration::from_secs(1);
/// How often a draining worker looks whether its last connection is gone.
const DRAIN_CHECK: Duration = Duration::from_millis(5);
/// Idle time of an HTTP/2 connection.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(180);

/// A running worker, as the control thread holds it.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    finished: oneshot::Receiver<()>,
}

/// A question to a worker.
pub(super) struct Asked {
    report: oneshot::Receiver<Report>,
    until: Instant,
}

impl Asked {
    /// The answer; `None` when it does not come in time.
    pub async fn wait(self) -> Option<Report> {
        tokio::time::timeout_at(self.until, self.report).await.ok()?.ok()
    }
}

/// What a worker is told.
pub(super) enum Command {
    /// A connection that another worker accepted and this one has more room for.
    Take(Handed),
    /// A new generation of the config.
    Adopt(Box<Generation>),
    Report(oneshot::Sender<Report>),
    Drain,
}

/// A generation of the config, as one worker gets it.
pub(super) struct Generation {
    pub snapshot: Arc<Snapshot>,
    pub sinks: Option<Sinks>,
    /// All its doors; new ones bring a socket.
    pub doors: Vec<Door>,
}

/// The other workers, as each of them sees them: how busy, and how to hand over a connection.
pub(super) struct Peers {
    pub open: Vec<AtomicUsize>,
    pub commands: Vec<mpsc::UnboundedSender<Command>>,
}

impl Handle {
    /// Hands the worker a new generation.
    pub fn adopt(&self, generation: Generation) {
        // A worker that is gone serves nothing.
        let _ = self.commands.send(Command::Adopt(Box::new(generation)));
    }

    /// Asks the worker how it is.
    pub fn ask(&self) -> Asked {
        let (reply, report) = oneshot::channel();
        // A worker that is gone drops the question, which is no answer.
        let _ = self.commands.send(Command::Report(reply));
        Asked { report, until: Instant::now() + REPORT_WAIT }
    }

    pub fn drain(&self) {
        // A worker that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain);
    }

    pub async fn finished(self) {
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.finished.await;
    }
}

/// Starts one worker for each of the given first generations.
pub(super) fn spawn_all(generations: Vec<Generation>, max: usize) -> io::Result<Vec<Handle>> {
    let (commands, receivers): (Vec<_>, Vec<_>) = generations.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let open = generations.iter().map(|_| AtomicUsize::new(0)).collect();
    let peers = Arc::new(Peers { open, commands: commands.clone() });
    let mut handles = Vec::new();
    for (index, ((first, receiver), sender)) in generations.into_iter().zip(receivers).zip(commands).enumerate() {
        let (done, finished) = oneshot::channel();
        let peers = peers.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_unpark(clock::tick)
            .build()?;
        let work = move || {
            clock::tick();
            let seat = Seat { index, max, peers };
            LocalSet::new().block_on(&runtime, run(seat, first, receiver));
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

async fn run(seat: Seat, first: Generation, mut commands: mpsc::UnboundedReceiver<Command>) {
    let Generation { snapshot, sinks, doors } = first;
    let settings = settings(&snapshot);
    let shared = Rc::new(Shared::new(Proxy::new(Rc::new(View::new(snapshot)), sinks), settings));
    let hall = Hall::new(seat, shared.clone());
    hall.adopt(doors, shared.clone());
    let sweeping = tokio::task::spawn_local({
        let proxy = shared.handler.clone();
        async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                proxy.view().sweep();
            }
        }
    });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Take(handed) => accept::take(handed, &hall),
            Command::Adopt(generation) => adopt(*generation, &hall),
            Command::Report(reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(report(&hall));
            }
            Command::Drain => break,
        }
    }
    hall.close();
    sweeping.abort();
    shared.connections.drain();
    while shared.connections.open() > 0 {
        tokio::time::sleep(DRAIN_CHECK).await;
    }
}

/// Requests that begin from here on meet the new generation, on open connections too; those that have begun keep theirs.
fn adopt(generation: Generation, hall: &Rc<Hall>) {
    let Generation { snapshot, sinks, doors } = generation;
    let before = hall.shared();
    let settings = settings(&snapshot);
    let view = View::after(&before.handler.view(), snapshot);
    before.handler.adopt(Rc::new(view), sinks);
    let shared = Shared { handler: before.handler.clone(), settings, connections: before.connections.clone() };
    hall.adopt(doors, Rc::new(shared));
}

fn report(hall: &Hall) -> Report {
    let shared = hall.shared();
    let view = shared.handler.view();
    let servers = |cluster: &Cluster| cluster.endpoints.iter().map(|endpoint| endpoint.state()).collect();
    Report {
        connections: shared.connections.open(),
        tally: shared.handler.tally().clone(),
        upstreams: view.clusters.iter().map(servers).collect(),
    }
}

fn settings(snapshot: &Snapshot) -> Settings {
    let defaults = snapshot.config.defaults;
    Settings { timeouts: defaults.timeouts, limits: defaults.limits, h2_keep_alive: H2_KEEP_ALIVE }
}

impl Seat {
    /// Says how busy this worker is.
    pub fn publish(&self, open: usize) {
        if let Some(own) = self.peers.open.get(self.index) {
            own.store(open, Ordering::Relaxed);
        }
    }
}
