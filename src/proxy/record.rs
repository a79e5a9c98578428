//! What one request leaves behind: gathered on its way, told to the sinks at its end, and only where there are sinks.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Witness;
use super::details::{Details, End};
use super::inspected::Inspected;
use super::sinks::Sinks;
use crate::error::Why;
use crate::http::headers::Client;
use crate::http::{ConnInfo, Ended, OnEnd, Request, Response};
use crate::message::{RequestHead, ResponseHead};
use crate::metrics::Retried;
use crate::route::{Asked, Found};
use crate::snapshot::{Snapshot, View};
use crate::upstream::{Endpoint, Outgoing};

/// The record of one request.
pub(super) struct Record {
    pub why: Option<Why>,
    /// A rule on trial (`dry_run`) would have refused the request.
    pub would_refuse: Option<Why>,
    /// The user that `basic_auth` knows.
    pub user: Option<Box<str>>,
    /// Where no route was met: the path of the site's route that is nearest.
    pub nearest: Option<Box<str>>,
    /// Whose request it is, by their places in the config.
    pub site: Option<usize>,
    pub route: Option<usize>,
    id: OnceCell<u64>,
    /// Nothing below is gathered when nobody reads it.
    details: Option<Box<Details>>,
    /// What the inspector is told, where it is on.
    inspected: Option<Box<Inspected>>,
}

/// A request and its record. When it is dropped before its answer, since the client has left, that is told too.
pub(super) struct Flight {
    pub request: Request,
    pub record: Record,
}

impl Record {
    pub fn begin(sinks: Option<&Rc<Sinks>>, snapshot: &Arc<Snapshot>, request: &Request) -> Record {
        let mut record = Record::refused(sinks, &request.conn);
        record.inspected = Inspected::begin(snapshot, request);
        record
    }

    /// The record of bytes that never became a request.
    pub fn refused(sinks: Option<&Rc<Sinks>>, conn: &Rc<ConnInfo>) -> Record {
        Record {
            why: None,
            would_refuse: None,
            user: None,
            nearest: None,
            site: None,
            route: None,
            id: OnceCell::new(),
            details: sinks.map(|sinks| Box::new(Details::begin(sinks, conn))),
            inspected: None,
        }
    }

    fn id(&self) -> u64 {
        *self.id.get_or_init(|| fastrand::u64(..))
    }

    /// Takes part in the request's trace, where requests are traced: the server gets our `traceparent`.
    pub fn trace(&mut self, head: &mut RequestHead) {
        if let Some(details) = &mut self.details {
            details.trace(head);
        }
    }

    /// The request goes to an upstream. Its body is counted where somebody wants to know.
    pub fn forward(&mut self, upstream: usize, request: &mut Request) {
        if let Some(details) = &mut self.details {
            details.forward(upstream, request);
        }
    }

    /// A server was chosen, after a wait where there may be one.
    pub fn attempt(&mut self, endpoint: &Rc<Endpoint>, may_wait: bool) {
        if let Some(details) = &mut self.details {
            details.attempt(endpoint, may_wait);
        }
        if let Some(inspected) = &mut self.inspected {
            inspected.attempt(&endpoint.label);
        }
    }

    /// There is a connection: one of the pool, or one that was made.
    pub fn connected(&mut self, reused: bool) {
        if let Some(details) = &mut self.details {
            details.connected(reused);
        }
    }

    pub fn retry(&mut self, why: Retried) {
        if let Some(details) = &self.details {
            details.retry(why);
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
            details.answered();
        }
    }

    /// Tells the sinks of bytes that never became a request when the answer to them is over.
    pub fn attach_refused(mut self, mut response: Box<Response>) -> Box<Response> {
        if let Some(details) = self.details.take() {
            let status = response.status;
            response.on_end = Some(OnEnd(Box::new(move |ended| self.tell(&details, None, status, ended))));
        }
        response
    }

    /// Tells the sinks how the request has ended.
    pub(super) fn tell(&self, details: &Details, head: Option<&RequestHead>, status: u16, ended: Ended) {
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
            details.meet(found);
        }
    }

    fn lost(&mut self, view: &View, asked: &Asked<'_>, why: Why) {
        self.site = view.router.site(asked.host).map(|(site, _)| site);
        if why == Why::RouteNoRoute && self.details.is_some() {
            let nearest = view.router.nearest(asked);
            let route = nearest.and_then(|(site, route)| view.snapshot.config.sites.get(site)?.routes.get(route));
            self.nearest = route.map(|route| route.path.to_string().into());
        }
    }

    fn client(&mut self, client: &Client, _: &RequestHead) {
        if let Some(details) = &mut self.details {
            details.client(client);
        }
    }

    /// The request's id: made when somebody asks.
    fn request_id(&self) -> String {
        format!("{:016x}", self.id())
    }
}

impl Flight {
    /// Tells the sinks when the response is over.
    pub fn attach(mut self, mut response: Box<Response>) -> Box<Response> {
        if let Some(inspected) = self.record.inspected.take() {
            response = inspected.attach(response, self.record.why, self.record.request_id());
        }
        if let Some(details) = self.record.details.take() {
            let told = OnEnd(details.told_of(self, response.status));
            response.on_end = OnEnd::both(Some(told), response.on_end.take());
        }
        response
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(details) = self.record.details.take() {
            self.record.why = Some(Why::ClientGone);
            let ended = Ended { bytes: 0, cut: self.record.why };
            self.record.tell(&details, Some(&self.request.head), Why::ClientGone.status(), ended);
        }
    }
}
