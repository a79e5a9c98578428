//! `error_pages`: pages of the operator's own for the errors that a browser shows.
//!
//! Only what wants HTML gets them; programs go on with JSON or one line. Status and fields are those of the error.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::diagnostics::Diagnostic;
use crate::config::{ErrorFile, ErrorPages};
use crate::error::Why;
use crate::http::Response;
use crate::http::body::Body;
use crate::http::respond::{self, Format};
use crate::message::{Fields, Known};

/// A page above this size is a mistake: it is held in memory.
const MAX_FILE: u64 = 1 << 20;

/// Fields that speak of the content which a page takes the place of (RFC 9110 section 8).
const OF_CONTENT: &[&[u8]] = &[
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"content-disposition",
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"content-md5",
    b"etag",
    b"last-modified",
    b"accept-ranges",
];

/// The pages of a route, read.
#[derive(Debug)]
pub struct Pages {
    /// Single statuses first, then classes.
    pages: Vec<(RangeInclusive<u16>, Page)>,
    /// The errors of servers too.
    upstream: bool,
}

impl Pages {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, or is too large.
    pub fn open(rules: &ErrorPages) -> Result<Pages, Box<Diagnostic>> {
        let read = |rule: &ErrorFile| Ok((rule.statuses.clone(), Page::parse(&load(rule)?)));
        Ok(Pages {
            pages: rules.files.iter().map(read).collect::<Result<_, Box<Diagnostic>>>()?,
            upstream: rules.upstream,
        })
    }

    fn find(&self, status: u16) -> Option<&Page> {
        self.pages.iter().find(|(statuses, _)| statuses.contains(&status)).map(|(_, page)| page)
    }

    /// Puts the page into an error of the proxy's own, which was made for a browser.
    pub fn show(&self, why: Why, request_id: &str, response: &mut Response) {
        if let Some(page) = self.find(response.status) {
            response.body = Body::Full(page.fill(response.status, Some(why), request_id));
        }
    }

    /// Puts the page in the place of a server's error, where that is asked for and the client is a browser. `asked`: the
    /// fields of the request.
    pub fn replace(&self, asked: &Fields, request_id: impl FnOnce() -> String, response: &mut Response) {
        if !self.upstream || response.status < 400 || Format::of(asked) != Format::Html {
            return;
        }
        let Some(page) = self.find(response.status) else { return };
        response.fields.remove(Known::ContentLength);
        response.fields.remove(Known::ContentType);
        response.fields.retain(|field| !OF_CONTENT.iter().any(|name| field.name.eq_ignore_ascii_case(name)));
        response.fields.push(b"Content-Type", respond::HTML.as_bytes());
        response.body = Body::Full(page.fill(response.status, None, &request_id()));
    }
}

fn load(rule: &ErrorFile) -> Result<Bytes, Box<Diagnostic>> {
    let refused = |what: String| {
        let message = format!("the page {} cannot be used: {what}", rule.file.display());
        Diagnostic::error("error-page", message).label("from here").at(&rule.origin).boxed()
    };
    let size = fs::metadata(&rule.file).map_err(|error| refused(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(refused(format!("{size} bytes are more than a page has (1 MiB)")));
    }
    fs::read(&rule.file).map(Bytes::from).map_err(|error| refused(error.to_string()))
}

/// A page in parts: what stands in braces and is known is filled in, everything else stays, since styles have braces too.
#[derive(Debug)]
struct Page(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Status,
    Reason,
    Cause,
    Code,
    RequestId,
}

impl Page {
    fn parse(text: &Bytes) -> Page {
        let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
        while let Some(open) = text.get(at..).and_then(|rest| memchr::memchr(b'{', rest)).map(|found| at + found) {
            at = open + 1;
            let Some((part, length)) = text.get(at..).and_then(placeholder) else { continue };
            parts.push(Part::Text(text.slice(begin..open)));
            parts.push(part);
            at += length;
            begin = at;
        }
        parts.push(Part::Text(text.slice(begin..)));
        Page(parts)
    }

    /// Everything that is filled in is the proxy's own: nothing of a request gets into a page.
    fn fill(&self, status: u16, why: Option<Why>, request_id: &str) -> Bytes {
        if let [Part::Text(whole)] = self.0.as_slice() {
            return whole.clone();
        }
        let mut out = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Status => out.extend_from_slice(status.to_string().as_bytes()),
                Part::Reason => out.extend_from_slice(respond::reason(status).as_bytes()),
                Part::Cause => out.extend_from_slice(why.map_or("", |why| why.row().cause).as_bytes()),
                Part::Code => out.extend_from_slice(why.map_or("", Why::code).as_bytes()),
                Part::RequestId => out.extend_from_slice(request_id.as_bytes()),
            }
        }
        out.into()
    }
}

