//! The formats of a line. What a client chose is escaped: it cannot break a line, nor move a terminal's cursor.

use std::io::Write;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::escape::{escape, printable};
use super::note::{Noted, Text};
use crate::config::{LogFormat, Redact};

static RFC3339: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
static CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
static COMMON: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
/// What stands for a value that is not shown.
const MASK: &[u8] = b"***";

/// The last second in text: formatting it costs as much as the rest of a line.
#[derive(Debug, Default)]
struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    /// Writes a moment in the one layout of a log, and returns the milliseconds that are left.
    fn write(&mut self, out: &mut Vec<u8>, at: SystemTime, layout: &'static [BorrowedFormatItem<'_>]) -> u64 {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
            (self.second, self.text) = (Some(since.as_secs()), time.format(layout).unwrap_or_default());
        }
        out.extend_from_slice(self.text.as_bytes());
        since.subsec_millis().into()
    }
}

/// Makes lines of what was noted.
#[derive(Debug)]
pub(super) struct Formatter {
    format: LogFormat,
    redact: Redact,
    hide_referer: bool,
    hide_user_agent: bool,
    stamp: Stamp,
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three digits behind the point.
fn millis(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push(b'.');
    digits(out, micros % 1000);
}

/// Three digits.
fn digits(out: &mut Vec<u8>, below_1000: u64) {
    out.extend([below_1000 / 100 % 10, below_1000 / 10 % 10, below_1000 % 10].map(|digit| b'0' + digit as u8));
}

fn hex(out: &mut Vec<u8>, id: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend((0..16).rev().map(|at| DIGITS[(id >> (at * 4)) as usize & 15]));
}

/// Masks the values of the named query parameters and passes the pieces on.
fn masked(target: &[u8], names: &[String], mut piece: impl FnMut(&[u8])) {
    let Some(at) = memchr::memchr(b'?', target).filter(|_| !names.is_empty()) else { return piece(target) };
    let (path, query) = target.split_at(at + 1);
    piece(path);
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            piece(b"&");
        }
        let end = memchr::memchr(b'=', pair);
        let name = end.map_or(pair, |end| &pair[..end]);
        match end {
            Some(end) if names.iter().any(|secret| secret.as_bytes().eq_ignore_ascii_case(name)) => {
                piece(&pair[..=end]);
                piece(MASK);
            }
            _ => piece(pair),
        }
    }
}

impl Formatter {
    pub fn new(format: LogFormat, redact: &Redact) -> Formatter {
        let hides = |name: &str| redact.headers.iter().any(|hidden| hidden == name);
        Formatter {
            format,
            redact: redact.clone(),
            hide_referer: hides("referer"),
            hide_user_agent: hides("user-agent"),
            stamp: Stamp::default(),
        }
    }

    /// Writes the line of one request, with its line end.
    pub fn line(&mut self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        match self.format {
            LogFormat::Combined => self.combined(noted, out),
            LogFormat::Text => self.text(noted, out),
            LogFormat::Json | LogFormat::Auto => self.json(noted, out),
        }
    }

    fn json(&mut self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        let note = noted.note;
        let plain = |out: &mut Vec<u8>, which| out.extend_from_slice(noted.text(which).unwrap_or_default());
        out.extend_from_slice(b"{\"time\":\"");
        let milli = self.stamp.write(out, note.at, RFC3339);
        out.push(b'.');
        digits(out, milli);
        out.extend_from_slice(b"Z\",\"request_id\":\"");
        hex(out, note.request_id);
        // An address, a token (RFC 9110 section 5.6.2) and a host (as the parsers accept it): nothing to escape.
        out.extend_from_slice(b"\",\"client\":\"");
        plain(out, Text::Client);
        out.extend_from_slice(b"\",\"method\":\"");
        plain(out, Text::Method);
        out.extend_from_slice(b"\",\"host\":\"");
        plain(out, Text::Authority);
        out.extend_from_slice(b"\",\"target\":\"");
        masked(noted.text(Text::Target).unwrap_or_default(), &self.redact.query, |piece| escape(out, piece));
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(note.version.map_or("", |version| version.as_str()).as_bytes());
        out.extend_from_slice(b"\",\"status\":");
        number(out, note.status.into());
        out.extend_from_slice(b",\"bytes\":");
        number(out, note.bytes);
        if note.received > 0 {
            out.extend_from_slice(b",\"bytes_in\":");
            number(out, note.received);
        }
        let mut timer = |key: &[u8], time: Option<Duration>| {
            if let Some(time) = time {
                out.extend_from_slice(key);
                millis(out, time);
            }
        };
        timer(b",\"queue_ms\":", note.times.queue);
        timer(b",\"connect_ms\":", note.times.connect);
        timer(b",\"upstream_ms\":", note.times.upstream);
        timer(b",\"total_ms\":", Some(note.times.total));
        if noted.text(Text::Server).is_some() {
            out.extend_from_slice(b",\"attempts\":");
            number(out, note.attempts.into());
        }
        plain(out, Text::Place);
        self.json_texts(noted, out);
        out.extend_from_slice(b"}\n");
    }

