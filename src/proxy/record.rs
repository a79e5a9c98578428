//! What one request leaves behind: gathered on its way, written at its end, and only when the access log is on.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Witness;
use super::access_log::{AccessLog, Line};
use super::inspected::Inspected;
use crate::error::Why;
use crate::http::headers::Client;
use crate::http::{ConnInfo, Ended, OnEnd, Request, Response};
use crate::message::{Known, RequestHead, ResponseHead};
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
    id: OnceCell<String>,
    /// Nothing below is gathered when nobody reads it.
    details: Option<Box<Details>>,
    /// What the inspector is told, where it is on.
    inspected: Option<Box<Inspected>>,
}

struct Details {
    log: AccessLog,
    conn: Rc<ConnInfo>,
    began: Instant,
    /// From the end of the request to the response head.
    upstream_time: Option<Duration>,
    sent_at: Instant,
    attempts: u32,
    server: Option<Box<str>>,
    found: Option<Found>,
    client: Option<Client>,
}

impl Record {
    pub fn begin(log: Option<&AccessLog>, snapshot: &Arc<Snapshot>, request: &Request) -> Record {
        let mut record = Record::new(log, &request.conn);
        record.inspected = Inspected::begin(snapshot, request);
        record
    }

    /// The record of bytes that never became a request.
    pub fn refused(log: Option<&AccessLog>, conn: &Rc<ConnInfo>) -> Record {
        Record::new(log, conn)
    }

    fn new(log: Option<&AccessLog>, conn: &Rc<ConnInfo>) -> Record {
        let now = clock::now();
        let details = log.map(|log| {
            Box::new(Details {
                log: log.clone(),
                conn: conn.clone(),
                began: now,
                upstream_time: None,
                sent_at: now,
                attempts: 0,
                server: None,
                found: None,
                client: None,
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

    pub fn attempt(&mut self, endpoint: &Endpoint) {
        if let Some(details) = &mut self.details {
            details.attempts += 1;
            details.server = Some(endpoint.label.clone());
            details.sent_at = clock::now();
        }
        if let Some(inspected) = &mut self.inspected {
            inspected.attempt(&endpoint.label);
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
            details.upstream_time = Some(clock::now() - details.sent_at);
        }
    }

    /// Hands the record to the response: it is written when the response is over.
    pub fn attach(mut self, mut response: Response, request: &Request) -> Response {
        if let Some(inspected) = self.inspected.take() {
            response = inspected.attach(response, self.why, self.request_id());
        }
        if self.details.is_none() {
            return response;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let head = &request.head;
        let field = |known| head.fields.get(known).map(text);
        let line = Line {
            method: head.method.as_str().to_string(),
            target: text(head.target()),
            host: text(head.authority()),
            version: head.version.as_str(),
            referer: field(Known::Referer),
            user_agent: field(Known::UserAgent),
            ..Line::default()
        };
        let inspector = response.on_end.take();
        response.on_end = OnEnd::both(self.on_end(line, response.status), inspector);
        response
    }

    pub fn attach_refused(self, mut response: Response) -> Response {
        if self.details.is_some() {
            response.on_end = self.on_end(Line::default(), response.status);
        }
        response
    }

    fn on_end(self, line: Line, status: u16) -> Option<OnEnd> {
        let request_id = self.request_id();
        let (why, would_refuse, user, nearest) = (self.why, self.would_refuse, self.user, self.nearest);
        let details = self.details?;
        Some(OnEnd(Box::new(move |ended: Ended| {
            let Details { log, conn, began, upstream_time, attempts, server, found, client, .. } = *details;
            let client_ip = client.map_or_else(|| conn.peer_ip.clone(), |client| client.ip);
            log.write(Line {
                request_id,
                status,
                bytes: ended.bytes,
                why: why.or(ended.cut),
                would_refuse,
                user,
                nearest,
                client_ip,
                tls: conn.tls.clone(),
                site: found.map(|found| found.site),
                server,
                attempts,
                upstream_time,
                total: clock::now() - began,
                ..line
            });
        })))
    }
}

impl Witness for Record {
    fn lost(&mut self, view: &View, asked: &Asked<'_>, why: Why) {
        self.site = view.router.site(asked.host).map(|(site, _)| site);
        if why == Why::RouteNoRoute && self.details.is_some() {
            let nearest = view.router.nearest(asked);
            let route = nearest.and_then(|(site, route)| view.snapshot.config.sites.get(site)?.routes.get(route));
            self.nearest = route.map(|route| route.path.to_string());
        }
    }

    fn meet(&mut self, found: Found) {
        if let Some(inspected) = &mut self.inspected {
            inspected.meet(found);
        }
        (self.site, self.route) = (Some(found.site), Some(found.route));
        if let Some(details) = &mut self.details {
            details.found = Some(found);
        }
    }

    fn client(&mut self, client: &Client, _: &RequestHead) {
        if let Some(details) = &mut self.details {
            details.client = Some(client.clone());
        }
    }

    /// The request's id: made when somebody asks.
    fn request_id(&self) -> String {
        self.id.get_or_init(|| format!("{:016x}", fastrand::u64(..))).clone()
    }
}
