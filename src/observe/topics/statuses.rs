//! Status codes: a real answer of each kind, from the demonstration's backend or from the proxy itself.

use super::client::{Ask, Client, Got, request};
use super::{Lesson, Topic};

const FORM: &str = "user=ada";

pub(super) fn run(ask: &Ask) -> Result<Lesson, String> {
    let mut lesson = Lesson {
        topic: Topic::Statuses,
        title: "Status codes: one real answer of each kind",
        columns: &["status", "asked by", "answered by", "means"],
        rows: Vec::new(),
        sentences: vec![
            "1xx: more follows. 2xx: done. 3xx: elsewhere, or nothing new. 4xx: the client's mistake. 5xx: the server's.",
            "Where a code such as limit.body stands, the proxy itself answered: the same code is in Proxy-Status, the access log \
             and the error page, and `vestibule why CODE` has cause and remedy.",
        ],
    };
    let mut add = |status: u16, asked: &str, got: &Got, means: &str| {
        lesson.row(&[&status.to_string(), asked, got.why().unwrap_or("the backend"), means]);
    };

    // 100: the head goes first, and the body when the server wants it.
    let mut client = Client::connect(ask)?;
    let whole = request("POST", &ask.host, "/", &[("Expect", "100-continue")], Some(FORM));
    let (head, body) = whole.split_at(whole.len() - FORM.len());
    client.send(head)?;
    let interim = client.read_interim()?;
    client.send(body)?;
    add(interim, "POST, Expect: 100-continue", &client.read()?, "go on, send the body");
    let hinted = ask.get("/status/103", &[])?;
    add(hinted.interim.first().copied().unwrap_or_default(), "GET /status/103", &hinted, "fetch this meanwhile");

    let mut get = |target: &str, fields: &[(&str, &str)], means: &str| -> Result<(), String> {
        let got = ask.get(target, fields)?;
        let asked = match fields.first() {
            Some((name, _)) => format!("GET {target}, {name}"),
            None => format!("GET {target}"),
        };
        add(got.status, &asked, &got, means);
        Ok(())
    };
    get("/", &[], "done")?;
    get("/status/204", &[], "done, nothing to show")?;
    get("/status/301", &[], "moved for good")?;
    let tag = ask.get("/etag", &[])?.field("ETag").unwrap_or_default().to_string();
    get("/etag", &[("If-None-Match", &tag)], "what you have is fresh")?;
    get("/closed", &[], "not for you")?;
    get("/status/404", &[], "not here")?;
    let nowhere = ask.once(&request("GET", "elsewhere.test", "/", &[], None))?;
    add(nowhere.status, "GET, Host: elsewhere.test", &nowhere, "no such site");
    let large = ask.once(&request("POST", &ask.host, "/small/", &[], Some(&"a".repeat(65_537))))?;
    add(large.status, "POST of 65,537 bytes", &large, "too much");
    let long = ask.get(&format!("/?{}", "a".repeat(17_000)), &[])?;
    add(long.status, "GET of a long address", &long, "too long");
    let twice = ask.once(&request("GET", &ask.host, "/", &[("Host", "elsewhere.test")], None))?;
    add(twice.status, "GET with two Host fields", &twice, "not a request");
    ask.get("/seldom", &[])?;
    let mut get = |target: &str, means: &str| -> Result<(), String> {
        let got = ask.get(target, &[])?;
        add(got.status, &format!("GET {target}"), &got, means);
        Ok(())
    };
    get("/seldom", "too often")?;
    get("/status/500", "the app failed")?;
    get("/nobody", "no app is there")?;
    get("/slow", "the app is too slow")?;
    lesson.rows.sort_by(|one, other| one.first().cmp(&other.first()));
    Ok(lesson)
}
