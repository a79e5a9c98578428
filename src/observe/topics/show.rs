//! A lesson as text, JSON and a page.

use serde_json::{Value, json as object};

use super::{Lesson, Topic};
use crate::observe::html;
use crate::observe::render::{Style, words, wrap};

/// A column but the last is never wider.
const WIDEST: usize = 27;

impl Topic {
    /// The name on the command line and in `--json`.
    fn id(self) -> &'static str {
        match self {
            Topic::Methods => "methods",
            Topic::Redirects => "redirects",
            Topic::Statuses => "statuses",
            Topic::Headers => "headers",
            Topic::Transport => "transport",
        }
    }
}

/// The lesson on a terminal.
pub fn text(lesson: &Lesson, style: Style) -> String {
    let mut out = style.bold(lesson.title) + "\n\n";
    let rows = narrow(lesson);
    let widths = widths(&rows, style.columns());
    for (index, row) in rows.iter().enumerate() {
        let text = line(row, &widths);
        out += &if index == 0 { style.dim(&text) } else { text };
    }
    out.push('\n');
    for sentence in &lesson.sentences {
        out += &wrap(sentence, "", style.columns());
    }
    out
}

/// The rows as a terminal shows them, titles first. Who reads a field stands below its name, where the second row of the
/// field has room.
fn narrow(lesson: &Lesson) -> Vec<Vec<String>> {
    let titles = lesson.columns.iter().map(|title| (*title).to_string()).collect();
    let mut rows: Vec<Vec<String>> = std::iter::once(titles).chain(lesson.rows.iter().cloned()).collect();
    if lesson.topic == Topic::Headers {
        let mut before = String::new();
        for row in &mut rows {
            let (name, readers) = (row.remove(0), row.remove(0));
            row.insert(0, if name == before { format!("  read by {readers}") } else { name.clone() });
            before = name;
        }
    }
    rows
}

/// Each column is as wide as its longest cell; the last one takes what is left.
fn widths(rows: &[Vec<String>], room: usize) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let longest =
        |column| rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| longest(column).unwrap_or(0).min(WIDEST)).collect();
    let taken: usize = widths.iter().take(columns.saturating_sub(1)).map(|width| width + 2).sum();
    if let Some(width) = widths.last_mut() {
        *width = longest(columns.saturating_sub(1)).unwrap_or(0).min(room.saturating_sub(taken)).max(10);
    }
    widths
}

/// One row, in as many lines as its longest cell needs.
fn line(cells: &[String], widths: &[usize]) -> String {
    let fold = |(cell, width): (&String, &usize)| -> Vec<String> {
        let text = cell.trim_start();
        let indent = " ".repeat(cell.len() - text.len());
        words(text, width.saturating_sub(indent.len())).iter().map(|line| format!("{indent}{line}")).collect()
    };
    let folded: Vec<Vec<String>> = cells.iter().zip(widths).map(fold).collect();
    let height = folded.iter().map(Vec::len).max().unwrap_or(1);
    let mut out = String::new();
    for index in 0..height {
        let mut text = String::new();
        for (lines, width) in folded.iter().zip(widths) {
            let piece = lines.get(index).map_or("", String::as_str);
            text += &format!("{piece:width$}  ");
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

/// The lesson for programs. Names are stable.
pub fn json(lesson: &Lesson) -> Value {
    let rows: Vec<Value> = lesson.rows.iter().map(|row| object!(row)).collect();
    object!({
        "topic": lesson.topic.id(), "title": lesson.title, "columns": lesson.columns, "rows": rows,
        "sentences": lesson.sentences,
    })
}

/// The lesson as a page that needs nothing else.
pub fn page(lesson: &Lesson) -> String {
    let mut body = format!("<h1>{}</h1>\n<div class=\"wide\"><table class=\"text\">\n<tr>", html::escape(lesson.title));
    for title in lesson.columns {
        body += &format!("<th scope=\"col\">{}</th>", html::escape(title));
    }
    body += "</tr>\n";
    for row in &lesson.rows {
        let mut cells = row.iter().map(|cell| html::escape(cell));
        body += &format!("<tr><th scope=\"row\">{}</th>", cells.next().unwrap_or_default());
        for cell in cells {
            body += &format!("<td>{cell}</td>");
        }
        body += "</tr>\n";
    }
    body += "</table></div>\n";
    for sentence in &lesson.sentences {
        body += &format!("<p>{}</p>\n", html::escape(sentence));
    }
    html::frame(lesson.title, &body)
}
