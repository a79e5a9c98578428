//! Who the site is, by its certificates.

use std::fmt::Write as _;

use super::{View, escape};
use crate::observe::table;

/// Days that make a whole ring: the life of most certificates.
const WHOLE: i64 = 90;

pub(super) fn section(out: &mut String, view: &View<'_>) {
    let w = view.words;
    let Ok(observed) = &view.observed else { return };
    super::section(out, "identity", w.identity, w.identity_lead);
    let Some(identity) = table::identity(&observed.comparison) else {
        let _ = writeln!(out, "<p>{}</p></section>", w.no_identity);
        return;
    };
    out.push_str("<div class=\"chain\">\n");
    for (index, card) in identity.chain.iter().enumerate() {
        let names = if card.names.is_empty() { card.subject.clone() } else { card.names.join(", ") };
        let share = card.days_left.clamp(0, WHOLE) as f64 * 100.0 / WHOLE as f64;
        let class = if card.days_left < 14 { "short" } else { "" };
        let _ = writeln!(
            out,
            "<article class=\"card cert\"><svg viewBox=\"0 0 36 36\" aria-hidden=\"true\"><circle cx=\"18\" cy=\"18\" r=\"15.9155\"/>\
             <circle class=\"left {class}\" cx=\"18\" cy=\"18\" r=\"15.9155\" stroke-dasharray=\"{share:.0} 100\"/>\
             <text x=\"18\" y=\"22\">{}</text></svg><div><p class=\"note\">{}</p><h3>{}</h3><p>{} {}<br>{} {}, {} {}</p></div></article>",
            card.days_left.clamp(-999, 9999),
            if index == 0 { w.leaf } else { w.issuer },
            escape(&names),
            w.issued_by,
            escape(&card.issuer),
            card.days_left,
            w.days,
            w.until,
            card.not_after.date()
        );
    }
    let vouched = match &identity.vouched_by {
        Some(source) => format!("{} {}", w.vouched, escape(source)),
        None => w.vouched_nobody.to_string(),
    };
    let (class, verdict) = match &identity.verdict {
        Ok(()) => ("good", w.accepted.to_string()),
        Err(why) => ("risk", format!("{} {}", w.refused, escape(why))),
    };
    let _ = writeln!(out, "</div><p class=\"verdict {class}\"><b>{vouched}</b> {verdict}</p></section>");
}
