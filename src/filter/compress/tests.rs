//! What is encoded, for whom, and that it comes out in time.

use std::collections::VecDeque;
use std::task::Waker;

use super::encoder::tests::decoded;
use super::*;
use crate::message::Version;

fn chosen(offered: &[Coding], accept: Option<&str>) -> Option<Coding> {
    let mut fields = Fields::default();
    let (target, authority) = (fields.store(b"/"), fields.store(b"a"));
    accept.into_iter().for_each(|value| fields.push(b"Accept-Encoding", value.as_bytes()));
    choose(offered, &RequestHead::new(Method::GET, Version::Http11, target, authority, fields))
}

#[test]
fn the_client_chooses_and_of_equals_the_first_offered_wins() {
    use Coding::{Br, Gzip, Zstd};
    let table = [
        (None, None),
        (Some(""), None),
        (Some("gzip, deflate, br, zstd"), Some(Zstd)),
        (Some("gzip"), Some(Gzip)),
        (Some("x-gzip"), Some(Gzip)),
        (Some("GZIP;q=1.0, br;q=0.5"), Some(Gzip)),
        (Some("*"), Some(Zstd)),
        (Some("*, zstd;q=0"), Some(Br)),
        (Some("gzip;q=0"), None),
        (Some("*;q=0, br"), Some(Br)),
        (Some("identity"), None),
        (Some("gzip;q=0.5, identity"), None),
        (Some("gzip;q=0.5, identity;q=0.1"), Some(Gzip)),
        (Some("gzip;q=x"), None),
        (Some("br;level=3;q=0.1, gzip ; q=0.2"), Some(Gzip)),
        (Some("deflate"), None),
    ];
    for (accept, coding) in table {
        assert_eq!(chosen(&Coding::ALL, accept), coding, "{accept:?}");
    }
    assert_eq!(chosen(&[Gzip, Br], Some("br, gzip")), Some(Gzip));
}

fn answer(status: u16, fields: &[(&str, &str)], body: Body) -> Box<Response> {
    let mut response = Response::new(status);
    fields.iter().for_each(|(name, value)| response.fields.push(name.as_bytes(), value.as_bytes()));
    response.body = body;
    response
}

fn text(length: usize) -> Body {
    Body::Full("hello world\n".repeat(length / 12 + 1).into())
}

#[test]
fn what_must_stay_as_it_is_stays() {
    let html = ("Content-Type", "text/html; charset=utf-8");
    let table = [
        ("small", 200, vec![html], 10, false),
        ("an image", 200, vec![("Content-Type", "image/png")], 4000, false),
        ("no type", 200, vec![], 4000, false),
        ("encoded", 200, vec![html, ("Content-Encoding", "gzip")], 4000, false),
        ("no-transform", 200, vec![html, ("Cache-Control", "public, No-Transform")], 4000, false),
        ("partial", 206, vec![html, ("Content-Range", "bytes 0-1/2")], 4000, false),
        ("a digest", 200, vec![html, ("Content-Digest", "sha-256=:x:")], 4000, false),
        ("events", 200, vec![("Content-Type", "text/event-stream")], 4000, false),
        ("html", 200, vec![html], 4000, true),
        ("an error", 500, vec![html], 4000, true),
        ("json", 200, vec![("Content-Type", "application/problem+json")], 4000, true),
    ];
    for (what, status, fields, length, encoded) in table {
        let mut response = answer(status, &fields, text(length));
        super::response(Some(Coding::Gzip), &Method::GET, &mut response);
        let coding = response.fields.get_name(b"Content-Encoding").filter(|_| what != "encoded");
        assert_eq!(coding.is_some(), encoded, "{what}");
        assert_eq!(response.fields.get_name(b"Vary").is_some(), encoded, "{what}");
    }
    let mut head = answer(200, &[html, ("Content-Length", "4000")], Body::Empty);
    super::response(Some(Coding::Gzip), &Method::HEAD, &mut head);
    let value = |name: &str| head.fields.get_name(name.as_bytes());
    assert_eq!((value("Content-Encoding"), value("Content-Length")), (Some(&b"gzip"[..]), None), "as GET would say");
    assert!(value("Vary").is_some());
}

#[test]
fn an_encoded_answer_has_a_weak_tag_and_no_length_of_before() {
    let fields =
        [("Content-Type", "text/css"), ("ETag", "\"x\""), ("Content-Length", "4008"), ("Accept-Ranges", "bytes")];
    let mut response = answer(200, &fields, text(4000));
    super::response(Some(Coding::Zstd), &Method::GET, &mut response);
    assert_eq!(response.fields.get_name(b"ETag"), Some(&b"W/\"x\""[..]));
    assert_eq!(response.fields.get(Known::ContentLength), None);
    assert_eq!(response.fields.get_name(b"Accept-Ranges"), None);
    let Body::Full(data) = &response.body else { panic!() };
    assert!(data.len() < 200 && decoded(Coding::Zstd, data).len() == 4008);
}

/// Frames and pauses.
struct Script(VecDeque<Option<Frame>>, Option<u64>);

impl Source for Script {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<NextFrame> {
        match self.0.pop_front() {
            Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn length(&self) -> Option<u64> {
        self.1
    }
}

#[test]
fn a_pause_of_the_backend_brings_out_what_there_is_and_trailers_come_last() {
    for coding in Coding::ALL {
        let data = |text: &str| Some(Frame::Data(Bytes::copy_from_slice(text.as_bytes())));
        let mut trailers = Fields::default();
        trailers.push(b"X-Sum", b"1");
        let script = Script([data("one "), None, None, data("two"), Some(Frame::Trailers(trailers))].into(), None);
        let mut response = answer(200, &[("Content-Type", "text/plain")], Body::Stream(Box::new(script)));
        super::response(Some(coding), &Method::GET, &mut response);
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        let Poll::Ready(Some(Ok(Frame::Data(first)))) = response.body.poll_frame(&mut cx) else { panic!() };
        seen.extend_from_slice(&first);
        assert_eq!(decoded(coding, &seen), b"one ");
        assert!(response.body.poll_frame(&mut cx).is_pending(), "nothing new is no flush");
        let Poll::Ready(Some(Ok(Frame::Data(second)))) = response.body.poll_frame(&mut cx) else { panic!() };
        seen.extend_from_slice(&second);
        assert_eq!(decoded(coding, &seen), b"one two");
        assert!(matches!(response.body.poll_frame(&mut cx), Poll::Ready(Some(Ok(Frame::Trailers(_))))));
        assert!(matches!(response.body.poll_frame(&mut cx), Poll::Ready(None)));
    }
}
