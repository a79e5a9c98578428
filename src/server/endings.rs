//! The end of what began before: what a reload has taken away ends after a grace, what a stop leaves over at once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::doors::Hall;
use crate::error::Why;
use crate::http::term::Term;
use crate::net::clock;

/// How long requests that are over may take to notice. They are woken, so it is a matter of one turn of the worker.
const SETTLE: Duration = Duration::from_secs(1);
/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(5);

/// Ends what still depends on `gone` when the grace is over, and says how much that was.
pub(super) fn end_after(hall: &Rc<Hall>, mut gone: Vec<Rc<Term>>, grace: Duration) {
    // Of most nothing is left already.
    gone.retain(|term| Rc::strong_count(term) > 1);
    if gone.is_empty() {
        return;
    }
    let at = clock::now() + grace;
    gone.iter().for_each(|term| term.give_notice(at));
    let hall = hall.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep_until(at.into()).await;
        gone.retain(|term| term.ends_at(at));
        gone.iter().for_each(|term| term.end(Why::ProxyReloaded));
        hall.shared().connections.stir();
        let settled = Instant::now() + SETTLE;
        while gone.iter().any(|term| Rc::strong_count(term) > 1) && Instant::now() < settled {
            tokio::time::sleep(LOOK).await;
        }
        let ended: usize = gone.iter().map(|term| term.ended()).sum();
        if ended > 0 {
            let requests = if ended == 1 { "1 request".into() } else { format!("{ended} requests") };
            tracing::warn!(
                "ended {requests} that began before a reload changed what they depend on: {grace:?} are over"
            );
            let sinks = hall.shared().handler.sinks();
            if let Some(counters) = sinks.as_ref().and_then(|sinks| sinks.worker_metrics()) {
                counters.ended.add(ended as u64);
            }
        }
    });
}

/// Ends every request, since the process ends: each leaves its record.
pub(super) fn end_all(hall: &Hall) {
    hall.terms().iter().for_each(|term| term.end(Why::ProxyStopped));
    hall.shared().connections.stir();
}
