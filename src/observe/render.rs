//! The comparison on a terminal: it fits 80 columns and uses more, with and without colour.

use super::compare::{Comparison, Exchange};
use super::ladder::{self, Step};
use super::leg::Leg;
use super::readable::{self, Readable};
use super::request::Column;
use super::table;
use crate::net::tap::Way;

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    pub color: bool,
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

impl Style {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("{code}{text}{RESET}") } else { text.to_string() }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint(DIM, text)
    }

    /// At least 80: narrower terminals wrap.
    pub(super) fn columns(&self) -> usize {
        self.width.max(80)
    }
}

/// The whole text. The ladder and what can be read are shown for the first request; of the others what differs.
pub fn text(comparison: &Comparison, style: Style) -> String {
    let mut out = String::new();
    for (index, exchange) in comparison.exchanges.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let request = &exchange.request;
        let heading = format!("{} {}{}", request.method, request.host, request.target);
        out += &style.paint(BOLD, &cut(&heading, style.columns()));
        out.push('\n');
        push_table(&mut out, exchange, style);
        for leg in &exchange.legs {
            if let Some(failure) = &leg.failure {
                out += &wrap(&format!("{}: {failure}", leg.column.title()), "  ", style.columns());
            }
        }
        for lesson in table::lessons(exchange) {
            out += &wrap(&lesson, "  ", style.columns());
        }
        push_readable(&mut out, exchange, index == 0, style);
        if index == 0 {
            push_ladders(&mut out, exchange, style);
            push_environ(&mut out, exchange, style);
        }
    }
    if let Some(identity) = table::identity(comparison) {
        out += &format!("\n{}\n", style.paint(BOLD, "Identity: plain HTTP proves none; TLS"));
        for line in table::identity_lines(&identity) {
            out += &wrap(&line, "  ", style.columns());
        }
    }
    out
}

fn push_table(out: &mut String, exchange: &Exchange, style: Style) {
    let (label, cell) = if style.columns() >= 120 { (24, 18) } else { (20, 12) };
    let mut line = format!("{:label$}", "");
    for leg in &exchange.legs {
        line += &format!("{:>cell$}", leg.column.title());
    }
    *out += &style.paint(DIM, &line);
    out.push('\n');
    for (name, cells) in table::rows(exchange) {
        *out += &format!("{name:label$}");
        for text in cells {
            *out += &format!("{text:>cell$}");
        }
        out.push('\n');
    }
}

fn push_readable(out: &mut String, exchange: &Exchange, first: bool, style: Style) {
    for leg in &exchange.legs {
        // The resumed and the HTTP/2 handshake show an eavesdropper the same kinds of things.
        if matches!(leg.column, Column::Resumed | Column::Http2) || (leg.column == Column::Tls12 && !first) {
            continue;
        }
        let heading = format!("What anybody on the way reads, port {} ({})", leg.peer.port(), leg.column.title());
        *out += &format!("\n{}\n", style.paint(BOLD, &heading));
        let parts = readable::parts(leg);
        if parts.is_empty() {
            *out += "  nothing\n";
        }
        for part in parts {
            push_part(out, &part, leg.talk.is_none(), style);
        }
    }
}

/// One readable thing: its name, then its text in as many lines as it needs.
fn push_part(out: &mut String, part: &Readable, clear: bool, style: Style) {
    const LABEL: usize = 18;
    // The page and the JSON have all of it.
    const LINES: usize = 8;
    let room = style.columns() - LABEL - 2;
    let mut label = part.what;
    let lines: Vec<String> = {
        // Indented text keeps its shape.
        let fold = |line| if str::starts_with(line, ' ') { pieces(line, room) } else { words(line, room) };
        part.text.lines().flat_map(fold).collect()
    };
    for line in lines.iter().take(LINES).cloned() {
        let text = if clear { style.paint(RED, &line) } else { line };
        *out += &format!("  {label:LABEL$}{text}\n");
        label = "";
    }
    if lines.len() > LINES {
        *out += &format!("  {:LABEL$}({} lines more)\n", "", lines.len() - LINES);
    }
}

