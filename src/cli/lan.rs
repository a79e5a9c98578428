//! `dev --lan`: which address of this machine other devices reach it by, and what they are told.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use super::local::{self, Ports};
use super::qr;
use crate::config::DevCa;
use crate::filter::ca_download::PATH;
use crate::snapshot::Snapshot;
use crate::tls::{Access, DevCa as Root, is_local};

/// An address that other machines of its network reach this one by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    net: IpNet,
    interface: String,
}

/// What is served to other devices.
#[derive(Debug)]
pub(super) struct Lan {
    address: Address,
    /// The other private addresses.
    others: Vec<Address>,
    /// `HOST.local`, where the root may vouch for it.
    name: Option<String>,
}

impl Lan {
    /// Finds the address, or looks at the one that is `wanted`.
    ///
    /// # Errors
    /// There is none, or it is not to be had without a further word: cause and cure.
    pub fn find(wanted: Option<IpAddr>, settings: &DevCa) -> anyhow::Result<Lan> {
        let (address, others) = choose(wanted, &addresses()?, default_route()).map_err(anyhow::Error::msg)?;
        let name = host_name().map(|host| format!("{host}.local"));
        // What is wrong with the root is said by the start itself.
        let root = Root::open(settings, Access::CreateIfMissing).ok();
        let name = name.filter(|name| root.is_some_and(|(root, _)| root.allows(name)));
        let lan = Lan { address, others, name };
        if lan.hosts().is_empty() {
            anyhow::bail!(
                "{} is no private address, so the development root may not vouch for it, and this machine has no name under .local \
                 that it may vouch for: take a private address",
                lan.address.net.addr()
            );
        }
        Ok(lan)
    }

    /// Where to listen besides loopback.
    pub fn ip(&self) -> IpAddr {
        self.address.net.addr()
    }

    /// The hosts that a certificate can name, the best one first.
    pub fn hosts(&self) -> Vec<String> {
        let address = Some(self.ip().to_string()).filter(|address| is_local(address));
        address.into_iter().chain(self.name.clone()).collect()
    }

    /// Says on stderr where the app is, who can reach it, and how a device comes to trust it.
    pub fn announce(&self, ports: Ports, snapshot: &Snapshot, color: bool) {
        let hosts = self.hosts();
        let urls: Vec<String> = hosts.iter().map(|host| local::url("https", &authority(host), ports.https)).collect();
        let root = local::url("http", &authority(&self.ip().to_string()), ports.http) + PATH;
        eprintln!("  lan   {}", urls.join("   or, where names under .local are found (mDNS), "));
        let who = match is_local(&self.ip().to_string()) {
            true => format!("everybody in {} ({})", self.address.net.trunc(), self.address.interface),
            false => format!("everybody who reaches {}, which is no private address,", self.ip()),
        };
        eprintln!("  warning   {who} can open the app. The inspector stays on this machine");
        if self.name.is_none() {
            eprintln!(
                "  no name under .local: this machine has none, or the root is older than such names (vestibule untrust \
                 --delete-root, then start again)"
            );
        }
        for other in &self.others {
            eprintln!("  another address: --lan={} ({})", other.net.addr(), other.interface);
        }
        eprintln!("  on each device once: {root}   the root, without its key, and how to trust it");
        if let Some(download) = &snapshot.ca_download {
            eprintln!("  its SHA-256   {}", download.fingerprint());
        }
        if let (Some(once), Some(app)) = (qr::lines(&root, color), urls.first().and_then(|url| qr::lines(url, color))) {
            let width = once.first().map_or(0, |line| line.chars().filter(|c| "█▀▄ ".contains(*c)).count());
            eprintln!("\n  {:width$}    then: the app", "once: the root");
            let blank = String::new();
            for row in 0..once.len().max(app.len()) {
                let left = once.get(row).cloned().unwrap_or_else(|| " ".repeat(width));
                eprintln!("  {left}    {}", app.get(row).unwrap_or(&blank));
            }
            eprintln!();
        }
    }
}

