//! `compress`: content codings of responses, chosen with the client (RFC 9110 section 12.5.3).

mod encoder;
#[cfg(test)]
mod tests;

use std::task::{Context, Poll};

use bytes::Bytes;

use self::encoder::Encoder;
use super::vary;
use crate::config::Coding;
use crate::error::Why;
use crate::http::Response;
use crate::http::body::{Body, Frame, NextFrame, Source};
use crate::message::{Fields, Known, Method, RequestHead};

/// Below this the fields cost more than is saved.
const SMALLEST: u64 = 1024;
/// Output handed on at once.
const PIECE: usize = 16 << 10;
/// Input taken in one turn: then others have theirs.
const TURN: usize = 256 << 10;

/// Types worth it beside `text/*`, `*+json` and `*+xml`. `text/event-stream` is not: each event would pay for a flush.
const TYPES: &[&str] = &[
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// The coding for a client, of those offered; noted when the request comes in, since rules may change its fields.
pub fn choose(offered: &[Coding], head: &RequestHead) -> Option<Coding> {
    if forbids(&head.fields) {
        return None;
    }
    let mut best: Option<(Coding, u16)> = None;
    let (mut any, mut identity) = (None, None);
    let mut named: [Option<u16>; 3] = [None; 3];
    for (name, quality) in accepted(&head.fields) {
        if name == b"*" {
            any = Some(quality);
        } else if name.eq_ignore_ascii_case(b"identity") {
            identity = Some(quality);
        }
        for (coding, named) in Coding::ALL.iter().zip(&mut named) {
            let alias = *coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip");
            if alias || name.eq_ignore_ascii_case(coding.as_str().as_bytes()) {
                *named = Some(quality);
            }
        }
    }
    for coding in offered {
        let named = Coding::ALL.iter().zip(named).find(|(known, _)| *known == coding).and_then(|(_, named)| named);
        let quality = named.or(any).unwrap_or(0);
        // Of two the client likes as much the one offered first.
        if quality > 0 && best.is_none_or(|(_, other)| quality > other) {
            best = Some((*coding, quality));
        }
    }
    best.filter(|(_, quality)| identity.is_none_or(|identity| *quality >= identity)).map(|(coding, _)| coding)
}

/// The names of `Accept-Encoding` with their qualities in thousandths.
fn accepted(fields: &Fields) -> impl Iterator<Item = (&[u8], u16)> {
    let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"accept-encoding"));
    lines.flat_map(|field| field.value.split(|b| *b == b',')).map(|item| {
        let mut parts = item.split(|b| *b == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = parts.find_map(|part| {
            let (key, value) = part.trim_ascii().split_at_checked(2)?;
            key.eq_ignore_ascii_case(b"q=").then_some(value)
        });
        // A weight that is none is a client that cannot be trusted with a coding.
        let quality = weight.map_or(1.0, |text| std::str::from_utf8(text).unwrap_or_default().parse().unwrap_or(0.0));
        (name, (f32::clamp(quality, 0.0, 1.0) * 1000.0) as u16)
    })
}