/// The environ of a WSGI application beside the request, as the plain and the first TLS column brought it.
fn push_environ(out: &mut String, exchange: &Exchange, style: Style) {
    for leg in exchange.legs.iter().filter(|leg| matches!(leg.column, Column::Plain | Column::Tls13)) {
        let parts = leg.answer.as_ref().map(readable::in_environ).unwrap_or_default();
        if parts.is_empty() {
            continue;
        }
        let heading = format!("What the WSGI application gets, {}", leg.column.title());
        *out += &format!("\n{}\n", style.paint(BOLD, &heading));
        for (part, key, value) in parts {
            let room = style.columns().saturating_sub(52);
            *out += &format!("  {part:26}{key:24}{}\n", cut(&value, room));
        }
    }
}

fn push_ladders(out: &mut String, exchange: &Exchange, style: Style) {
    for leg in &exchange.legs {
        let source = if leg.packets.is_empty() { "* = derived" } else { "packets as captured" };
        let heading = format!("Ladder, {} (client left, server right; {source})", leg.column.title());
        *out += &format!("\n{}\n", style.paint(BOLD, &heading));
        for step in ladder::steps(leg) {
            push_step(out, &step, style);
        }
        push_end(out, leg);
    }
}

fn push_step(out: &mut String, step: &Step, style: Style) {
    let arrow = if step.way == Way::Sent { "-->" } else { "<--" };
    let mark = if step.derived { "*" } else { " " };
    let bytes = if step.bytes > 0 { format!("{} B", step.bytes) } else { String::new() };
    let lead = format!("  {:>9} {mark}{arrow} {bytes:>8}  ", table::milliseconds(step.at));
    let names: Vec<String> = step
        .items
        .iter()
        .map(|item| {
            let size = item.size.map_or_else(String::new, |size| format!(" {size}"));
            if item.sealed { format!("{{{}{size}}}", item.name) } else { format!("{}{size}", item.name) }
        })
        .collect();
    let room = style.columns().saturating_sub(lead.len()).max(20);
    let mut text = if names.is_empty() { "part of a message".into() } else { names.join(", ") };
    if let Some(tcp) = &step.tcp {
        if tcp.again {
            text = "sent again".into();
        }
        text += &format!("  seq={}", tcp.seq);
        if tcp.flags.ack {
            text += &format!(" ack={}", tcp.ack);
        }
        if tcp.flags.syn {
            text += &format!(" win={}", tcp.window);
        }
    }
    let sealed = !step.items.is_empty() && step.items.iter().all(|item| item.sealed);
    let indent = " ".repeat(lead.len());
    for (index, line) in words(&text, room).into_iter().enumerate() {
        *out += if index == 0 { &lead } else { &indent };
        *out += &if sealed { style.paint(GREEN, &line) } else { line };
        out.push('\n');
    }
}

fn push_end(out: &mut String, leg: &Leg) {
    let close = &leg.close;
    let state = match (close.after.client, close.after.server) {
        (Some(client), _) if client.is_time_wait() => {
            format!("client in TIME_WAIT for {:.0} s more (kernel)", client.timer.as_secs_f64())
        }
        (_, Some(server)) if server.is_time_wait() => {
            format!("server in TIME_WAIT for {:.0} s more (kernel)", server.timer.as_secs_f64())
        }
        _ if !close.looked => "the kernel's tables cannot be read here".into(),
        _ => format!("TIME_WAIT: {}", close.holder()),
    };
    *out += &format!("  {state}\n");
}

/// Breaks at spaces where there are some.
pub(super) fn words(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        let length = last.chars().count();
        if length > 0 && length + 1 + word.chars().count() > room {
            lines.push(word.into());
        } else {
            if length > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.iter().flat_map(|line| pieces(line, room)).collect()
}

/// Breaks after a number of characters.
fn pieces(line: &str, room: usize) -> Vec<String> {
    let chars: Vec<char> = line.trim_end().chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(room.max(1)).map(|piece| piece.iter().collect()).collect()
}

pub(super) fn wrap(text: &str, indent: &str, width: usize) -> String {
    words(text, width - indent.len()).iter().map(|line| format!("{indent}{line}\n")).collect()
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_pass_the_room() {
        assert_eq!(words("one two three", 7), ["one two", "three"]);
        assert_eq!(words("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("a b", "  ", 80), "  a b\n");
    }
}
