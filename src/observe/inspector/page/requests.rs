//! Live requests, each with what the proxy changed on its way.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::super::probe::AGENT;
use super::super::words::Words;
use super::{Piece, SHOWN, View, escape};
use crate::inspect::{Entry, Head};

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    super::section(out, "requests", w.requests, w.requests_lead);
    let (missed, hidden) = (view.missed, if view.missed == 0 { " hidden" } else { "" });
    let _ = writeln!(out, "<p class=\"note\"{hidden}>{missed} {}</p>", w.missed);
    let none = if view.ring.last() == 0 { "" } else { " hidden" };
    let _ = writeln!(out, "<p id=\"none\"{none}>{}</p>\n<ol id=\"list\" class=\"requests\">", w.none_yet);
    for kept in view.ring.newest().take(SHOWN) {
        *out += &request(w, kept);
    }
    out.push_str("</ol></section>\n");
}

/// One request.
pub(in super::super) fn request(w: &Words, kept: &Piece) -> String {
    let entry = &kept.entry;
    let mut out = String::new();
    let class = entry.status / 100;
    let own = entry
        .received
        .fields
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("user-agent") && value.starts_with(AGENT));
    let own = if own { format!(" <i>{}</i>", w.own) } else { String::new() };
    let (wire, wire_class) = match &entry.tls {
        Some(tls) => (tls.version, "s"),
        None => (w.plain, "c"),
    };
    let target: String = entry.target.chars().take(200).collect();
    let _ = writeln!(
        out,
        "<li id=\"r{}\"><details><summary><time>{}</time><b class=\"st s{class}\">{}</b><span class=\"what\"><b>{}</b> {}<wbr>{}{own}</span>\
         <span class=\"tag {wire_class}\">{wire}</span><span class=\"tag\">{}</span><span class=\"dur\">{}</span></summary>",
        kept.number,
        clock(entry),
        entry.status,
        escape(&entry.method),
        escape(&entry.host),
        escape(&target),
        entry.version.trim_end_matches(".0"),
        short(entry.times.total)
    );
    detail(&mut out, w, entry);
    out.push_str("</details></li>\n");
    out
}

fn detail(out: &mut String, w: &Words, entry: &Entry) {
    out.push_str("<div class=\"detail\">");
    let meaning = w.classes.get(usize::from(entry.status / 100).wrapping_sub(1)).copied().unwrap_or_default();
    let _ = write!(out, "<p><b class=\"st s{}\">{}</b> {meaning}", entry.status / 100, entry.status);
    if let Some(why) = entry.why {
        let row = why.row();
        let _ = write!(out, " <code>{}</code> {} {}", row.code, escape(row.cause), escape(row.remedy));
    }
    out.push_str("</p>");
    if let Some((_, text)) = w.methods.iter().find(|(method, _)| *method == entry.method) {
        let _ = write!(out, "<p class=\"note\">{text}</p>");
    }
    match &entry.tls {
        None => {
            let _ = write!(out, "<p class=\"onwire c\">{}</p>", w.on_wire_plain);
        }
        Some(tls) => {
            let _ = write!(
                out,
                "<p class=\"onwire s\">{} <b>{}</b>. {}, {}, {}{}</p>",
                w.on_wire_tls,
                escape(tls.sni.as_deref().unwrap_or("-")),
                tls.version,
                tls.cipher,
                tls.group,
                if tls.resumed { ", resumed" } else { "" }
            );
        }
    }
    times(out, w, entry);
    if let (Some(site), Some(route)) = (&entry.site, &entry.route) {
        let _ = write!(out, "<p class=\"note\">{} \u{2192} {}", escape(site), escape(route));
        if let Some(server) = &entry.server {
            let _ = write!(out, " \u{2192} {}", escape(server));
        }
        let _ = write!(out, " \u{b7} {} {} \u{b7} {}</p>", entry.bytes, w.bytes, escape(&entry.id));
    }
    match &entry.forwarded {
        Some(forwarded) => {
            diff(out, w, w.request_diff, [w.received, w.forwarded], &entry.received, forwarded);
        }
        None => {
            let _ = write!(out, "<p>{}</p>", w.not_forwarded);
            diff(out, w, w.request_diff, [w.received, w.received], &entry.received, &entry.received);
        }
    }
    let before = entry.answered.as_ref().unwrap_or(&entry.sent);
    diff(out, w, w.answer_diff, [w.from_server, w.to_client], before, &entry.sent);
    out.push_str("</div>");
}

