//! The comparison as one page that needs nothing else: no script, no outside request, dark and light, narrow and wide.

use super::compare::{Comparison, Exchange};
use super::ladder;
use super::leg::Leg;
use super::{readable, table};
use crate::net::tap::Way;

const STYLE: &str = "body{font:1rem/1.55 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1.5rem;color:#1c2330;\
background:#fff}h1{font-size:1.6rem}h2{margin-top:2.5rem;font-size:1.25rem}h3{font-size:1.05rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}th,td{padding:.25rem .7rem;text-align:right;\
border-bottom:1px solid #d9dee6;white-space:nowrap}th:first-child,td:first-child{text-align:left}\
.wires{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1rem}\
.wires>*{min-width:0}dl{background:#f2f4f7;border-radius:.4rem;padding:.8rem;margin:0;font-size:.85rem}\
dt{color:#5c6675}dd{margin:0 0 .4rem;font-family:ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}\
.clear dd{color:#b3261e}ol{list-style:none;padding:0;font-size:.85rem}li{display:grid;\
grid-template-columns:5.5rem 2rem 1fr;gap:.4rem;padding:.15rem 0;overflow-wrap:anywhere}.sealed{color:#1a7f37}\
.text td{text-align:left;white-space:normal}.note{color:#5c6675}@media(prefers-color-scheme:dark){body{color:#e6e9ee;background:#14181f}dl{background:#1f2530}\
th,td{border-color:#333c4a}dt,.note{color:#98a2b1}.clear dd{color:#ff8f85}.sealed{color:#6ccf85}}";

/// The page.
pub fn page(comparison: &Comparison) -> String {
    let mut out = String::from(
        "<h1>The same request, plain and encrypted</h1>\n\
         <p class=\"note\">Observed on sockets of this run. Red: anybody on the way can read it. Green: encrypted, named \
         with the secrets of our own connection. TCP steps have their sequence numbers where packets could be captured, else \
         they are derived from calls to the kernel.</p>\n",
    );
    for exchange in &comparison.exchanges {
        push_exchange(&mut out, exchange);
    }
    if let Some(identity) = table::identity(comparison) {
        out += "<h2>Identity</h2>\n<ul>\n";
        for line in table::identity_lines(&identity) {
            out += &format!("<li style=\"display:list-item\">{}</li>\n", escape(&line));
        }
        out += "</ul>\n";
    }
    frame("vestibule compare", &out)
}

/// A page around a body.
pub(super) fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n{body}</html>\n",
        escape(title)
    )
}

fn push_exchange(out: &mut String, exchange: &Exchange) {
    let request = &exchange.request;
    let heading = format!("{} {}{}", request.method, request.host, request.target);
    *out += &format!("<h2>{}</h2>\n<div class=\"wide\"><table>\n<tr><th scope=\"col\"></th>", escape(&heading));
    for leg in &exchange.legs {
        *out += &format!("<th scope=\"col\">{}</th>", leg.column.title());
    }
    *out += "</tr>\n";
    for (label, cells) in table::rows(exchange) {
        *out += &format!("<tr><th scope=\"row\">{}</th>", escape(&label));
        for cell in cells {
            *out += &format!("<td>{}</td>", escape(&cell));
        }
        *out += "</tr>\n";
    }
    *out += "</table></div>\n";
    for leg in &exchange.legs {
        if let Some(failure) = &leg.failure {
            *out += &format!("<p>{}: {}</p>\n", leg.column.title(), escape(failure));
        }
    }
    for lesson in table::lessons(exchange) {
        *out += &format!("<p>{}</p>\n", escape(&lesson));
    }
    *out += "<div class=\"wires\">\n";
    for leg in &exchange.legs {
        push_leg(out, leg);
    }
    *out += "</div>\n";
}

fn push_leg(out: &mut String, leg: &Leg) {
    let class = if leg.talk.is_none() { "clear" } else { "sealed-wire" };
    *out += &format!(
        "<section><h3>{}, port {}: what anybody on the way reads</h3>\n<dl class=\"{class}\">\n",
        leg.column.title(),
        leg.peer.port()
    );
    for part in readable::parts(leg) {
        *out += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(part.what), escape(&part.text));
    }
    *out += "</dl>\n<ol>\n";
    for step in ladder::steps(leg) {
        let arrow = if step.way == Way::Sent { "\u{2192}" } else { "\u{2190}" };
        let items: Vec<String> = step
            .items
            .iter()
            .map(|item| {
                let size = item.size.map_or_else(String::new, |size| format!(" ({size})"));
                let class = if item.sealed { " class=\"sealed\"" } else { "" };
                format!("<span{class}>{}{size}</span>", escape(&item.name))
            })
            .collect();
        let derived = match &step.tcp {
            Some(tcp) => format!(" <span class=\"note\">{} seq={} ack={}</span>", tcp.flags, tcp.seq, tcp.ack),
            None if step.derived => " <span class=\"note\">derived</span>".into(),
            None => String::new(),
        };
        *out += &format!(
            "<li><span class=\"note\">{}</span><span>{arrow}</span><span>{}{derived}</span></li>\n",
            table::milliseconds(step.at),
            items.join(", ")
        );
    }
    *out += &format!("</ol>\n<p class=\"note\">TIME_WAIT: {}</p></section>\n", leg.close.holder());
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
