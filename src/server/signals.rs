//! The control thread's loop: signals, the administration socket, files, and the way out.

use std::io;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

use super::admin::{AdminSocket, Ask, Asker, Question, Reply};
use super::control::Control;
use super::inherited::Inherited;
use super::outputs::Outputs;
use super::upgrade::{Program, Upgrade};
use super::worker::{self, Handle};
use crate::http::connections::Haste;

/// What is asked of the control thread, and how to ask.
type Questions = (Asker, mpsc::Receiver<Ask>);

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
    usr2: Signal,
}

/// Why the loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Signal,
    /// Another process serves on the same sockets.
    Upgraded,
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
                usr2: signal(SignalKind::user_defined2())?,
            }
        };
        Ok(Signals { runtime, received })
    }

    /// Serves until TERM, INT or QUIT, or until another process has taken over; then lets open requests finish. A second
    /// signal ends at once. HUP reads the configuration again, USR1 opens the access log again, USR2 upgrades.
    pub fn serve(
        self,
        mut control: Control,
        admin: Option<AdminSocket>,
        inherited: Inherited,
        (asker, questions): Questions,
    ) {
        let Signals { runtime, mut received } = self;
        let program = Program::this();
        let local = tokio::task::LocalSet::new();
        let outputs = local.block_on(&runtime, async {
            if let Some(admin) = &admin {
                // It was bound and is listened on; a runtime without room for it serves without.
                let _ = admin.serve(asker.0);
            }
            inherited.ready();
            control.systemd.ready(&control.one_line());
            match received.control(&mut control, admin.as_ref(), questions, program.as_ref()).await {
                End::Signal => received.stop(control).await,
                End::Upgraded => {
                    if let Some(admin) = &admin {
                        admin.answered().await;
                    }
                    received.retire(control).await
                }
            }
        });
        outputs.stop();
    }
}

