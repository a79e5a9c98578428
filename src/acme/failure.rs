//! Why an order did not succeed, and how soon it may be tried again.

use std::fmt;

use instant_acme::Error;

/// A failure in the words of a log line, and what it means for the next try.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: Kind,
    pub words: String,
}

/// What a failure costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server was not reached, or refused a nonce: nothing counts against a rate limit, and trying soon is right.
    Passing,
    /// The server does not know the account (any more).
    NoAccount,
    /// The server asks for patience.
    RateLimited,
    /// The server refused a predecessor to be replaced (RFC 9773 section 5): the order is placed without it.
    Replaces,
    /// Everything else: a failed check of a name counts against rate limits.
    Lasting,
}

impl Failure {
    pub fn new(kind: Kind, words: impl Into<String>) -> Failure {
        Failure { kind, words: words.into() }
    }

    pub fn lasting(words: impl Into<String>) -> Failure {
        Failure::new(Kind::Lasting, words)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match &error {
            Error::Api(problem) => match problem.r#type.as_deref().and_then(|name| name.rsplit(':').next()) {
                Some("badNonce") => Kind::Passing,
                Some("accountDoesNotExist") => Kind::NoAccount,
                Some("rateLimited") => Kind::RateLimited,
                Some("alreadyReplaced") => Kind::Replaces,
                _ => Kind::Lasting,
            },
            Error::Other(inner) if inner.is::<super::client::Unreachable>() => Kind::Passing,
            Error::Other(inner) if inner.to_string().starts_with("replaces field mismatch") => Kind::Replaces,
            _ => Kind::Lasting,
        };
        let words = match &error {
            Error::Api(problem) => said(problem),
            other => other.to_string(),
        };
        Failure { kind, words }
    }
}

/// A problem document (RFC 7807) in one line.
pub(super) fn said(problem: &instant_acme::Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("no detail");
    let name = problem.r#type.as_deref().and_then(|name| name.rsplit(':').next()).unwrap_or("no type");
    let mut words = format!("the ACME server says: {detail} ({name})");
    for sub in &problem.subproblems {
        words += &format!("; {sub}");
    }
    // What the server sends goes into a log line.
    words.chars().filter(|c| !c.is_control()).take(1000).collect()
}
