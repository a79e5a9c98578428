//! The life of a request: [`Proxy::handle`] is the function to read first.

pub mod access_log;
mod buffer;
mod counted;
mod decide;
mod details;
pub mod forward;
mod inspected;
mod record;
mod sinks;
mod tally;
pub mod trace;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

pub use self::decide::{Early, Entry, Outcome, Witness, act, enter, finish};
use self::forward::Way;
use self::record::{Flight, Record};
pub use self::sinks::{Names, Sinks};
pub use self::tally::Tally;
use crate::error::Why;
use crate::filter::{Chain, Notes, Verdict, Visit, challenge};
use crate::http::respond::{self, Format};
use crate::http::term::Standing;
use crate::http::{ConnInfo, Handler, Request, Response};
use crate::message::{Fields, RequestHead};
use crate::snapshot::View;

/// The path a health check asks on the plain door. Only this machine is answered.
pub const HEALTH_PATH: &str = "/.vestibule/health";

/// One worker's proxy.
pub struct Proxy {
    view: RefCell<Rc<View>>,
    sinks: RefCell<Option<Rc<Sinks>>>,
    tally: Tally,
    /// What a health check is told.
    ready: Cell<bool>,
}

impl Handler for Proxy {
    async fn handle(&self, request: Request) -> Box<Response> {
        let view = self.view();
        let record = Record::begin(self.sinks.borrow().as_ref(), &view.snapshot, &request);
        let mut flight = Flight { request, record };
        let mut met = Met::default();
        let standing = Standing::new(flight.request.conn.door.clone());
        let answer = {
            let Flight { request, record } = &mut flight;
            let mut answering = pin!(self.answer(&view, request, record, &mut met, &standing));
            poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Pending => standing.over().map_or(Poll::Pending, |why| Poll::Ready(Err(why))),
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            })
            .await
        };
        // What says that it is over is not over itself.
        let (answer, standing) = match answer {
            Ok(answer) => (answer, standing),
            Err(why) => (Err(why.into()), Standing::default()),
        };
        let Flight { request, record } = &mut flight;
        let mut response = match answer {
            Ok(response) => response,
            Err(stop) => {
                let Stop { why, fields } = *stop;
                record.why = Some(why);
                let (format, id) = (Format::of(&request.head.fields), record.request_id());
                let mut response = respond::error(why, format, &id);
                if let (Format::Html, Some(pages)) = (format, view.snapshot.error_pages(record.site, record.route)) {
                    pages.show(why, &id, &mut response);
                }
                fields.iter().for_each(|field| response.fields.push(field.name, field.value));
                response
            }
        };
        if let Some(chain) = met.chain {
            chain.response(&met.notes, &request.head, met.https, &mut response);
            (record.would_refuse, record.user) = (met.notes.would_refuse, met.notes.user.take().map(String::into));
        }
        self.tally.count(response.status);
        match &mut response.tunnel {
            Some(tunnel) => tunnel.standing = standing,
            None => response.standing = standing,
        }
        flight.attach(response)
    }

    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        let mut record = Record::refused(self.sinks.borrow().as_ref(), conn);
        record.why = Some(why);
        let response = respond::error(why, Format::Text, &record.request_id());
        self.tally.count(response.status);
        record.attach_refused(response)
    }
}

impl Proxy {
    pub fn new(view: Rc<View>, sinks: Option<Sinks>) -> Proxy {
        let sinks = RefCell::new(sinks.map(Rc::new));
        Proxy { view: RefCell::new(view), sinks, tally: Tally::default(), ready: Cell::new(true) }
    }

    /// Puts a generation in place: requests that begin after this meet it.
    pub fn adopt(&self, view: Rc<View>, sinks: Option<Sinks>) {
        self.view.replace(view);
        self.sinks.replace(sinks.map(Rc::new));
    }

    /// Who wants to know of requests and connections.
    pub fn sinks(&self) -> Option<Rc<Sinks>> {
        self.sinks.borrow().clone()
    }

    /// The generation that new requests meet. A request keeps its own to its end.
    pub fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// Health checks are told to look elsewhere; requests are served as before.
    pub fn not_ready(&self) {
        self.ready.set(false);
    }

    /// What has been answered so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    async fn answer<'v>(
        &self,
        view: &'v View,
        request: &mut Request,
        record: &mut Record,
        met: &mut Met<'v>,
        standing: &Standing,
    ) -> Result<Box<Response>, Box<Stop>> {
        if is_health_check(&request.conn, &request.head) {
            let (status, word) = if self.ready.get() { (200, "ready\n") } else { (503, "stopping\n") };
            return Ok(respond::own(status, "text/plain; charset=utf-8", word.into()));
        }
        if let Some(challenges) = &view.snapshot.challenges
            && let Some(response) = challenge::answer(challenges, &request.conn, &request.head)
        {
            return Ok(response);
        }
        if let Some(download) = &view.snapshot.ca_download
            && let Some(response) = download.answer(&request.conn, &request.head)
        {
            return Ok(response);
        }
        let mut entry = enter(view, &request.conn, &mut request.head, record)?;
        entry.begin(standing);
        record.trace(&mut request.head);
        (met.https, met.chain) = (entry.client.https, entry.chain);
        if let Some((_, response)) = entry.early.take() {
            return Ok(response);
        }
        if let Some(chain) = met.chain {
            let mut visit = Visit {
                head: &mut request.head,
                client: &entry.client,
                conn: &request.conn,
                deadline: &request.deadline,
                clusters: &view.clusters,
                timeouts: &entry.settings.timeouts,
            };
            match chain.request(&mut visit, &mut met.notes).await? {
                Verdict::Pass => {}
                Verdict::Answer(response) => return Ok(response),
                Verdict::Refuse(why, fields) => return Err(Box::new(Stop { why, fields })),
            }
        }
        let mut response = match act(&entry, &request.conn, &mut request.head, record)? {
            Outcome::Forward(upstream, cluster) => {
                record.forward(upstream, request);
                let way = Way { cluster, entry: &entry, standing };
                let mut response = forward::forward(|| self.view(), way, request, record).await?;
                if let Some(pages) = met.chain.and_then(Chain::error_pages) {
                    pages.replace(&request.head.fields, || record.request_id(), &mut response);
                }
                response
            }
            Outcome::Own(response) => response,
        };
        finish(&entry, &request.conn, &request.head, &mut response, record);
        Ok(response)
    }
}

/// The question of a health check, from this machine.
pub fn is_health_check(conn: &ConnInfo, head: &RequestHead) -> bool {
    head.path() == HEALTH_PATH.as_bytes() && conn.ip().is_loopback()
}

/// What a request met on its way in, for its way back.
#[derive(Default)]
struct Met<'v> {
    chain: Option<&'v Chain>,
    notes: Notes,
    https: bool,
}

/// An error that is the answer, with the fields it needs.
struct Stop {
    why: Why,
    fields: Fields,
}

impl From<Why> for Box<Stop> {
    fn from(why: Why) -> Box<Stop> {
        Box::new(Stop { why, fields: Fields::default() })
    }
}
