//! An explanation for machines.

use serde_json::{Value, json};

use super::{Answer, Explanation, Place};
use crate::config::Origin;

/// The explanation as a JSON object; `file` and `line` are null for what no text says.
pub fn json(explanation: &Explanation) -> Value {
    let question = &explanation.question;
    json!({
        "request": {
            "method": question.method,
            "url": question.url(),
            "headers": question.headers,
            "from": question.from.to_string(),
        },
        "listener": place(&explanation.listener),
        "certificate": explanation.certificate.as_ref().map(|(what, why)| json!({ "what": what, "why": why })),
        "refused": explanation.refused.as_deref(),
        "site": explanation.site.as_ref().map(place),
        "alias": explanation.alias,
        "route": explanation.route.as_ref().map(place),
        "others": explanation.others.iter().map(|(at, why)| with(place(at), "why", json!(why))).collect::<Vec<_>>(),
        "client": explanation.client.as_ref().map(|(ip, scheme)| json!({ "ip": ip, "scheme": scheme })),
        "steps": explanation.steps.iter().map(|s| json!({ "by": s.by, "what": s.what })).collect::<Vec<_>>(),
        "answer": answer(&explanation.answer),
        "bounds": explanation.bounds.iter().map(|bound| {
            let value = json!({ "key": bound.key, "value": bound.value });
            located(value, &bound.origin.clone().unwrap_or_default())
        }).collect::<Vec<_>>(),
    })
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Alert => json!({ "kind": "alert", "alert": "unrecognized_name" }),
        Answer::Refused { why, fields } => {
            json!({ "kind": "refused", "why": why.code(), "status": why.status(), "fields": fields })
        }
        Answer::Own { by, status, fields } => json!({ "kind": by, "status": status, "fields": fields }),
        Answer::Forward { upstream, balance, servers, head, fields } => json!({
            "kind": "forward",
            "upstream": place(upstream),
            "balance": balance,
            "servers": servers,
            "head": String::from_utf8_lossy(head),
            "fields": fields,
        }),
    }
}

fn place(place: &Place) -> Value {
    located(json!({ "name": place.name }), &place.origin)
}

fn located(mut value: Value, origin: &Origin) -> Value {
    let known = origin.line > 0;
    value["file"] = json!(known.then_some(&*origin.file));
    value["line"] = json!(known.then_some(origin.line));
    value
}

fn with(mut value: Value, key: &str, more: Value) -> Value {
    value[key] = more;
    value
}
