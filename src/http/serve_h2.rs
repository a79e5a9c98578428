//! One HTTP/2 connection (RFC 9113): hyper speaks the protocol, this file converts at its edge.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use hyper::body::{Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::{Body, Frame, NextFrame, Source};
use super::wire::Wire;
use super::{ConnInfo, Ended, Handler, OnEnd, Request, Response, Settings, Shared};
use crate::error::Why;
use crate::h1;
use crate::message::{Fields, Framing, Known, Method, RequestHead, Version};
use crate::net::{Deadline, Io};

/// Streams a client may have open at once.
const MAX_STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Response bytes buffered per stream before the body is asked to wait.
const SEND_BUFFER: usize = 128 << 10;
/// A silent connection is asked for a sign of life this often, while it has streams.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long an idle client may take to close after a GOAWAY.
const GOAWAY_WAIT: Duration = Duration::from_millis(500);

/// Streams run beside their connection on the same worker.
#[derive(Clone, Copy)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pub(super) async fn serve<H: Handler>(wire: Wire, info: Rc<ConnInfo>, shared: &Rc<Shared<H>>) {
    let settings = &shared.settings;
    let mut builder = hyper::server::conn::http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .auto_date_header(false);
    let active = Rc::new(Cell::new(0usize));
    let service = {
        let (shared, active) = (shared.clone(), active.clone());
        hyper::service::service_fn(move |request| {
            let stream = Stream::open(active.clone());
            // On the heap: the stream's task is moved more than once while it is made.
            Box::pin(answer(shared.clone(), info.clone(), request, stream))
        })
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Prefixed::new(wire)), service));
    let idle = Deadline::new(settings.timeouts.request_header);
    let (mut was_active, mut told) = (false, false);
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // An idle connection is closed in order: GOAWAY, then the end.
        let is_active = active.get() > 0;
        if is_active != was_active {
            was_active = is_active;
            let wait = if told { GOAWAY_WAIT } else { settings.h2_keep_alive };
            idle.set((!is_active).then_some(wait));
        }
        if !told && (shared.connections.is_draining() || (!is_active && idle.poll(cx).is_ready())) {
            told = true;
            connection.as_mut().graceful_shutdown();
            // A client without streams that does not answer the GOAWAY is not waited for.
            idle.set(Some(GOAWAY_WAIT));
            return connection.as_mut().poll(cx).map(|_| ());
        }
        if told && active.get() == 0 && idle.poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One open stream, counted until its response is over.
struct Stream(Rc<Cell<usize>>);

impl Stream {
    fn open(active: Rc<Cell<usize>>) -> Stream {
        active.set(active.get() + 1);
        Stream(active)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn answer<H: Handler>(
    shared: Rc<Shared<H>>,
    conn: Rc<ConnInfo>,
    request: http::Request<Incoming>,
    stream: Stream,
) -> Result<http::Response<Outgoing>, Infallible> {
    let deadline = Rc::new(Deadline::default());
    let (parts, incoming) = request.into_parts();
    let request = match head(parts, &incoming, &shared.settings) {
        Ok(head) => receive(head, incoming, &deadline, &shared.settings).await,
        Err(why) => Err(why),
    };
    let response = match request {
        Ok((head, body)) => {
            shared.handler.handle(Request { head, body, conn, deadline: deadline.clone(), interim: None }).await
        }
        Err(why) => shared.handler.refuse(&conn, why),
    };
    let idle = shared.settings.timeouts.response_body_idle;
    deadline.set(idle);
    Ok(outgoing(response, deadline, idle, stream))
}

/// The body of a request, if it has one.
async fn receive(
    mut head: RequestHead,
    incoming: Incoming,
    deadline: &Rc<Deadline>,
    settings: &Settings,
) -> Result<(RequestHead, Body), Why> {
    let idle = settings.timeouts.request_body_idle;
    if head.framing == Framing::None {
        return Ok((head, Body::Empty));
    }
    let mut body = Body::Stream(Box::new(Receive { incoming, deadline: deadline.clone(), idle }));
    if head.framing == Framing::Length(0) {
        // The promise of no body is checked before anything is sent on: the server would have the whole request at once.
        deadline.set(idle);
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
fn head(parts: http::request::Parts, incoming: &Incoming, settings: &Settings) -> Result<RequestHead, Why> {
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
}

impl Source for Receive {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match hyper::body::Body::poll_frame(Pin::new(&mut self.incoming), cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Why::RequestCut))),
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline.set(self.idle);
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
            Poll::Pending => self.deadline.poll(cx).map(|()| Some(Err(Why::TimeoutRequestBody))),
        }
    }

    fn length(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.incoming).exact()
    }
}

fn outgoing(
    response: Response,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    stream: Stream,
) -> http::Response<Outgoing> {
    let Response { status, fields, body, on_end, .. } = response;
    let outgoing = Outgoing { body, deadline, idle, sent: 0, on_end, cut: Some(Why::ClientGone), _stream: stream };
    let mut out = http::Response::new(outgoing);
    *out.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    copy_fields(fields, out.headers_mut());
    out
}

/// The values share the buffer of our representation: no copy a field.
fn copy_fields(fields: Fields, headers: &mut http::HeaderMap) {
    headers.reserve(fields.len());
    let (bytes, spans) = fields.into_parts();
    let bytes = Bytes::from(bytes);
    for (known, name, value) in spans {
        if known.is_hop_by_hop() {
            continue;
        }
        let name = HeaderName::from_bytes(&bytes[name]);
        let value = HeaderValue::from_maybe_shared(bytes.slice(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
}

/// A response body as hyper wants it.
struct Outgoing {
    body: Body,
    deadline: Rc<Deadline>,
    idle: Option<Duration>,
    sent: u64,
    on_end: Option<OnEnd>,
    /// What is reported when the body is dropped: the client left, unless its end was seen.
    cut: Option<Why>,
    _stream: Stream,
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Why;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Why>>> {
        let this = &mut *self;
        let frame = match this.body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => match this.deadline.poll(cx) {
                Poll::Ready(()) => Some(Err(Why::UpstreamCut)),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(match frame {
            Some(Ok(Frame::Data(data))) => {
                this.sent += data.len() as u64;
                this.deadline.set(this.idle);
                if this.body.is_empty() {
                    this.cut = None;
                }
                Some(Ok(hyper::body::Frame::data(data)))
            }
            Some(Ok(Frame::Trailers(fields))) => {
                this.cut = None;
                let mut trailers = http::HeaderMap::new();
                copy_fields(fields, &mut trailers);
                Some(Ok(hyper::body::Frame::trailers(trailers)))
            }
            Some(Err(why)) => {
                this.cut = Some(why);
                Some(Err(why))
            }
            None => {
                this.cut = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(OnEnd(on_end)) = self.on_end.take() {
            let cut = if self.body.is_empty() { None } else { self.cut };
            on_end(Ended { bytes: self.sent, cut });
        }
    }
}

/// A connection whose first bytes were read to find out what it speaks.
struct Prefixed {
    prefix: Bytes,
    io: Io,
}

impl Prefixed {
    fn new(mut wire: Wire) -> Prefixed {
        Prefixed { prefix: wire.input.split().freeze(), io: wire.io }
    }
}

impl tokio::io::AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let take = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix.split_to(take));
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
