//! Header rules of a route: remove, then set, then add, with values that may name facts of the request.

use crate::config::HeaderRules;
use crate::http::headers::Client;
use crate::message::{Fields, RequestHead};

/// What the placeholders of a value stand for.
#[derive(Debug)]
pub struct Facts<'a> {
    pub client: &'a Client,
    pub host: &'a str,
    pub request_id: &'a str,
}

/// Applies the rules to the fields of a request or response.
pub fn apply(fields: &mut Fields, rules: &HeaderRules, facts: &Facts<'_>) {
    for name in &rules.remove {
        fields.remove_name(name.as_bytes());
    }
    for (name, value) in &rules.set {
        fields.set(name.as_bytes(), fill(value, facts).as_bytes());
    }
    for (name, value) in &rules.add {
        fields.push(name.as_bytes(), fill(value, facts).as_bytes());
    }
}

fn fill<'v>(value: &'v str, facts: &Facts<'_>) -> std::borrow::Cow<'v, str> {
    if !value.contains('{') {
        return value.into();
    }
    let scheme = if facts.client.https { "https" } else { "http" };
    value
        .replace("{client_ip}", &facts.client.ip)
        .replace("{host}", facts.host)
        .replace("{scheme}", scheme)
        .replace("{request_id}", facts.request_id)
        .into()
}

/// The host of a request as text: it was checked to be ASCII when the head was read.
pub fn host(head: &RequestHead) -> String {
    String::from_utf8_lossy(head.authority()).into_owned()
}