    /// What is not there in every line.
    fn json_texts(&self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        let note = noted.note;
        let mut text = |key: &[u8], value: Option<&[u8]>| {
            if let Some(value) = value {
                out.extend_from_slice(key);
                escape(out, value);
                out.push(b'"');
            }
        };
        text(b",\"server\":\"", noted.text(Text::Server));
        text(b",\"why\":\"", note.why.map(|why| why.code().as_bytes()));
        text(b",\"would_refuse\":\"", note.would_refuse.map(|why| why.code().as_bytes()));
        text(b",\"user\":\"", noted.text(Text::User));
        text(b",\"nearest_route\":\"", noted.text(Text::Nearest));
        text(b",\"user_agent\":\"", self.user_agent(noted));
        if let Some(referer) = self.referer(noted) {
            out.extend_from_slice(b",\"referer\":\"");
            masked(referer, &self.redact.query, |piece| escape(out, piece));
            out.push(b'"');
        }
        if let Some(id) = note.trace_id {
            out.extend_from_slice(b",\"trace_id\":\"");
            id.into_iter().for_each(|half| hex(out, half));
            out.push(b'"');
        }
        if let Some(version) = noted.text(Text::TlsVersion) {
            out.extend_from_slice(b",\"tls\":{\"version\":\"");
            out.extend_from_slice(version);
            out.extend_from_slice(b"\",\"cipher\":\"");
            out.extend_from_slice(noted.text(Text::Cipher).unwrap_or_default());
            out.extend_from_slice(b"\",\"group\":\"");
            out.extend_from_slice(noted.text(Text::Group).unwrap_or_default());
            out.extend_from_slice(b"\",\"alpn\":\"");
            out.extend_from_slice(if note.h2 { b"h2" } else { b"http/1.1" });
            out.extend_from_slice(b"\",\"sni\":");
            match noted.text(Text::Sni) {
                Some(sni) => {
                    out.push(b'"');
                    escape(out, sni);
                    out.push(b'"');
                }
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(if note.resumed { b",\"resumed\":true}" } else { b",\"resumed\":false}" });
        }
    }

    /// One line for a person: `22:04:46 127.0.0.1 GET https://app.localhost/x 502 1.234ms  upstream.refused 127.0.0.1:3000`.
    fn text(&mut self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        let note = noted.note;
        let tls = noted.text(Text::TlsVersion);
        self.stamp.write(out, note.at, CLOCK);
        out.push(b' ');
        if let Some(user) = noted.text(Text::User) {
            printable(out, user, false);
            out.push(b'@');
        }
        out.extend_from_slice(noted.text(Text::Client).unwrap_or_default());
        match noted.text(Text::Method) {
            None => out.extend_from_slice(b" -"),
            Some(method) => {
                out.push(b' ');
                out.extend_from_slice(method);
                out.extend_from_slice(if tls.is_some() { b" https://" } else { b" http://" });
                printable(out, noted.text(Text::Authority).unwrap_or_default(), false);
                let target = noted.text(Text::Target).unwrap_or_default();
                masked(target, &self.redact.query, |piece| printable(out, piece, false));
            }
        }
        let _ = write!(out, " {} {:.1}ms", note.status, note.times.total.as_secs_f64() * 1e3);
        if let Some(why) = note.why {
            let _ = write!(out, "  {}", why.code());
        }
        if let Some(why) = note.would_refuse {
            let _ = write!(out, "  (dry run: {})", why.code());
        }
        if let Some(nearest) = noted.text(Text::Nearest) {
            out.extend_from_slice(b"  nearest route: ");
            out.extend_from_slice(nearest);
        }
        if let Some(server) = noted.text(Text::Server) {
            out.extend_from_slice(b"  ");
            out.extend_from_slice(server);
        }
        out.extend_from_slice(b"  (");
        out.extend_from_slice(tls.unwrap_or(b"plain"));
        let _ = writeln!(out, " {})", note.version.map_or("", |version| version.as_str()));
    }

    /// The combined format of Apache and nginx.
    fn combined(&mut self, noted: &Noted<'_>, out: &mut Vec<u8>) {
        let note = noted.note;
        out.extend_from_slice(noted.text(Text::Client).unwrap_or_default());
        out.extend_from_slice(b" - ");
        // The fields are told apart by spaces.
        let user = noted.text(Text::User).map(|user| String::from_utf8_lossy(user).replace(' ', "%20"));
        printable(out, user.as_deref().unwrap_or("-").as_bytes(), true);
        out.extend_from_slice(b" [");
        self.stamp.write(out, note.at, COMMON);
        out.extend_from_slice(b"] \"");
        match noted.text(Text::Method) {
            None => out.push(b'-'),
            Some(method) => {
                out.extend_from_slice(method);
                out.push(b' ');
                let target = noted.text(Text::Target).unwrap_or_default();
                masked(target, &self.redact.query, |piece| printable(out, piece, true));
                let _ = write!(out, " {}", note.version.map_or("", |version| version.as_str()));
            }
        }
        let _ = write!(out, "\" {} {} \"", note.status, note.bytes);
        match self.referer(noted) {
            Some(referer) => masked(referer, &self.redact.query, |piece| printable(out, piece, true)),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b"\" \"");
        printable(out, self.user_agent(noted).unwrap_or(b"-"), true);
        out.extend_from_slice(b"\"\n");
    }

    fn referer<'n>(&self, noted: &Noted<'n>) -> Option<&'n [u8]> {
        let value = noted.text(Text::Referer)?;
        Some(if self.hide_referer { MASK } else { value })
    }

    fn user_agent<'n>(&self, noted: &Noted<'n>) -> Option<&'n [u8]> {
        let value = noted.text(Text::UserAgent)?;
        Some(if self.hide_user_agent { MASK } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogOutput, Redact};
    use crate::h1::{self, Parsed};
    use crate::http::ConnInfo;
    use crate::proxy::access_log::{AccessLog, Line, Place, Times};

    const REQUEST: &str = "GET /x?token=s3cret&a=1&Token=two HTTP/1.1\r\nHost: a.test\r\nUser-Agent: say \"hi\" \u{e4}\t\r\n\
                           Referer: http://b.test/?token=s3cret\r\n\r\n";

    fn written(format: LogFormat, redact: Redact, sample: f32, status: u16) -> String {
        let limits = h1::Limits { bytes: 4096, fields: 100, target: 4096 };
        let Ok(Parsed::Head(head, _)) = h1::parse_request(REQUEST.as_bytes(), &limits) else { panic!() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let output = LogOutput::File(path.clone());
        let (log, writer) = AccessLog::open(format, &output, &redact, sample, 1).unwrap();
        let peer = "127.0.0.1:9".parse().unwrap();
        log.write(&Line {
            request_id: 0xab,
            head: Some(&head),
            conn: &ConnInfo::new(peer, peer, 0, None),
            client_ip: "127.0.0.1",
            status,
            bytes: 5,
            received: 0,
            why: None,
            would_refuse: None,
            user: Some("ann b\""),
            nearest: None,
            place: Some(Place { site: "a.test", route: "/*", json: &Place::in_json("a.test", "/\"") }),
            server: None,
            attempts: 0,
            times: Times { total: Duration::from_micros(1_002_030), ..Times::default() },
            trace_id: Some(1),
        });
        super::super::hand_over();
        writer.stop();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn secrets_in_the_query_are_masked_in_every_format() {
        for format in [LogFormat::Json, LogFormat::Text, LogFormat::Combined] {
            let text = written(format, Redact::default(), 1.0, 200);
            let masked = text.contains("?token=***&a=1&Token=***");
            assert!(masked && !text.contains("s3cret"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn a_named_header_is_masked_where_it_is_shown() {
        let redact = Redact { headers: vec!["user-agent".into(), "referer".into()], ..Redact::default() };
        for format in [LogFormat::Json, LogFormat::Combined] {
            let text = written(format, redact.clone(), 1.0, 200);
            assert!(!text.contains("b.test") && !text.contains("say") && text.contains("\"***\""), "{text}");
        }
    }

    #[test]
    fn a_json_line_reads_back() {
        let line = written(LogFormat::Json, Redact::default(), 1.0, 200);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((json["status"].as_u64(), json["total_ms"].as_f64()), (Some(200), Some(1002.03)));
        assert_eq!((&json["site"], &json["route"]), (&"a.test".into(), &"/\"".into()));
        assert_eq!(json["user"], "ann b\"");
        let combined = written(LogFormat::Combined, Redact::default(), 1.0, 200);
        assert!(combined.starts_with("127.0.0.1 - ann%20b\\\" ["), "{combined}");
        assert!(written(LogFormat::Text, Redact::default(), 1.0, 200).contains(" ann b\"@127.0.0.1 GET "));
        assert_eq!(json["request_id"], "00000000000000ab");
        assert_eq!(json["trace_id"], "00000000000000000000000000000001");
        assert_eq!(json["user_agent"], "say \"hi\" \u{e4}");
        assert!(
            time::OffsetDateTime::parse(json["time"].as_str().unwrap(), &time::format_description::well_known::Rfc3339)
                .is_ok()
        );
    }

    #[test]
    fn a_sample_leaves_out_answers_and_no_error() {
        assert_eq!(written(LogFormat::Json, Redact::default(), 0.0, 200), "");
        assert_ne!(written(LogFormat::Json, Redact::default(), 0.0, 404), "");
    }
}
