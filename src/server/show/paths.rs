//! The few paths of the built-in backend that answer otherwise than with the request: each shows one thing of HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::http::{Request, Response, respond};
use crate::message::{Fields, Known};

/// Names of `/flaky/NAME` that are remembered.
const NAMES: usize = 256;
/// How long `/slow` takes.
const SLOW: Duration = Duration::from_secs(1);
const TEXT: &str = "text/plain; charset=utf-8";
const ETAG: &str = "\"demonstration-1\"";

/// What the paths remember.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// How often each name of `/flaky/NAME` was asked for.
    arrivals: RefCell<HashMap<String, u32>>,
    /// How to end each connection without an answer.
    cuts: RefCell<HashMap<SocketAddr, Rc<Notify>>>,
}

impl Paths {
    /// A connection has come: what is returned fires when it is to be ended.
    pub fn opened(&self, peer: SocketAddr) -> Rc<Notify> {
        let cut = Rc::new(Notify::new());
        self.cuts.borrow_mut().insert(peer, cut.clone());
        cut
    }

    pub fn closed(&self, peer: SocketAddr) {
        self.cuts.borrow_mut().remove(&peer);
    }

    /// The answer of a path that has one of its own.
    ///
    /// * `/status/CODE?to=TARGET`: that status, with `Location: TARGET` for a redirect; 103 comes before a 200.
    /// * `/visits`: how often this browser was here, by a cookie.
    /// * `/etag`: an entity tag, and 304 for who knows it.
    /// * `/slow`: after a second.
    /// * `/flaky/NAME`: the first request for a name is cut off, the next one says how many came.
    pub async fn answer(&self, request: &Request) -> Option<Box<Response>> {
        let path = std::str::from_utf8(request.head.path()).ok()?;
        if let Some(code) = path.strip_prefix("/status/") {
            return status(request, code.parse().ok()?);
        }
        if let Some(name) = path.strip_prefix("/flaky/") {
            return Some(self.flaky(request, name).await);
        }
        match path {
            "/visits" => Some(visits(request)),
            "/etag" => Some(etag(&request.head.fields)),
            "/slow" => {
                tokio::time::sleep(SLOW).await;
                Some(respond::own(200, TEXT, "after a second\n".into()))
            }
            _ => None,
        }
    }

    async fn flaky(&self, request: &Request, name: &str) -> Box<Response> {
        let count = {
            let mut arrivals = self.arrivals.borrow_mut();
            if arrivals.len() >= NAMES {
                arrivals.clear();
            }
            let count = arrivals.entry(name.to_string()).or_insert(0);
            *count += 1;
            *count
        };
        let cut = self.cuts.borrow().get(&request.conn.peer).cloned();
        if let (1, Some(cut)) = (count, cut) {
            cut.notify_one();
            std::future::pending::<()>().await;
        }
        respond::own(200, TEXT, format!("arrivals: {count}\n").into())
    }
}

fn status(request: &Request, code: u16) -> Option<Box<Response>> {
    if !(100..600).contains(&code) {
        return None;
    }
    if code == 103
        && let Some(interim) = &request.interim
    {
        let mut hints = Fields::default();
        hints.push(b"Link", b"</style.css>; rel=preload; as=style");
        interim.0.send(103, &hints);
    }
    // What is left of the interim ones would leave the client without an answer.
    let code = if code < 200 { 200 } else { code };
    if (300..400).contains(&code) && code != 304 {
        let query = request.head.query().and_then(|query| std::str::from_utf8(query).ok()).unwrap_or_default();
        let to = query.split('&').find_map(|part| part.strip_prefix("to=")).filter(|to| to.starts_with('/'));
        return Some(respond::redirect(code, to.unwrap_or("/").as_bytes()));
    }
    if code == 204 || code == 304 {
        return Some(Response::new(code));
    }
    Some(respond::own(code, TEXT, format!("status {code}, as asked\n").into()))
}

/// Counts by a cookie. It is `Secure` where the client came over TLS: then it never goes in clear.
fn visits(request: &Request) -> Box<Response> {
    let fields = &request.head.fields;
    let cookies = fields.get(Known::Cookie).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let known = cookies.split(';').find_map(|pair| pair.trim().strip_prefix("visits=")?.parse::<u32>().ok());
    let count = known.unwrap_or(0).saturating_add(1);
    let secure = if fields.get(Known::XForwardedProto) == Some(b"https") { "; Secure" } else { "" };
    let mut response = respond::own(200, TEXT, format!("visit {count}\n").into());
    response.fields.push(b"Set-Cookie", format!("visits={count}; HttpOnly; SameSite=Lax{secure}").as_bytes());
    response
}

fn etag(fields: &Fields) -> Box<Response> {
    let known = fields.get_name(b"If-None-Match") == Some(ETAG.as_bytes());
    let mut response =
        if known { Response::new(304) } else { respond::own(200, TEXT, "a page that does not change\n".into()) };
    response.fields.push(b"ETag", ETAG.as_bytes());
    response
}
