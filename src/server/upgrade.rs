//! A new process takes the place of this one: another binary, another version, the same sockets. While it starts, this
//! one serves on; when it cannot, nothing has changed.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;

use super::BoundDoor;
use super::admin::AdminSocket;
use super::handover::{Handover, VARIABLE};
use super::inherited::ADMIN;

/// How long the new process may take to serve.
const LIMIT: Duration = Duration::from_secs(60);

/// The program and how it was called, noted at the start: the file may have been replaced since.
#[derive(Debug)]
pub(super) struct Program {
    file: PathBuf,
}

impl Program {
    pub fn this() -> Option<Program> {
        std::env::current_exe().ok().map(|file| Program { file })
    }
}

/// A new process that starts.
pub(super) struct Upgrade {
    child: Child,
    outcome: oneshot::Receiver<Result<(), String>>,
}

impl Upgrade {
    /// Starts the program anew and hands it the listening sockets.
    ///
    /// # Errors
    /// It cannot be started, in words.
    pub fn begin(program: &Program, doors: &[BoundDoor], admin: Option<&AdminSocket>) -> Result<Upgrade, String> {
        if std::process::id() == 1 {
            return Err(
                "process 1 of a container cannot be replaced, the container would end with it: start a new one\n"
                    .into(),
            );
        }
        let (ours, theirs) = Handover::pair(LIMIT).map_err(|error| format!("{error}\n"))?;
        let mut command = Command::new(&program.file);
        command.args(std::env::args_os().skip(1)).env(VARIABLE, std::process::id().to_string());
        // It is about us; the new process answers for itself.
        command.env_remove("WATCHDOG_PID").stdin(Stdio::from(theirs));
        let child = command.spawn().map_err(|error| format!("{}: {error}\n", program.file.display()))?;
        // Our copy of its end: its death must be the end of the pair.
        drop(command);
        let mut all: Vec<(String, Vec<BorrowedFd<'_>>)> = Vec::new();
        for door in doors {
            all.push((door.local.to_string(), door.sockets.iter().map(AsFd::as_fd).collect()));
        }
        if let Some((path, socket)) = admin.map(AdminSocket::listening) {
            all.push((format!("{ADMIN}{}", path.display()), vec![socket]));
        }
        let given = ours.give(&all);
        let (tell, outcome) = oneshot::channel();
        let wait = move || {
            let outcome = match given {
                Ok(()) => ours.outcome(LIMIT),
                Err(_) => Err(String::new()),
            };
            // The control thread may be on its way out.
            let _ = tell.send(outcome);
        };
        let mut upgrade = Upgrade { child, outcome };
        match std::thread::Builder::new().name("upgrade".into()).spawn(wait) {
            Ok(_) => Ok(upgrade),
            Err(error) => {
                upgrade.end();
                Err(format!("{error}\n"))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the new process serves. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What stands in its way; it is gone then.
    pub async fn outcome(&mut self) -> Result<(), String> {
        let outcome = (&mut self.outcome).await.unwrap_or_else(|_| Err(String::new()));
        let Err(problem) = outcome else { return Ok(()) };
        let status = self.end();
        Err(match (problem.as_str(), status) {
            ("", Some(status)) => format!("the new process ended before it was ready: {status}\n"),
            ("", None) => "the new process ended before it was ready\n".into(),
            _ => problem,
        })
    }

    /// Ends a process that is not wanted.
    pub fn end(&mut self) -> Option<ExitStatus> {
        // One that has ended by itself, after a word or without, keeps its own status.
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}
