//! `allow` and `deny`: who may come in, by the client's address.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::AccessRules;

/// The rules of a route, ready to be asked.
#[derive(Debug)]
pub struct Access {
    allow: Option<Ranges>,
    deny: Ranges,
}

impl Access {
    pub fn new(rules: &AccessRules) -> Access {
        Access { allow: rules.allow.as_deref().map(Ranges::new), deny: Ranges::new(&rules.deny) }
    }

    /// `deny` wins; where there is an `allow` the rest is refused.
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.deny.contains(address) && self.allow.as_ref().is_none_or(|allow| allow.contains(address))
    }
}

/// A set of networks as sorted ranges that do not touch: a list of many thousand is asked in a dozen steps.
#[derive(Debug)]
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn new(networks: &[IpNet]) -> Ranges {
        let mut ranges: Vec<_> =
            networks.iter().map(|network| (number(network.network()), number(network.broadcast()))).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Ranges(merged)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

/// Both families on one line: an IPv4 address is where its mapped IPv6 form is (RFC 4291 section 2.5.5.2).
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn access(allow: Option<&[&str]>, deny: &[&str]) -> Access {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        Access::new(&AccessRules { allow: allow.map(nets), deny: nets(deny) })
    }

    #[test]
    fn deny_wins_and_allow_refuses_the_rest() {
        let both = access(Some(&["10.0.0.0/8", "fd00::/8"]), &["10.9.0.0/16", "10.10.0.1/32"]);
        let table = [
            ("10.1.1.1", true),
            ("10.9.0.1", false),
            ("10.10.0.1", false),
            ("10.10.0.2", true),
            ("11.0.0.0", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ];
        for (address, admitted) in table {
            assert_eq!(both.admits(address.parse().unwrap()), admitted, "{address}");
        }
        assert!(access(None, &["10.0.0.0/8"]).admits("11.0.0.1".parse().unwrap()));
        assert!(!access(Some(&[]), &[]).admits("11.0.0.1".parse().unwrap()), "an empty list lets nobody in");
        assert!(access(Some(&["::/0"]), &[]).admits("255.255.255.255".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn ranges_hold_what_the_networks_hold(
            nets in prop::collection::vec((any::<u32>(), 8u8..=32), 0..20), address in any::<u32>(), near in any::<bool>(),
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(bits, prefix)| ipnet::Ipv4Net::new(bits.into(), prefix).unwrap().trunc().into())
                .collect();
            let address = match nets.first() {
                Some(net) if near => net.broadcast(),
                _ => IpAddr::V4(address.into()),
            };
            prop_assert_eq!(Ranges::new(&nets).contains(address), nets.iter().any(|net| net.contains(&address)));
        }
    }
}
