//! What a request brings to the choice of its server: what `hash_on` looks at, and the server its cookie names.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::sticky::{Opened, Seal, cookie};
use super::{Cluster, Endpoint};
use crate::config::{HashOn, Sticky};
use crate::message::{Fields, RequestHead};

/// What a request brings to the choice of its server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice {
    /// The hash of what `hash_on` looks at, where the request has it.
    pub(super) key: Option<u64>,
    /// The server that the client stays with.
    pub(super) server: Option<usize>,
}

impl Cluster {
    /// What a request brings. Costs two branches where neither `hash_on` nor `sticky` is configured.
    pub fn choice(&self, head: &RequestHead, client: IpAddr) -> Choice {
        let key = self.hash_on().and_then(|hash_on| key(hash_on, head, client));
        let server = self.sticky().and_then(|(sticky, seal)| {
            let opened = self.opened(sticky, seal, &head.fields)?;
            self.endpoints.iter().position(|endpoint| endpoint.mark == opened.server)
        });
        Choice { key, server }
    }

    /// The `Set-Cookie` value that an answer of this server needs: for a client without a cookie, with another server's, or
    /// whose cookie has lived half its life. `https`: the client's own connection.
    pub fn set_cookie(&self, endpoint: &Endpoint, head: &RequestHead, https: bool) -> Option<String> {
        let (sticky, seal) = self.sticky()?;
        let fresh = |opened: &Opened| opened.server == endpoint.mark && opened.age < sticky.max_age / 2;
        if self.opened(sticky, seal, &head.fields).is_some_and(|opened| fresh(&opened)) {
            return None;
        }
        let value = seal.seal(&self.name, endpoint.mark, SystemTime::now())?;
        let secure = if https { "; Secure" } else { "" };
        let (name, age) = (&sticky.cookie, sticky.max_age.as_secs());
        Some(format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"))
    }

    /// A cookie that is older than it may be says nothing, whatever the client does.
    fn opened(&self, sticky: &Sticky, seal: &Seal, fields: &Fields) -> Option<Opened> {
        let opened = seal.open_value(&self.name, cookie(fields, &sticky.cookie)?, SystemTime::now())?;
        let longest = sticky.max_age.max(Duration::from_secs(1));
        (opened.age <= longest).then_some(opened)
    }
}

/// The hash of what a request has; `None` where it has nothing of the kind.
fn key(hash_on: &HashOn, head: &RequestHead, client: IpAddr) -> Option<u64> {
    let value = match hash_on {
        HashOn::ClientIp => {
            return Some(match client {
                IpAddr::V4(address) => hashed(&address.octets()),
                // One customer has a /64, and changes its address inside.
                IpAddr::V6(address) => hashed(&address.octets()[..8]),
            });
        }
        HashOn::Uri => head.target(),
        HashOn::Header(name) => head.fields.get_name(name.as_bytes())?,
        HashOn::Cookie(name) => cookie(&head.fields, name)?,
        HashOn::Query(name) => head.query()?.split(|byte| *byte == b'&').find_map(|pair| {
            let (key, value) = pair.split_at_checked(name.len())?;
            (key == name.as_bytes()).then(|| value.strip_prefix(b"="))?
        })?,
    };
    Some(hashed(value))
}

/// FNV-1a with a finish that mixes all bits. It has to be the same in every release, worker and replica, and nobody gains by a
/// collision: a client that chooses its key chooses its server anyway.
pub(super) fn hashed(bytes: &[u8]) -> u64 {
    mixed(
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)),
    )
}

/// The finish of SplitMix64: a bijection in which every input bit changes half of the output.
pub(super) fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Method, Version};

    fn head(target: &str, cookie: &str) -> RequestHead {
        let mut fields = Fields::default();
        let (target, authority) = (fields.store(target.as_bytes()), fields.store(b"a.test"));
        fields.push(b"X-Key", b"k1");
        fields.push(b"Cookie", cookie.as_bytes());
        RequestHead::new(Method::GET, Version::Http11, target, authority, fields)
    }

    #[test]
    fn each_key_looks_at_its_own_part_of_the_request() {
        let (here, there): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let request = head("/p?ab=1&a=2&a=3", "s=9; t=8");
        let of = |hash_on: HashOn, client| key(&hash_on, &request, client);
        assert_ne!(of(HashOn::ClientIp, here), of(HashOn::ClientIp, there));
        let v6 = |text: &str| of(HashOn::ClientIp, text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(of(HashOn::Uri, here), Some(hashed(b"/p?ab=1&a=2&a=3")));
        assert_eq!(of(HashOn::Header("x-key".into()), here), Some(hashed(b"k1")));
        assert_eq!(of(HashOn::Cookie("t".into()), here), Some(hashed(b"8")));
        assert_eq!(of(HashOn::Query("a".into()), here), Some(hashed(b"2")));
        for none in [HashOn::Header("y".into()), HashOn::Cookie("u".into()), HashOn::Query("b".into())] {
            assert_eq!(of(none, here), None);
        }
    }

    #[test]
    fn the_hash_never_changes() {
        // The first output of SplitMix64 from zero, and FNV-1a of "a", mixed.
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(hashed(b"a"), mixed(0xaf63_dc4c_8601_ec8c));
    }
}
