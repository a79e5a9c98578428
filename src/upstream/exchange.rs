//! One exchange with a server, whatever is spoken to it.

use std::rc::Rc;
use std::time::Duration;

use super::endpoint::{Channel, InFlight};
use super::request_head::Outgoing;
use super::upload::Upload;
use super::{Waits, client, h2};
use crate::error::Why;
use crate::http::Interim;
use crate::http::body::Body;
use crate::http::tunnel::Tunnel;
use crate::message::ResponseHead;
use crate::net::Deadline;

/// A server may send this many interim responses before its answer.
pub(super) const MAX_INTERIM: usize = 16;
/// A server that says nothing about `Expect: 100-continue` gets the body after this (RFC 9110 section 10.1.1).
pub(super) const CONTINUE_WAIT: Duration = Duration::from_millis(300);

/// A server's answer.
#[derive(Debug)]
pub struct Answer {
    pub head: ResponseHead,
    pub body: Body,
    /// The server switched protocols as asked (101). On the heap: most answers have none, and an answer is moved often.
    pub tunnel: Option<Box<Tunnel>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    pub why: Why,
    pub retry: Retry,
    /// The body, for another try.
    pub upload: Upload,
}

/// Whether a failed exchange may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The server cannot have seen the request.
    NeverSent,
    /// A reused connection was closed before a byte of the answer: the server may have seen the request.
    Unanswered,
    /// A fresh connection was closed before a byte of the answer: the server may have seen the request, and died of it or just
    /// then. Only another one may get it.
    Elsewhere,
    No,
}

/// What an exchange runs on.
pub struct Ongoing<'a> {
    pub in_flight: InFlight,
    pub upload: Upload,
    pub deadline: &'a Rc<Deadline>,
    pub waits: Waits,
    pub interim: Option<&'a Interim>,
}

/// Sends a request and waits for the head of its answer. The body follows through [`Answer::body`], which also goes on
/// sending what is left of the request, and puts the connection back into its pool at the end.
///
/// # Errors
/// [`Failure`] with the cause, whether the request may be repeated, and the body to repeat it with.
pub async fn exchange(outgoing: Outgoing<'_>, channel: Channel, ongoing: Ongoing<'_>) -> Result<Answer, Failure> {
    match channel {
        Channel::Http1(connection) => client::exchange(outgoing, connection, ongoing).await,
        // On the heap, so that an exchange over HTTP/1.1 is no larger for it.
        Channel::Http2(lease) => Box::pin(h2::exchange(outgoing, lease, ongoing)).await,
    }
}
