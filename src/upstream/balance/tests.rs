use std::collections::HashMap;

use super::*;
use crate::config::{HashOn, Outlier, ServerAddress, ServerProtocol, Upstream, UpstreamAddress};
use crate::upstream::shared::Shared;

fn endpoints(servers: &[(u32, bool)]) -> Vec<Rc<Endpoint>> {
    let server = |(index, (weight, backup)): (usize, &(u32, bool))| {
        let address = UpstreamAddress::Tcp { host: format!("10.0.0.{index}"), port: 1 };
        ServerAddress { address, protocol: ServerProtocol::Http1, weight: *weight, backup: *backup }
    };
    let servers: Vec<_> = servers.iter().enumerate().map(server).collect();
    let upstream = Upstream::new("test".into(), servers, Default::default());
    let shared = Shared::new(&upstream, None);
    let endpoint = |(server, shared)| Rc::new(Endpoint::new(server, &upstream, None, shared));
    upstream.servers.iter().zip(&shared.servers).map(endpoint).collect()
}

fn policy(balance: Balance) -> Policy {
    Policy { balance, slow_start: Some(Duration::from_secs(10)) }
}

/// Every policy, with a key for those that want one.
fn policies() -> Vec<Policy> {
    let hash = Balance::Hash(HashOn::ClientIp);
    [Balance::First, Balance::Random, Balance::LeastRequests, Balance::RoundRobin, hash]
        .into_iter()
        .map(policy)
        .collect()
}

fn choice(key: u64) -> Choice {
    Choice { key: Some(mixed(key)), server: None }
}

fn picked(policy: &Policy, servers: &[Rc<Endpoint>], tried: &[usize]) -> Option<usize> {
    match policy.pick(servers, tried, choice(7), Instant::now(), |_| true) {
        Pick::Server(index) => Some(index),
        _ => None,
    }
}

fn counts(policy: &Policy, servers: &[Rc<Endpoint>], picks: u64, now: Instant) -> Vec<u64> {
    let mut counts = vec![0; servers.len()];
    for key in 0..picks {
        if let Pick::Server(index) = policy.pick(servers, &[], choice(key), now, |_| true) {
            counts[index] += 1;
        }
    }
    counts
}

#[test]
fn a_hundred_thousand_picks_are_within_two_percent_of_the_weights() {
    const PICKS: u64 = 100_000;
    let weights = [1, 2, 3, 4];
    for policy in policies().iter().filter(|policy| policy.balance != Balance::First) {
        let servers = endpoints(&weights.map(|weight| (weight, false)));
        let counts = counts(policy, &servers, PICKS, Instant::now());
        for (weight, count) in weights.iter().zip(&counts) {
            let due = PICKS as f64 * f64::from(*weight) / 10.0;
            let off = (*count as f64 - due).abs() / PICKS as f64;
            assert!(off < 0.02, "{:?}: {counts:?}", policy.balance);
        }
    }
}

