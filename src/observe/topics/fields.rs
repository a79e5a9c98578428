//! Nine header fields: each sent in two ways, and what changed.

use super::client::{Ask, Client, Got, request};
use super::{Lesson, Topic};

const JSON: (&str, &str) = ("Accept", "application/json");

pub(super) fn run(ask: &Ask) -> Result<Lesson, String> {
    let mut lesson = Lesson {
        topic: Topic::Headers,
        title: "Header fields: each sent in two ways, and what changed",
        columns: &["field", "read by", "sent", "what happened"],
        rows: Vec::new(),
        sentences: vec![
            "On port 80 everybody on the way reads and can change all of them; on port 443 only the two ends. The name in Host is \
             in clear there too, as SNI.",
        ],
    };
    let host = ask.host.clone();
    host_field(ask, &mut lesson)?;

    for value in ["keep-alive", "close, X-Hop"] {
        let mut client = Client::connect(ask)?;
        let got = client.exchange(&request("GET", &host, "/", &[JSON, ("Connection", value), ("X-Hop", "1")], None))?;
        let hop = if got.backend_field("X-Hop").is_some() { "X-Hop arrives" } else { "X-Hop ends at the proxy" };
        let end = if client.is_closed() { "the proxy closes" } else { "the connection stays open" };
        lesson.row(&["Connection", "the proxy", value, &format!("{end}; {hop}")]);
    }

    let upgrade = Ask { host: format!("upgrade.{host}"), ..ask.clone() };
    for (value, fields) in [("-", &[][..]), ("1", &[("Upgrade-Insecure-Requests", "1")][..])] {
        let got = upgrade.get("/", fields)?;
        let to = got.field("Location").map(|to| to.split(':').next().unwrap_or_default().to_string());
        let happened = match to {
            Some(scheme) => format!("{} to {scheme}; Vary: {}", got.status, got.field("Vary").unwrap_or("-")),
            None => format!("{} in clear", got.status),
        };
        lesson.row(&["Upgrade-Insecure-Requests", "the proxy", value, &happened]);
    }

    for (name, readers, values) in [
        ("User-Agent", "backend and logs", ["curl/8.0", "Mozilla/5.0"]),
        ("Referer", "backend and logs", ["https://a.test/?from=me", "-"]),
    ] {
        for value in values {
            let fields = [JSON, (name, value)];
            let got = ask.get("/", if value == "-" { &fields[..1] } else { &fields })?;
            let seen = got
                .backend_field(name)
                .map_or("the backend sees none".into(), |seen| format!("the backend sees {seen}"));
            lesson.row(&[name, readers, value, &seen]);
        }
    }

    for value in ["text/html", "application/json"] {
        lesson.row(&["Accept", "proxy and backend", value, &form_of_error(&ask.get("/nobody", &[("Accept", value)])?)]);
    }

    let long = format!("/pressed?{}", "long-".repeat(400));
    for value in ["-", "gzip"] {
        let fields = [("Accept-Encoding", value)];
        let got = ask.get(&long, if value == "-" { &[] } else { &fields })?;
        let coding = got.field("Content-Encoding").unwrap_or("as it is");
        lesson.row(&["Accept-Encoding", "the proxy", value, &format!("{coding}, {} bytes", got.body_bytes)]);
    }

    let first = ask.get("/visits", &[])?;
    let cookie = first.field("Set-Cookie").and_then(|set| set.split(';').next()).unwrap_or_default().to_string();
    let second = ask.get("/visits", &[("Cookie", &cookie)])?;
    for (value, got) in [("-", &first), (cookie.as_str(), &second)] {
        lesson.row(&["Cookie", "the backend", value, &format!("the backend says: {}", got.body.trim())]);
    }

    for (value, fields) in [("-", &[][..]), ("XMLHttpRequest", &[("X-Requested-With", "XMLHttpRequest")][..])] {
        lesson.row(&["X-Requested-With", "proxy and backend", value, &form_of_error(&ask.get("/nobody", fields)?)]);
    }
    Ok(lesson)
}

fn host_field(ask: &Ask, lesson: &mut Lesson) -> Result<(), String> {
    for name in [ask.host.as_str(), "elsewhere.test"] {
        let got = ask.once(&request("GET", name, "/", &[], None))?;
        lesson.row(&["Host", "the proxy", name, &got.told()]);
    }
    Ok(())
}

/// The form of an answer that the proxy made itself.
fn form_of_error(got: &Got) -> String {
    let kind = got.field("Content-Type").and_then(|kind| kind.split(';').next()).unwrap_or("nothing");
    format!("the proxy's {} is {kind}", got.status)
}
