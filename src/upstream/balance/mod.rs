//! Which server gets a request.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::choice::{Choice, mixed};
use crate::config::Balance;

/// The result of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// The index of the chosen server.
    Server(usize),
    /// Those that would serve are full.
    Full,
    /// All have been tried.
    None,
}

/// How an upstream picks.
#[derive(Debug)]
pub(super) struct Policy {
    pub balance: Balance,
    /// The time in which the share of a server that is back grows to its whole.
    pub slow_start: Option<Duration>,
}

impl Policy {
    /// Chooses a server that has not been tried. A backup counts when no other server does well. A server that is not well
    /// counts again where no other is left: a try is better than none. `has_room`: the server may get one more request.
    pub(super) fn pick(
        &self,
        endpoints: &[Rc<Endpoint>],
        tried: &[usize],
        choice: Choice,
        now: Instant,
        has_room: impl Fn(usize) -> bool + Copy,
    ) -> Pick {
        let open = || endpoints.iter().enumerate().filter(|(index, _)| !tried.contains(index));
        // The lowest class that has a server is the one that serves.
        let class = |endpoint: &Endpoint| (endpoint.health.is_out(now), endpoint.backup);
        let Some(best) = open().map(|(_, endpoint)| class(endpoint)).min() else { return Pick::None };
        let candidates = || open().filter(move |(index, endpoint)| class(endpoint) == best && has_room(*index));
        // A server with `max_requests` in flight is no place to stay at.
        if let Some(stays) = choice.server
            && let Some((index, _)) = candidates().find(|(index, _)| *index == stays)
        {
            return Pick::Server(index);
        }
        let share =
            |endpoint: &Endpoint| u64::from(endpoint.weight) * u64::from(endpoint.health.share(now, self.slow_start));
        let picked = match (&self.balance, choice.key) {
            (Balance::First, _) => candidates().next().map(|(index, _)| index),
            (Balance::RoundRobin, _) => smooth(candidates(), share),
            (Balance::Hash(_), Some(key)) => rendezvous(candidates(), key),
            (Balance::Random, _) => weighted(candidates, share).map(|(index, _)| index),
            // A request without what is hashed on is like any other.
            (Balance::LeastRequests | Balance::Hash(_), _) => less_busy(candidates, share),
        };
        picked.map_or(Pick::Full, Pick::Server)
    }
}

/// The power of two choices: as even as looking at all of them, without the herd.
fn less_busy<'e, I>(candidates: impl Fn() -> I, share: impl Fn(&Endpoint) -> u64 + Copy) -> Option<usize>
where
    I: Iterator<Item = (usize, &'e Rc<Endpoint>)>,
{
    // Requests in flight for each share of weight.
    let load = |endpoint: &Endpoint| endpoint.in_flight() as f64 / share(endpoint).max(1) as f64;
    let a = weighted(&candidates, share)?;
    match weighted(|| candidates().filter(|(index, _)| *index != a.0), share) {
        Some(b) if load(b.1) < load(a.1) => Some(b.0),
        _ => Some(a.0),
    }
}

/// Smooth weighted round robin, as nginx has it: each pick pays every candidate its share, and the richest one, which is
/// picked, pays all of that back. So a server with a large share gets its turns spread out, not in a row.
fn smooth<'e>(
    candidates: impl Iterator<Item = (usize, &'e Rc<Endpoint>)>,
    share: impl Fn(&Endpoint) -> u64,
) -> Option<usize> {
    let (mut total, mut richest) = (0, None::<(usize, &Rc<Endpoint>)>);
    for (index, endpoint) in candidates {
        // At most 1000 times 100.
        let share = i64::try_from(share(endpoint)).unwrap_or(0);
        total += share;
        endpoint.turn.set(endpoint.turn.get() + share);
        if richest.is_none_or(|(_, richest)| endpoint.turn.get() > richest.turn.get()) {
            richest = Some((index, endpoint));
        }
    }
    let (index, endpoint) = richest?;
    endpoint.turn.set(endpoint.turn.get() - total);
    Some(index)
}

/// Weighted rendezvous hashing: every server draws a number from the key, and the best one serves. A server that comes or
/// goes moves only the keys that are its own. The weight bends the draw so that shares follow it (Schindelhauer and Schomaker).
fn rendezvous<'e>(candidates: impl Iterator<Item = (usize, &'e Rc<Endpoint>)>, key: u64) -> Option<usize> {
    let score = |endpoint: &Endpoint| {
        // In (0, 1): 53 bits, as many as the fraction of a double has.
        let draw = ((mixed(key ^ endpoint.mark) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        f64::from(endpoint.weight) / -draw.ln()
    };
    candidates.map(|(index, endpoint)| (index, score(endpoint))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
}

/// One candidate at random, each as likely as its share.
fn weighted<'e, I>(candidates: impl Fn() -> I, share: impl Fn(&Endpoint) -> u64) -> Option<(usize, &'e Rc<Endpoint>)>
where
    I: Iterator<Item = (usize, &'e Rc<Endpoint>)>,
{
    let total: u64 = candidates().map(|(_, endpoint)| share(endpoint)).sum();
    if total == 0 {
        return None;
    }
    let mut point = fastrand::u64(..total);
    let found = candidates().find(|(_, endpoint)| {
        let share = share(endpoint);
        let here = point < share;
        point = point.saturating_sub(share);
        here
    });
    // Another worker may have filled a server in between.
    found.or_else(|| candidates().next())
}

#[cfg(test)]
mod tests;
