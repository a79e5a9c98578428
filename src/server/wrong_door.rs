//! Plain HTTP on the TLS port: an answer in clear that says what happened.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::error::Why;
use crate::http::respond::{self, Format};
use crate::http::serve::{self, Protocols};
use crate::http::wire::Wire;
use crate::http::{ConnInfo, Handler, Rare, Request, Response, Settings, Shared};
use crate::message::Method;

/// Sends readers to https on the same port, and refuses the rest: a body in clear must not be asked for twice.
struct WrongDoor;

impl Handler for WrongDoor {
    async fn handle(&self, request: Request) -> Box<Response> {
        let head = &request.head;
        let mut response = if matches!(head.method, Method::GET | Method::HEAD) && !head.authority().is_empty() {
            let target = if head.target() == b"*" { b"/" } else { head.target() };
            // 307: what is wrong is the link, and nobody should remember the mend.
            respond::redirect(307, &[b"https://", head.authority(), target].concat())
        } else {
            respond::error(Why::TlsPlainHttp, Format::of(&head.fields), "-")
        };
        response.close = true;
        response
    }

    fn refuse(&self, _: &Rc<ConnInfo>, _: Why) -> Box<Response> {
        respond::error(Why::TlsPlainHttp, Format::Text, "-")
    }
}

pub(super) fn shared(settings: Settings) -> Rc<Shared<Rare>> {
    Rc::new(Shared::new(Rare::new(WrongDoor), settings))
}

pub(super) async fn serve(wire: Wire, peer: SocketAddr, local: SocketAddr, index: usize, shared: &Rc<Shared<Rare>>) {
    tracing::info!("{peer}: plain HTTP on the TLS port {}", local.port());
    let conn = Rc::new(ConnInfo::new(peer, local, index, None));
    serve::connection(wire, conn, shared, Protocols { h1: true, h2: false }).await;
}
