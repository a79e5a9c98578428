//! One HTTP/1.1 exchange with a server: request out, response in, both at once where they overlap.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use super::Waits;
use super::endpoint::{Connection, InFlight};
use super::exchange::{Answer, CONTINUE_WAIT, Failure, MAX_INTERIM, Ongoing, Retry};
use super::request_head::Outgoing;
use super::upload::Upload;
use crate::error::Why;
use crate::h1::{self, Decoder, Parsed, ResponseTo, Step};
use crate::http::Interim;
use crate::http::body::{Body, Frame, NextFrame, Source};
use crate::http::term::Standing;
use crate::http::tunnel::Tunnel;
use crate::message::{Framing, Known, Method, ResponseHead};
use crate::net::Deadline;
use crate::tls;

/// Read size for heads and small bodies.
const READ: usize = 8 << 10;
/// Read size for bodies known to be large: fewer system calls.
const READ_LARGE: usize = 128 << 10;
/// Read size for bodies with at least [`HUGE`] to come: another tenth less CPU, for a buffer that few connections have.
const READ_HUGE: usize = 256 << 10;
const HUGE: u64 = 1 << 20;

/// As [`super::exchange`], on a connection of its own.
pub(super) async fn exchange(
    outgoing: Outgoing<'_>,
    mut connection: Box<Connection>,
    ongoing: Ongoing<'_>,
) -> Result<Answer, Failure> {
    let Ongoing { in_flight, upload, deadline, waits, interim } = ongoing;
    outgoing.write(connection.wire.output(), &in_flight.endpoint().label);
    let chunked = matches!(outgoing.head.framing, Framing::Chunked | Framing::Close);
    let uploading = !upload.is_empty();
    let mut sending = Sending {
        upload,
        active: uploading,
        chunked,
        waits: outgoing.head.expect_continue,
        broken: false,
        flushed_once: false,
    };
    deadline.set(if sending.waits { Some(CONTINUE_WAIT) } else { waits.response_header });
    let request = ResponseTo { is_head: outgoing.head.method == Method::HEAD };
    let mut interims = 0;
    let head = poll_fn(|cx| {
        loop {
            if let Err(why) = sending.poll(cx, &mut connection, deadline, &waits) {
                return Poll::Ready(Err(why));
            }
            match h1_head(&mut connection, request) {
                Err(why) => return Poll::Ready(Err(why)),
                Ok(Some(head)) if head.status == 101 => return Poll::Ready(Ok(head)),
                Ok(Some(head)) if head.status < 200 => {
                    interims += 1;
                    if interims > MAX_INTERIM {
                        return Poll::Ready(Err(Why::UpstreamMalformed));
                    }
                    sending.on_interim(&head, interim);
                    continue;
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
            }
            match connection.wire.poll_fill(cx, READ) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Err(error)) if tls::is_alert(&error) => {
                    in_flight.endpoint().say_alert();
                    return Poll::Ready(Err(Why::UpstreamTlsHandshake));
                }
                Poll::Ready(_) => {
                    let nothing = connection.wire.input.is_empty();
                    return Poll::Ready(Err(if nothing { Why::UpstreamClosed } else { Why::UpstreamCut }));
                }
                Poll::Pending => match deadline.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) if sending.waits => sending.stop_waiting(deadline, &waits),
                    Poll::Ready(()) => return Poll::Ready(Err(Why::UpstreamHeaderTimeout)),
                },
            }
        }
    })
    .await;
    match head {
        Ok(head) => answer(head, connection, in_flight, sending, outgoing.head.upgrade_token(), deadline, waits),
        Err(why) => {
            let closed = why == Why::UpstreamClosed && connection.reused && interims == 0;
            if closed {
                in_flight.endpoint().note_closed();
            }
            let retry = match closed {
                true if !sending.flushed_once => Retry::NeverSent,
                true => Retry::Unanswered,
                false if why == Why::UpstreamClosed && interims == 0 => Retry::Elsewhere,
                false => Retry::No,
            };
            let why = if closed { Why::UpstreamClosedReused } else { why };
            Err(Failure { why, retry, upload: sending.upload })
        }
    }
}

