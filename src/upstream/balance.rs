//! Which server gets a request.

use std::cell::Cell;
use std::rc::Rc;

use super::Endpoint;
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

/// Chooses a server that has not been tried. A backup counts when no other server does well. A server that was left out for
/// its failures counts again where no other is left: a try is better than none. `has_room`: the server may get one more
/// request.
pub(super) fn pick(
    balance: Balance,
    endpoints: &[Rc<Endpoint>],
    tried: &[usize],
    turn: &Cell<usize>,
    has_room: impl Fn(usize) -> bool + Copy,
) -> Pick {
    let open = || endpoints.iter().enumerate().filter(|(index, _)| !tried.contains(index));
    // The lowest class that has a server is the one that serves.
    let class = |endpoint: &Endpoint| (endpoint.is_ejected(), endpoint.backup);
    let Some(best) = open().map(|(_, endpoint)| class(endpoint)).min() else { return Pick::None };
    let candidates = || open().filter(move |(index, endpoint)| class(endpoint) == best && has_room(*index));
    let picked = match balance {
        Balance::First => candidates().next().map(|(index, _)| index),
        Balance::RoundRobin => {
            turn.set(turn.get().wrapping_add(1));
            weighted(candidates, turn.get()).map(|(index, _)| index)
        }
        Balance::Random => weighted(candidates, fastrand::usize(..)).map(|(index, _)| index),
        Balance::LeastRequests => {
            // The power of two choices: as even as looking at all of them, without the herd.
            weighted(candidates, fastrand::usize(..)).map(|a| match weighted(candidates, fastrand::usize(..)) {
                Some(b) if load(b.1) < load(a.1) => b.0,
                _ => a.0,
            })
        }
    };
    picked.map_or(Pick::Full, Pick::Server)
}

/// Requests in flight for each share of weight.
fn load(endpoint: &Endpoint) -> f32 {
    endpoint.in_flight() as f32 / endpoint.weight as f32
}

/// The candidate at `point` on a line where each takes as much room as its weight.
fn weighted<'e, I>(candidates: impl Fn() -> I, point: usize) -> Option<(usize, &'e Rc<Endpoint>)>
where
    I: Iterator<Item = (usize, &'e Rc<Endpoint>)>,
{
    let total: usize = candidates().map(|(_, endpoint)| endpoint.weight as usize).sum();
    let mut point = point.checked_rem(total)?;
    let found = candidates().find(|(_, endpoint)| {
        let weight = endpoint.weight as usize;
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    });
    // Another worker may have filled a server in between.
    found.or_else(|| candidates().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServerAddress, ServerProtocol, Upstream, UpstreamAddress};

    fn upstream() -> Upstream {
        Upstream::new("test".into(), Vec::new(), Default::default())
    }

    fn endpoints(servers: &[(u32, bool)]) -> Vec<Rc<Endpoint>> {
        let endpoint = |(weight, backup): &(u32, bool)| {
            let address = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port: 1 };
            let server = ServerAddress { address, protocol: ServerProtocol::Http1, weight: *weight, backup: *backup };
            Rc::new(Endpoint::new(&server, &upstream(), None))
        };
        servers.iter().map(endpoint).collect()
    }

    fn picked(balance: Balance, servers: &[Rc<Endpoint>], tried: &[usize], turn: &Cell<usize>) -> Option<usize> {
        match pick(balance, servers, tried, turn, |_| true) {
            Pick::Server(index) => Some(index),
            _ => None,
        }
    }

    #[test]
    fn round_robin_follows_the_weights() {
        let servers = endpoints(&[(1, false), (3, false)]);
        let turn = Cell::new(0);
        let picks: Vec<_> = (0..8).map(|_| picked(Balance::RoundRobin, &servers, &[], &turn).unwrap()).collect();
        assert_eq!(picks.iter().filter(|index| **index == 0).count(), 2);
    }

    #[test]
    fn a_backup_is_used_only_when_the_others_were_tried() {
        let servers = endpoints(&[(1, true), (1, false)]);
        let turn = Cell::new(0);
        for balance in [Balance::First, Balance::Random, Balance::LeastRequests, Balance::RoundRobin] {
            assert_eq!(picked(balance, &servers, &[], &turn), Some(1));
            assert_eq!(picked(balance, &servers, &[1], &turn), Some(0));
            assert_eq!(pick(balance, &servers, &[0, 1], &turn, |_| true), Pick::None);
        }
    }

    #[test]
    fn a_server_that_was_left_out_counts_again_when_it_is_the_last_one() {
        let servers = endpoints(&[(1, false), (1, false)]);
        let turn = Cell::new(0);
        servers[0].failures.eject(&crate::config::Outlier::default());
        assert!((0..100).all(|_| picked(Balance::Random, &servers, &[], &turn) == Some(1)));
        assert_eq!(picked(Balance::Random, &servers, &[1], &turn), Some(0));
    }

    #[test]
    fn a_full_server_is_passed_over_and_a_backup_does_not_stand_in_for_it() {
        let servers = endpoints(&[(1, false), (9, false), (1, true)]);
        let turn = Cell::new(0);
        for balance in [Balance::First, Balance::Random, Balance::LeastRequests, Balance::RoundRobin] {
            assert_eq!(pick(balance, &servers, &[], &turn, |index| index != 1), Pick::Server(0));
            assert_eq!(pick(balance, &servers, &[], &turn, |index| index == 2), Pick::Full);
        }
    }

    #[test]
    fn least_requests_prefers_the_idle_server() {
        let servers = endpoints(&[(1, false), (1, false)]);
        let _busy: Vec<_> = (0..50).map(|_| servers[0].clone().begin(None)).collect();
        let turn = Cell::new(0);
        let idle = (0..200).filter(|_| picked(Balance::LeastRequests, &servers, &[], &turn) == Some(1)).count();
        assert!(idle > 110, "{idle}");
    }
}
