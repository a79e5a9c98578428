//! The formats of a line. What a client chose is escaped: it cannot break a line, nor move a terminal's cursor.

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::digits::{digits, hex, millis, number};
use super::escape::{escape, printable};
use super::{AccessLog, Line};
use crate::message::Known;
use crate::net::clock;

static RFC3339: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
static CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
static COMMON: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
/// What stands for a value that is not shown.
const MASK: &[u8] = b"***";

thread_local! {
    /// The last second in text, and the layout it is in: formatting it costs as much as the rest of a line.
    static SECOND: RefCell<(u64, *const u8, String)> = const { RefCell::new((u64::MAX, std::ptr::null(), String::new())) };
}

/// Writes the time in one layout, and returns the milliseconds that are left.
fn stamp(out: &mut Vec<u8>, layout: &'static [BorrowedFormatItem<'_>]) -> u64 {
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, place) = (now.as_secs(), layout.as_ptr().cast::<u8>());
    SECOND.with_borrow_mut(|(second, of, text)| {
        if *second != seconds || *of != place {
            let time = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
            *text = time.format(layout).unwrap_or_default();
            (*second, *of) = (seconds, place);
        }
        out.extend_from_slice(text.as_bytes());
    });
    now.subsec_millis().into()
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

impl AccessLog {
    pub(super) fn json(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        let milli = stamp(out, RFC3339);
        out.push(b'.');
        digits(out, milli);
        out.extend_from_slice(b"Z\",\"request_id\":\"");
        hex(out, line.request_id);
        out.push(b'"');
        // An address, a token (RFC 9110 section 5.6.2) and a host (as the parsers accept it): nothing to escape.
        out.extend_from_slice(b",\"client\":\"");
        out.extend_from_slice(line.client_ip.as_bytes());
        out.extend_from_slice(b"\",\"method\":\"");
        out.extend_from_slice(line.head.map_or("", |head| head.method.as_str()).as_bytes());
        out.extend_from_slice(b"\",\"host\":\"");
        out.extend_from_slice(line.head.map_or(b"", |head| head.authority()));
        out.extend_from_slice(b"\",\"target\":\"");
        if let Some(head) = line.head {
            masked(head.target(), &self.redact.query, |piece| escape(out, piece));
        }
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(line.head.map_or("", |head| head.version.as_str()).as_bytes());
        out.extend_from_slice(b"\",\"status\":");
        number(out, line.status.into());
        out.extend_from_slice(b",\"bytes\":");
        number(out, line.bytes);
        if line.received > 0 {
            out.extend_from_slice(b",\"bytes_in\":");
            number(out, line.received);
        }
        let mut timer = |key: &[u8], time: Option<Duration>| {
            if let Some(time) = time {
                out.extend_from_slice(key);
                millis(out, time);
            }
        };
        timer(b",\"queue_ms\":", line.times.queue);
        timer(b",\"connect_ms\":", line.times.connect);
        timer(b",\"upstream_ms\":", line.times.upstream);
        timer(b",\"total_ms\":", Some(line.times.total));
        if line.server.is_some() {
            out.extend_from_slice(b",\"attempts\":");
            number(out, line.attempts.into());
        }
        self.json_texts(line, out);
        out.extend_from_slice(b"}\n");
    }

