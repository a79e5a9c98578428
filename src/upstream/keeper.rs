//! The thread that looks after servers: active checks, and the names they have. One for the process; workers only read what
//! it finds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use super::names::{Answer, Name};
use super::resolve::Resolver;
use super::{Cluster, Shared, check};
use crate::config::{Resolve, Upstream, UpstreamAddress};
use crate::net::Background;
use crate::tls::ClientTls;

/// After a failed connection a name is looked up again no sooner than this after the last time.
const AGAIN: Duration = Duration::from_secs(1);

/// Hands the upstreams of each generation to the thread. It runs while there is something to look after.
pub struct Keeper {
    thread: Background<Work>,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper { thread: Background::new("upstreams") }
    }
}

/// An upstream to look after.
pub struct Watched {
    pub upstream: Upstream,
    pub tls: Option<ClientTls>,
    pub shared: Arc<Shared>,
}

struct Work {
    watched: Vec<Watched>,
    /// Where the demonstration's backend listens.
    builtin: Option<SocketAddr>,
}

impl Keeper {
    /// Looks after these upstreams from now on, and no others. Nothing is waited for.
    pub fn adopt(&mut self, mut watched: Vec<Watched>, builtin: Option<SocketAddr>) {
        for Watched { upstream, shared, .. } in &watched {
            if upstream.health_check.is_none() {
                shared.servers.iter().for_each(|server| server.health.forget_checks());
            }
        }
        watched.retain(|watched| watched.upstream.health_check.is_some() || watched.shared.names().next().is_some());
        if watched.is_empty() {
            // The thread ends with its channel.
            self.thread.end();
            return;
        }
        if let Err(why) = self.thread.send(Work { watched, builtin }, look_after) {
            tracing::error!("servers are not checked and names are not looked up: {why}");
        }
    }
}

/// One task a checked server and one a name; a new generation begins them anew. What they found is kept elsewhere.
async fn look_after(mut work: mpsc::UnboundedReceiver<Work>) {
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    while let Some(Work { watched, builtin }) = work.recv().await {
        tasks.drain(..).for_each(|task| task.abort());
        let mut resolvers: HashMap<Vec<SocketAddr>, Rc<Resolver>> = HashMap::new();
        for Watched { upstream, tls, shared } in watched {
            for (address, name) in shared.names() {
                let servers = upstream.resolve.servers.clone();
                let resolver =
                    resolvers.entry(servers).or_insert_with_key(|servers| Rc::new(Resolver::new(servers.clone())));
                let rules = upstream.resolve.clone();
                tasks.push(spawn_local(follow(address.clone(), name.clone(), resolver.clone(), rules)));
            }
            if let Some(check) = upstream.health_check.clone().map(Rc::new) {
                let cluster = Rc::new(Cluster::new(&upstream, tls.as_ref(), builtin, shared));
                for index in 0..cluster.endpoints.len() {
                    tasks.push(spawn_local(check::watch(cluster.clone(), index, check.clone(), upstream.slow_start)));
                }
            }
        }
    }
    tasks.iter().for_each(JoinHandle::abort);
}

/// Looks up a name for as long as its task lives: when its answer has had its time, and soon after a connection failed.
async fn follow(address: UpstreamAddress, name: Arc<Name>, resolver: Rc<Resolver>, rules: Resolve) {
    let (shortest, longest) = (rules.min_ttl, rules.max_ttl.max(rules.min_ttl));
    let mut failures: u32 = 0;
    loop {
        let asked_at = Instant::now();
        let pause = match resolver.look_up(&address).await {
            Ok((answer, life)) => {
                if failures > 0 {
                    tracing::info!("{address}: the name is looked up again");
                }
                failures = 0;
                publish(&address, &name, answer);
                life.clamp(shortest, longest)
            }
            Err(why) => {
                let known = !name.answer.borrow().addresses.is_empty();
                if failures == 0 {
                    let stays = if known { ", and the last answer stays" } else { "" };
                    tracing::warn!("{address}: the name cannot be looked up{stays}: {why}");
                }
                failures += 1;
                name.answer.send_if_modified(|answer| !std::mem::replace(&mut answer.asked, true));
                AGAIN.saturating_mul(1 << failures.min(5)).clamp(shortest, longest)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = name.again.notified() => tokio::time::sleep(AGAIN.saturating_sub(asked_at.elapsed())).await,
        }
    }
}

/// Makes an answer known. The same addresses in another order are no news.
fn publish(address: &UpstreamAddress, name: &Name, answer: Answer) {
    let sorted = |answer: &Answer| {
        let ranks = answer.ranks.iter().copied().map(Some).chain(std::iter::repeat(None));
        let mut list: Vec<_> = answer.addresses.iter().copied().zip(ranks).collect();
        list.sort_unstable();
        list
    };
    name.answer.send_if_modified(|known| {
        if known.asked && sorted(known) == sorted(&answer) {
            return false;
        }
        if !known.addresses.is_empty() {
            let list =
                |answer: &Answer| answer.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
            tracing::info!("{address}: moved from {} to {}", list(known), list(&answer));
        }
        *known = answer;
        true
    });
}
