//! What one request leaves behind: gathered on its way, told to the sinks at its end, and only where there are sinks.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Witness;
use super::access_log::{Line, Times};
use super::counted::Counted;
use super::inspected::Inspected;
use super::sinks::Sinks;
use super::trace::{Span, Trace};
use crate::error::Why;
use crate::http::body::Body;
use crate::http::headers::Client;
use crate::http::{ConnInfo, Ended, OnEnd, Request, Response};
use crate::message::{RequestHead, ResponseHead};
use crate::metrics::Retried;
use crate::net::clock;
use crate::route::{Asked, Found};
use crate::snapshot::{Snapshot, View};
use crate::upstream::{Endpoint, Outgoing};

/// The record of one request.
pub(super) struct Record {
    pub why: Option<Why>,
    /// A rule on trial (`dry_run`) would have refused the request.
    pub would_refuse: Option<Why>,
    /// The user that `basic_auth` knows.
    pub user: Option<String>,
    /// Where no route was met: the path of the site's route that is nearest.
    pub nearest: Option<String>,
    /// Whose request it is, by their places in the config.
    pub site: Option<usize>,
    pub route: Option<usize>,
    id: OnceCell<u64>,
    /// Nothing below is gathered when nobody reads it.
    details: Option<Box<Details>>,
    /// What the inspector is told, where it is on.
    inspected: Option<Box<Inspected>>,
}

struct Details {
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
    client_ip: Option<Box<str>>,
    received: Option<Rc<Cell<u64>>>,
    trace: Option<Trace>,
}

/// A request and its record. When it is dropped before its answer, since the client has left, that is told too.
pub(super) struct Flight {
    pub request: Request,
    pub record: Record,
}

/// How a request ended.
struct End<'a> {
    head: Option<&'a RequestHead>,
    id: u64,
    status: u16,
    ended: Ended,
    why: Option<Why>,
    would_refuse: Option<Why>,
    user: Option<&'a str>,
    nearest: Option<&'a str>,
}

impl Record {
    pub fn begin(sinks: Option<&Rc<Sinks>>, snapshot: &Arc<Snapshot>, request: &Request) -> Record {
        let mut record = Record::refused(sinks, &request.conn);
        record.inspected = Inspected::begin(snapshot, request);
        record
    }

    /// The record of bytes that never became a request.
    pub fn refused(sinks: Option<&Rc<Sinks>>, conn: &Rc<ConnInfo>) -> Record {
        let details = sinks.map(|sinks| {
            let now = clock::now();
            Box::new(Details {
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
            })
        });
        Record {
            why: None,
            would_refuse: None,
            user: None,
            nearest: None,
            site: None,
            route: None,
            id: OnceCell::new(),
            details,
            inspected: None,
        }
    }

    fn id(&self) -> u64 {
        *self.id.get_or_init(|| fastrand::u64(..))
    }

    /// Takes part in the request's trace, where requests are traced: the server gets our `traceparent`.
    pub fn trace(&mut self, head: &mut RequestHead) {
        if let Some(details) = &mut self.details
            && let Some(tracer) = &details.sinks.tracer
        {
            details.trace = Some(tracer.join(&mut head.fields));
        }
    }

    /// The request goes to an upstream. Its body is counted where somebody wants to know.
    pub fn forward(&mut self, upstream: usize, request: &mut Request) {
        if let Some(details) = &mut self.details {
            details.upstream = upstream;
            details.sent_at = clock::now();
            if let Body::Stream(_) = request.body {
                let count = Rc::new(Cell::new(0));
                let body = std::mem::replace(&mut request.body, Body::Empty);
                request.body = Body::Stream(Box::new(Counted::new(body, count.clone())));
                details.received = Some(count);
            }
        }
    }

    /// A server was chosen.
    pub fn attempt(&mut self, endpoint: &Rc<Endpoint>) {
        if let Some(details) = &mut self.details {
            details.attempts += 1;
            let now = clock::now();
            if now > details.sent_at && details.attempts == 1 {
                details.times.queue = Some(now - details.sent_at);
            }
            details.sent_at = now;
            details.server = Some(endpoint.clone());
        }
        if let Some(inspected) = &mut self.inspected {
            inspected.attempt(&endpoint.label);
        }
    }

