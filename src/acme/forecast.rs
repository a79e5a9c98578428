//! What the keeper of a certificate does next, and why: decided here, done there.

use super::plan::Validity;
use super::store::{self, Notes, Store};
use crate::config::{Acme, Challenge};
use crate::tls::ServedCert;

/// What will be done about one certificate. Times are in seconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// There is a certificate for all the names: it is renewed. Otherwise one is ordered.
    pub renewal: bool,
    /// When; the past is now.
    pub due: i64,
    pub why: Why,
    /// Why nothing can be ordered at all, whatever is due.
    pub forbidden: Option<&'static str>,
    /// In the order they are tried.
    pub challenges: Vec<Challenge>,
    /// The order is tried on the staging server first.
    pub rehearsed: bool,
    /// When the server is asked for its window again (RFC 9773); `None` before there is a certificate.
    pub window_at: Option<i64>,
}

/// What decides the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no certificate.
    Missing,
    /// The one that is there lacks one of the names.
    Names,
    /// So many orders in a row failed, and the next one waits.
    Failed(u32),
    /// A moment in the server's window (RFC 9773).
    Window,
    /// A third of its lifetime is left then.
    Ratio,
}

impl Why {
    /// One word for machines.
    pub fn code(self) -> &'static str {
        match self {
            Why::Missing => "missing",
            Why::Names => "names",
            Why::Failed(_) => "failed",
            Why::Window => "window",
            Why::Ratio => "ratio",
        }
    }
}

/// What is done next about the certificate of these names. `stored` and `notes` are those of the state folder.
pub fn forecast(
    settings: &Acme,
    store: &Store,
    names: &[String],
    stored: Option<&ServedCert>,
    notes: &Notes,
) -> Forecast {
    let (due, look) = due(stored, names, notes);
    let whole = stored.filter(|stored| is_whole(stored, names));
    let why = match (stored, whole) {
        _ if notes.failures > 0 => Why::Failed(notes.failures),
        (None, _) => Why::Missing,
        (Some(_), None) => Why::Names,
        (Some(_), Some(_)) if notes.renew_at.is_some() => Why::Window,
        (Some(_), Some(_)) => Why::Ratio,
    };
    Forecast {
        renewal: whole.is_some(),
        due,
        why,
        forbidden: forbidden(settings, store),
        challenges: in_turn(&settings.challenges, notes),
        rehearsed: rehearses(settings, notes),
        window_at: stored.map(|_| look),
    }
}

/// When to order (the past where there is no certificate for all the names), and when to look again at the latest. Times are in seconds since the epoch.
pub(super) fn due(stored: Option<&ServedCert>, names: &[String], notes: &Notes) -> (i64, i64) {
    let whole = stored.filter(|stored| is_whole(stored, names));
    let renew = whole.map_or(0, |stored| {
        Validity { not_before: stored.facts.not_before, not_after: stored.facts.not_after }.renew_at(notes.renew_at)
    });
    let look = if stored.is_some() { notes.window_at } else { i64::MAX };
    (renew.max(notes.retry_at), look)
}

fn is_whole(stored: &ServedCert, names: &[String]) -> bool {
    names.iter().all(|name| stored.facts.names.dns.contains(name))
}

/// Why no order may be placed at all.
pub(super) fn forbidden(settings: &Acme, store: &Store) -> Option<&'static str> {
    if !settings.accept_terms {
        return Some("acme.accept_terms is not true: read the terms of the ACME server, then accept them");
    }
    if store::is_production(&settings.directory) && !settings.ephemeral_ok && store.is_ephemeral() {
        return Some(
            "the state folder is lost at a restart, and every restart would order again until the server's limit is \
             reached: put it on a volume (VESTIBULE_STATE_DIR), or set acme.ephemeral_ok = true",
        );
    }
    None
}

/// After a failure that counts, a try on the staging server comes first, where the server has one.
pub(super) fn rehearses(settings: &Acme, notes: &Notes) -> bool {
    notes.failures > 0 && settings.directory == Acme::LETS_ENCRYPT
}

/// The challenges in the order they are tried: what worked last time first; after each failure the next one leads.
pub(super) fn in_turn(configured: &[Challenge], notes: &Notes) -> Vec<Challenge> {
    let mut order = configured.to_vec();
    if let Some(worked) = notes.challenge.and_then(|worked| order.iter().position(|c| *c == worked)) {
        order[..=worked].rotate_right(1);
    }
    let turn = usize::try_from(notes.failures).unwrap_or_default() % order.len().max(1);
    order.rotate_left(turn);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_tried_first_and_after_a_failure_the_next_leads() {
        use Challenge::{Dns01, Http01, TlsAlpn01};
        let all = [TlsAlpn01, Http01, Dns01];
        let notes = |failures, challenge| Notes { failures, challenge, ..Notes::default() };
        assert_eq!(in_turn(&all, &notes(0, None)), all);
        assert_eq!(in_turn(&all, &notes(0, Some(Dns01))), [Dns01, TlsAlpn01, Http01]);
        assert_eq!(in_turn(&all, &notes(1, None)), [Http01, Dns01, TlsAlpn01]);
        assert_eq!(in_turn(&all, &notes(4, Some(Http01))), [TlsAlpn01, Dns01, Http01]);
        assert_eq!(in_turn(&[Http01], &notes(7, Some(Dns01))), [Http01]);
    }
}
