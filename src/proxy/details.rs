//! What the sinks are told of a request: gathered on its way, and only where there are sinks.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use super::access_log::{Line, Times};
use super::counted::Counted;
use super::record::Flight;
use super::sinks::Sinks;
use super::trace::{Span, Trace};
use crate::error::Why;
use crate::http::body::Body;
use crate::http::headers::Client;
use crate::http::{ConnInfo, Ended, Request, WhenOver};
use crate::message::RequestHead;
use crate::metrics::Retried;
use crate::net::clock;
use crate::route::Found;
use crate::upstream::Endpoint;

/// What a request is told of on its way.
pub(super) struct Details {
    sinks: Rc<Sinks>,
    conn: Rc<ConnInfo>,
    began: Instant,
    times: Times,
    sent_at: Instant,
    attempts: u32,
    /// The server of the last attempt.
    server: Option<Rc<Endpoint>>,
    upstream: usize,
    found: Option<Found>,
    /// The client, where it is another than the peer.
    client_ip: Option<Rc<str>>,
    received: Option<Rc<Cell<u64>>>,
    /// On the heap, since few are traced.
    trace: Option<Box<Trace>>,
    /// Once the answer is on its way: its status, and whose details these are.
    status: u16,
    flight: Option<Flight>,
}

/// How a request ended.
pub(super) struct End<'a> {
    pub head: Option<&'a RequestHead>,
    pub id: u64,
    pub status: u16,
    pub ended: Ended,
    pub why: Option<Why>,
    pub would_refuse: Option<Why>,
    pub user: Option<&'a str>,
    pub nearest: Option<&'a str>,
}

impl Details {
    pub fn begin(sinks: &Rc<Sinks>, conn: &Rc<ConnInfo>) -> Details {
        let now = clock::now();
        Details {
            sinks: sinks.clone(),
            conn: conn.clone(),
            began: now,
            times: Times::default(),
            sent_at: now,
            attempts: 0,
            server: None,
            upstream: usize::MAX,
            found: None,
            client_ip: None,
            received: None,
            trace: None,
            status: 0,
            flight: None,
        }
    }

    /// Notes whose request it is, where that is another than the peer.
    pub fn client(&mut self, client: &Client) {
        if client.ip != self.conn.peer_ip {
            self.client_ip = Some(client.ip.clone());
        }
    }

    pub fn meet(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// Takes part in the request's trace, where requests are traced.
    pub fn trace(&mut self, head: &mut RequestHead) {
        if let Some(tracer) = &self.sinks.tracer {
            self.trace = Some(Box::new(tracer.join(&mut head.fields)));
        }
    }

    /// The request goes to an upstream: its body is counted.
    pub fn forward(&mut self, upstream: usize, request: &mut Request) {
        self.upstream = upstream;
        self.sent_at = clock::now();
        if let Body::Stream(_) = request.body {
            let count = Rc::new(Cell::new(0));
            let body = std::mem::replace(&mut request.body, Body::Empty);
            request.body = Body::Stream(Box::new(Counted::new(body, count.clone())));
            self.received = Some(count);
        }
    }

    /// A server was chosen, after a wait where there may be one.
    pub fn attempt(&mut self, endpoint: &Rc<Endpoint>, may_wait: bool) {
        self.attempts += 1;
        let now = clock::now();
        if may_wait && now > self.sent_at && self.attempts == 1 {
            self.times.queue = Some(now - self.sent_at);
        }
        self.sent_at = now;
        self.server = Some(endpoint.clone());
    }

    /// There is a connection.
    pub fn connected(&mut self, reused: bool) {
        if !reused {
            self.times.connect = Some(clock::now() - self.sent_at);
        }
        if let Some(shard) = self.sinks.upstream_metrics(self.upstream) {
            if reused { shard.reused.add(1) } else { shard.fresh.add(1) }
        }
    }

    pub fn retry(&self, why: Retried) {
        if let Some(shard) = self.sinks.upstream_metrics(self.upstream) {
            shard.retry(why);
        }
    }

    /// The head of an answer is there.
    pub fn answered(&mut self) {
        self.times.upstream = Some(clock::now() - self.sent_at);
    }

    /// Takes the request along until its answer, with this status, is over; then the sinks are told.
    pub fn told_of(mut self: Box<Self>, flight: Flight, status: u16) -> Box<Self> {
        (self.status, self.flight) = (status, Some(flight));
        self
    }

    /// Tells the sinks.
    pub fn end(&self, end: &End<'_>) {
        let times = Times { total: clock::now().saturating_duration_since(self.began), ..self.times };
        let received = self.received.as_ref().map_or(0, |count| count.get());
        let sinks = &self.sinks;
        if let Some(metrics) = &sinks.metrics {
            let found = self.found.map(|found| (found.site, found.route));
            if let Some(shard) = metrics.route(found, sinks.worker) {
                let method = end.head.map(|head| &head.method);
                shard.count(method, end.status, times.total, received, end.ended.bytes);
            }
            if let (Some(why), Some(shard)) = (end.why, sinks.worker_metrics()) {
                shard.error(why);
            }
        }
        let place = self.found.and_then(|found| sinks.names.place(found));
        let client_ip = self.client_ip.as_deref().unwrap_or(&self.conn.peer_ip);
        if let Some(log) = &sinks.log {
            log.write(&Line {
                request_id: end.id,
                head: end.head,
                conn: &self.conn,
                client_ip,
                status: end.status,
                bytes: end.ended.bytes,
                received,
                why: end.why,
                would_refuse: end.would_refuse,
                user: end.user,
                nearest: end.nearest,
                place,
                server: self.server.as_ref().map(|server| &*server.label),
                attempts: self.attempts,
                times,
                trace_id: self.trace.as_ref().map(|trace| trace.id),
            });
        }
        if let (Some(tracer), Some(trace), Some(head)) = (&sinks.tracer, &self.trace, end.head)
            && trace.sampled
        {
            tracer.send(&Span {
                trace,
                head,
                conn: &self.conn,
                client_ip,
                route: place.map(|place| place.route),
                site: place.map(|place| place.site),
                status: end.status,
                why: end.why,
                server: self.server.as_ref().map(|server| &*server.label),
                attempts: self.attempts,
                times,
            });
        }
    }
}

impl WhenOver for Details {
    fn over(self: Box<Self>, ended: Ended) {
        if let Some(Flight { request, record }) = &self.flight {
            record.tell(&self, Some(&request.head), self.status, ended);
        }
    }
}