    /// There is a connection: one of the pool, or one that was made.
    pub fn connected(&mut self, reused: bool) {
        if let Some(details) = &mut self.details {
            if !reused {
                details.times.connect = Some(clock::now() - details.sent_at);
            }
            if let Some(shard) = details.sinks.upstream_metrics(details.upstream) {
                if reused { shard.reused.add(1) } else { shard.fresh.add(1) }
            }
        }
    }

    pub fn retry(&mut self, why: Retried) {
        if let Some(details) = &self.details
            && let Some(shard) = details.sinks.upstream_metrics(details.upstream)
        {
            shard.retry(why);
        }
    }

    /// A server gets this request.
    pub fn forwarded(&mut self, outgoing: &Outgoing<'_>) {
        if let Some(inspected) = &mut self.inspected {
            inspected.forwarded(outgoing);
        }
    }

    /// This is a server's answer, before anything is changed in it.
    pub fn answered(&mut self, head: &ResponseHead) {
        if let Some(inspected) = &mut self.inspected {
            inspected.answered(head);
        }
        if let Some(details) = &mut self.details {
            details.times.upstream = Some(clock::now() - details.sent_at);
        }
    }

    /// Tells the sinks of bytes that never became a request when the answer to them is over.
    pub fn attach_refused(mut self, mut response: Response) -> Response {
        if let Some(details) = self.details.take() {
            let status = response.status;
            response.on_end = Some(OnEnd(Box::new(move |ended| self.tell(details, None, status, ended))));
        }
        response
    }

    /// Tells the sinks how the request has ended.
    fn tell(&self, details: Box<Details>, head: Option<&RequestHead>, status: u16, ended: Ended) {
        let (user, nearest) = (self.user.as_deref(), self.nearest.as_deref());
        let (why, would_refuse) = (self.why.or(ended.cut), self.would_refuse);
        details.end(&End { head, id: self.id(), status, ended, why, would_refuse, user, nearest });
    }
}

impl Witness for Record {
    fn meet(&mut self, found: Found) {
        if let Some(inspected) = &mut self.inspected {
            inspected.meet(found);
        }
        (self.site, self.route) = (Some(found.site), Some(found.route));
        if let Some(details) = &mut self.details {
            details.found = Some(found);
        }
    }

    fn lost(&mut self, view: &View, asked: &Asked<'_>, why: Why) {
        self.site = view.router.site(asked.host).map(|(site, _)| site);
        if why == Why::RouteNoRoute && self.details.is_some() {
            let nearest = view.router.nearest(asked);
            let route = nearest.and_then(|(site, route)| view.snapshot.config.sites.get(site)?.routes.get(route));
            self.nearest = route.map(|route| route.path.to_string());
        }
    }

    fn client(&mut self, client: &Client, _: &RequestHead) {
        if let Some(details) = &mut self.details
            && client.ip != details.conn.peer_ip
        {
            details.client_ip = Some(client.ip.clone());
        }
    }

    /// The request's id: made when somebody asks.
    fn request_id(&self) -> String {
        format!("{:016x}", self.id())
    }
}

impl Flight {
    /// Tells the sinks when the response is over.
    pub fn attach(mut self, mut response: Response) -> Response {
        if let Some(inspected) = self.record.inspected.take() {
            response = inspected.attach(response, self.record.why, self.record.request_id());
        }
        if let Some(details) = self.record.details.take() {
            let status = response.status;
            let inspector = response.on_end.take();
            let told = move |ended| self.record.tell(details, Some(&self.request.head), status, ended);
            response.on_end = OnEnd::both(Some(OnEnd(Box::new(told))), inspector);
        }
        response
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(details) = self.record.details.take() {
            self.record.why = Some(Why::ClientGone);
            let ended = Ended { bytes: 0, cut: self.record.why };
            self.record.tell(details, Some(&self.request.head), Why::ClientGone.status(), ended);
        }
    }
}

impl Details {
    fn end(mut self: Box<Self>, end: &End<'_>) {
        self.times.total = clock::now().saturating_duration_since(self.began);
        let received = self.received.as_ref().map_or(0, |count| count.get());
        let sinks = &self.sinks;
        if let Some(metrics) = &sinks.metrics {
            let found = self.found.map(|found| (found.site, found.route));
            if let Some(shard) = metrics.route(found, sinks.worker) {
                let method = end.head.map(|head| &head.method);
                shard.count(method, end.status, self.times.total, received, end.ended.bytes);
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
                times: self.times,
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
                times: self.times,
            });
        }
    }
}
