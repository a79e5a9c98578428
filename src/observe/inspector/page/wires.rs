//! One request, two wires: what anybody on the way gets of it on each, and what the server got.

use std::fmt::Write as _;

use super::{View, escape, grouped};
use crate::inspect::HIDDEN;
use crate::net::tap::Way;
use crate::observe::Leg;
use crate::observe::hello::version_name;
use crate::observe::records::Role;
use crate::observe::request::Column;

/// Characters of a message that are shown.
const SHOWN: usize = 900;

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    super::section(out, "wires", w.wires, w.wires_lead);
    if let (Some(host), Some(exchange)) = (view.host, view.exchange()) {
        let _ = writeln!(
            out,
            "<p class=\"asked\"><code>{} {}{}</code> <a class=\"button\" href=\"/?site={}&amp;lang={}&amp;again=1\">{}</a></p>",
            exchange.request.method,
            escape(host),
            escape(&exchange.request.target),
            escape(host),
            w.lang,
            w.again
        );
    }
    out.push_str("<div class=\"three\">\n");
    if let Some(leg) = view.leg(Column::Plain) {
        plain(out, view, leg);
    }
    if let Some(leg) = view.leg(Column::Tls13) {
        sealed(out, view, leg);
    }
    behind(out, view);
    out.push_str("</div></section>\n");
}

/// The left wire: everything is text.
fn plain(out: &mut String, view: &View<'_>, leg: &Leg) {
    let w = view.words;
    let total = leg.wire.sent_total + leg.wire.received_total;
    card(out, "clear", &format!("{}{}", w.plain_wire, leg.authority), w.reads_all);
    meter(out, view, total, total);
    if let Some(failure) = &leg.failure {
        let _ = write!(out, "<p>{}</p>", escape(failure));
    }
    if leg.answer.as_ref().is_some_and(|answer| (300..400).contains(&answer.status)) {
        let _ = write!(out, "<p class=\"note\">{}</p>", w.redirected);
    }
    let request = String::from_utf8_lossy(cut(&leg.wire.sent)).into_owned();
    let answer = String::from_utf8_lossy(cut(&leg.wire.received)).into_owned();
    let _ = writeln!(
        out,
        "<pre class=\"wire\" tabindex=\"0\"><span class=\"way\">\u{2192}</span>{}\n<span class=\"way\">\u{2190}</span>{}</pre></article>",
        marked(&request),
        marked(&answer)
    );
}

/// A message in clear, with what gives most away marked: query, cookies, and a request's body.
fn marked(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut out = String::new();
    for (index, line) in head.split("\r\n").enumerate() {
        match line.split_once(": ") {
            _ if index == 0 => {
                match line.split_once('?').and_then(|(front, rest)| Some((front, rest.split_once(' ')?))) {
                    Some((front, (query, rest))) => {
                        let _ = write!(out, "{}?<mark>{}</mark> {}", escape(front), escape(query), escape(rest));
                    }
                    None => out.push_str(&escape(line)),
                }
            }
            // A session that the app has just opened belongs to nobody, and is still not shown.
            Some((name, value)) if name.eq_ignore_ascii_case("set-cookie") => {
                let cookie = value.split('=').next().unwrap_or_default();
                let _ = write!(out, "{}: <mark>{}={HIDDEN}</mark>", escape(name), escape(cookie));
            }
            Some((name, value))
                if ["cookie", "authorization", "referer"].iter().any(|n| name.eq_ignore_ascii_case(n)) =>
            {
                let _ = write!(out, "{}: <mark>{}</mark>", escape(name), escape(value));
            }
            _ => out.push_str(&escape(line)),
        }
        out.push('\n');
    }
    if !body.is_empty() {
        let body: String = body.chars().map(|c| if c.is_control() && c != '\n' { '\u{b7}' } else { c }).collect();
        let _ = writeln!(out, "\n<mark>{}</mark>", escape(&body));
    }
    out
}

