//! What each way costs until the first byte, near and far.

use std::fmt::Write as _;
use std::time::Duration;

use super::{View, column_name, grouped};
use crate::observe::{Leg, cost, table};

/// The distance the bars begin with, in milliseconds.
const BEGIN: u64 = 100;

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    let Some(exchange) = view.exchange() else { return };
    super::section(out, "cost", w.cost, w.cost_lead);
    let legs = || exchange.legs.iter().filter(|leg| leg.trips.is_some());
    let longest = legs().filter_map(|leg| cost::at_distance(leg, BEGIN)).max().unwrap_or(Duration::from_millis(1));
    let _ = writeln!(
        out,
        "<div class=\"slider\" hidden><label for=\"rtt\">{}</label><input id=\"rtt\" type=\"range\" min=\"1\" max=\"200\" value=\"{BEGIN}\">\
         <output for=\"rtt\" id=\"rtt-now\">{BEGIN} ms</output></div>\n<ul class=\"bars\">",
        w.slider
    );
    for leg in legs() {
        bar(out, view, leg, longest);
    }
    let _ = write!(
        out,
        "</ul>\n<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">{}</th><th scope=\"col\">{}</th>",
        w.way, w.trips
    );
    for distance in cost::DISTANCES {
        let _ = write!(out, "<th scope=\"col\">{} {distance} ms</th>", w.at);
    }
    let _ = writeln!(
        out,
        "<th scope=\"col\">{}</th><th scope=\"col\">{}</th></tr></thead><tbody>",
        w.wire_bytes, w.handshake_cpu
    );
    for leg in legs() {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            column_name(w, leg.column),
            leg.trips.unwrap_or_default()
        );
        for distance in cost::DISTANCES {
            let time = cost::at_distance(leg, distance).map(table::milliseconds).unwrap_or_default();
            let _ = write!(out, "<td>{time}</td>");
        }
        let bytes = cost::bytes(leg);
        let cpu = leg.handshake_cpu.map(table::milliseconds).unwrap_or_else(|| "0".into());
        let _ = writeln!(out, "<td>{}</td><td>{cpu}</td></tr>", grouped(bytes.sent + bytes.received));
    }
    out.push_str("</tbody></table></div>\n<ul class=\"notes\">");
    for note in w.cost_notes {
        let _ = write!(out, "<li>{note}</li>");
    }
    out.push_str("</ul></section>\n");
}

fn bar(out: &mut String, view: &View<'_>, leg: &Leg, longest: Duration) {
    let w = view.words;
    let trips = leg.trips.unwrap_or_default() + u32::from(cost::long_flight(leg));
    let time = cost::at_distance(leg, BEGIN).unwrap_or_default();
    let here = time.saturating_sub(Duration::from_millis(BEGIN) * trips);
    let width = time.as_secs_f64() * 100.0 / longest.as_secs_f64();
    let class = if leg.talk.is_none() { "c" } else { "s" };
    let dots = "\u{25cf}".repeat(trips as usize);
    let _ = writeln!(
        out,
        "<li data-trips=\"{trips}\" data-here=\"{:.3}\"><span class=\"name\">{}</span><span class=\"dots\" aria-hidden=\"true\">{dots}</span>\
         <svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"{width:.1}\" height=\"10\"/></svg>\
         <span class=\"value\">{}</span><span class=\"sr\">{trips} {}</span></li>",
        here.as_secs_f64() * 1000.0,
        column_name(w, leg.column),
        table::milliseconds(time),
        w.trips_unit
    );
}
