//! The access log: one line a request, written by a thread of its own, so that a slow disk or pipe delays no request.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::config::{LogFormat, LogOutput, Redact};
use crate::error::Why;
use crate::tls::TlsFacts;

/// Lines waiting to be written. When the reader is slower than the traffic, further lines are counted and dropped:
/// requests do not wait for a log.
const QUEUE: usize = 8192;

/// Bytes gathered before they are written.
const BUFFER: usize = 64 << 10;

/// How long the end of the process waits for the last lines.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// One request, as the formats see it.
#[derive(Debug, Default)]
pub struct Line {
    pub request_id: String,
    pub method: String,
    pub target: String,
    pub host: String,
    pub version: &'static str,
    pub status: u16,
    pub bytes: u64,
    pub why: Option<Why>,
    /// A rule on trial would have refused the request.
    pub would_refuse: Option<Why>,
    /// The user that `basic_auth` knows.
    pub user: Option<String>,
    /// Where no route was met: the path of the site's route that is nearest.
    pub nearest: Option<String>,
    pub client_ip: Box<str>,
    pub tls: Option<TlsFacts>,
    /// Index into the names the log was opened with.
    pub site: Option<usize>,
    pub server: Option<Box<str>>,
    pub attempts: u32,
    pub upstream_time: Option<Duration>,
    pub total: Duration,
    pub referer: Option<String>,
    pub user_agent: Option<String>,
}

/// Where lines go; cheap to clone, one a worker.
#[derive(Debug, Clone)]
pub struct AccessLog {
    format: LogFormat,
    redact: Arc<Redact>,
    sites: Arc<[String]>,
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// What the writing thread is told.
#[derive(Debug)]
enum Message {
    Line(String),
    /// Open the file anew: the old one was moved.
    Reopen,
    Stop,
}

/// The writing side.
#[derive(Debug)]
pub struct Writer {
    lines: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// Opens the output. `sites`: the names that [`Line::site`] indexes.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(
        format: LogFormat,
        output: &LogOutput,
        redact: &Redact,
        sites: Arc<[String]>,
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
        let (lines, queue) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = {
            let dropped = dropped.clone();
            std::thread::Builder::new()
                .name("access-log".into())
                .spawn(move || write_all(queue, out, path, &dropped))?
        };
        let writer = Writer { lines: lines.clone(), thread: writer };
        Ok((AccessLog { format, redact: Arc::new(redact.clone()), sites, lines, dropped }, writer))
    }

    /// The same log for another generation, whose sites have these names.
    pub fn with_sites(&self, sites: Arc<[String]>) -> AccessLog {
        AccessLog { sites, ..self.clone() }
    }

    /// Queues the line of one request.
    pub fn write(&self, mut line: Line) {
        mask_query(&mut line.target, &self.redact.query);
        if let Some(referer) = &mut line.referer {
            mask_query(referer, &self.redact.query);
        }
        let text = match self.format {
            LogFormat::Combined => combined(&line),
            LogFormat::Text => self.text(&line),
            LogFormat::Json | LogFormat::Auto => self.json(&line),
        };
        if self.lines.try_send(Message::Line(text)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn site(&self, line: &Line) -> Option<&str> {
        line.site.and_then(|site| self.sites.get(site)).map(String::as_str)
    }

    fn json(&self, line: &Line) -> String {
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let mut record = serde_json::json!({
            "time": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "request_id": line.request_id,
            "client": line.client_ip,
            "method": line.method,
            "host": line.host,
            "target": line.target,
            "protocol": line.version,
            "status": line.status,
            "bytes": line.bytes,
            "total_ms": millis(line.total),
        });
        let mut add = |key: &str, value: serde_json::Value| {
            if let Some(object) = record.as_object_mut() {
                object.insert(key.into(), value);
            }
        };
        if let Some(site) = self.site(line) {
            add("site", site.into());
        }
        if let Some(server) = &line.server {
            add("server", (&**server).into());
            add("attempts", line.attempts.into());
        }
        if let Some(time) = line.upstream_time {
            add("upstream_ms", millis(time).into());
        }
        if let Some(why) = line.why {
            add("why", why.code().into());
        }
        if let Some(why) = line.would_refuse {
            add("would_refuse", why.code().into());
        }
        if let Some(user) = &line.user {
            add("user", user.as_str().into());
        }
        if let Some(nearest) = &line.nearest {
            add("nearest_route", nearest.as_str().into());
        }
        if let Some(tls) = &line.tls {
            add(
                "tls",
                serde_json::json!({
                    "version": tls.version, "cipher": tls.cipher, "group": tls.group, "sni": tls.sni, "resumed": tls.resumed,
                }),
            );
        }
        if let Some(agent) = &line.user_agent {
            add("user_agent", agent.as_str().into());
        }
        if let Some(referer) = &line.referer {
            add("referer", referer.as_str().into());
        }
        record.to_string() + "\n"
    }

    /// One line for a person: `22:04:46 GET https://app.localhost/x 502 1.2ms  upstream.refused 127.0.0.1:3000`.
    fn text(&self, line: &Line) -> String {
        let time =
            OffsetDateTime::now_utc().format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default();
        let scheme = if line.tls.is_some() { "https" } else { "http" };
        let what = if line.method.is_empty() {
            "-".to_string()
        } else {
            format!("{} {scheme}://{}{}", line.method, line.host, line.target)
        };
        let who = line.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        let mut text =
            format!("{time} {who}{} {what} {} {:.1}ms", line.client_ip, line.status, line.total.as_secs_f64() * 1e3);
        if let Some(why) = line.why {
            text += &format!("  {}", why.code());
        }
        if let Some(why) = line.would_refuse {
            text += &format!("  (dry run: {})", why.code());
        }
        if let Some(nearest) = &line.nearest {
            text += &format!("  nearest route: {nearest}");
        }
        if let Some(server) = &line.server {
            text += &format!("  {server}");
        }
        let tls = line.tls.as_ref().map_or("plain", |tls| tls.version);
        printable(&text) + &format!("  ({tls} {})\n", line.version)
    }
}

/// The combined format of Apache and nginx.
fn combined(line: &Line) -> String {
    let layout = format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    let time = OffsetDateTime::now_utc().format(layout).unwrap_or_default();
    let quoted = |text: &str| printable(text).replace('\\', "\\\\").replace('"', "\\\"");
    let request = match line.method.is_empty() {
        true => "-".to_string(),
        false => format!("{} {} {}", line.method, quoted(&line.target), line.version),
    };
    let referer = line.referer.as_deref().map_or("-".into(), quoted);
    let agent = line.user_agent.as_deref().map_or("-".into(), quoted);
    // The fields are told apart by spaces.
    let user = line.user.as_deref().map_or("-".into(), |user| quoted(user).replace(' ', "%20"));
    let (client, status, bytes) = (&line.client_ip, line.status, line.bytes);
    format!("{client} - {user} [{time}] \"{request}\" {status} {bytes} \"{referer}\" \"{agent}\"\n")
}

/// Client-chosen text without what moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Masks the values of the named query parameters.
fn mask_query(target: &mut String, names: &[String]) {
    let Some(at) = target.find('?') else { return };
    let (path, query) = target.split_at(at + 1);
    let is_secret = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
        names.contains(&name)
    };
    if !query.split('&').any(is_secret) {
        return;
    }
    let masked: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(pair) => format!("{name}=***"),
            _ => pair.to_string(),
        })
        .collect();
    *target = format!("{path}{}", masked.join("&"));
}

