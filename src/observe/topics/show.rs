//! A lesson as text, JSON and a page.

use serde_json::{Value, json as object};

use super::{Lesson, Topic};
use crate::observe::html;
use crate::observe::render::{Style, words, wrap};

/// A column but the last is never wider.
const WIDEST: usize = 26;

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
    let titles: Vec<String> = lesson.columns.iter().map(|title| (*title).to_string()).collect();
    let widths = widths(lesson, &titles, style.columns());
    out += &style.dim(&line(&titles, &widths));
    let mut before = "";
    for row in &lesson.rows {
        // A name is said once for the rows that follow each other.
        let mut cells = row.clone();
        let first = row.first().map_or("", String::as_str);
        if lesson.topic == Topic::Headers && first == before {
            cells[0].clear();
        }
        before = first;
        out += &line(&cells, &widths);
    }
    out.push('\n');
    for sentence in &lesson.sentences {
        out += &wrap(sentence, "", style.columns());
    }
    out
}

fn widths(lesson: &Lesson, titles: &[String], room: usize) -> Vec<usize> {
    let longest = |column: usize| {
        let cells = lesson
            .rows
            .iter()
            .chain(std::iter::once(&titles.to_vec()))
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max();
        cells.unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..titles.len()).map(|column| longest(column).min(WIDEST)).collect();
    let (before, last) = (widths.len().saturating_sub(1), longest(titles.len().saturating_sub(1)));
    let taken: usize = widths.iter().take(before).map(|width| width + 2).sum();
    if let Some(width) = widths.last_mut() {
        *width = last.min(room.saturating_sub(taken)).max(10);
    }
    widths
}

/// One row, in as many lines as its longest cell needs.
fn line(cells: &[String], widths: &[usize]) -> String {
    let folded: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| words(cell, *width)).collect();
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