/// `Cache-Control: no-transform` (RFC 9110 section 7.7).
fn forbids(fields: &Fields) -> bool {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(b"cache-control"))
        .flat_map(|field| field.value.split(|b| *b == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Encodes a response, where it may be and is worth it.
pub fn response(coding: Option<Coding>, method: &Method, response: &mut Response) {
    if !may_be(method, response) {
        return;
    }
    vary(&mut response.fields, b"Accept-Encoding");
    let Some(coding) = coding else { return };
    if *method == Method::HEAD {
        // What a GET would say (RFC 9110 section 9.3.2).
        return announce(coding, &mut response.fields);
    }
    let length = response.body.length();
    let Ok(encoder) = Encoder::new(coding, length) else { return };
    response.body = match std::mem::replace(&mut response.body, Body::Empty) {
        Body::Full(data) => match whole(encoder, &data) {
            Ok(encoded) => Body::Full(encoded.into()),
            Err(_) => {
                response.body = Body::Full(data);
                return;
            }
        },
        body => Body::Stream(Box::new(Encoded {
            // Where the length is known everything is there or on its way: then nobody waits for a piece.
            flush: length.is_none(),
            body,
            encoder: Some(encoder),
            dirty: false,
            trailers: None,
        })),
    };
    announce(coding, &mut response.fields);
}

/// The fields of an encoded response.
fn announce(coding: Coding, fields: &mut Fields) {
    fields.remove(Known::ContentLength);
    // Ranges would be of the encoded octets, which are not the same the next time.
    fields.remove_name(b"Accept-Ranges");
    fields.push(b"Content-Encoding", coding.as_str().as_bytes());
    weaken(fields);
}

fn whole(mut encoder: Encoder, data: &[u8]) -> std::io::Result<Vec<u8>> {
    encoder.write(data)?;
    encoder.finish()
}

/// The response is one that a coding may be put on.
fn may_be(method: &Method, response: &Response) -> bool {
    let fields = &response.fields;
    if matches!(response.status, 0..200 | 204 | 205 | 206 | 304) || response.tunnel.is_some() {
        return false;
    }
    let length = match *method == Method::HEAD {
        true => fields.get(Known::ContentLength).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()),
        false => response.body.length(),
    };
    if length.is_some_and(|length| length < SMALLEST) || !is_worth(fields.get(Known::ContentType).unwrap_or_default()) {
        return false;
    }
    let bound = |name: &[u8]| {
        [&b"content-encoding"[..], b"content-range", b"content-digest", b"repr-digest", b"digest", b"content-md5"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    };
    !fields.iter().any(|field| bound(field.name)) && !forbids(fields)
}

fn is_worth(content_type: &[u8]) -> bool {
    let essence = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let begins = |start: &str| essence.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start.as_bytes()));
    let ends = |end: &str| {
        essence.len() > end.len() && essence[essence.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    if begins("text/") {
        return !essence.eq_ignore_ascii_case(b"text/event-stream");
    }
    TYPES.iter().any(|kind| essence.eq_ignore_ascii_case(kind.as_bytes())) || ends("+json") || ends("+xml")
}

/// The octets are others than the backend's: the tag holds for the meaning alone (RFC 9110 section 8.8.1).
fn weaken(fields: &mut Fields) {
    let tag = fields.get_name(b"ETag").filter(|tag| tag.starts_with(b"\"")).map(|tag| [b"W/", tag].concat());
    if let Some(tag) = tag {
        fields.set(b"ETag", &tag);
    }
}

/// A body that is encoded on its way.
struct Encoded {
    body: Body,
    /// `None` when the end has been written.
    encoder: Option<Encoder>,
    /// What came may be waited for: it is brought out when the backend pauses.
    flush: bool,
    /// Something was written since the last flush.
    dirty: bool,
    trailers: Option<Fields>,
}

impl Encoded {
    fn end(&mut self, encoder: Encoder) -> Poll<NextFrame> {
        match encoder.finish() {
            Ok(rest) if rest.is_empty() => Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::Trailers(fields)))),
            Ok(rest) => Poll::Ready(Some(Ok(Frame::Data(rest.into())))),
            Err(_) => Poll::Ready(Some(Err(Why::ProxyCompress))),
        }
    }
}

impl Source for Encoded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let mut taken = 0;
        loop {
            let Some(mut encoder) = self.encoder.take() else {
                return Poll::Ready(self.trailers.take().map(|fields| Ok(Frame::Trailers(fields))));
            };
            match self.body.poll_frame(cx) {
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    taken += data.len();
                    self.dirty = true;
                    if encoder.write(&data).is_err() {
                        return Poll::Ready(Some(Err(Why::ProxyCompress)));
                    }
                }
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => {
                    self.trailers = Some(fields);
                    return self.end(encoder);
                }
                Poll::Ready(None) => return self.end(encoder),
                Poll::Ready(Some(Err(why))) => return Poll::Ready(Some(Err(why))),
                Poll::Pending => {
                    if std::mem::take(&mut self.dirty) && self.flush && encoder.flush().is_err() {
                        return Poll::Ready(Some(Err(Why::ProxyCompress)));
                    }
                    let out = encoder.take();
                    self.encoder = Some(encoder);
                    return if out.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::Data(out.into())))) };
                }
            }
            let out: Bytes = if encoder.pending() >= PIECE { encoder.take().into() } else { Bytes::new() };
            self.encoder = Some(encoder);
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::Data(out))));
            }
            if taken >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn length(&self) -> Option<u64> {
        None
    }
}
