//! Signals, and the way out.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::admin::AdminSocket;
use super::control::Control;

/// How often certificate files are looked at.
const LOOK: Duration = Duration::from_millis(500);

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
    usr1: Signal,
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
                usr1: signal(SignalKind::user_defined1())?,
            }
        };
        Ok(Signals { runtime, received })
    }

    /// Serves until TERM, INT or QUIT; then stops accepting and gives open requests the grace of the config to finish. A
    /// second signal ends at once. HUP reads the configuration again, USR1 opens the access log again.
    pub fn serve(self, mut control: Control) {
        let Signals { runtime, mut received } = self;
        let admin = control.open_admin();
        let local = tokio::task::LocalSet::new();
        let outputs = local.block_on(&runtime, async {
            received.control(&mut control, admin.as_ref()).await;
            let grace = control.snapshot().config.server.shutdown_grace;
            tracing::info!("stopping: no new connections, open requests have {grace:?}");
            let (workers, outputs) = control.stop();
            let finished = async {
                for worker in workers {
                    worker.finished().await;
                }
            };
            tokio::select! {
                () = finished => tracing::info!("stopped"),
                () = tokio::time::sleep(grace) => tracing::warn!("stopped: some requests did not finish within {grace:?}"),
                () = received.end() => tracing::warn!("stopped at once by a second signal"),
            }
            outputs
        });
        outputs.stop();
    }
}

impl Received {
    /// Does what signals, files and the administration socket ask for, until a signal asks for the end.
    async fn control(&mut self, control: &mut Control, admin: Option<&AdminSocket>) {
        let mut questions = admin.and_then(|admin| admin.serve().ok());
        let mut scrapes = control.serve_metrics();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.quit.recv() => return,
                // The log has said how it went.
                _ = self.hup.recv() => drop(control.reload()),
                _ = self.usr1.recv() => control.reopen_log(),
                Some(ask) = next(&mut questions) => {
                    // Whoever asked may have gone.
                    let _ = ask.reply.send(control.answer(ask.question).await);
                }
                Some(reply) = next(&mut scrapes) => {
                    let _ = reply.send(control.scrape().await);
                }
                _ = look.tick() => control.look_at_files(),
            }
        }
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// The next question; never, where there is no socket.
async fn next<T>(questions: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}
