//! An explanation for a person, in 80 columns. Only what goes over the wire is never broken.

use super::{Answer, Explanation, Place};
use crate::config::Origin;

const WIDTH: usize = 80;
const NOBODY: &str = "no site and no certificate is for this name";
const LABEL: usize = 13;
/// Routes shown of a site; `--json` has them all.
const ROUTES: usize = 20;

/// The explanation as text.
pub fn text(explanation: &Explanation) -> String {
    let mut out = Page::default();
    let question = &explanation.question;
    out.raw(&format!("{} {} from {}\n", question.method, question.url(), question.from));
    out.line("listener", &located(&explanation.listener));
    match (&explanation.certificate, &explanation.answer) {
        (Some((what, why)), _) => {
            out.line("certificate", what);
            out.more(&format!("because {why}"));
        }
        (None, Answer::Alert) => {
            out.line("certificate", &format!("none: {}", explanation.refused.as_deref().unwrap_or(NOBODY)));
        }
        (None, _) => {}
    }
    if let Some(site) = &explanation.site {
        let alias = if explanation.alias { ", of which the host is an alias" } else { "" };
        out.line("site", &format!("{}{alias}", located(site)));
    }
    if explanation.site.is_none() && !matches!(explanation.answer, Answer::Alert) {
        out.line("site", "none has this host");
    }
    match &explanation.route {
        Some(route) => out.line("route", &located(route)),
        None if explanation.site.is_some() => out.line("route", "none"),
        None => {}
    }
    for (place, why) in explanation.others.iter().take(ROUTES) {
        out.more(&format!("not {}: {why}", located(place)));
    }
    if explanation.others.len() > ROUTES {
        out.more(&format!("and {} more routes that are not it", explanation.others.len() - ROUTES));
    }
    if let Some((ip, scheme)) = &explanation.client {
        out.line("client", &format!("{ip} over {scheme}"));
    }
    for (index, step) in explanation.steps.iter().enumerate() {
        out.line(if index == 0 { "changes" } else { "" }, &format!("{}: {}", step.by, step.what));
    }
    answer(&explanation.answer, &mut out);
    for (index, bound) in explanation.bounds.iter().enumerate() {
        let origin = bound.origin.as_ref().map_or("default".to_owned(), place);
        out.line(if index == 0 { "bounds" } else { "" }, &format!("{:<30} {:<10} {origin}", bound.key, bound.value));
    }
    out.0
}

fn answer(answer: &Answer, out: &mut Page) {
    match answer {
        Answer::Alert => out.line("answer", "the TLS alert unrecognized_name: no request is made"),
        Answer::Refused { why, fields } => {
            let row = why.row();
            out.line("answer", &format!("{} {}: {}", row.status, row.code, row.cause));
            out.more(row.remedy);
            fields.iter().for_each(|(name, value)| out.raw(&format!("{:LABEL$}{name}: {value}\n", "")));
        }
        Answer::Own { by, status, fields } => {
            let by = match *by {
                "door" => "the plain door redirects to https",
                "alias" => "the alias redirects to the site's own name",
                "redirect" => "the redirect of the route",
                "challenge" => "the proof for the ACME server",
                "cors" => "the preflight of cors",
                "health" => "the health check of this machine",
                _ => "the response of the route",
            };
            out.line("answer", &format!("{status}, {by}"));
            fields.iter().for_each(|(name, value)| out.raw(&format!("{:LABEL$}{name}: {value}\n", "")));
        }
        Answer::Forward { upstream, balance, servers, head, fields } => {
            out.line("answer", &format!("forwarded to {}", located(upstream)));
            for (index, server) in servers.iter().enumerate() {
                let by = if index == 0 && servers.len() > 1 { format!(" ({balance})") } else { String::new() };
                out.line(if index == 0 { "servers" } else { "" }, &format!("{server}{by}"));
            }
            let text = String::from_utf8_lossy(head);
            for (index, line) in text.trim_end().lines().enumerate() {
                out.raw(&format!("{:LABEL$}{line}\n", if index == 0 { "head" } else { "" }));
            }
            for (index, (name, value)) in fields.iter().enumerate() {
                out.line(if index == 0 { "response" } else { "" }, &format!("gets {name}: {value}"));
            }
        }
    }
}

fn located(at: &Place) -> String {
    format!("{} ({})", at.name, place(&at.origin))
}

fn place(origin: &Origin) -> String {
    if origin.line == 0 { "default".to_owned() } else { format!("{}:{}", origin.file, origin.line) }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn raw(&mut self, text: &str) {
        // What a terminal would act on comes from the question or from files others wrote.
        self.0.extend(text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }));
    }

    fn more(&mut self, text: &str) {
        self.line("", text);
    }

    /// A label and its text, broken between words and indented under itself.
    fn line(&mut self, label: &str, text: &str) {
        let mut line = format!("{label:<LABEL$}");
        let mut first = true;
        for word in text.split(' ') {
            if !first && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.raw(&format!("{}\n", line.trim_end()));
                line = format!("{:w$}{word}", "", w = LABEL + 2);
                continue;
            }
            if !first {
                line.push(' ');
            }
            line.push_str(word);
            first = false;
        }
        self.raw(&format!("{}\n", line.trim_end()));
    }
}