impl Received {
    /// Does what signals, files and the administration socket ask for, until there is a reason to end.
    async fn control(
        &mut self,
        control: &mut Control,
        admin: Option<&AdminSocket>,
        mut questions: mpsc::Receiver<Ask>,
        program: Option<&Program>,
    ) -> End {
        let mut fallen = control.take_fallen();
        let mut scrapes = control.serve_metrics();
        let mut look = interval(LOOK);
        let mut watchdog = control.systemd.watchdog().map(interval);
        let mut upgrade: Option<Upgrade> = None;
        // Who has asked for the upgrade, when it was not a signal.
        let mut asked: Option<oneshot::Sender<Reply>> = None;
        loop {
            tokio::select! {
                _ = self.term.recv() => return ended(upgrade),
                _ = self.int.recv() => return ended(upgrade),
                _ = self.quit.recv() => return ended(upgrade),
                _ = self.hup.recv() => match &upgrade {
                    // The log says how it went.
                    None => drop(control.reload(None)),
                    Some(_) => tracing::error!("not reloaded: {}", UPGRADING.trim_end()),
                },
                _ = self.usr1.recv() => control.reopen_log(),
                _ = self.usr2.recv() => upgrade = begin(upgrade, control, admin, program, &mut None),
                // None: nobody is left who could ask.
                Some(ask) = questions.recv() => match ask.question {
                    Question::Upgrade => {
                        let mut reply = Some(ask.reply);
                        upgrade = begin(upgrade, control, admin, program, &mut reply);
                        asked = asked.or(reply);
                    }
                    question if upgrade.is_some() && !matches!(question, Question::Status | Question::Look) => {
                        tell(&mut Some(ask.reply), Reply::Refused(UPGRADING.into()));
                    }
                    question => tell(&mut Some(ask.reply), control.answer(question).await),
                },
                outcome = outcome(&mut upgrade) => {
                    let pid = upgrade.take().map_or(0, |upgrade| upgrade.pid());
                    match outcome {
                        Ok(()) => {
                            control.systemd.main_process(pid);
                            tracing::info!("upgraded: process {pid} serves, this one ends after its open requests");
                            tell(&mut asked, Reply::Done(format!("process {pid} serves\n")));
                            if let Some(admin) = admin {
                                admin.leave();
                            }
                            return End::Upgraded;
                        }
                        Err(problem) => {
                            tracing::error!("not upgraded, this process serves on:\n{}", problem.trim_end());
                            tell(&mut asked, Reply::Refused(problem));
                        }
                    }
                }
                Some(worker) = fallen.recv() => control.raise(worker),
                () = control.trial_ends() => control.end_trial(),
                () = tick(&mut watchdog) => control.watchdog().await,
                Some(reply) = next(&mut scrapes) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(control.scrape().await);
                }
                _ = look.tick() => {
                    control.open_metrics();
                    if upgrade.is_none() {
                        control.look_at_config();
                    }
                    control.look_at_files();
                }
            }
        }
    }

    /// Lets the balancers in front know, then stops accepting and gives open requests the grace of the config.
    async fn stop(&mut self, control: Control) -> Outputs {
        let server = control.snapshot().config.server;
        control.systemd.stopping("open requests finish");
        if let Some(delay) = server.shutdown_delay {
            tracing::info!("stopping in {delay:?}: health checks say so from now on");
            control.not_ready();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.end() => {
                    tracing::warn!("stopped at once by a second signal");
                    let (mut workers, outputs) = control.stop(Haste::Now);
                    worker::cut(&mut workers).await;
                    return outputs;
                }
            }
        }
        let grace = server.shutdown_grace;
        tracing::info!("stopping: no new connections, open requests have {grace:?}");
        let (mut workers, outputs) = control.stop(Haste::Now);
        self.drain(&mut workers, grace).await;
        outputs
    }

    /// Another process accepts on the same sockets: open requests and tunnels have all the time a generation has.
    async fn retire(&mut self, control: Control) -> Outputs {
        let server = control.snapshot().config.server;
        let (mut workers, outputs) = control.stop(Haste::Gently);
        tokio::select! {
            () = finished(&mut workers) => tracing::info!("ended: another process serves"),
            () = tokio::time::sleep(server.generation_grace) => {
                tracing::warn!("ended: some requests did not finish within {:?}", server.generation_grace);
                worker::cut(&mut workers).await;
            }
            () = self.end() => {
                let grace = server.shutdown_grace;
                workers.iter().for_each(|worker| worker.drain(Haste::Now));
                self.drain(&mut workers, grace).await;
            }
        }
        outputs
    }

    async fn drain(&mut self, workers: &mut [Handle], grace: Duration) {
        tokio::select! {
            () = finished(workers) => return tracing::info!("stopped"),
            () = tokio::time::sleep(grace) => tracing::warn!("stopped: some requests did not finish within {grace:?}"),
            () = self.end() => tracing::warn!("stopped at once by a second signal"),
        }
        worker::cut(workers).await;
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

const UPGRADING: &str = "an upgrade is under way\n";

/// Starts the new process, unless one is starting already. Whoever has asked hears what stands in the way.
fn begin(
    under_way: Option<Upgrade>,
    control: &Control,
    admin: Option<&AdminSocket>,
    program: Option<&Program>,
    asked: &mut Option<oneshot::Sender<Reply>>,
) -> Option<Upgrade> {
    if under_way.is_some() {
        tell(asked, Reply::Refused(UPGRADING.into()));
        return under_way;
    }
    let began = control.no_trial().and_then(|()| match program {
        Some(program) if control.is_readable() => Upgrade::begin(program, &control.doors, admin),
        _ => Err("this command has nothing to start anew: upgrades are for `vestibule run`\n".into()),
    });
    match began {
        Ok(upgrade) => {
            tracing::info!("upgrade: process {} starts", upgrade.pid());
            Some(upgrade)
        }
        Err(problem) => {
            tracing::error!("not upgraded, this process serves on:\n{}", problem.trim_end());
            tell(asked, Reply::Refused(problem));
            None
        }
    }
}

/// A process that has not taken over ends with this one.
fn ended(upgrade: Option<Upgrade>) -> End {
    if let Some(mut upgrade) = upgrade {
        upgrade.end();
    }
    End::Signal
}

async fn finished(workers: &mut [Handle]) {
    for worker in workers {
        worker.finished().await;
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The next tick; never, where there is no interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// How an upgrade went; never, where there is none.
async fn outcome(upgrade: &mut Option<Upgrade>) -> Result<(), String> {
    match upgrade {
        Some(upgrade) => upgrade.outcome().await,
        None => std::future::pending().await,
    }
}

/// Answers whoever has asked, once.
fn tell(asked: &mut Option<oneshot::Sender<Reply>>, reply: Reply) {
    if let Some(asked) = asked.take() {
        // They may have gone.
        let _ = asked.send(reply);
    }
}

/// The next question; never, where there is no queue.
async fn next<T>(questions: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}