/// The right wire: the same exchange, as it crosses there.
fn sealed(out: &mut String, view: &View<'_>, leg: &Leg) {
    let w = view.words;
    let records = leg.talk.iter().map(|talk| talk.sent.len() + talk.received.len()).sum::<usize>();
    card(out, "sealed", &format!("{}{}", w.tls_wire, leg.authority), w.reads_sizes);
    meter(out, view, 0, leg.clear.sent_total + leg.clear.received_total);
    if let Some(failure) = &leg.failure {
        let _ = write!(out, "<p>{}</p>", escape(failure));
    }
    if let Some(hello) = leg.talk.as_ref().and_then(|talk| talk.client_hello.as_ref()) {
        let versions: Vec<String> = hello.versions.iter().map(|version| version_name(*version)).collect();
        let _ = writeln!(
            out,
            "<p class=\"note\">{}</p><dl class=\"facts\"><dt>{}</dt><dd><mark>{}</mark></dd><dt>{}</dt><dd><mark>{}</mark></dd>\
             <dt>{}</dt><dd>{}</dd><dt>{}</dt><dd>{} \u{2192} {} \u{2190} ({records})</dd></dl>",
            w.in_clear,
            w.clear_name,
            escape(hello.server_name.as_deref().unwrap_or("-")),
            w.clear_alpn,
            escape(&hello.alpn.join(", ")),
            w.clear_versions,
            escape(&versions.join(", ")),
            w.clear_sizes,
            grouped(leg.wire.sent_total),
            grouped(leg.wire.received_total),
        );
    }
    let _ = writeln!(
        out,
        "<p class=\"note\">{}</p><pre class=\"wire noise\" tabindex=\"0\"><span class=\"way\">\u{2192}</span>{}\n\n<span class=\"way\">\u{2190}</span>{}</pre></article>",
        w.same_request,
        noise(leg, Way::Sent),
        noise(leg, Way::Received)
    );
}

/// The records of the application, octet by octet: what can be printed, and a dot for the rest.
fn noise(leg: &Leg, way: Way) -> String {
    let bytes = leg.wire.bytes(way);
    let messages = leg.talk.iter().flat_map(|talk| talk.of(way)).filter(|m| m.role == Role::Application);
    let mut records: Vec<(u64, u64)> = messages.map(|message| (message.start, message.end)).collect();
    records.dedup();
    let octets = records.iter().filter_map(|(start, end)| bytes.get(*start as usize..*end as usize)).flatten();
    let text: String =
        octets.take(SHOWN).map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '\u{b7}' }).collect();
    escape(&text)
}

/// The last hop: what the server got of the same request.
fn behind(out: &mut String, view: &View<'_>) {
    let w = view.words;
    let (Ok(observed), Some(exchange)) = (&view.observed, view.exchange()) else { return };
    let index = exchange.legs.iter().position(|leg| leg.column == Column::Tls13);
    let entry = index.and_then(|index| observed.behind.get(index)?.as_ref()).map(|kept| &kept.entry);
    let server = entry.and_then(|entry| entry.server.as_deref()).unwrap_or_default();
    card(out, "behind", &format!("{} \u{2192} {server}", w.behind), w.behind_lead);
    match entry.and_then(|entry| entry.forwarded.as_ref()) {
        Some(head) => {
            let _ = writeln!(
                out,
                "<pre class=\"wire\" tabindex=\"0\"><span class=\"way\">\u{2192}</span>{}",
                escape(&head.start)
            );
            for (name, value) in &head.fields {
                let is_added = name.to_ascii_lowercase().starts_with("x-forwarded") || name.eq_ignore_ascii_case("via");
                let (open, close) = if is_added { ("<ins>", "</ins>") } else { ("", "") };
                let _ = writeln!(out, "{open}{}: {}{close}", escape(name), escape(value));
            }
            let body = String::from_utf8_lossy(&exchange.request.body).into_owned();
            let _ = write!(out, "\n{}</pre>", escape(&body));
        }
        None => {
            let _ = write!(out, "<p>{}</p>", w.not_behind);
        }
    }
    out.push_str("</article>\n");
}

fn card(out: &mut String, class: &str, title: &str, lead: &str) {
    let _ = writeln!(out, "<article class=\"card {class}\"><h3>{}</h3><p>{lead}</p>", escape(title));
}

/// How much of what is meant for the two ends can be read on the way.
fn meter(out: &mut String, view: &View<'_>, clear: u64, total: u64) {
    let w = view.words;
    let share = if total == 0 { 0.0 } else { clear as f64 * 100.0 / total as f64 };
    let _ = writeln!(
        out,
        "<svg class=\"meter\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"s\" width=\"100\" height=\"6\"/>\
         <rect class=\"c\" width=\"{share:.1}\" height=\"6\"/></svg><p class=\"count\"><b>{}</b> {} {} {}</p>",
        grouped(clear),
        w.of,
        grouped(total),
        w.content
    );
}

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SHOWN)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_most_away_is_marked_and_markup_stays_text() {
        let text = marked("GET /?q=<b> HTTP/1.1\r\nHost: a\r\nCookie: id=1\r\n\r\nuser=ada");
        assert!(text.starts_with("GET /?<mark>q=&lt;b&gt;</mark> HTTP/1.1\n"), "{text}");
        assert!(text.contains("Cookie: <mark>id=1</mark>") && text.contains("<mark>user=ada</mark>"), "{text}");
        let answer = marked("HTTP/1.1 200 OK\r\nSet-Cookie: id=secret; Path=/\r\n\r\n");
        assert!(!answer.contains("secret") && answer.contains("id="), "{answer}");
    }
}
