//! `builtin:show`: the small backend of the demonstration, on a port of its own like any other backend. It answers with
//! the request as it arrived; a few paths show one thing of HTTP each.

mod paths;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use self::paths::Paths;
use crate::config::{Defaults, Limits};
use crate::error::Why;
use crate::http::body::{Body, Frame};
use crate::http::respond::{self, Format};
use crate::http::serve::{self, Protocols};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Handler, Rare, Request, Response, Settings, Shared};
use crate::message::Known;
use crate::net::{Io, Socket};

/// Bytes of a request body that are shown; the rest is counted.
const SHOWN: usize = 4 << 10;

#[derive(Default)]
struct Show {
    paths: Rc<Paths>,
}

/// Starts the backend on a thread of its own and says where it listens.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new().name("builtin-show".into()).spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            if let Err(error) = run(listener, address).await {
                tracing::error!("the built-in backend: {error}");
            }
        });
    })?;
    Ok(address)
}

async fn run(listener: std::net::TcpListener, address: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let defaults = Defaults { limits: Limits { body: None, ..Limits::default() }, ..Defaults::default() };
    let settings = Settings {
        timeouts: defaults.timeouts,
        limits: defaults.limits,
        h2_keep_alive: std::time::Duration::from_secs(60),
    };
    let show = Show::default();
    let paths = show.paths.clone();
    let shared = Rc::new(Shared::new(Rare::new(show), settings));
    loop {
        let (tcp, peer) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (shared, paths) = (shared.clone(), paths.clone());
        tokio::task::spawn_local(async move {
            let conn = Rc::new(ConnInfo::new(peer, address, 0, None));
            let wire = Wire::new(Io::Tcp(Socket::new(tcp)));
            let cut = paths.opened(peer);
            tokio::select! {
                () = serve::connection(wire, conn, &shared, Protocols { h1: true, h2: false }) => {}
                () = cut.notified() => {}
            }
            paths.closed(peer);
        });
    }
}

impl Handler for Show {
    async fn handle(&self, mut request: Request) -> Box<Response> {
        let mut body = std::mem::replace(&mut request.body, Body::Empty);
        body.proceed();
        let (mut start, mut total) = (Vec::new(), 0u64);
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            match frame {
                Ok(Frame::Data(data)) => {
                    total += data.len() as u64;
                    let room = SHOWN.saturating_sub(start.len()).min(data.len());
                    start.extend_from_slice(&data[..room]);
                }
                Ok(Frame::Trailers(_)) => {}
                Err(why) => return respond::error(why, Format::Text, "-"),
            }
        }
        match self.paths.answer(&request).await {
            Some(response) => response,
            None => show(&request, &start, total),
        }
    }

    fn refuse(&self, _: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        respond::error(why, Format::Text, "-")
    }
}

fn show(request: &Request, start: &[u8], total: u64) -> Box<Response> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = &request.head;
    let scheme = head.fields.get(Known::XForwardedProto).map_or("http".into(), text);
    let mut raw = format!("{} {} {}\n", head.method, text(head.target()), head.version.as_str());
    for field in head.fields.iter() {
        raw += &format!("{}: {}\n", text(field.name), text(field.value));
    }
    raw += "\n";
    raw += &text(start);
    let facts = format!("client's scheme: {scheme}; body: {total} bytes; connection from {}", request.conn.peer);
    match Format::of(&head.fields) {
        Format::Html => respond::own(200, "text/html; charset=utf-8", page(&raw, &facts, &scheme).into()),
        Format::Problem => {
            let fields: Vec<_> = head.fields.iter().map(|f| [text(f.name), text(f.value)]).collect();
            let json = serde_json::json!({
                "method": head.method.as_str(), "target": text(head.target()), "protocol": head.version.as_str(),
                "fields": fields, "scheme": scheme, "body_bytes": total, "peer": request.conn.peer.to_string(),
            });
            respond::own(200, "application/json", format!("{json:#}\n").into())
        }
        Format::Text => respond::own(200, "text/plain; charset=utf-8", format!("{raw}\n({facts})\n").into()),
    }
}

/// The request as a page. Everything of the client's is escaped.
fn page(raw: &str, facts: &str, scheme: &str) -> String {
    let escape =
        |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let door = if scheme == "https" {
        "You came through the TLS door: on the way from you to the proxy these bytes were encrypted."
    } else {
        "You came through the plain door: anybody on the way could read every line below."
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>vestibule: your request</title>\n\
         <style>body{{font:1.05rem/1.6 system-ui,sans-serif;max-width:46rem;margin:8vh auto;padding:0 1.5rem;color:#1c2330;\
         background:#fff}}h1{{font-size:1.5rem}}pre{{background:#f2f4f7;padding:1rem;border-radius:.4rem;overflow:auto;\
         font-size:.9rem}}small{{color:#5c6675}}@media(prefers-color-scheme:dark){{body{{color:#e6e9ee;background:#14181f}}\
         pre{{background:#1f2530}}small{{color:#98a2b1}}}}</style>\n\
         <h1>Your request, as the backend sees it</h1>\n<p>{door} The last hop, from the proxy to this backend, is plain again: \
         that is what TLS termination means.</p>\n<pre>{}</pre>\n<p><small>{}</small></p>\n</html>\n",
        escape(raw),
        escape(facts)
    )
}
