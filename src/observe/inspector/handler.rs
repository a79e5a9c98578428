//! What the inspector answers: the page, and the events behind it. Nothing else, and nothing that writes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::events::Events;
use super::guard::{self, Access, COOKIE, parameter};
use super::page::{self, View};
use super::probe::{self, Probes};
use super::ring::Ring;
use super::words;
use crate::error::Why;
use crate::http::body::Body;
use crate::http::respond::{self, Format};
use crate::http::{self, ConnInfo, Request, Response};
use crate::inspect::Recorder;
use crate::message::RequestHead;
use crate::server::Asker;

const HTML: &str = "text/html; charset=utf-8";

pub(super) struct Handler {
    token: String,
    recorder: Option<Arc<Recorder>>,
    asker: Asker,
    ring: Rc<RefCell<Ring>>,
    probes: Probes,
    policy: String,
}

impl Handler {
    pub fn new(token: String, recorder: Option<Arc<Recorder>>, asker: Asker) -> Handler {
        Handler {
            token,
            recorder,
            asker,
            ring: Rc::default(),
            probes: Probes::default(),
            policy: page::content_security_policy(),
        }
    }

    /// Takes what the workers hand over, as long as they do.
    pub fn gather(&self) {
        let Some(mut entries) = self.recorder.as_ref().and_then(|recorder| recorder.entries()) else { return };
        let ring = self.ring.clone();
        tokio::task::spawn_local(async move {
            while let Some(entry) = entries.recv().await {
                ring.borrow_mut().push(entry);
            }
        });
    }

    async fn answer(&self, head: &RequestHead) -> Box<Response> {
        let query = head.query();
        let words = words::choose(query, head.fields.get_name(b"accept-language"));
        match head.path() {
            b"/" => {
                let Some(seen) = self.asker.look().await else {
                    return respond::own(503, "text/plain; charset=utf-8", "stopping\n".into());
                };
                let hosts = probe::hosts(&seen);
                let wanted = query.and_then(|query| parameter(query, b"site"));
                let host = hosts.iter().find(|host| Some(host.as_bytes()) == wanted).or(hosts.first());
                let again = query.is_some_and(|query| parameter(query, b"again").is_some());
                let observed = match host {
                    Some(host) => self.probes.of(&seen, host, again, &self.ring).await,
                    None => Err("the config has no site with one name"),
                };
                let ring = self.ring.borrow();
                let missed = self.recorder.as_ref().map_or(0, |recorder| recorder.missed());
                let view = View {
                    words,
                    seen: &seen,
                    host: host.map(String::as_str),
                    hosts: &hosts,
                    observed,
                    ring: &ring,
                    missed,
                };
                respond::own(200, HTML, page::page(&view).into())
            }
            b"/events" => {
                let after = query.and_then(|query| parameter(query, b"after"));
                let after = head.fields.get_name(b"last-event-id").or(after);
                let after = after.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
                match self.ring.borrow_mut().follow(after) {
                    Some(follower) => {
                        let mut response = respond::own(200, "", bytes::Bytes::new());
                        response.fields.push(b"Content-Type", b"text/event-stream");
                        response.body = Body::Stream(Box::new(Events::new(follower, words)));
                        response.idle = Some(None);
                        response
                    }
                    None => respond::own(503, "text/plain; charset=utf-8", "too many pages follow already\n".into()),
                }
            }
            _ => respond::own(404, "text/plain; charset=utf-8", "there is only /\n".into()),
        }
    }

    /// Gives the browser the cookie and sends it to the address without the token: by a page of our own, so that the next
    /// request is one of this site's and the strict cookie goes with it.
    fn welcome(&self, head: &RequestHead) -> Box<Response> {
        let words = words::choose(head.query(), head.fields.get_name(b"accept-language"));
        let mut response = respond::own(200, HTML, page::welcome(words).into());
        let cookie = format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", self.token);
        response.fields.push(b"Set-Cookie", cookie.as_bytes());
        response
    }

    fn guarded(&self, mut response: Box<Response>) -> Box<Response> {
        let fields = &mut response.fields;
        fields.push(b"Content-Security-Policy", self.policy.as_bytes());
        fields.push(b"X-Content-Type-Options", b"nosniff");
        fields.push(b"X-Frame-Options", b"DENY");
        fields.push(b"Referrer-Policy", b"no-referrer");
        fields.push(b"Cross-Origin-Resource-Policy", b"same-origin");
        fields.push(b"Cross-Origin-Opener-Policy", b"same-origin");
        fields.set(b"Cache-Control", b"no-store");
        response
    }
}

impl http::Handler for Handler {
    async fn handle(&self, request: Request) -> Box<Response> {
        let head = &request.head;
        let response = match guard::check(head, &self.token) {
            Ok(Access::Token) => self.welcome(head),
            Ok(Access::Open) => self.answer(head).await,
            Err(why) => {
                tracing::warn!("the inspector refused a request from {}: {why}", request.conn.peer);
                let mut response = respond::error(why, Format::of(&head.fields), "-");
                if why == Why::InspectorMethod {
                    response.fields.push(b"Allow", b"GET, HEAD");
                }
                response
            }
        };
        self.guarded(response)
    }

    fn refuse(&self, _: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        self.guarded(respond::error(why, Format::Text, "-"))
    }
}
