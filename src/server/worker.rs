//! A worker: one thread, one runtime, its own connections, pools and view; nothing of a request leaves it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};

use super::accept::{self, Handed};
use super::doors::{Door, Hall};
use super::endings;
use super::status::Report;
use crate::http::connections::Haste;
use crate::http::{Settings, Shared};
use crate::net::clock;
use crate::proxy::{Proxy, Sinks, access_log};
use crate::snapshot::{Snapshot, View};
use crate::upstream::Cluster;

/// How often pooled connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a worker may take to report.
const REPORT_WAIT: Duration = Duration::from_secs(1);
/// How often a draining worker looks whether its last connection is gone.
const DRAIN_CHECK: Duration = Duration::from_millis(5);
/// How long the last requests may take to end when they are cut.
const CUT_WAIT: Duration = Duration::from_millis(500);
/// How long a worker that cannot begin anew waits before it tries again.
const BUILD_AGAIN: Duration = Duration::from_millis(100);
/// Idle time of an HTTP/2 connection.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(180);

/// A running worker, as the control thread holds it.
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    /// `None` once it was seen.
    finished: Option<oneshot::Receiver<()>>,
}

/// What a worker is told.
pub(super) enum Command {
    /// A connection that another worker accepted and this one has more room for.
    Take(Handed),
    /// A new generation of the config.
    Adopt(Box<Generation>),
    Report(oneshot::Sender<Report>),
    Drain(Haste),
    /// Requests that are left end now, so that each has its record.
    Cut,
    /// This machine is about to stop taking traffic: a health check says so.
    NotReady,
    #[cfg(test)]
    Panic,
}

/// A generation of the config, as one worker gets it.
pub(super) struct Generation {
    pub snapshot: Arc<Snapshot>,
    pub sinks: Option<Sinks>,
    /// All its doors; new ones bring their sockets.
    pub doors: Vec<Door>,
    /// For a worker that begins anew: every door brings its sockets.
    pub first: bool,
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

    /// Asks the worker how it is; `None` when it does not answer in time.
    pub fn report(&self) -> impl Future<Output = Option<Report>> {
        let (reply, report) = oneshot::channel();
        // Asked at once, so that many are asked together.
        self.tell(Command::Report(reply));
        async { tokio::time::timeout(REPORT_WAIT, report).await.ok()?.ok() }
    }

    /// Stops accepting; connections end as `haste` says. More haste may follow.
    pub fn drain(&self, haste: Haste) {
        self.tell(Command::Drain(haste));
    }

    /// Health checks get a 503 from here on.
    pub fn not_ready(&self) {
        self.tell(Command::NotReady);
    }

    pub(super) fn tell(&self, command: Command) {
        // A worker that is gone has nothing to do.
        let _ = self.commands.send(command);
    }

    pub async fn finished(&mut self) {
        if let Some(finished) = &mut self.finished {
            // An error means that the thread is gone, which is what is waited for.
            let _ = finished.await;
            self.finished = None;
        }
    }
}

/// Ends the requests that are left on workers that drain, and gives their records time to be written.
pub(super) async fn cut(workers: &mut [Handle]) {
    workers.iter().for_each(|worker| worker.tell(Command::Cut));
    let finished = async {
        for worker in workers {
            worker.finished().await;
        }
    };
    let _ = tokio::time::timeout(CUT_WAIT, finished).await;
}

/// Starts one worker for each of the given first generations. One that has panicked outside of its connections says its
/// number on `fallen` and waits for a generation to begin anew with.
pub(super) fn spawn_all(
    generations: Vec<Generation>,
    max: usize,
    fallen: &mpsc::UnboundedSender<usize>,
) -> io::Result<Vec<Handle>> {
    let (commands, receivers): (Vec<_>, Vec<_>) = generations.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let open = generations.iter().map(|_| AtomicUsize::new(0)).collect();
    let peers = Arc::new(Peers { open, commands: commands.clone() });
    let mut handles = Vec::new();
    for (index, ((first, mut receiver), sender)) in generations.into_iter().zip(receivers).zip(commands).enumerate() {
        let (done, finished) = oneshot::channel();
        let (peers, fallen) = (peers.clone(), fallen.clone());
        let (built, first_built) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            let (mut next, mut built) = (Some(first), Some(built));
            while let Some(generation) = next.take() {
                let Some(runtime) = runtime(&mut built) else { return };
                clock::tick();
                let seat = Seat { index, max, peers: peers.clone() };
                // Nothing of a life that has panicked is looked at again: what is shared with others are atomics and queues.
                let life = AssertUnwindSafe(|| runtime.block_on(run(seat, generation, &mut receiver)));
                let fell = catch_unwind(life).is_err();
                // All tasks end here. A name that is still looked up holds nobody.
                runtime.shutdown_background();
                access_log::keep_no_more();
                if fell {
                    Seat { index, max, peers: peers.clone() }.publish(0);
                    // The control thread may be gone already, here and below.
                    let _ = fallen.send(index);
                    next = first_again(&mut receiver);
                }
            }
            let _ = done.send(());
        };
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(work)?;
        // Without a word the thread has panicked, which it says itself.
        first_built.recv().unwrap_or_else(|_| Err(io::Error::other("a worker could not begin")))?;
        handles.push(Handle { commands: sender, finished: Some(finished) });
    }
    Ok(handles)
}

