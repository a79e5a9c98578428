//! `[[test]]`: requests of which a config says itself what must come of them.

use std::net::IpAddr;

use super::Origin;

/// One `[[test]]`.
#[derive(Debug, Clone)]
pub struct Test {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub from: IpAddr,
    pub expect: Vec<Expected>,
    /// Where the request stands.
    pub origin: Origin,
}

/// One thing a test expects.
#[derive(Debug, Clone)]
pub struct Expected {
    pub what: Expectation,
    pub value: String,
    /// Where the value stands.
    pub origin: Origin,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    Status,
    Location,
    Site,
    Route,
    Upstream,
    Why,
    /// A field the client gets.
    Header(String),
    /// A field the server gets, or `:target`.
    Sent(String),
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expectation::Status => f.write_str("the status"),
            Expectation::Location => f.write_str("Location"),
            Expectation::Site => f.write_str("the site"),
            Expectation::Route => f.write_str("the route"),
            Expectation::Upstream => f.write_str("the upstream"),
            Expectation::Why => f.write_str("the why-code"),
            Expectation::Header(name) => f.write_str(name),
            Expectation::Sent(name) if name == ":target" => f.write_str("the target sent"),
            Expectation::Sent(name) => write!(f, "{name} as sent"),
        }
    }
}
