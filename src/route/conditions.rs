//! The conditions of a route beside its path.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Asked;
use crate::config::{Forwarding, Matchers, PathPattern};
use crate::message::form_text;

/// A condition that a request does not meet.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed<'a> {
    Path(&'a PathPattern),
    Methods(&'a [String]),
    Header(&'a str, Option<&'a str>),
    Query(&'a str, Option<&'a str>),
    ClientIp(IpAddr, &'a [IpNet]),
}

/// The first condition that does not hold, in the order path (looked at elsewhere), methods, headers, query, client.
pub(super) fn failed<'a>(matchers: &'a Matchers, forwarding: &Forwarding, asked: &Asked<'_>) -> Option<Failed<'a>> {
    if !matchers.methods.is_empty() && !matchers.methods.iter().any(|method| method == asked.method) {
        return Some(Failed::Methods(&matchers.methods));
    }
    if let Some((name, value)) = matchers.headers.iter().find(|(name, value)| !header(asked, name, value.as_deref())) {
        return Some(Failed::Header(name, value.as_deref()));
    }
    if let Some((name, value)) = matchers.query.iter().find(|(name, value)| !parameter(asked, name, value.as_deref())) {
        return Some(Failed::Query(name, value.as_deref()));
    }
    if matchers.client_ip.is_empty() {
        return None;
    }
    let address = asked.from.address(asked.fields, forwarding);
    let inside = matchers.client_ip.iter().any(|network| network.contains(&address));
    (!inside).then_some(Failed::ClientIp(address, &matchers.client_ip))
}

impl std::fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pair = |f: &mut std::fmt::Formatter<'_>, what: &str, name: &str, value: &Option<&str>| match value {
            Some(value) => write!(f, "{what} {name} is not \"{value}\""),
            None => write!(f, "there is no {what} {name}"),
        };
        match self {
            Failed::Path(PathPattern::Exact(path)) => write!(f, "the path is not {path}"),
            Failed::Path(PathPattern::Prefix(prefix)) => write!(f, "the path is not below {prefix}"),
            Failed::Path(PathPattern::Regex(regex)) => write!(f, "the path does not match {}", regex.as_str()),
            Failed::Path(PathPattern::Any) => f.write_str("the path is none"),
            Failed::Methods(methods) => write!(f, "the method is not {}", methods.join(" or ")),
            Failed::Header(name, value) => pair(f, "header", name, value),
            Failed::Query(name, value) => pair(f, "query parameter", name, value),
            Failed::ClientIp(address, networks) => {
                let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
                write!(f, "the client {address} is not in {}", networks.join(" or "))
            }
        }
    }
}

/// The field is there, and each of its lines has the value: with two lines a backend might read the other one.
fn header(asked: &Asked<'_>, name: &str, value: Option<&str>) -> bool {
    let mut lines = asked.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).peekable();
    lines.peek().is_some() && lines.all(|line| value.is_none_or(|value| line.value == value.as_bytes()))
}

/// The parameter is there, and each one of that name has the value.
fn parameter(asked: &Asked<'_>, name: &str, value: Option<&str>) -> bool {
    let query = memchr::memchr(b'?', asked.target).map_or(&b""[..], |at| &asked.target[at + 1..]);
    let mut found = query
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        })
        .filter(|(key, _)| *form_text(key) == *name.as_bytes())
        .peekable();
    found.peek().is_some() && found.all(|(_, text)| value.is_none_or(|value| *form_text(text) == *value.as_bytes()))
}