/// The runtime of one life of a worker. It serves this thread only, so that its tasks have one queue. Whether the first one
/// could be built is told to whoever starts the worker, which does not begin without; a later one is tried until it is there.
fn runtime(built: &mut Option<std::sync::mpsc::SyncSender<io::Result<()>>>) -> Option<LocalRuntime> {
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_unpark(clock::tick)
            .build_local(LocalOptions::default());
        let tell = built.take();
        // Whoever starts it waits for the word.
        let tell = |word| tell.map(|tell| tell.send(word));
        match runtime {
            Ok(runtime) => {
                tell(Ok(()));
                return Some(runtime);
            }
            Err(error) => {
                tracing::error!("a worker cannot begin: {error}");
                if tell(Err(error)).is_some() {
                    return None;
                }
                std::thread::sleep(BUILD_AGAIN);
            }
        }
    }
}

/// The generation that a worker begins anew with; `None`: it is not to begin again. What it was told meanwhile is in it.
fn first_again(commands: &mut mpsc::UnboundedReceiver<Command>) -> Option<Generation> {
    loop {
        match commands.blocking_recv()? {
            Command::Adopt(generation) if generation.first => return Some(*generation),
            Command::Drain(_) => return None,
            _ => {}
        }
    }
}

/// A worker's place among the others.
pub(super) struct Seat {
    pub index: usize,
    /// Connections this worker takes at most.
    pub max: usize,
    pub peers: Arc<Peers>,
}

async fn run(seat: Seat, first: Generation, commands: &mut mpsc::UnboundedReceiver<Command>) {
    let Generation { snapshot, sinks, doors, .. } = first;
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
    tokio::task::spawn_local(access_log::keep());
    while let Some(command) = commands.recv().await {
        if obey(command, &hall) {
            break;
        }
    }
    // What others have handed over before they stopped accepting too is served to its end.
    loop {
        while let Ok(command) = commands.try_recv() {
            obey(command, &hall);
        }
        if hall.busy() == 0 {
            if commands.is_closed() && commands.is_empty() {
                break;
            }
            // From here on others keep what they would hand over.
            commands.close();
            continue;
        }
        tokio::time::sleep(DRAIN_CHECK).await;
    }
    sweeping.abort();
}

/// Does what a worker is told, and says whether it is to stop accepting.
fn obey(command: Command, hall: &Rc<Hall>) -> bool {
    match command {
        Command::Take(handed) => accept::take(handed, hall),
        // A first generation is for a worker that has lost its own.
        Command::Adopt(generation) => adopt(*generation, hall),
        Command::Report(reply) => {
            // Whoever asked may have given up.
            let _ = reply.send(report(hall));
        }
        Command::NotReady => hall.shared().handler.not_ready(),
        Command::Drain(haste) => {
            hall.close();
            hall.shared().connections.drain(haste);
            return true;
        }
        Command::Cut => endings::end_all(hall),
        #[cfg(test)]
        Command::Panic => panic!("a worker falls"),
    }
    false
}

/// Requests that begin from here on meet the new generation, on open connections too; those that have begun keep theirs, for
/// a while where it has changed what they depend on.
fn adopt(generation: Generation, hall: &Rc<Hall>) {
    let Generation { snapshot, sinks, doors, .. } = generation;
    let before = hall.shared();
    let settings = settings(&snapshot);
    let grace = snapshot.config.server.generation_grace;
    let (view, mut gone) = View::after(&before.handler.view(), snapshot);
    before.handler.adopt(Rc::new(view), sinks);
    let shared = before.with(settings);
    gone.extend(hall.adopt(doors, Rc::new(shared)));
    endings::end_after(hall, gone, grace);
}

fn report(hall: &Hall) -> Report {
    let shared = hall.shared();
    let view = shared.handler.view();
    let servers = |cluster: &Cluster| cluster.endpoints.iter().map(|endpoint| endpoint.state()).collect();
    Report {
        connections: shared.connections.open(),
        speaking: shared.connections.speaking(),
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
