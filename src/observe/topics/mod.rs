//! One thing of HTTP at a time, shown by doing it: requests through doors of our own to the demonstration's backend, and what
//! came back. Nothing in a table is told; every cell is of this run.

mod client;
mod fields;
mod methods;
mod redirects;
mod show;
mod statuses;
mod transport;

use super::request::Doors;

/// A topic of `compare --topic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Topic {
    /// GET against POST: parameters, repetition, limits
    Methods,
    /// What 301, 302, 303, 307 and 308 do to a GET and to a POST
    Redirects,
    /// A real answer of each class, from 100 to 504
    Statuses,
    /// Nine header fields: each sent in two ways, and what changed
    Headers,
    /// UDP beside TCP: the same question over both
    Transport,
}

/// What was seen: a table and the sentences that go with it.
#[derive(Debug, Clone)]
pub struct Lesson {
    pub topic: Topic,
    pub title: &'static str,
    pub columns: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
    pub sentences: Vec<&'static str>,
}

impl Lesson {
    fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| (*cell).to_string()).collect());
    }
}

pub use show::{json, page, text};

/// The sites that the topics ask, as TOML: `host` and two names below it. Nothing listens at `nobody`.
pub fn sites(host: &str, nobody: u16) -> String {
    let site = |name: String, keys: &str| format!("[sites.\"{name}\"]\nproxy = \"builtin:show\"\n{keys}\n");
    let mut text = site(host.to_string(), "http = \"serve\"");
    text += &site(format!("upgrade.{host}"), "http = \"upgrade\"");
    text += &site(format!("redirect.{host}"), "http = \"redirect\"");
    for (path, keys) in [
        ("/small/*", "limits = { body = \"64KiB\" }"),
        ("/slow", "timeouts = { response_header = \"100ms\" }"),
        ("/pressed", "compress = true"),
        ("/seldom", "rate_limit = { rate = \"1/h\" }"),
        ("/closed", "deny = [\"127.0.0.0/8\", \"::1\"]"),
    ] {
        text += &format!("[[sites.\"{host}\".routes]]\npath = \"{path}\"\nproxy = \"builtin:show\"\n{keys}\n");
    }
    text += &format!("[[sites.\"{host}\".routes]]\npath = \"/nobody\"\nproxy = \"127.0.0.1:{nobody}\"\n");
    text
}

/// Does what the topic is about.
///
/// # Errors
/// A sentence for the reader: a door did not answer as HTTP does.
pub fn run(topic: Topic, doors: Doors, host: &str) -> Result<Lesson, String> {
    let ask = client::Ask { door: doors.http, host: host.to_string() };
    match topic {
        Topic::Methods => methods::run(&ask),
        Topic::Redirects => redirects::run(&ask),
        Topic::Statuses => statuses::run(&ask),
        Topic::Headers => fields::run(&ask),
        Topic::Transport => transport::run(),
    }
}
