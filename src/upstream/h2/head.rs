//! Heads at the edge of HTTP/2: ours made the library's, and the library's made ours and checked.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::Why;
use crate::h1::{self, MAX_FIELDS};
use crate::message::{Fields, Framing, Known, Method, ResponseHead, Version};
use crate::upstream::Outgoing;

/// The head of a request. `server` is the server's address in text.
///
/// # Errors
/// The target or the authority has characters that do not go over HTTP/2.
pub(super) fn request(outgoing: &Outgoing<'_>, server: &str, tls: bool) -> Result<http::Request<()>, Why> {
    let head = outgoing.head;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(outgoing.authority(server)).map_err(|_| Why::RequestHost)?);
    uri.path_and_query = Some(PathAndQuery::try_from(outgoing.target).map_err(|_| Why::RequestTarget)?);
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = http::Uri::from_parts(uri).map_err(|_| Why::RequestTarget)?;
    let had_length = head.fields.has(Known::ContentLength);
    let headers = request.headers_mut();
    copy(&head.fields, headers, |known| !matches!(known, Known::Host | Known::ContentLength) && !known.is_hop_by_hop());
    match head.framing {
        Framing::Length(length) => {
            headers.insert(http::header::CONTENT_LENGTH, length.into());
        }
        Framing::None if had_length => {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Framing::None | Framing::Chunked | Framing::Close => {}
    }
    if head.takes_trailers {
        // The one member that HTTP/2 allows (RFC 9113 section 8.2.2).
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

/// The head of a request as lines of text, for a person.
///
/// # Errors
/// As of [`request`].
pub fn as_text(outgoing: &Outgoing<'_>, server: &str, tls: bool) -> Result<Vec<u8>, Why> {
    let request = request(outgoing, server, tls)?;
    let uri = request.uri();
    let pseudo = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", Authority::as_str)),
        (":path", uri.path_and_query().map_or("", PathAndQuery::as_str)),
    ];
    let mut out = Vec::new();
    let pseudo = pseudo.iter().map(|(name, value)| (*name, value.as_bytes()));
    for (name, value) in pseudo.chain(request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Fields of ours for the library: the values share one buffer.
pub(super) fn copy(fields: &Fields, headers: &mut HeaderMap, wanted: impl Fn(Known) -> bool) {
    headers.reserve(fields.len());
    let mut values = Vec::with_capacity(fields.iter().map(|field| field.value.len()).sum());
    fields.iter().for_each(|field| values.extend_from_slice(field.value));
    let mut values = Bytes::from(values);
    for field in fields.iter() {
        let value = values.split_to(field.value.len());
        if !wanted(field.known) {
            continue;
        }
        // Both were checked when they came in.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(field.name), HeaderValue::from_maybe_shared(value)) {
            headers.append(name, value);
        }
    }
}

/// The head of a response. `ended`: no body follows.
///
/// # Errors
/// It does not say clearly where its body ends, or has too many fields.
pub(super) fn response(parts: &http::response::Parts, method: &Method, ended: bool) -> Result<ResponseHead, Why> {
    let (fields, length) = fields(&parts.headers)?;
    let status = parts.status.as_u16();
    let framing = if ended || *method == Method::HEAD || matches!(status, 204 | 304) {
        Framing::None
    } else {
        length.map_or(Framing::Chunked, Framing::Length)
    };
    Ok(ResponseHead { status, version: Version::Http2, fields, framing, keep_alive: true, nominates: false })
}

/// The fields of a response of either kind, with its Content-Length. The library has refused connection-specific ones and
/// characters that no field holds.
pub(super) fn fields(headers: &HeaderMap) -> Result<(Fields, Option<u64>), Why> {
    if headers.len() > MAX_FIELDS {
        return Err(Why::UpstreamMalformed);
    }
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let mut fields = Fields::with_capacity(bytes + 256, headers.len() + 6);
    let mut length = None;
    for (name, value) in headers {
        // RFC 9113 section 8.2.1: no white space around a value.
        if matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(Why::UpstreamMalformed);
        }
        if *name == http::header::CONTENT_LENGTH {
            let value = h1::content_length(value.as_bytes()).ok_or(Why::UpstreamMalformed)?;
            match length.replace(value) {
                None => {}
                Some(earlier) if earlier == value => continue,
                Some(_) => return Err(Why::UpstreamMalformed),
            }
        }
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok((fields, length))
}

/// Trailers of ours for the library.
pub(super) fn trailers_out(fields: &Fields) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    copy(fields, &mut trailers, Known::is_trailer);
    trailers
}

/// Trailers of a response, without what must not stand there.
pub(super) fn trailers_in(trailers: &HeaderMap) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in trailers {
        if Known::classify(name.as_str().as_bytes()).is_trailer() {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::HostHeader;
    use crate::message::RequestHead;

    fn parts(fields: &[(&str, &[u8])]) -> http::response::Parts {
        let mut response = http::Response::new(());
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        response.into_parts().0
    }

    #[test]
    fn a_response_says_once_where_its_body_ends() {
        let framing = |fields: &[(&str, &[u8])], method, ended| {
            response(&parts(fields), &method, ended).map(|head| (head.framing, head.fields.len()))
        };
        let length: &[(&str, &[u8])] = &[("content-length", b"5")];
        let twice: &[(&str, &[u8])] = &[("content-length", b"5"), ("content-length", b"5")];
        let two: &[(&str, &[u8])] = &[("content-length", b"5"), ("content-length", b"6")];
        assert_eq!(framing(length, Method::GET, false), Ok((Framing::Length(5), 1)));
        assert_eq!(framing(twice, Method::GET, false), Ok((Framing::Length(5), 1)));
        assert_eq!(framing(two, Method::GET, false), Err(Why::UpstreamMalformed));
        assert_eq!(framing(&[("content-length", b"+5")], Method::GET, false), Err(Why::UpstreamMalformed));
        assert_eq!(framing(length, Method::HEAD, true), Ok((Framing::None, 1)));
        assert_eq!(framing(&[], Method::GET, false), Ok((Framing::Chunked, 0)));
        assert_eq!(framing(&[("x", b"a ")], Method::GET, false), Err(Why::UpstreamMalformed));
        let many: Vec<(&str, &[u8])> = vec![("x", b"1"); MAX_FIELDS + 1];
        assert_eq!(framing(&many, Method::GET, false), Err(Why::UpstreamMalformed));
    }

    fn sent(target: &[u8], name: &str, value: &[u8], trailers: bool) -> Result<http::Request<()>, Why> {
        let mut fields = Fields::default();
        let authority = fields.store(b"a.example:8080");
        fields.push(b"Host", b"a.example:8080");
        fields.push(name.as_bytes(), value);
        let mut head = RequestHead::new(Method::GET, Version::Http11, authority, authority, fields);
        head.takes_trailers = trailers;
        request(&Outgoing { head: &head, target, host: &HostHeader::Preserve }, "server:1", true)
    }

    #[test]
    fn a_request_has_an_authority_and_no_field_of_a_connection() {
        let made = sent(b"/a%2Fb?c", "Transfer-Encoding", b"chunked", true).unwrap();
        assert_eq!(made.uri(), "https://a.example:8080/a%2Fb?c");
        assert_eq!(made.headers().len(), 1);
        assert_eq!(made.headers()["te"], "trailers");
        assert!(sent(b"/", "X-A", b"1", false).unwrap().headers().get("te").is_none());
    }

    proptest! {
        #[test]
        fn no_target_or_value_makes_the_conversion_panic(target in "[ -~]{0,20}", value in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = sent(target.as_bytes(), "X-A", &value, false);
        }
    }
}
