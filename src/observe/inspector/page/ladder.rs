//! The ladder: who says what, from the SYN to the last FIN.

use std::fmt::Write as _;

use super::{View, column_name, escape, grouped};
use crate::net::tap::Way;
use crate::observe::request::Column;
use crate::observe::{Leg, ladder, table};

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    super::section(out, "ladder", w.ladder, w.ladder_lead);
    out.push_str("<div class=\"two\">\n");
    for leg in [Column::Plain, Column::Tls13].into_iter().filter_map(|column| view.leg(column)) {
        one(out, view, leg);
    }
    let _ = writeln!(out, "</div>\n<details><summary>{}</summary><div class=\"two\">", w.more_ladders);
    for leg in [Column::Resumed, Column::Tls12, Column::Http2].into_iter().filter_map(|column| view.leg(column)) {
        one(out, view, leg);
    }
    let _ = writeln!(out, "</div></details>\n<p class=\"note\">{}</p></section>", w.derived);
}

fn one(out: &mut String, view: &View<'_>, leg: &Leg) {
    let w = view.words;
    let trips = leg.trips.map_or_else(String::new, |trips| format!("{trips} {}", w.trips_unit));
    let _ = writeln!(
        out,
        "<article><h3>{} <small>{trips}</small></h3><div class=\"ends\" aria-hidden=\"true\"><b>{}</b><b>{}</b></div><ol class=\"ladder\">",
        column_name(w, leg.column),
        w.client,
        w.proxy
    );
    for step in ladder::steps(leg) {
        let sealed = !step.items.is_empty() && step.items.iter().all(|item| item.sealed);
        let kind = match (step.derived, sealed) {
            (true, _) => "tcp",
            (false, true) => "sealed",
            (false, false) => "clear",
        };
        let (way, from) = if step.way == Way::Sent { ("out", w.client) } else { ("in", w.proxy) };
        let items: Vec<String> = step.items.iter().map(|item| named(item, step.derived)).collect();
        let bytes =
            if step.bytes > 0 { format!(" <small>{} {}</small>", grouped(step.bytes), w.bytes) } else { String::new() };
        let _ = writeln!(
            out,
            "<li class=\"{way} {kind}\"><time>{}</time><p><span class=\"sr\">{from}: </span>{}{bytes}</p></li>",
            table::milliseconds(step.at),
            items.join(" ")
        );
    }
    let holder = leg.close.holder();
    let holder = match holder {
        "client" => w.client,
        "server" => w.proxy,
        other => other,
    };
    let _ = writeln!(out, "</ol><p class=\"note\">{} {holder}</p></article>", w.time_wait);
}

fn named(item: &ladder::Item, derived: bool) -> String {
    let class = match (derived, item.sealed) {
        (true, _) => "t",
        (false, true) => "s",
        (false, false) => "c",
    };
    let name: String = item.name.chars().take(60).collect();
    format!("<span class=\"{class}\">{}</span>", escape(&name))
}
