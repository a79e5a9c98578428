//! Handlers that are asked rarely: all of them share one compiled copy of the protocols.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::{ConnInfo, Handler, Request, Response};
use crate::error::Why;

/// A handler behind a pointer. Each type of handler has code of its own for both protocols, 150 KB of it: that pays for the
/// proxy, and not for the doors of administration, scrapes, the inspector, the demonstration and plain HTTP on a TLS door.
pub struct Rare(Box<dyn Object>);

impl Rare {
    /// Puts a handler behind a pointer.
    pub fn new(handler: impl Handler) -> Rare {
        Rare(Box::new(handler))
    }
}

impl Handler for Rare {
    async fn handle(&self, request: Request) -> Box<Response> {
        self.0.handle(request).await
    }

    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        self.0.refuse(conn, why)
    }
}

/// [`Handler`] as it can be called through a pointer.
trait Object {
    fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Box<Response>> + '_>>;
    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Box<Response>;
}

impl<H: Handler> Object for H {
    fn handle(&self, request: Request) -> Pin<Box<dyn Future<Output = Box<Response>> + '_>> {
        Box::pin(Handler::handle(self, request))
    }

    fn refuse(&self, conn: &Rc<ConnInfo>, why: Why) -> Box<Response> {
        Handler::refuse(self, conn, why)
    }
}
