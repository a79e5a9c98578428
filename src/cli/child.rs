//! The command behind `--` of `dev`: the app itself, started with the port that it has to listen on. It ends with us, and we
//! end with it.

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, waitid};

/// How long the command has for an end of its own, once it was told.
const GRACE: Duration = Duration::from_secs(5);

/// A port of this machine that nobody listens on.
///
/// # Errors
/// The system has none.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A command that runs. Its input and output are ours. On a terminal so is its process group: the keyboard, Ctrl-C among
/// it, reaches it as it would without us. Elsewhere it leads a group of its own, and what it has started ends with it.
pub(super) struct Child {
    process: std::process::Child,
    pid: Pid,
    leads: bool,
    /// Closed when the command has ended; nothing is ever sent.
    ended: Option<Receiver<()>>,
}

impl Child {
    /// Starts `command`, its program first. It finds `PORT`, where there is one, and `HOST` in its environment.
    ///
    /// # Errors
    /// The program is not there or cannot be run.
    pub fn start(command: &[String], port: Option<u16>) -> anyhow::Result<Child> {
        let (program, arguments) = command.split_first().context("no command behind `--`")?;
        let mut line = Command::new(program);
        line.args(arguments).env("HOST", Ipv4Addr::LOCALHOST.to_string());
        if let Some(port) = port {
            line.env("PORT", port.to_string());
        }
        let leads = !io::stdin().is_terminal();
        if leads {
            line.process_group(0);
        }
        let process =
            line.spawn().with_context(|| format!("`{program}`, the command behind `--`, cannot be started"))?;
        let pid = Pid::from_child(&process);
        Ok(Child { process, pid, leads, ended: None })
    }

    /// From now on the end of the command is a TERM for this process. Its handlers are installed by now.
    pub fn watch(&mut self) {
        let (pid, (ends, ended)) = (self.pid, mpsc::channel());
        self.ended = Some(ended);
        thread::spawn(move || {
            // It is left unreaped: until `end` reaps it, its number is no other process's.
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), how), Err(Errno::INTR)) {}
            drop(ends);
            // This process may always signal itself.
            let _ = kill_process(getpid(), Signal::TERM);
        });
    }

    /// Ends the command if it still runs, by force after its grace. Its own exit code if it had ended before.
    pub fn end(mut self) -> ExitCode {
        if let Ok(Some(status)) = self.process.try_wait() {
            return code(status);
        }
        self.signal(Signal::TERM);
        let waited = self.ended.as_ref().map(|ended| ended.recv_timeout(GRACE));
        if waited != Some(Err(RecvTimeoutError::Disconnected)) {
            self.signal(Signal::KILL);
        }
        // What is reaped or gone needs no further care.
        let _ = self.process.wait();
        ExitCode::SUCCESS
    }

    /// To the command, and to what it has started where that is known. It is not reaped: its number is its own.
    fn signal(&self, signal: Signal) {
        let send = if self.leads { kill_process_group } else { kill_process };
        // It may be ending in this very moment.
        let _ = send(self.pid, signal);
    }
}

/// As a shell has it: a command that a signal ended counts as 128 and its number.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(line: &str, port: Option<u16>) -> Child {
        Child::start(&["sh".into(), "-c".into(), line.into()], port).unwrap()
    }

    fn finished(mut child: Child) -> ExitCode {
        child.process.wait().unwrap();
        child.end()
    }

    #[test]
    fn a_command_finds_the_port_and_its_exit_code_is_told() {
        assert_eq!(finished(child("exit $((PORT - 4990))", Some(5000))), ExitCode::from(10));
        assert_eq!(finished(child("test $HOST = 127.0.0.1", None)), ExitCode::SUCCESS);
        assert_eq!(finished(child("kill -KILL $$", None)), ExitCode::from(137));
    }

    #[test]
    fn a_command_that_runs_is_ended() {
        assert_eq!(child("exec sleep 600", None).end(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Child::start(&["no-such-program".into()], None).err().unwrap();
        assert!(
            format!("{error:#}")
                .contains("`no-such-program`, the command behind `--`, cannot be started: No such file")
        );
    }
}
