//! Signals, and the way out.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::worker::Handle;

/// The handlers, installed before anything else: without them a container's first process would ignore TERM.
pub struct Signals {
    runtime: Runtime,
    received: Received,
}

struct Received {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
}

impl Signals {
    pub fn install() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let received = {
            let _inside = runtime.enter();
            Received {
                term: signal(SignalKind::terminate())?,
                int: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                hup: signal(SignalKind::hangup())?,
            }
        };
        Ok(Signals { runtime, received })
    }

    /// Waits for TERM, INT or QUIT; then stops accepting and gives open requests `grace` to finish. A second signal ends
    /// at once.
    pub fn wait_and_drain(self, workers: Vec<Handle>, grace: Duration) {
        let Signals { runtime, mut received } = self;
        runtime.block_on(async {
            received.wait().await;
            tracing::info!("stopping: no new connections, open requests have {grace:?}");
            workers.iter().for_each(Handle::drain);
            let finished = async {
                for worker in workers {
                    worker.finished().await;
                }
            };
            tokio::select! {
                () = finished => tracing::info!("stopped"),
                () = tokio::time::sleep(grace) => tracing::warn!("stopped: some requests did not finish within {grace:?}"),
                () = received.wait() => tracing::warn!("stopped at once by a second signal"),
            }
        });
    }
}

impl Received {
    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.quit.recv() => return,
                // The default action would end the process.
                _ = self.hup.recv() => tracing::warn!("SIGHUP: this version cannot reload; the old config stays"),
            }
        }
    }
}
