//! The access log: one line a request, written by a thread of its own, so that a slow disk or pipe delays no request.

mod digits;
mod escape;
mod format;
mod gathered;
mod output;
mod queue;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::gathered::{keep, keep_no_more};
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
    format: LogFormat,
    redact: Redact,
    hide_referer: bool,
    hide_user_agent: bool,
    sample: f32,
    worker: usize,
    sender: Arc<Sender>,
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
        let (sender, writer) = Queue::start(out, path, workers)?;
        let hides = |name: &str| redact.headers.iter().any(|hidden| hidden == name);
        let log = AccessLog {
            format,
            redact: redact.clone(),
            hide_referer: hides("referer"),
            hide_user_agent: hides("user-agent"),
            sample,
            worker: 0,
            sender: Arc::new(sender),
        };
        Ok((log, writer))
    }

    /// The same log for one worker.
    pub fn for_worker(&self, worker: usize) -> AccessLog {
        AccessLog { worker, ..self.clone() }
    }

    /// What has become of the lines so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    /// Queues the line of one request. Errors are written whatever the sample is.
    pub fn write(&self, line: &Line<'_>) {
        let plain = line.why.is_none() && line.status < 400;
        if plain && self.sample < 1.0 && fastrand::f32() >= self.sample {
            return;
        }
        gathered::add(&self.sender, self.worker, |out| match self.format {
            LogFormat::Combined => self.combined(line, out),
            LogFormat::Text => self.text(line, out),
            LogFormat::Json | LogFormat::Auto => self.json(line, out),
        });
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
