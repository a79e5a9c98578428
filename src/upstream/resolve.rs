//! Looking up the names of servers: addresses (A, AAAA), and SRV records with the addresses of their targets.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::names::Answer;
use crate::config::UpstreamAddress;

/// Time for one question to one name server.
const QUESTION: Duration = Duration::from_secs(2);
/// Questions to one name server.
const ATTEMPTS: usize = 2;
/// Targets of an SRV record that are looked up.
const MAX_TARGETS: usize = 32;
/// How long an answer of the system's own resolver is used: it tells no time.
const SYSTEM_LIFE: Duration = Duration::from_secs(30);
/// What the system says about names, and when it was changed.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// An answer and how long it may be used.
pub(super) type Found = (Answer, Duration);

type Stamp = [Option<SystemTime>; 2];

/// Asks the name servers of the system, or those of `resolve.servers`.
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Built for the files as they were then.
    built: RefCell<Option<(Stamp, TokioResolver)>>,
}

impl Resolver {
    pub fn new(servers: Vec<SocketAddr>) -> Resolver {
        Resolver { servers, built: RefCell::default() }
    }

    /// Looks up where a server is.
    ///
    /// # Errors
    /// In words.
    pub async fn look_up(&self, address: &UpstreamAddress) -> Result<Found, String> {
        match address {
            UpstreamAddress::Tcp { host, port } => self.host(host, *port).await,
            UpstreamAddress::Srv(name) => self.srv(name).await,
            UpstreamAddress::Unix(_) | UpstreamAddress::Builtin => Err("it is no name".into()),
        }
    }

    async fn host(&self, host: &str, port: u16) -> Result<Found, String> {
        let why = match self.ask(host, port).await {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        if !self.servers.is_empty() {
            return Err(why);
        }
        // The system knows more than DNS: multicast names, those of machines and containers, directories.
        match tokio::net::lookup_host((host, port)).await {
            Ok(found) => Ok((Answer::hosts(found.collect()), SYSTEM_LIFE)),
            Err(_) => Err(why),
        }
    }

    async fn ask(&self, host: &str, port: u16) -> Result<Found, String> {
        let found = self.resolver()?.lookup_ip(host).await.map_err(|error| error.to_string())?;
        let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            return Err("it has no address".into());
        }
        Ok((Answer::hosts(addresses), left(found.valid_until())))
    }

    async fn srv(&self, name: &str) -> Result<Found, String> {
        let found = self.resolver()?.srv_lookup(name).await.map_err(|error| error.to_string())?;
        let mut life = left(found.valid_until());
        let (mut addresses, mut ranks, mut last) = (Vec::new(), Vec::new(), "it names no server".to_owned());
        for record in found.answers().iter().take(MAX_TARGETS) {
            let RData::SRV(srv) = &record.data else { continue };
            // A single dot: the service is not there (RFC 2782).
            if srv.target.is_root() {
                continue;
            }
            match self.ask(&srv.target.to_utf8(), srv.port).await {
                Ok((answer, time)) => {
                    life = life.min(time);
                    ranks.extend(answer.addresses.iter().map(|_| (srv.priority, srv.weight)));
                    addresses.extend_from_slice(&answer.addresses);
                }
                Err(why) => last = format!("{}: {why}", srv.target),
            }
        }
        if addresses.is_empty() {
            return Err(last);
        }
        Ok((Answer { addresses: addresses.into(), ranks: ranks.into(), asked: true }, life))
    }

    /// The resolver for the system's files as they are.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut built = self.built.borrow_mut();
        let stamp = if self.servers.is_empty() { SYSTEM_FILES.map(changed) } else { Stamp::default() };
        if let Some((of, resolver)) = &*built
            && *of == stamp
        {
            return Ok(resolver.clone());
        }
        let resolver = self.build().map_err(|error| error.to_string())?;
        *built = Some((stamp, resolver.clone()));
        Ok(resolver)
    }

    fn build(&self) -> Result<TokioResolver, hickory_resolver::net::NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let server = |address: &SocketAddr| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = address.port());
                NameServerConfig::new(address.ip(), true, connections)
            };
            let servers = self.servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = ResolverOpts::default();
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        };
        let options = builder.options_mut();
        (options.timeout, options.attempts) = (QUESTION, ATTEMPTS);
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // The keeper knows when to ask; a name that has moved must not be hidden by what is remembered.
        options.cache_size = 0;
        builder.build()
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn changed(path: &str) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

impl Answer {
    fn hosts(addresses: Vec<SocketAddr>) -> Answer {
        Answer { addresses: addresses.into(), ranks: Arc::default(), asked: true }
    }

    /// The addresses in the order in which they are tried. Those of SRV records: the lowest priority first, and inside of it
    /// at random, each as likely to be next as its weight (RFC 2782).
    pub fn ordered(&self) -> Vec<SocketAddr> {
        if self.ranks.is_empty() {
            return self.addresses.to_vec();
        }
        let mut left: Vec<_> = self.ranks.iter().zip(self.addresses.iter()).collect();
        let mut ordered = Vec::with_capacity(left.len());
        while let Some(priority) = left.iter().map(|(rank, _)| rank.0).min() {
            let of_priority = || left.iter().enumerate().filter(|(_, (rank, _))| rank.0 == priority);
            let total: u64 = of_priority().map(|(_, (rank, _))| u64::from(rank.1)).sum();
            let mut point = fastrand::u64(..=total);
            let next = of_priority().find(|(_, (rank, _))| {
                let here = point <= u64::from(rank.1);
                point = point.saturating_sub(u64::from(rank.1));
                here
            });
            // The weights sum up to the total, so one is always found.
            let Some((at, _)) = next else { break };
            ordered.push(*left.swap_remove(at).1);
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srv_targets_are_tried_by_priority_and_then_by_weight() {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let answer = Answer {
            addresses: [address(1), address(2), address(3), address(4)].into(),
            ranks: [(20, 1), (10, 90), (10, 10), (10, 0)].into(),
            asked: true,
        };
        let mut first = [0; 5];
        for _ in 0..1000 {
            let ordered = answer.ordered();
            assert_eq!((ordered.len(), ordered[3]), (4, address(1)), "the backup is last");
            first[usize::from(ordered[0].port())] += 1;
        }
        assert!((800..970).contains(&first[2]) && first[3] > 30, "{first:?}");
        assert_eq!(Answer::hosts(vec![address(3), address(1)]).ordered(), [address(3), address(1)]);
    }
}
