//! The access log: one line a request, made and written by a thread of its own, so that neither a slow disk or pipe nor the
//! making delays a request. Workers note what lines are made of, and hand over what they have noted when they have nothing
//! else to do.

mod escape;
mod format;
mod note;
mod queue;

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::format::Formatter;
use self::note::Notes;
use self::queue::{Queue, Sender};
pub use self::queue::{Stats, Writer};
use crate::config::{LogFormat, LogOutput, Redact};
use crate::error::Why;
use crate::http::ConnInfo;
use crate::message::RequestHead;

/// One request, as the formats see it.
#[derive(Debug)]
pub struct Line<'a> {
    pub request_id: u64,
    /// None where the bytes never became a request.
    pub head: Option<&'a RequestHead>,
    pub conn: &'a ConnInfo,
    /// The client as far as it can be believed.
    pub client_ip: &'a str,
    pub status: u16,
    /// Bytes of the response's body.
    pub bytes: u64,
    /// Bytes of the request's body that were forwarded.
    pub received: u64,
    pub why: Option<Why>,
    /// A rule on trial would have refused the request.
    pub would_refuse: Option<Why>,
    /// The user that `basic_auth` knows.
    pub user: Option<&'a str>,
    /// Where no route was met: the path of the site's route that is nearest.
    pub nearest: Option<&'a str>,
    /// Where the request was met.
    pub place: Option<Place<'a>>,
    pub server: Option<&'a str>,
    pub attempts: u32,
    pub times: Times,
    /// The trace the request belongs to, where it is one.
    pub trace_id: Option<u128>,
}

/// The site and the route of a request.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub site: &'a str,
    pub route: &'a str,
    /// Both as [`Place::in_json`] writes them: escaped once, not for each line.
    pub json: &'a [u8],
}

impl Place<'_> {
    /// A site and a route as two members of an object, with a comma before each.
    pub fn in_json(site: &str, route: &str) -> Vec<u8> {
        let mut json = b",\"site\":\"".to_vec();
        escape::escape(&mut json, site.as_bytes());
        json.extend_from_slice(b"\",\"route\":\"");
        escape::escape(&mut json, route.as_bytes());
        json.push(b'"');
        json
    }
}

/// Where the time of a request went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Waiting for a place at a server, where there was a wait.
    pub queue: Option<Duration>,
    /// Connecting to the server, where that was needed.
    pub connect: Option<Duration>,
    /// From the choice of the server to the response head.
    pub upstream: Option<Duration>,
    pub total: Duration,
}

/// Where lines go; one a worker.
#[derive(Debug, Clone)]
pub struct AccessLog {
    sample: f32,
    worker: usize,
    sender: Arc<Sender>,
}

/// A worker hands over after this many requests at the latest.
const BATCH: usize = 64;

thread_local! {
    static PENDING: RefCell<Pending> = RefCell::default();
}

/// What this worker has noted and not handed over yet: the memory is its own, so that noting costs no locked instruction.
#[derive(Default)]
struct Pending {
    to: Option<(Arc<Sender>, usize)>,
    notes: Notes,
}

impl Pending {
    fn hand_over(&mut self) {
        if let Some((sender, worker)) = self.to.take() {
            sender.push(worker, &mut self.notes);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Hands over what this thread has noted. A worker's runtime calls this each time before it waits.
pub fn hand_over() {
    // At the end of the thread it has happened already.
    let _ = PENDING.try_with(|pending| pending.borrow_mut().hand_over());
}

impl AccessLog {
    /// Opens the output, for so many workers. `sample`: the share of requests without an error that is written.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(
        format: LogFormat,
        output: &LogOutput,
        redact: &Redact,
        sample: f32,
        workers: usize,
    ) -> io::Result<(AccessLog, Writer)> {
        let (out, terminal): (Box<dyn Write + Send>, bool) = match output {
            LogOutput::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
            LogOutput::Stderr => (Box::new(io::stderr()), io::stderr().is_terminal()),
            LogOutput::File(path) => (Box::new(append(path)?), false),
        };
        let path = match output {
            LogOutput::File(path) => Some(path.clone()),
            _ => None,
        };
        let format = match format {
            LogFormat::Auto if terminal => LogFormat::Text,
            LogFormat::Auto => LogFormat::Json,
            chosen => chosen,
        };
        let (sender, writer) = Queue::start(out, path, Formatter::new(format, redact), workers)?;
        Ok((AccessLog { sample, worker: 0, sender: Arc::new(sender) }, writer))
    }

    /// The same log for one worker.
    pub fn for_worker(&self, worker: usize) -> AccessLog {
        AccessLog { worker, ..self.clone() }
    }

    /// What has become of the lines so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    /// Notes one request. Errors are written whatever the sample is.
    pub fn write(&self, line: &Line<'_>) {
        let plain = line.why.is_none() && line.status < 400;
        if plain && self.sample < 1.0 && fastrand::f32() >= self.sample {
            return;
        }
        PENDING.with_borrow_mut(|pending| {
            if pending.to.as_ref().is_none_or(|(sender, _)| !Arc::ptr_eq(sender, &self.sender)) {
                // A reload may have opened another log.
                pending.hand_over();
                pending.to = Some((self.sender.clone(), self.worker));
            }
            pending.notes.push(line);
            if pending.notes.len() >= BATCH {
                pending.hand_over();
            }
        });
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with nothing in it but who asked.
    pub fn line<'a>(conn: &'a ConnInfo, client_ip: &'a str) -> Line<'a> {
        Line {
            request_id: 0,
            head: None,
            conn,
            client_ip,
            status: 200,
            bytes: 0,
            received: 0,
            why: None,
            would_refuse: None,
            user: None,
            nearest: None,
            place: None,
            server: None,
            attempts: 0,
            times: Times::default(),
            trace_id: None,
        }
    }
}
