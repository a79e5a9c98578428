//! Signals, and the way out.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::admin::{Ask, Asker};
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
    pub fn serve(self, mut control: Control, asker: Asker, mut questions: mpsc::Receiver<Ask>) {
        let Signals { runtime, mut received } = self;
        let admin = control.open_admin();
        let local = tokio::task::LocalSet::new();
        let writer = local.block_on(&runtime, async {
            if let Some(admin) = &admin {
                // It was bound and is listened on; a runtime without room for it serves without.
                let _ = admin.serve(asker.0);
            }
            received.control(&mut control, &mut questions).await;
            let grace = control.snapshot().config.server.shutdown_grace;
            tracing::info!("stopping: no new connections, open requests have {grace:?}");
            let (workers, writer) = control.stop();
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
            writer
        });
        if let Some(writer) = writer {
            writer.stop();
        }
    }
}

impl Received {
    /// Does what signals, files and the administration socket ask for, until a signal asks for the end.
    async fn control(&mut self, control: &mut Control, questions: &mut mpsc::Receiver<Ask>) {
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
                // None: nobody is left who could ask.
                Some(ask) = questions.recv() => {
                    // Whoever asked may have gone.
                    let _ = ask.reply.send(control.answer(ask.question).await);
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