/// The placeholder that follows a brace, and its length with the closing one.
fn placeholder(rest: &[u8]) -> Option<(Part, usize)> {
    let end = memchr::memchr(b'}', rest.get(..rest.len().min(16))?)?;
    let part = match rest.get(..end)? {
        b"status" => Part::Status,
        b"reason" => Part::Reason,
        b"cause" => Part::Cause,
        b"code" => Part::Code,
        b"request_id" => Part::RequestId,
        _ => return None,
    };
    Some((part, end + 1))
}

/// The pages that hold where no route was met.
#[derive(Debug, Default)]
pub struct Fallback {
    /// Of `[defaults]`: no site was met either.
    pub no_site: Option<Arc<Pages>>,
    /// Of each site.
    pub sites: Vec<Option<Arc<Pages>>>,
}

impl Fallback {
    /// The pages of a site, or those for a host that nobody serves.
    pub fn of(&self, site: Option<usize>) -> Option<&Pages> {
        match site {
            Some(site) => self.sites.get(site)?.as_deref(),
            None => self.no_site.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &'static str) -> String {
        let page = Page::parse(&Bytes::from_static(text.as_bytes()));
        String::from_utf8(page.fill(502, Some(Why::UpstreamRefused), "00ff").to_vec()).unwrap()
    }

    #[test]
    fn known_braces_are_filled_in_and_all_others_stay() {
        let table = [
            ("{status} {reason}: {code} {request_id}", "502 Bad Gateway: upstream.refused 00ff"),
            ("{cause}", "The backend refused the connection."),
            ("p{color:red} {host} {{status}} {status", "p{color:red} {host} {502} {status"),
            ("", ""),
            ("{", "{"),
            ("{status}", "502"),
        ];
        for (text, expected) in table {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn a_single_status_comes_before_its_class() {
        let page = |text: &'static str| Page::parse(&Bytes::from_static(text.as_bytes()));
        let pages = Pages { pages: vec![(503..=503, page("one")), (500..=599, page("class"))], upstream: true };
        let shown = |status| pages.find(status).map(|page| page.fill(status, None, ""));
        assert_eq!(shown(503).as_deref(), Some(&b"one"[..]));
        assert_eq!(shown(502).as_deref(), Some(&b"class"[..]));
        assert!(shown(404).is_none());
    }

    #[test]
    fn only_a_browser_gets_a_page_in_the_place_of_a_servers_error() {
        let page = Page::parse(&Bytes::from_static(b"sorry {status}{code}"));
        let pages = Pages { pages: vec![(500..=599, page)], upstream: true };
        let table =
            [("text/html", 500, true), ("text/html", 404, false), ("*/*", 500, false), ("text/html", 200, false)];
        for (accept, status, replaced) in table {
            let mut asked = Fields::default();
            asked.push(b"Accept", accept.as_bytes());
            let mut response = Response::new(status);
            response.fields.push(b"Content-Type", b"application/json");
            response.fields.push(b"ETag", b"\"1\"");
            response.fields.push(b"Set-Cookie", b"a=1");
            pages.replace(&asked, || "id".into(), &mut response);
            let kind = response.fields.get(Known::ContentType).unwrap();
            assert_eq!(kind == respond::HTML.as_bytes(), replaced, "{accept} {status}");
            assert_eq!(response.fields.get_name(b"etag").is_none(), replaced);
            assert!(response.fields.get_name(b"set-cookie").is_some());
            assert_eq!(response.status, status);
        }
    }
}
