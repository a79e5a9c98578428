//! Requests in the hands of the handler. What it computes with is large and needed while it has a request only, so one
//! that is done with its request takes the next one, of any connection of the worker, instead of being made anew.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::http::{Handler, Request, Response};

/// Calls kept for the next request, per worker.
const SPARES: usize = 64;

/// The calls that wait for a request.
pub struct Spares<H>(RefCell<Vec<Call<H>>>);

impl<H> Default for Spares<H> {
    fn default() -> Spares<H> {
        Spares(RefCell::default())
    }
}

/// A request at the handler. Dropping it gives the request up.
pub(super) struct Call<H> {
    desk: Rc<Desk<H>>,
    /// Never ends: it takes a request from the desk, puts the response there, and waits for the next one.
    working: Pin<Box<dyn Future<Output = ()>>>,
}

struct Desk<H> {
    request: Cell<Option<(Rc<H>, Request)>>,
    response: Cell<Option<Box<Response>>>,
}

impl<H: Handler> Spares<H> {
    /// Gives a request to the handler.
    pub(super) fn call(&self, handler: Rc<H>, request: Request) -> Call<H> {
        let call = self.0.borrow_mut().pop().unwrap_or_else(Call::new);
        call.desk.request.set(Some((handler, request)));
        call
    }

    /// Takes back a call that has given its response.
    pub(super) fn keep(&self, call: Call<H>) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < SPARES {
            spares.push(call);
        }
    }
}

impl<H: Handler> Call<H> {
    fn new() -> Call<H> {
        let desk: Rc<Desk<H>> = Rc::new(Desk { request: Cell::new(None), response: Cell::new(None) });
        let working = Box::pin({
            let desk = desk.clone();
            async move {
                loop {
                    let (handler, request) = poll_fn(|_| desk.request.take().map_or(Poll::Pending, Poll::Ready)).await;
                    desk.response.set(Some(handler.handle(request).await));
                }
            }
        });
        Call { desk, working }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Box<Response>> {
        let _ = self.working.as_mut().poll(cx);
        self.desk.response.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::error::Why;
    use crate::http::body::Body;
    use crate::http::{ConnInfo, respond};
    use crate::message::{Fields, Method, RequestHead, Span, Version};
    use crate::net::Deadline;

    /// Answers when it is polled for the second time.
    struct Slow;

    impl Handler for Slow {
        async fn handle(&self, request: Request) -> Box<Response> {
            let mut asked = false;
            poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            respond::own(200, "text/plain", request.conn.peer.port().to_string().into())
        }

        fn refuse(&self, _: &Rc<ConnInfo>, _: Why) -> Box<Response> {
            unreachable!()
        }
    }

    fn request(port: u16) -> (Request, Rc<ConnInfo>) {
        let nothing = Span::new(0, 0);
        let head = Box::new(RequestHead::new(Method::GET, Version::Http11, nothing, nothing, Fields::default()));
        let peer = (Ipv4Addr::LOCALHOST, port).into();
        let conn = Rc::new(ConnInfo::new(peer, peer, 0, None));
        let deadline = Rc::new(Deadline::default());
        (Request { head, body: Body::Empty, conn: conn.clone(), deadline, interim: None }, conn)
    }

    #[test]
    fn a_call_that_is_done_takes_the_next_request_and_keeps_nothing_of_the_last() {
        let (spares, handler) = (Spares::default(), Rc::new(Slow));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for port in 1..4 {
            let (request, conn) = request(port);
            let mut call = spares.call(handler.clone(), request);
            assert!(spares.0.borrow().is_empty());
            assert!(call.poll(&mut cx).is_pending());
            let Poll::Ready(response) = call.poll(&mut cx) else { panic!("it answers the second time") };
            assert!(matches!(&response.body, Body::Full(body) if *body == port.to_string()));
            assert_eq!((Rc::strong_count(&conn), Rc::strong_count(&handler)), (1, 1));
            spares.keep(call);
            assert_eq!(spares.0.borrow().len(), 1);
        }
    }

    #[test]
    fn a_call_that_is_dropped_gives_its_request_up() {
        let (spares, handler) = (Spares::default(), Rc::new(Slow));
        let (request, conn) = request(1);
        let mut call = spares.call(handler.clone(), request);
        assert!(call.poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        drop(call);
        assert_eq!((Rc::strong_count(&conn), Rc::strong_count(&handler)), (1, 1));
    }
}
