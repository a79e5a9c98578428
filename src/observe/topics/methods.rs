//! GET against POST: where the parameters travel, what is repeated after a connection that broke, and the limits.

use super::client::{Ask, Client, Got, request};
use super::{Lesson, Topic};

const PARAMETERS: &str = "user=ada&password=my-secret-password";
const JSON: (&str, &str) = ("Accept", "application/json");

pub(super) fn run(ask: &Ask) -> Result<Lesson, String> {
    let mut lesson = Lesson {
        topic: Topic::Methods,
        title: "GET against POST: the same parameters, sent both ways",
        columns: &["", "GET", "POST"],
        rows: Vec::new(),
        sentences: vec![
            "GET asks for something: it is safe and may be repeated, so a proxy repeats it when a connection breaks \
             before the answer. POST hands something over: nobody knows whether it was done, so it is repeated only \
             with an Idempotency-Key, which says that the server can tell.",
            "The address stands in logs, histories and Referer fields, and a body does not. Both are in clear on port 80 \
             and encrypted on port 443.",
            "HTTP sets no limit to either. Servers do: here 16 KiB for an address (414) and 64 KiB for this body (413).",
        ],
    };
    let get = request("GET", &ask.host, &format!("/?{PARAMETERS}"), &[JSON], None);
    let post = request("POST", &ask.host, "/", &[JSON], Some(PARAMETERS));
    let (by_get, by_post) = (ask.once(&get)?, ask.once(&post)?);
    lesson.row(&["request line", first_line(&get), first_line(&post)]);
    lesson.row(&["parameters are in", place(&get), place(&post)]);
    let seen = |got: &Got, name: &str| {
        got.backend().get(name).map_or_else(String::new, |value| match value.as_str() {
            Some(text) => text.to_string(),
            None => value.to_string(),
        })
    };
    lesson.row(&["backend's address", &seen(&by_get, "target"), &seen(&by_post, "target")]);
    let bytes = |got: &Got| format!("{} bytes", seen(got, "body_bytes"));
    lesson.row(&["backend's body", &bytes(&by_get), &bytes(&by_post)]);

    lesson.row(&["connection breaks", &broken(ask, "GET", &[])?, &broken(ask, "POST", &[])?]);
    let key = [("Idempotency-Key", "\"order-1\"")];
    lesson.row(&["  with a key", "-", &broken(ask, "POST", &key)?]);

    let long = |length: usize| format!("/?q={}", "a".repeat(length - 4));
    let sized = |length: usize| ask.get(&long(length), &[JSON]).map(|got| got.told());
    lesson.row(&["16,000 bytes", &sized(16_000)?, &posted(ask, 16_000)?.0]);
    lesson.row(&["17,000 bytes", &sized(17_000)?, &posted(ask, 17_000)?.0]);
    lesson.row(&["65,536 bytes", "-", &posted(ask, 65_536)?.0]);
    let (told, after) = posted(ask, 65_537)?;
    lesson.row(&["65,537 bytes", "-", &told]);
    lesson.row(&["  then, same connection", "-", &after]);
    Ok(lesson)
}

fn first_line(text: &str) -> &str {
    text.split("\r\n").next().unwrap_or_default()
}

/// Where in the bytes of the request its parameters are.
fn place(text: &str) -> &'static str {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    match (first_line(head).contains(PARAMETERS), body.contains(PARAMETERS)) {
        (true, false) => "the address",
        (false, true) => "the body",
        _ => "neither",
    }
}

/// What the client gets when the backend closes a kept connection without an answer, the first time only.
fn broken(ask: &Ask, method: &str, fields: &[(&str, &str)]) -> Result<String, String> {
    let mut client = Client::connect(ask)?;
    // Two answers on one connection to the backend: it is known to be kept.
    for _ in 0..2 {
        client.exchange(&request("GET", &ask.host, "/", &[], None))?;
    }
    let target = format!("/flaky/{:016x}", fastrand::u64(..));
    let body = (method == "POST").then_some(PARAMETERS);
    let got = client.exchange(&request(method, &ask.host, &target, fields, body))?;
    Ok(match got.body.trim().strip_prefix("arrivals: ") {
        Some(count) => format!("{}, came {count} times", got.status),
        None => got.told(),
    })
}

/// What a body of a size gets, and what the next request on the same connection gets.
fn posted(ask: &Ask, length: usize) -> Result<(String, String), String> {
    let mut client = Client::connect(ask)?;
    let got = client.exchange(&request("POST", &ask.host, "/small/", &[], Some(&"a".repeat(length))))?;
    let after = client.exchange(&request("GET", &ask.host, "/", &[], None)).map_or_else(|why| why, |got| got.told());
    Ok((got.told(), after))
}