fn h1_head(connection: &mut Connection, request: ResponseTo) -> Result<Option<ResponseHead>, Why> {
    if connection.wire.input.is_empty() {
        return Ok(None);
    }
    match h1::parse_response(&connection.wire.input, request) {
        Ok(Parsed::Head(head, length)) => {
            bytes::Buf::advance(&mut connection.wire.input, length);
            Ok(Some(head))
        }
        Ok(Parsed::Partial) => Ok(None),
        Err(_) => Err(Why::UpstreamMalformed),
    }
}

/// The request's side of an exchange.
#[derive(Debug)]
struct Sending {
    upload: Upload,
    /// Body frames are still to come.
    active: bool,
    chunked: bool,
    /// The body waits for the server's 100 (or its silence).
    waits: bool,
    /// The server takes no more: only its answer counts now.
    broken: bool,
    /// The kernel took bytes of this request.
    flushed_once: bool,
}

impl Sending {
    /// Sends what can be sent now.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        deadline: &Deadline,
        waits: &Waits,
    ) -> Result<(), Why> {
        let wire = &mut connection.wire;
        while !self.broken {
            if !wire.is_flushed() {
                match wire.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.flushed_once = true;
                        if !self.waits {
                            deadline.set(waits.response_header);
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        self.on_write_error(&error);
                        wire.discard_output();
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            if !self.active || self.waits {
                break;
            }
            match self.upload.poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    // An empty chunk would end the body.
                    if data.is_empty() {
                        continue;
                    }
                    // From here to the next wait for the client, the wait is the server's.
                    deadline.set(waits.response_header);
                    if self.chunked {
                        h1::write_chunk_head(wire.output(), data.len());
                    }
                    wire.put(data, if self.chunked { b"\r\n" } else { b"" });
                }
                Poll::Ready(end @ (None | Some(Ok(Frame::Trailers(_))))) => {
                    self.active = false;
                    deadline.set(waits.response_header);
                    if self.chunked {
                        let trailers = match &end {
                            Some(Ok(Frame::Trailers(trailers))) => Some(trailers),
                            _ => None,
                        };
                        h1::last_chunk(wire.output(), trailers);
                    }
                }
                Poll::Ready(Some(Err(why))) => return Err(why),
            }
        }
        Ok(())
    }

    /// A server that closes while the body is on its way may have answered already: the answer decides.
    fn on_write_error(&mut self, error: &io::Error) {
        tracing::debug!("sending a request: {error}");
        self.broken = true;
        self.active = false;
    }

    fn on_interim(&mut self, head: &ResponseHead, interim: Option<&Interim>) {
        if head.status == 100 {
            if self.waits {
                self.waits = false;
                self.upload.proceed();
            }
        } else if let Some(Interim(client)) = interim {
            let mut fields = head.fields.clone();
            crate::http::headers::remove_hop_by_hop(&mut fields, head.nominates);
            client.send(head.status, &fields);
        }
    }

    fn stop_waiting(&mut self, deadline: &Deadline, waits: &Waits) {
        self.waits = false;
        self.upload.proceed();
        deadline.set(waits.response_header);
    }

    /// The whole request has been sent.
    fn is_done(&self) -> bool {
        !self.active && !self.broken
    }
}