impl Writer {
    /// Opens the file anew, after what is queued has been written to the old one.
    pub fn reopen(&self) {
        if self.lines.try_send(Message::Reopen).is_err() {
            tracing::error!("access log: too many lines wait, the file is not opened again");
        }
    }

    /// Writes everything queued so far and ends. A reader that does not take it is given up after [`LAST_WAIT`].
    pub fn stop(self) {
        if self.lines.try_send(Message::Stop).is_ok() {
            let until = Instant::now() + LAST_WAIT;
            while !self.thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(queue: Receiver<Message>, out: Box<dyn Write + Send>, path: Option<PathBuf>, dropped: &AtomicU64) {
    let mut out = io::BufWriter::with_capacity(BUFFER, out);
    // One wait, then everything that is there, then one write.
    while let Ok(first) = queue.recv() {
        let mut stop = false;
        for message in std::iter::once(first).chain(queue.try_iter()) {
            match message {
                // A reader that went away does not end the proxy.
                Message::Line(line) => drop(out.write_all(line.as_bytes())),
                Message::Stop => stop = true,
                Message::Reopen => {
                    let _ = out.flush();
                    if let Some(path) = &path {
                        match append(path) {
                            Ok(file) => out = io::BufWriter::with_capacity(BUFFER, Box::new(file)),
                            Err(error) => {
                                tracing::error!("access log {}: {error}: the old file is kept", path.display())
                            }
                        }
                    }
                }
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("access log: {lost} lines dropped, the output is slower than the traffic");
        }
        let _ = out.flush();
        if stop {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            request_id: "id".into(),
            method: "GET".into(),
            target: "/x?token=s3cret&a=1".into(),
            host: "a.test".into(),
            version: "HTTP/1.1",
            status: 200,
            bytes: 5,
            client_ip: "127.0.0.1".into(),
            user: Some("ann b\"".into()),
            user_agent: Some("say \"hi\"\u{1b}[2J".into()),
            ..Line::default()
        }
    }

    fn written(format: LogFormat) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let output = LogOutput::File(path.clone());
        let (log, writer) =
            AccessLog::open(format, &output, &Redact::default(), Arc::from(["a.test".to_string()])).unwrap();
        log.write(line());
        writer.stop();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn secrets_in_the_query_are_masked_in_every_format() {
        for format in [LogFormat::Json, LogFormat::Text, LogFormat::Combined] {
            let text = written(format);
            assert!(text.contains("token=***") && !text.contains("s3cret") && text.contains("a=1"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn a_client_cannot_break_a_line_or_move_the_cursor() {
        for format in [LogFormat::Json, LogFormat::Text, LogFormat::Combined] {
            assert!(!written(format).contains('\u{1b}'));
        }
        assert!(written(LogFormat::Combined).contains("say \\\"hi\\\""));
        let json: serde_json::Value = serde_json::from_str(&written(LogFormat::Json)).unwrap();
        assert!(written(LogFormat::Combined).starts_with("127.0.0.1 - ann%20b\\\" ["));
        assert!(written(LogFormat::Text).contains(" ann b\"@127.0.0.1 GET "));
        assert_eq!(json["user"].as_str(), Some("ann b\""));
        assert_eq!((json["status"].as_u64(), json["target"].as_str()), (Some(200), Some("/x?token=***&a=1")));
    }
}