/// The address to serve on, and the other private ones. `route`: the source address of the default route.
fn choose(wanted: Option<IpAddr>, all: &[Address], route: Option<IpAddr>) -> Result<(Address, Vec<Address>), String> {
    let find = |ip: IpAddr| all.iter().find(|address| address.net.addr() == ip);
    let mut private: Vec<&Address> = all.iter().filter(|address| is_local(&address.net.addr().to_string())).collect();
    // What a phone is most likely to have, too.
    private.sort_by_key(|address| !address.net.addr().is_ipv4());
    let listed = |addresses: &[&Address]| {
        let texts = addresses.iter().map(|address| format!("--lan={} ({})", address.net.addr(), address.interface));
        texts.collect::<Vec<_>>().join(", ")
    };
    let chosen = match (wanted, route.and_then(find)) {
        (Some(ip), _) => find(ip).ok_or_else(|| {
            let all: Vec<&Address> = all.iter().collect();
            match all.is_empty() {
                true => {
                    format!("{ip} is no address of this machine that others reach: it has none; join a network first")
                }
                false => format!("{ip} is no address of this machine that others reach; it has {}", listed(&all)),
            }
        })?,
        (None, Some(way)) if !private.contains(&way) => {
            let ip = way.net.addr();
            let cure = match private.is_empty() {
                true => String::new(),
                false => format!(", or a private one: {}", listed(&private)),
            };
            return Err(format!(
                "this machine reaches the world by {ip} ({}), which is no private address: whoever reaches it can open the \
                 app; if that is meant, name it: --lan={ip}{cure}",
                way.interface
            ));
        }
        (None, Some(way)) => way,
        (None, None) => private.first().copied().ok_or_else(|| match all.first() {
            Some(public) => format!(
                "this machine has no private address; another one is served only where it is named: {}",
                listed(&[public])
            ),
            None => {
                "this machine has no address but loopback: join a network (Wi-Fi or cable) and try again".to_owned()
            }
        })?,
    };
    let others = private.into_iter().filter(|other| *other != chosen).cloned().collect();
    Ok((chosen.clone(), others))
}

/// The addresses of this machine's interfaces that are up, but for loopback and those that need a zone (RFC 4007).
fn addresses() -> anyhow::Result<Vec<Address>> {
    let ip = |address: Option<SockaddrStorage>| {
        let address = address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let mut found = Vec::new();
    for entry in getifaddrs()? {
        let (Some(address), mask) = (ip(entry.address), ip(entry.netmask)) else { continue };
        let zoned = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !entry.flags.contains(InterfaceFlags::IFF_UP) || address.is_loopback() || zoned {
            continue;
        }
        let net = mask.and_then(|mask| IpNet::with_netmask(address, mask).ok()).unwrap_or(address.into());
        found.push(Address { net, interface: entry.interface_name });
    }
    Ok(found)
}

/// The address that packets to the rest of the world leave from, as the kernel chooses it. Nothing is sent.
fn default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Of no network that is in use (RFC 5737): only a default route leads there.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The first label of this machine's name, which is what mDNS makes a name under `.local` of.
fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let label = name.nodename().to_str().ok()?.split('.').next()?.to_ascii_lowercase();
    let fits = (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-');
    (fits && label != "localhost").then_some(label)
}

/// A host as it stands in a URL.
fn authority(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(net: &str, interface: &str) -> Address {
        Address { net: net.parse().unwrap(), interface: interface.into() }
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn laptop() -> Vec<Address> {
        let all = [("172.17.0.1/16", "docker0"), ("192.168.1.20/24", "wlan0"), ("fd00::20/64", "wlan0")];
        all.map(|(net, interface)| address(net, interface)).into()
    }

    #[test]
    fn the_address_is_that_of_the_default_route_and_the_other_private_ones_are_listed() {
        let (chosen, others) = choose(None, &laptop(), ip("192.168.1.20")).unwrap();
        assert_eq!(chosen.interface, "wlan0");
        let others: Vec<String> = others.iter().map(|other| other.net.addr().to_string()).collect();
        assert_eq!(others, ["172.17.0.1", "fd00::20"]);
        let (chosen, _) = choose(ip("172.17.0.1"), &laptop(), ip("192.168.1.20")).unwrap();
        assert_eq!(chosen.interface, "docker0", "the one that is named");
        let (chosen, _) = choose(None, &laptop(), None).unwrap();
        assert_eq!(chosen.interface, "docker0", "the first one without a default route");
    }

    #[test]
    fn a_public_address_is_taken_only_where_it_is_named() {
        let mut server = vec![address("203.0.113.7/24", "eth0")];
        for route in [ip("203.0.113.7"), None] {
            let said = choose(None, &server, route).unwrap_err();
            assert!(said.contains("private") && said.contains("--lan=203.0.113.7"), "{said}");
        }
        server.extend(laptop());
        let said = choose(None, &server, ip("203.0.113.7")).unwrap_err();
        assert!(said.contains("--lan=192.168.1.20 (wlan0)"), "{said}");
        let (chosen, others) = choose(ip("203.0.113.7"), &server, None).unwrap();
        assert_eq!((chosen.interface.as_str(), others.len()), ("eth0", 3));
    }

    #[test]
    fn an_address_that_is_not_here_and_a_machine_without_any_are_told_what_to_do() {
        let said = choose(ip("192.168.1.99"), &laptop(), None).unwrap_err();
        assert!(said.contains("--lan=192.168.1.20 (wlan0)"), "{said}");
        for wanted in [None, ip("192.168.1.99")] {
            assert!(choose(wanted, &[], None).unwrap_err().contains("join a network"));
        }
    }
}
