//! `basic_auth`: a user and password with each request (RFC 7617).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Verdict;
use super::users::{Checked, Users};
use crate::config::{self, diagnostics::Diagnostic};
use crate::error::Why;
use crate::message::{Fields, RequestHead};

/// How long a wrong password waits for its answer: guessing is slow, a slip of the finger is not punished.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

/// The users of a route.
#[derive(Debug)]
pub struct BasicAuth {
    users: Users,
    /// The value of `WWW-Authenticate`.
    challenge: Box<[u8]>,
}

impl BasicAuth {
    /// # Errors
    /// The users' file cannot be used.
    pub fn open(rules: &config::BasicAuth) -> Result<BasicAuth, Box<Diagnostic>> {
        let realm = rules.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"").into_bytes().into();
        Ok(BasicAuth { users: Users::load(rules)?, challenge })
    }

    /// `user` gets the name, once it is known to be right.
    pub async fn request(&self, head: &RequestHead, user: &mut Option<String>) -> Verdict {
        let Some((name, password)) = credentials(&head.fields) else { return self.refused() };
        match self.users.check(&name, &password).await {
            Checked::Right => {
                *user = Some(String::from_utf8_lossy(&name).into_owned());
                Verdict::Pass
            }
            Checked::Busy => {
                let mut fields = Fields::default();
                fields.push(b"Retry-After", b"1");
                Verdict::Refuse(Why::AuthBusy, fields)
            }
            Checked::Wrong => {
                tokio::time::sleep(FAILURE_DELAY).await;
                self.refused()
            }
        }
    }

    /// The same on this thread, which the check of a hash stops for a while. Nothing is remembered.
    pub fn dry_run(&self, head: &RequestHead) -> Verdict {
        match credentials(&head.fields) {
            Some((name, password)) if self.users.knows(&name, &password) => Verdict::Pass,
            _ => self.refused(),
        }
    }

    fn refused(&self) -> Verdict {
        let mut fields = Fields::default();
        fields.push(b"WWW-Authenticate", &self.challenge);
        Verdict::Refuse(Why::AuthRequired, fields)
    }
}

/// Name and password of the one `Authorization` field; `None` where there is none, or it is of another kind.
fn credentials(fields: &Fields) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"authorization"));
    let (value, None) = (lines.next()?.value, lines.next()) else { return None };
    let (scheme, token) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut text = BASE64_STANDARD.decode(token.trim_ascii()).ok()?;
    let colon = text.iter().position(|b| *b == b':')?;
    let password = text.split_off(colon + 1);
    text.pop();
    Some((text, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_one_basic_field() {
        let read = |values: &[&str]| {
            let mut fields = Fields::default();
            values.iter().for_each(|value| fields.push(b"authorization", value.as_bytes()));
            credentials(&fields)
                .map(|(name, password)| (String::from_utf8(name).unwrap(), String::from_utf8(password).unwrap()))
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(&["Basic YTpiOmM="]), pair("a", "b:c"));
        assert_eq!(read(&["bAsIc  Og=="]), pair("", ""));
        for wrong in
            [&["Basic YTpiOmM=", "Basic YTpiOmM="][..], &["Bearer YTpiOmM="], &["Basic YWI="], &["Basic !"], &[]]
        {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
