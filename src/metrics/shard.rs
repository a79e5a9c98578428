//! Counters of one worker. A worker is one thread, so it adds without a locked instruction, and each set stands on cache
//! lines of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use crate::error::{TABLE, Why};

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, number: u64) {
        // One writer: what is loaded is what was stored.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Methods that have a series of their own; the rest, which clients may invent, is one.
pub(super) const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// Status classes, from 1xx.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds of the durations' buckets, in microseconds. The last bucket has none.
pub(super) const BOUNDS: [u64; 11] =
    [1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

fn method_index(method: Option<&Method>) -> usize {
    match method {
        Some(&Method::GET) => 0,
        Some(&Method::HEAD) => 1,
        Some(&Method::POST) => 2,
        Some(&Method::PUT) => 3,
        Some(&Method::PATCH) => 4,
        Some(&Method::DELETE) => 5,
        Some(&Method::OPTIONS) => 6,
        _ => 7,
    }
}

/// Requests of one route.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RouteShard {
    pub(super) requests: [[Count; CLASSES.len()]; METHODS.len()],
    pub(super) durations: [Count; BOUNDS.len() + 1],
    pub(super) duration_sum: Count,
    pub(super) received: Count,
    pub(super) sent: Count,
}

impl RouteShard {
    /// Counts a request that is over: `received` and `sent` are bytes of its bodies.
    pub fn count(&self, method: Option<&Method>, status: u16, took: Duration, received: u64, sent: u64) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.requests.get(method_index(method)).and_then(|classes| classes.get(class)) {
            count.add(1);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.durations.get(bucket) {
            count.add(1);
        }
        self.duration_sum.add(micros);
        if received > 0 {
            self.received.add(received);
        }
        if sent > 0 {
            self.sent.add(sent);
        }
    }
}

/// Why a request was tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// The server could not be connected to.
    Connect,
    /// The request was never sent, or the server never looked at it.
    NeverSent,
    /// A kept connection was closed before a byte of the answer.
    ClosedReused,
    /// So was a fresh one, and the request went to another server.
    ClosedFresh,
}

pub(super) const RETRIED: [&str; 4] = ["connect", "never_sent", "closed_reused", "closed_fresh"];

/// Exchanges with one upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamShard {
    /// Exchanges on a pooled connection or a stream of one.
    pub reused: Count,
    /// Exchanges on a connection made for them.
    pub fresh: Count,
    pub(super) retried: [Count; RETRIED.len()],
}

impl UpstreamShard {
    pub fn retry(&self, why: Retried) {
        if let Some(count) = self.retried.get(why as usize) {
            count.add(1);
        }
    }
}

/// Why a TLS handshake with a client came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    UnknownHost,
    NoCertificateYet,
    UnusableCertificate,
    NoServerName,
    ClientAlert,
    NotTls,
    Closed,
    Protocol,
    Io,
    Timeout,
}

/// The labels of [`HandshakeFailure`], in its order.
pub const HANDSHAKE_FAILURES: [&str; 10] = [
    "unknown_host",
    "no_certificate_yet",
    "unusable_certificate",
    "no_server_name",
    "client_alert",
    "not_tls",
    "closed",
    "protocol",
    "io",
    "timeout",
];

pub(super) const TLS_VERSIONS: [&str; 2] = ["TLS 1.2", "TLS 1.3"];
/// Key exchange groups that are offered; "none" is a TLS 1.2 session that was resumed without one.
pub(super) const GROUPS: [&str; 6] = ["none", "X25519MLKEM768", "X25519", "secp256r1", "secp384r1", "other"];

/// What a worker counts whatever the site.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerShard {
    /// Connections accepted.
    pub accepted: Count,
    /// Requests, tunnels among them, that were ended since a reload had changed what they began under.
    pub ended: Count,
    /// Twice a version: full, then resumed handshakes, by group.
    pub(super) handshakes: [[Count; GROUPS.len()]; TLS_VERSIONS.len() * 2],
    pub(super) failures: [Count; HANDSHAKE_FAILURES.len()],
    /// Requests with a why-code, in the order of the table of errors.
    pub(super) errors: [Count; TABLE.len()],
}

impl Default for WorkerShard {
    fn default() -> WorkerShard {
        WorkerShard {
            accepted: Count::default(),
            ended: Count::default(),
            handshakes: Default::default(),
            failures: Default::default(),
            errors: std::array::from_fn(|_| Count::default()),
        }
    }
}

impl WorkerShard {
    /// Counts a handshake: version and group as the TLS library calls them.
    pub fn handshake(&self, version: &str, group: &str, resumed: bool) {
        let version = usize::from(version == TLS_VERSIONS[1]);
        let group = match group {
            "" => 0,
            group => GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len() - 1),
        };
        if let Some(count) = self.handshakes.get(version * 2 + usize::from(resumed)).and_then(|of| of.get(group)) {
            count.add(1);
        }
    }

    pub fn handshake_failed(&self, why: HandshakeFailure) {
        if let Some(count) = self.failures.get(why as usize) {
            count.add(1);
        }
    }

    /// Counts a request that ended with a why-code.
    pub fn error(&self, why: Why) {
        if let Some(count) = self.errors.get(why as usize) {
            count.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_in_its_class_and_bucket() {
        let shard = RouteShard::default();
        shard.count(Some(&Method::POST), 503, Duration::from_millis(5), 3, 0);
        shard.count(Some(&Method::from_bytes(b"BREW").unwrap()), 200, Duration::from_secs(60), 0, 7);
        assert_eq!((shard.requests[2][4].get(), shard.requests[7][1].get()), (1, 1));
        assert_eq!((shard.durations[1].get(), shard.durations[BOUNDS.len()].get()), (1, 1));
        assert_eq!((shard.received.get(), shard.sent.get(), shard.duration_sum.get()), (3, 7, 60_005_000));
    }

    #[test]
    fn a_group_nobody_knows_is_other_and_none_is_none() {
        let shard = WorkerShard::default();
        shard.handshake("TLS 1.3", "X25519MLKEM768", false);
        shard.handshake("TLS 1.2", "", true);
        shard.handshake("TLS 1.3", "brainpool", true);
        assert_eq!(shard.handshakes[2][1].get(), 1);
        assert_eq!(shard.handshakes[1][0].get(), 1);
        assert_eq!(shard.handshakes[3][GROUPS.len() - 1].get(), 1);
    }
}
