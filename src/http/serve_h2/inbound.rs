//! Requests as HTTP/2 brings them, made ours.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderValue;
use hyper::body::Incoming;

use crate::error::Why;
use crate::h1;
use crate::http::Settings;
use crate::http::body::{Body, Frame, NextFrame, Source};
use crate::message::{Fields, Framing, Known, Method, RequestHead, Version};
use crate::net::Deadline;

/// The body of a request, if it has one.
pub(super) async fn receive(
    mut head: RequestHead,
    incoming: Incoming,
    deadline: &Rc<Deadline>,
    settings: &Settings,
) -> Result<(RequestHead, Body), Why> {
    let idle = settings.timeouts.request_body_idle;
    if head.framing == Framing::None {
        return Ok((head, Body::Empty));
    }
    let mut body = Body::Stream(Box::new(Receive { incoming, deadline: deadline.clone(), idle, waiting: false }));
    if head.framing == Framing::Length(0) {
        // The promise of no body is checked before anything is sent on: the server would have the whole request at once.
        while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
            match frame? {
                Frame::Data(data) if !data.is_empty() => return Err(Why::RequestFraming),
                _ => {}
            }
        }
        head.framing = Framing::None;
    }
    Ok((head, body))
}

/// An HTTP/2 head in our representation. hyper has checked pseudo-fields, names and values, and refuses
/// connection-specific fields (RFC 9113 section 8.2.2).
pub(super) fn head(parts: http::request::Parts, incoming: &Incoming, settings: &Settings) -> Result<RequestHead, Why> {
    let limits = &settings.limits;
    if parts.method == Method::CONNECT {
        return Err(Why::RequestConnect);
    }
    if !matches!(parts.uri.scheme_str(), Some("http" | "https")) {
        return Err(Why::RequestTarget);
    }
    if parts.headers.len() > limits.header_fields {
        return Err(Why::LimitHeaderFields);
    }
    // RFC 9113 section 10.5.1 counts 32 bytes a field.
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if bytes > limits.header_bytes {
        return Err(Why::LimitHeaderBytes);
    }
    let target = match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => "/",
    };
    if target.len() > limits.uri_bytes {
        return Err(Why::LimitUriBytes);
    }
    if !h1::is_target(target.as_bytes())
        || !(target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS))
    {
        return Err(Why::RequestTarget);
    }
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Why::RequestHost);
    }
    let authority = match (parts.uri.authority(), host) {
        // RFC 9113 section 8.3.1: a Host that differs from :authority makes the request malformed.
        (Some(authority), Some(host)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            return Err(Why::RequestHost);
        }
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host,
        (None, None) => return Err(Why::RequestHost),
    };
    if !h1::is_authority(authority) {
        return Err(Why::RequestHost);
    }

    let mut fields = Fields::with_capacity(bytes + target.len() + 256, parts.headers.len() + 8);
    let target = fields.store(target.as_bytes());
    fields.push(b"host", authority);
    let authority = fields.span(Known::Host).unwrap_or_default();
    let mut length = None;
    for (name, value) in &parts.headers {
        if *name == http::header::HOST || *name == http::header::COOKIE {
            continue;
        }
        if *name == http::header::CONTENT_LENGTH {
            let value = h1::content_length(value.as_bytes()).ok_or(Why::RequestFraming)?;
            if length.replace(value).is_some() {
                return Err(Why::RequestFraming);
            }
        }
        if *name == http::header::EXPECT {
            // There is nothing to wait for on HTTP/2: the window holds the body back.
            continue;
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    // RFC 9113 section 8.2.3: crumbs are joined before they leave HTTP/2.
    let mut crumbs = parts.headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).peekable();
    if crumbs.peek().is_some() {
        let joined = crumbs.collect::<Vec<_>>().join(&b"; "[..]);
        fields.push(b"cookie", &joined);
    }
    let mut head = RequestHead::new(parts.method, Version::Http2, target, authority, fields);
    head.framing = match (hyper::body::Body::is_end_stream(incoming), length) {
        (true, None | Some(0)) => Framing::None,
        (true, Some(_)) => return Err(Why::RequestFraming),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    Ok(head)
}

/// A request body of one stream; the window is opened as it is read.
struct Receive {
    incoming: Incoming,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    /// The last poll found nothing: the deadline is the client's. Between two pieces others may have moved it.
    waiting: bool,
}

impl Source for Receive {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match hyper::body::Body::poll_frame(Pin::new(&mut self.incoming), cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Why::RequestCut))),
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                Poll::Ready(Some(Ok(match frame.into_data() {
                    Ok(data) => Frame::Data(data),
                    Err(frame) => {
                        let mut fields = Fields::default();
                        for (name, value) in frame.into_trailers().iter().flatten() {
                            if Known::classify(name.as_str().as_bytes()) == Known::Other {
                                fields.push(name.as_str().as_bytes(), value.as_bytes());
                            }
                        }
                        Frame::Trailers(fields)
                    }
                })))
            }
            Poll::Pending => {
                if !std::mem::replace(&mut self.waiting, true) {
                    self.deadline.set(self.idle);
                }
                self.deadline.poll(cx).map(|()| Some(Err(Why::TimeoutRequestBody)))
            }
        }
    }

    fn set_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    fn length(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.incoming).exact()
    }
}