#[test]
fn round_robin_spreads_the_turns_of_a_large_weight() {
    let servers = endpoints(&[(5, false), (1, false), (1, false)]);
    let policy = policy(Balance::RoundRobin);
    let picks: Vec<_> = (0..7).map(|_| picked(&policy, &servers, &[]).unwrap()).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn a_server_that_leaves_moves_its_own_keys_only() {
    const KEYS: u64 = 10_000;
    let policy = policy(Balance::Hash(HashOn::Uri));
    for weights in [[1, 1, 1, 1, 1], [1, 2, 3, 2, 2]] {
        let servers = endpoints(&weights.map(|weight| (weight, false)));
        let of = |key, tried: &[usize]| policy.pick(&servers, tried, choice(key), Instant::now(), |_| true);
        for gone in 0..servers.len() {
            let mut moved = HashMap::<usize, u64>::new();
            for key in 0..KEYS {
                let (before, after) = (of(key, &[]), of(key, &[gone]));
                if before != after {
                    assert_eq!(before, Pick::Server(gone), "a key of a server that stays has moved");
                    let Pick::Server(to) = after else { panic!("nobody took the key") };
                    *moved.entry(to).or_default() += 1;
                }
            }
            let total: u32 = weights.iter().sum();
            let share = KEYS * u64::from(weights[gone]) / u64::from(total);
            let all: u64 = moved.values().sum();
            assert!(all < share + KEYS / 50, "{all} of {KEYS} moved, its share was {share}");
            assert_eq!(moved.len(), servers.len() - 1, "its keys go to all the others");
        }
    }
}

#[test]
fn the_same_key_meets_the_same_server_in_any_order_of_the_list() {
    let servers = endpoints(&[(1, false); 5]);
    let policy = policy(Balance::Hash(HashOn::Uri));
    let turned: Vec<_> = servers.iter().rev().cloned().collect();
    for key in 0..1000 {
        let of = |list: &[Rc<Endpoint>]| match policy.pick(list, &[], choice(key), Instant::now(), |_| true) {
            Pick::Server(index) => list[index].label.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(&servers), of(&turned));
    }
}

/// A server that takes ten times as long, in simulated time: the share of requests that meet it, and the mean time.
fn with_a_slow_server(balance: Balance) -> (f64, f64) {
    const TIMES: [u64; 4] = [10, 10, 10, 100];
    const REQUESTS: u64 = 20_000;
    let servers = endpoints(&[(1, false); 4]);
    let policy = policy(balance);
    let (mut running, mut slow, mut total) = (Vec::new(), 0, 0);
    // A server does one request at a time: those behind it wait.
    let mut free = [0u64; 4];
    for now in (0..REQUESTS).map(|request| request * 4) {
        running.retain(|(end, _)| *end > now);
        let Pick::Server(index) = policy.pick(&servers, &[], Choice::default(), Instant::now(), |_| true) else {
            panic!("no server")
        };
        let end = free[index].max(now) + TIMES[index];
        free[index] = end;
        running.push((end, servers[index].clone().begin(None)));
        slow += u64::from(index == 3);
        total += end - now;
    }
    (slow as f64 / REQUESTS as f64, total as f64 / REQUESTS as f64)
}

#[test]
fn the_power_of_two_choices_beats_random_on_a_slow_server() {
    let (random_share, random_time) = with_a_slow_server(Balance::Random);
    let (share, time) = with_a_slow_server(Balance::LeastRequests);
    println!("random: {:.1} % to the slow server, mean {random_time:.0} ms", random_share * 100.0);
    println!("least-requests: {:.1} % to the slow server, mean {time:.0} ms", share * 100.0);
    assert!(share < random_share / 2.0 && time < random_time / 5.0, "{share} {random_share} {time} {random_time}");
}

#[test]
fn a_backup_is_used_only_when_the_others_were_tried() {
    let servers = endpoints(&[(1, true), (1, false)]);
    for policy in policies() {
        assert_eq!(picked(&policy, &servers, &[]), Some(1));
        assert_eq!(picked(&policy, &servers, &[1]), Some(0));
        assert_eq!(policy.pick(&servers, &[0, 1], choice(1), Instant::now(), |_| true), Pick::None);
    }
}

#[test]
fn a_server_that_was_left_out_counts_again_when_it_is_the_last_one() {
    let servers = endpoints(&[(1, false), (1, false)]);
    servers[0].health.eject(&Outlier::default(), Instant::now());
    for policy in policies() {
        assert!((0..100).all(|_| picked(&policy, &servers, &[]) == Some(1)));
        assert_eq!(picked(&policy, &servers, &[1]), Some(0));
    }
    servers[1].health.set_down(true, Instant::now());
    for policy in policies() {
        assert!(picked(&policy, &servers, &[]).is_some(), "all are out: requests go to all");
    }
}

#[test]
fn a_server_that_is_back_gets_its_share_little_by_little() {
    let servers = endpoints(&[(1, false), (1, false)]);
    let begin = Instant::now();
    servers[0].health.set_down(true, begin);
    servers[0].health.set_down(false, begin);
    for balance in [Balance::Random, Balance::LeastRequests, Balance::RoundRobin] {
        let policy = policy(balance);
        let share = |seconds| counts(&policy, &servers, 10_000, begin + Duration::from_secs(seconds))[0];
        let shares = [share(0), share(5), share(10)];
        // A tenth to one, a half to one, and both alike.
        for (share, due) in shares.iter().zip([909, 3333, 5000]) {
            assert!(share.abs_diff(due) < 300, "{:?}: {shares:?}", policy.balance);
        }
    }
}

#[test]
fn a_full_server_is_passed_over_and_a_backup_does_not_stand_in_for_it() {
    let servers = endpoints(&[(1, false), (9, false), (1, true)]);
    for policy in policies() {
        let pick = |room: fn(usize) -> bool| policy.pick(&servers, &[], choice(3), Instant::now(), room);
        assert_eq!(pick(|index| index != 1), Pick::Server(0));
        assert_eq!(pick(|index| index == 2), Pick::Full);
    }
}

#[test]
fn a_client_stays_with_its_server_while_that_is_well_has_room_and_has_not_been_tried() {
    let servers = endpoints(&[(1, false), (1000, false), (1, true)]);
    let stays = |server| Choice { key: Some(3), server: Some(server) };
    for policy in policies() {
        let pick = |server, tried: &[usize]| policy.pick(&servers, tried, stays(server), Instant::now(), |_| true);
        assert_eq!(pick(0, &[]), Pick::Server(0));
        assert_eq!(pick(1, &[]), Pick::Server(1));
        assert_eq!(pick(0, &[0]), Pick::Server(1));
        assert_ne!(pick(2, &[]), Pick::Server(2), "the others are well again");
        let room = policy.pick(&servers, &[], stays(0), Instant::now(), |index| index != 0);
        assert_eq!(room, Pick::Server(1));
    }
    servers[0].health.set_down(true, Instant::now());
    for policy in policies() {
        assert_eq!(policy.pick(&servers, &[], stays(0), Instant::now(), |_| true), Pick::Server(1));
    }
}

#[test]
fn least_requests_prefers_the_idle_server() {
    let servers = endpoints(&[(1, false), (1, false)]);
    let _busy: Vec<_> = (0..50).map(|_| servers[0].clone().begin(None)).collect();
    assert!((0..200).all(|_| picked(&policy(Balance::LeastRequests), &servers, &[]) == Some(1)));
}
