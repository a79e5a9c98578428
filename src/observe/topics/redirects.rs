//! Redirects, followed as browsers do (RFC 9110 section 15.4, the Fetch standard): what becomes of a GET and of a POST.

use super::client::{Ask, Got, request};
use super::{Lesson, Topic};

const FORM: &str = "user=ada&password=my-secret-password";
const JSON: (&str, &str) = ("Accept", "application/json");

pub(super) fn run(ask: &Ask) -> Result<Lesson, String> {
    let mut lesson = Lesson {
        topic: Topic::Redirects,
        title: "Redirects: what arrives when a GET and a POST are sent elsewhere",
        columns: &["status", "a GET arrives as", "a POST arrives as", "its body", "for good"],
        rows: Vec::new(),
        sentences: vec![
            "301 and 302 lose a POST: every browser makes a GET of it and drops the body. 303 asks for exactly that, after a \
             form was taken. 307 and 308 keep method and body.",
            "301 and 308 are for good: browsers remember them.",
            "The last rows are the plain door itself, on a site with http = \"redirect\": it keeps the method, so that no \
             POST is lost. What was sent had crossed in clear before; HSTS makes a browser skip that step.",
        ],
    };
    for status in [301, 302, 303, 307, 308] {
        let target = format!("/status/{status}?to=/landed");
        let (got_status, by_get, _) = followed(ask, "GET", &target)?;
        let (_, by_post, body) = followed(ask, "POST", &target)?;
        let permanent = if matches!(status, 301 | 308) { "yes" } else { "no" };
        lesson.row(&[&got_status.to_string(), &by_get, &by_post, &body, permanent]);
    }
    let plain = Ask { host: format!("redirect.{}", ask.host), ..ask.clone() };
    for (method, body) in [("GET", None), ("POST", Some(FORM))] {
        let got = plain.once(&request(method, &plain.host, "/", &[], body))?;
        let to = got.field("Location").unwrap_or("-").split(['/', ':']).next().unwrap_or_default().to_string();
        let label = format!("{} (port 80)", got.status);
        let kept = next_method(got.status, method);
        let cells = if method == "GET" { [kept, "-", "-"] } else { ["-", kept, "sent again"] };
        lesson.row(&[&label, cells[0], cells[1], cells[2], &format!("to {to}")]);
    }
    Ok(lesson)
}

/// Sends a request, goes where it is sent, and says what the backend received there: first status, method, body.
fn followed(ask: &Ask, method: &str, target: &str) -> Result<(u16, String, String), String> {
    let body = (method == "POST").then_some(FORM);
    let first = ask.once(&request(method, &ask.host, target, &[JSON], body))?;
    let to = first.field("Location").ok_or("a redirect without Location")?;
    let next = next_method(first.status, method);
    let body = if next == method { body } else { None };
    let landed = ask.once(&request(next, &ask.host, to, &[JSON], body))?;
    let seen: fn(&Got, &str) -> String =
        |got, name| got.backend().get(name).map_or_else(String::new, |value| value.to_string().replace('"', ""));
    Ok((first.status, seen(&landed, "method"), format!("{} bytes", seen(&landed, "body_bytes"))))
}

/// The method after a redirect, as the Fetch standard says and browsers do.
fn next_method(status: u16, method: &str) -> &str {
    match (status, method) {
        (301 | 302, "POST") => "GET",
        (303, "GET" | "HEAD") => method,
        (303, _) => "GET",
        _ => method,
    }
}
