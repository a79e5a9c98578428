//! Reading a response head: as strict as for requests, since a backend may relay what an attacker wrote.

use std::mem::MaybeUninit;

use super::request::Parsed;
use super::tokens::{self, Connection};
use super::{MAX_FIELDS, Malformed};
use crate::message::{Fields, Framing, Known, ResponseHead, Span, Version};

/// What a response head may weigh; backends are trusted more than clients, but not with our memory.
const MAX_HEAD: usize = 256 << 10;

/// What the response answers, as far as its framing depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The request was a HEAD: no body follows whatever the fields say.
    pub is_head: bool,
}

/// Reads one response head, interim ones (1xx) too, from the front of `input`.
///
/// # Errors
/// [`Malformed`] when the bytes are not a response or do not say clearly where its body ends.
pub fn parse_response(input: &[u8], request: Request) -> Result<Parsed<ResponseHead>, Malformed> {
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut table);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() > MAX_HEAD => return Err(Malformed),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(_) => return Err(Malformed),
    };
    let head = &input[..length];
    if length > MAX_HEAD || !tokens::lines_end_with_crlf(head, response.headers) {
        return Err(Malformed);
    }
    // A complete parse has both.
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err(Malformed) };
    if !(100..600).contains(&status) {
        return Err(Malformed);
    }
    let version = if minor == 1 { Version::Http11 } else { Version::Http10 };

    let span = |part: &[u8]| Span::new(part.as_ptr() as usize - head.as_ptr() as usize, part.len());
    let mut fields = Fields::from_raw(head, response.headers.len());
    let mut connection = Connection::default();
    let (mut content_length, mut repeated, mut chunked) = (None, false, false);
    for field in response.headers.iter() {
        match fields.push_span(span(field.name.as_bytes()), span(field.value)) {
            Known::ContentLength => {
                let length = tokens::content_length(field.value).ok_or(Malformed)?;
                match content_length.replace(length) {
                    Some(earlier) if earlier != length => return Err(Malformed),
                    Some(_) => repeated = true,
                    None => {}
                }
            }
            Known::TransferEncoding => {
                if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed);
                }
                chunked = true;
            }
            Known::Connection => connection.add(field.value),
            _ => {}
        }
    }
    if repeated {
        // RFC 9112 section 6.3: equal values are one value, and leave as one.
        let mut first = true;
        fields.retain(|field| field.known != Known::ContentLength || std::mem::take(&mut first));
    }
    let framing = framing(status, version, request, content_length, chunked)?;
    let keep_alive =
        framing != Framing::Close && !connection.close && (version == Version::Http11 || connection.keep_alive);
    let head = ResponseHead { status, version, fields, framing, keep_alive, nominates: connection.nominates };
    Ok(Parsed::Head(head, length))
}

/// RFC 9112 section 6.3.
fn framing(
    status: u16,
    version: Version,
    request: Request,
    length: Option<u64>,
    chunked: bool,
) -> Result<Framing, Malformed> {
    if chunked && (length.is_some() || version == Version::Http10) {
        return Err(Malformed);
    }
    if request.is_head || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    Ok(match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Close,
    })
}