/// Where the time went, as one bar.
fn times(out: &mut String, w: &Words, entry: &Entry) {
    let t = &entry.times;
    let transfer = t.total.saturating_sub(t.route + t.connect + t.first_byte);
    let parts = [t.tls, t.route, t.connect, t.first_byte, transfer].map(|part| part.as_secs_f64() * 1000.0);
    let sum: f64 = parts.iter().sum::<f64>().max(0.001);
    out.push_str("<svg class=\"times\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    let mut x = 0.0;
    for (index, part) in parts.iter().enumerate() {
        let width = part * 100.0 / sum;
        let _ = write!(out, "<rect class=\"t{index}\" x=\"{x:.2}\" width=\"{width:.2}\" height=\"6\"/>");
        x += width;
    }
    out.push_str("</svg><ul class=\"legend\">");
    for (index, (part, name)) in parts.iter().zip(w.times).enumerate().filter(|(_, (part, _))| **part > 0.0) {
        let _ = write!(out, "<li class=\"t{index}\">{name} {part:.2} ms</li>");
    }
    out.push_str("</ul>");
}

/// How a field fared between two heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Changed,
    Removed,
    Added,
}

/// A field that both or one of the heads has: its name, and its value in each.
struct Row<'a> {
    change: Change,
    name: &'a str,
    before: &'a str,
    after: &'a str,
}

/// The fields of both heads, in the order of the first, then what the second has more.
fn rows<'a>(before: &'a Head, after: &'a Head) -> Vec<Row<'a>> {
    let mut left: Vec<Option<&(String, String)>> = after.fields.iter().map(Some).collect();
    let mut rows = Vec::new();
    for (name, value) in &before.fields {
        let place = left.iter().position(|field| field.is_some_and(|(other, _)| other.eq_ignore_ascii_case(name)));
        let found = place.and_then(|place| left.get_mut(place)?.take());
        let (change, after) = match found {
            Some((_, other)) if other == value => (Change::Same, other.as_str()),
            Some((_, other)) => (Change::Changed, other.as_str()),
            None => (Change::Removed, ""),
        };
        rows.push(Row { change, name, before: value, after });
    }
    let added = left.into_iter().flatten();
    rows.extend(added.map(|(name, value)| Row { change: Change::Added, name, before: "", after: value }));
    rows
}

fn diff(out: &mut String, w: &Words, caption: &str, titles: [&str; 2], before: &Head, after: &Head) {
    let _ = writeln!(
        out,
        "<table class=\"diff\"><caption>{caption}</caption><thead><tr><th scope=\"col\">{}</th><th scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead><tbody>\n\
         <tr class=\"start\"><th scope=\"row\"></th><td>{}</td><td>{}</td></tr>",
        w.field,
        titles[0],
        titles[1],
        escape(&before.start),
        escape(&after.start)
    );
    for row in rows(before, after) {
        let (class, word) = match row.change {
            Change::Same => ("", ""),
            Change::Changed => ("changed", w.changed),
            Change::Removed => ("removed", w.removed),
            Change::Added => ("added", w.added),
        };
        let hint = w.field_hint(row.name).map_or_else(String::new, |hint| format!("<small>{hint}</small>"));
        let word = if word.is_empty() { String::new() } else { format!(" <em>{word}</em>") };
        let _ = writeln!(
            out,
            "<tr class=\"{class}\"><th scope=\"row\">{}{word}{hint}</th><td>{}</td><td>{}</td></tr>",
            escape(row.name),
            escape(row.before),
            escape(row.after)
        );
    }
    out.push_str("</tbody></table>");
    if before.left_out + after.left_out > 0 {
        let _ = write!(out, "<p class=\"note\">{} {}</p>", before.left_out + after.left_out, w.left_out);
    }
}

/// The time of day, UTC.
fn clock(entry: &Entry) -> String {
    let at = OffsetDateTime::from(entry.at);
    format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
}

fn short(time: std::time::Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_tells_what_stayed_changed_went_and_came() {
        let head = |fields: &[(&str, &str)]| Head {
            fields: fields.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
            ..Head::default()
        };
        let before = head(&[("host", "a"), ("Connection", "x"), ("A", "1"), ("B", "1"), ("b", "2")]);
        let after = head(&[("Host", "a"), ("A", "2"), ("B", "1"), ("B", "2"), ("Via", "v")]);
        let seen: Vec<_> = rows(&before, &after).iter().map(|row| (row.change, row.name.to_string())).collect();
        use Change::*;
        let expected =
            [(Same, "host"), (Removed, "Connection"), (Changed, "A"), (Same, "B"), (Same, "b"), (Added, "Via")];
        assert_eq!(seen, expected.map(|(change, name)| (change, name.to_string())));
    }
}