    /// What is not there in every line.
    fn json_texts(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        if let Some(place) = &line.place {
            out.extend_from_slice(place.json);
        }
        let mut text = |key: &[u8], value: Option<&[u8]>| {
            if let Some(value) = value {
                out.extend_from_slice(key);
                escape(out, value);
                out.push(b'"');
            }
        };
        text(b",\"server\":\"", line.server.map(str::as_bytes));
        text(b",\"why\":\"", line.why.map(|why| why.code().as_bytes()));
        text(b",\"would_refuse\":\"", line.would_refuse.map(|why| why.code().as_bytes()));
        text(b",\"user\":\"", line.user.map(str::as_bytes));
        text(b",\"nearest_route\":\"", line.nearest.map(str::as_bytes));
        text(b",\"user_agent\":\"", self.user_agent(line));
        if let Some(referer) = self.referer(line) {
            out.extend_from_slice(b",\"referer\":\"");
            masked(referer, &self.redact.query, |piece| escape(out, piece));
            out.push(b'"');
        }
        if let Some(id) = line.trace_id {
            out.extend_from_slice(b",\"trace_id\":\"");
            hex(out, (id >> 64) as u64);
            hex(out, id as u64);
            out.push(b'"');
        }
        if let Some(tls) = &line.conn.tls {
            out.extend_from_slice(b",\"tls\":{\"version\":\"");
            out.extend_from_slice(tls.version.as_bytes());
            out.extend_from_slice(b"\",\"cipher\":\"");
            out.extend_from_slice(tls.cipher.as_bytes());
            out.extend_from_slice(b"\",\"group\":\"");
            out.extend_from_slice(tls.group.as_bytes());
            out.extend_from_slice(b"\",\"alpn\":\"");
            out.extend_from_slice(if tls.h2 { b"h2" } else { b"http/1.1" });
            out.extend_from_slice(b"\",\"sni\":");
            match &tls.sni {
                Some(sni) => {
                    out.push(b'"');
                    escape(out, sni.as_bytes());
                    out.push(b'"');
                }
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(if tls.resumed { b",\"resumed\":true}" } else { b",\"resumed\":false}" });
        }
    }

    /// One line for a person: `22:04:46 127.0.0.1 GET https://app.localhost/x 502 1.234ms  upstream.refused 127.0.0.1:3000`.
    pub(super) fn text(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        stamp(out, CLOCK);
        out.push(b' ');
        if let Some(user) = line.user {
            printable(out, user.as_bytes(), false);
            out.push(b'@');
        }
        out.extend_from_slice(line.client_ip.as_bytes());
        match line.head {
            None => out.extend_from_slice(b" -"),
            Some(head) => {
                let scheme = if line.conn.tls.is_some() { "https" } else { "http" };
                let _ = write!(out, " {} {scheme}://", head.method);
                printable(out, head.authority(), false);
                masked(head.target(), &self.redact.query, |piece| printable(out, piece, false));
            }
        }
        let _ = write!(out, " {} {:.1}ms", line.status, line.times.total.as_secs_f64() * 1e3);
        if let Some(why) = line.why {
            let _ = write!(out, "  {}", why.code());
        }
        if let Some(why) = line.would_refuse {
            let _ = write!(out, "  (dry run: {})", why.code());
        }
        if let Some(nearest) = line.nearest {
            let _ = write!(out, "  nearest route: {nearest}");
        }
        if let Some(server) = line.server {
            let _ = write!(out, "  {server}");
        }
        let tls = line.conn.tls.as_ref().map_or("plain", |tls| tls.version);
        let version = line.head.map_or("", |head| head.version.as_str());
        let _ = writeln!(out, "  ({tls} {version})");
    }

    /// The combined format of Apache and nginx.
    pub(super) fn combined(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(line.client_ip.as_bytes());
        out.extend_from_slice(b" - ");
        // The fields are told apart by spaces.
        printable(out, line.user.map_or("-".into(), |user| user.replace(' ', "%20")).as_bytes(), true);
        out.extend_from_slice(b" [");
        stamp(out, COMMON);
        out.extend_from_slice(b"] \"");
        match line.head {
            None => out.push(b'-'),
            Some(head) => {
                let _ = write!(out, "{} ", head.method);
                masked(head.target(), &self.redact.query, |piece| printable(out, piece, true));
                let _ = write!(out, " {}", head.version.as_str());
            }
        }
        let _ = write!(out, "\" {} {} \"", line.status, line.bytes);
        match self.referer(line) {
            Some(referer) => masked(referer, &self.redact.query, |piece| printable(out, piece, true)),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b"\" \"");
        printable(out, self.user_agent(line).unwrap_or(b"-"), true);
        out.extend_from_slice(b"\"\n");
    }

    fn referer<'l>(&self, line: &Line<'l>) -> Option<&'l [u8]> {
        let value = line.head?.fields.get(Known::Referer)?;
        Some(if self.hide_referer { MASK } else { value })
    }

    fn user_agent<'l>(&self, line: &Line<'l>) -> Option<&'l [u8]> {
        let value = line.head?.fields.get(Known::UserAgent)?;
        Some(if self.hide_user_agent { MASK } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogOutput, Redact};
    use crate::h1::{self, Parsed};
    use crate::http::ConnInfo;
    use crate::proxy::access_log::{Place, Times};

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