fn answer(
    head: ResponseHead,
    mut connection: Box<Connection>,
    in_flight: InFlight,
    sending: Sending,
    asked: Option<&[u8]>,
    deadline: &std::rc::Rc<Deadline>,
    waits: Waits,
) -> Result<Answer, Failure> {
    if head.status == 101 {
        // Only the protocol that was asked for.
        let agreed =
            head.fields.get(Known::Upgrade).filter(|told| asked.is_some_and(|asked| told.eq_ignore_ascii_case(asked)));
        let Some(protocol) = agreed.map(|agreed| String::from_utf8_lossy(agreed).into_owned()) else {
            return Err(Failure { why: Why::UpstreamUpgrade, retry: Retry::No, upload: sending.upload });
        };
        let tunnel = Tunnel {
            wire: connection.wire,
            protocol: protocol.into(),
            idle: waits.tunnel_idle,
            guard: Box::new(in_flight),
            standing: Standing::default(),
        };
        return Ok(Answer { head, body: Body::Empty, tunnel: Some(Box::new(tunnel)) });
    }
    if let Some(hint) = head.fields.get(Known::KeepAlive).and_then(keep_alive_timeout) {
        connection.keep = Some(hint);
    } else if head.keep_alive
        && head.fields.get(Known::Connection).is_some_and(|v| v.eq_ignore_ascii_case(b"keep-alive"))
    {
        connection.keep = Some(std::time::Duration::MAX);
    }
    let reusable = head.keep_alive && sending.is_done() && connection.wire.is_flushed();
    let body = match head.framing {
        Framing::None => {
            if reusable {
                in_flight.endpoint().checkin(connection);
            }
            Body::Empty
        }
        // The whole body came with the head: the connection is free before the client has its answer.
        Framing::Length(length) if reusable && connection.wire.input.len() as u64 >= length => {
            // It fits in memory, it is there already.
            let data = connection.wire.input.split_to(length as usize).freeze();
            in_flight.endpoint().checkin(connection);
            Body::Full(data)
        }
        framing => Body::Stream(Box::new(Download {
            exchange: Some((connection, in_flight)),
            sending,
            decoder: Decoder::new(framing),
            keep_alive: head.keep_alive,
            deadline: deadline.clone(),
            waits,
        })),
    };
    Ok(Answer { head, body, tunnel: None })
}

/// `Keep-Alive: timeout=N`, less the second that a request may be on its way.
fn keep_alive_timeout(value: &[u8]) -> Option<std::time::Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let seconds = text.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?.trim().parse::<u32>().ok()?;
    Some(std::time::Duration::from_secs(u64::from(seconds).saturating_sub(1)))
}

/// A response body: read from the server when the client has taken the last piece.
struct Download {
    exchange: Option<(Box<Connection>, InFlight)>,
    sending: Sending,
    decoder: Decoder,
    keep_alive: bool,
    deadline: std::rc::Rc<Deadline>,
    waits: Waits,
}

impl Download {
    /// The body is whole: the connection goes back to its pool if it can serve again.
    fn finish(&mut self) {
        if let Some((connection, in_flight)) = self.exchange.take()
            && self.keep_alive
            && self.sending.is_done()
        {
            in_flight.endpoint().checkin(connection);
        }
    }
}

impl Source for Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let Some((connection, _)) = &mut self.exchange else { return Poll::Ready(None) };
        if (self.sending.active || !connection.wire.is_flushed())
            && let Err(why) = self.sending.poll(cx, connection, &self.deadline, &self.waits)
        {
            return Poll::Ready(Some(Err(why)));
        }
        loop {
            match self.decoder.step(&mut connection.wire.input) {
                Ok(Step::Data(data)) => {
                    if self.decoder.is_done() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Ok(Step::End(trailers)) => {
                    self.finish();
                    return Poll::Ready(trailers.map(|fields| Ok(Frame::Trailers(fields))));
                }
                Ok(Step::NeedMore) => {}
                Err(_) => return Poll::Ready(Some(Err(Why::UpstreamMalformed))),
            }
            let left = self.decoder.left().unwrap_or(READ_LARGE as u64);
            let most = if left >= HUGE { READ_HUGE } else { READ_LARGE };
            let room = usize::try_from(left).unwrap_or(most).clamp(READ, most);
            match connection.wire.poll_fill(cx, room) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) if self.decoder.end_of_input().is_ok() => {
                    self.keep_alive = false;
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(_) => return Poll::Ready(Some(Err(Why::UpstreamCut))),
                // The protocol in front polls the deadline: it knows whether it waits for the server or the client.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.decoder.left()
    }
}
