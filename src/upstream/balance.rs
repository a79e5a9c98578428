//! Which server gets a request.

use std::cell::Cell;
use std::rc::Rc;

use super::Endpoint;
use crate::config::Balance;

/// The index of the chosen server; `None` when all have been tried. A server that was left out for its failures counts
/// again where no other is left: a try is better than none.
pub(super) fn pick(balance: Balance, endpoints: &[Rc<Endpoint>], tried: &[usize], turn: &Cell<usize>) -> Option<usize> {
    let open = |backup: bool| {
        endpoints
            .iter()
            .enumerate()
            .filter(move |(index, endpoint)| endpoint.backup == backup && !tried.contains(index))
            .map(|(index, _)| index)
    };
    let well = |backup: bool| open(backup).filter(|index| !endpoints[*index].is_ejected());
    let groups: [Vec<usize>; 3] = [well(false).collect(), well(true).collect(), open(false).collect()];
    let candidates = groups.into_iter().find(|group| !group.is_empty()).unwrap_or_else(|| open(true).collect());
    match balance {
        Balance::First => candidates.first().copied(),
        Balance::RoundRobin => {
            turn.set(turn.get().wrapping_add(1));
            weighted(endpoints, &candidates, turn.get())
        }
        Balance::Random => weighted(endpoints, &candidates, fastrand::usize(..)),
        Balance::LeastRequests => {
            // The power of two choices: as even as looking at all of them, without the herd.
            let a = weighted(endpoints, &candidates, fastrand::usize(..))?;
            let b = weighted(endpoints, &candidates, fastrand::usize(..))?;
            Some(if load(&endpoints[b]) < load(&endpoints[a]) { b } else { a })
        }
    }
}

/// Requests in flight for each share of weight.
fn load(endpoint: &Endpoint) -> f32 {
    endpoint.in_flight() as f32 / endpoint.weight as f32
}

/// The candidate at `point` on a line where each takes as much room as its weight.
fn weighted(endpoints: &[Rc<Endpoint>], candidates: &[usize], point: usize) -> Option<usize> {
    let total: usize = candidates.iter().map(|index| endpoints[*index].weight as usize).sum();
    let mut point = point.checked_rem(total)?;
    for &index in candidates {
        let weight = endpoints[index].weight as usize;
        if point < weight {
            return Some(index);
        }
        point -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Keepalive, ServerAddress, ServerProtocol, UpstreamAddress};

    fn endpoints(servers: &[(u32, bool)]) -> Vec<Rc<Endpoint>> {
        let endpoint = |(weight, backup): &(u32, bool)| {
            let address = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port: 1 };
            let server = ServerAddress { address, protocol: ServerProtocol::Http1, weight: *weight, backup: *backup };
            Rc::new(Endpoint::new(&server, Keepalive::default(), None))
        };
        servers.iter().map(endpoint).collect()
    }

    #[test]
    fn round_robin_follows_the_weights() {
        let servers = endpoints(&[(1, false), (3, false)]);
        let turn = Cell::new(0);
        let picks: Vec<_> = (0..8).map(|_| pick(Balance::RoundRobin, &servers, &[], &turn).unwrap()).collect();
        assert_eq!(picks.iter().filter(|index| **index == 0).count(), 2);
    }

    #[test]
    fn a_backup_is_used_only_when_the_others_were_tried() {
        let servers = endpoints(&[(1, true), (1, false)]);
        let turn = Cell::new(0);
        for balance in [Balance::First, Balance::Random, Balance::LeastRequests, Balance::RoundRobin] {
            assert_eq!(pick(balance, &servers, &[], &turn), Some(1));
            assert_eq!(pick(balance, &servers, &[1], &turn), Some(0));
            assert_eq!(pick(balance, &servers, &[0, 1], &turn), None);
        }
    }

    #[test]
    fn a_server_that_refuses_three_times_is_left_out_until_it_is_the_last_one() {
        let servers = endpoints(&[(1, false), (1, false)]);
        let turn = Cell::new(0);
        let picks_of_0 = || (0..100).filter(|_| pick(Balance::Random, &servers, &[], &turn) == Some(0)).count();
        (0..2).for_each(|_| servers[0].note_connect(false));
        assert!(picks_of_0() > 0);
        servers[0].note_connect(false);
        assert_eq!(picks_of_0(), 0);
        assert_eq!(pick(Balance::Random, &servers, &[1], &turn), Some(0));
        servers[0].note_connect(true);
        assert!(picks_of_0() > 0);
    }

    #[test]
    fn least_requests_prefers_the_idle_server() {
        let servers = endpoints(&[(1, false), (1, false)]);
        let _busy: Vec<_> = (0..50).map(|_| servers[0].clone().begin()).collect();
        let turn = Cell::new(0);
        let idle = (0..200).filter(|_| pick(Balance::LeastRequests, &servers, &[], &turn) == Some(1)).count();
        assert!(idle > 110, "{idle}");
    }
}
