//! The page: one document with its style and script in it. Without the script it is the same tables and lists; the script
//! adds what is live.

mod cost;
mod identity;
mod ladder;
mod map;
mod requests;
mod wires;

use std::fmt::Write as _;
use std::rc::Rc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::posture;
use super::probe::Observed;
use super::ring::{Kept, Ring};
use super::words::Words;
use crate::observe::request::Column;
use crate::observe::{Leg, compare};
use crate::server::Seen;

pub(super) use requests::request;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Requests that are in the page itself; the script adds those that come.
const SHOWN: usize = 40;

/// What a page is made of.
pub(super) struct View<'a> {
    pub words: &'static Words,
    pub seen: &'a Seen,
    /// The site that is observed, and those that can be.
    pub host: Option<&'a str>,
    pub hosts: &'a [String],
    pub observed: Result<Rc<Observed>, &'static str>,
    pub ring: &'a Ring,
    pub missed: u64,
}

impl View<'_> {
    /// The one exchange of the observation, with its legs.
    fn exchange(&self) -> Option<&compare::Exchange> {
        self.observed.as_ref().ok()?.comparison.exchanges.first()
    }

    fn leg(&self, column: Column) -> Option<&Leg> {
        self.exchange()?.legs.iter().find(|leg| leg.column == column)
    }
}

/// Only what is in the page runs and shows: its script and style by their hashes, and requests to the inspector itself.
pub(super) fn content_security_policy() -> String {
    let hash = |text: &str| STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

/// The whole page.
pub(super) fn page(view: &View<'_>) -> String {
    let w = view.words;
    let mut out = String::with_capacity(64 << 10);
    head(&mut out, w, w.title);
    // Writing into a String cannot fail, here and in all of this folder.
    let _ = writeln!(
        out,
        "<body data-last=\"{}\" data-lang=\"{}\"><a class=\"skip\" href=\"#requests\">{}</a>\n<header><div class=\"brand\">\
         <b>vestibule</b> <span id=\"live\" class=\"still\" role=\"status\" data-live=\"{}\">{}</span>\
         <a class=\"lang\" lang=\"{}\" href=\"/?lang={}\">{}</a></div>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>",
        view.ring.last(),
        w.lang,
        w.skip,
        w.live,
        w.still,
        w.other.0,
        w.other.0,
        w.other.1,
        w.title,
        w.lead
    );
    if view.hosts.len() > 1 {
        let _ = write!(out, "<nav aria-label=\"{0}\"><span>{0}</span> ", w.sites);
        for host in view.hosts.iter().take(50) {
            let current = if view.host == Some(host) { " aria-current=\"page\"" } else { "" };
            let _ = write!(out, "<a href=\"/?site={0}&amp;lang={1}\"{current}>{0}</a> ", escape(host), w.lang);
        }
        out += "</nav>\n";
    }
    out += "</header>\n<main>\n";
    match &view.observed {
        Ok(_) => {
            wires::section(&mut out, view);
            ladder::section(&mut out, view);
            cost::section(&mut out, view);
            identity::section(&mut out, view);
        }
        Err(why) => {
            let _ = writeln!(out, "<section><h2>{}</h2><p>{}</p></section>", w.no_wires, escape(why));
        }
    }
    requests::section(&mut out, view);
    map::section(&mut out, view);
    section(&mut out, "posture", w.posture, w.posture_lead);
    posture::list(&mut out, view.seen, view.words);
    let _ = writeln!(
        out,
        "</section>\n</main>\n<footer><p>{}</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>",
        w.footer
    );
    out
}

/// The page behind the printed address: it only leads on.
pub(super) fn welcome(words: &Words) -> String {
    let mut out = String::new();
    head(&mut out, words, words.title);
    out.replace("<meta charset", "<meta http-equiv=\"refresh\" content=\"0;url=/\"><meta charset")
        + &format!("<body><p><a href=\"/\">{}</a></p></body></html>\n", words.title)
}

fn head(out: &mut String, words: &Words, title: &str) {
    let _ = writeln!(
        out,
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"data:,\"><title>vestibule: {title}</title>\n<style>{STYLE}</style></head>",
        words.lang
    );
}

/// Opens a section with its heading and one line of text.
fn section(out: &mut String, id: &str, title: &str, lead: &str) {
    let _ = writeln!(
        out,
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title}</h2>\n<p class=\"lead\">{lead}</p>"
    );
}

/// Text of a peer or of the config, for the page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A number with a thin space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// The name of a column in the words of the page.
fn column_name(words: &Words, column: Column) -> &'static str {
    let index = Column::ALL.iter().position(|known| *known == column).unwrap_or(0);
    words.columns.get(index).copied().unwrap_or_default()
}

/// A request, as a piece of the page.
pub(super) type Piece = Rc<Kept>;

#[cfg(test)]
mod tests {
    use super::super::words::{EN, ZH};
    use super::*;

    #[test]
    fn the_page_without_data_is_far_below_its_bound_and_asks_nobody_else() {
        assert!(STYLE.len() + SCRIPT.len() < 30 << 10, "{} {}", STYLE.len(), SCRIPT.len());
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("@import"));
        }
        for words in [&EN, &ZH] {
            let page = welcome(words);
            assert!(page.contains("url=/") && page.contains(&format!("lang=\"{}\"", words.lang)));
        }
    }

    #[test]
    fn what_peers_send_cannot_become_markup() {
        assert_eq!(escape("<a href='x' b=\"&\">"), "&lt;a href=&#39;x&#39; b=&quot;&amp;&quot;&gt;");
        assert_eq!(
            (grouped(7), grouped(1234), grouped(1_234_567)),
            ("7".into(), "1\u{202f}234".into(), "1\u{202f}234\u{202f}567".into())
        );
    }
}
