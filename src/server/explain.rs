//! `explain --live`: a question about the generation that is served, asked over the administration socket.

use std::sync::Arc;

use super::admin::Reply;
use crate::config::{Sources, Values};
use crate::explain::{self, Question};
use crate::message::form_text;
use crate::snapshot::{Snapshot, View};

/// A request to explain, and how the answer is wanted.
#[derive(Debug)]
pub(super) struct Asked {
    question: Question,
    json: bool,
}

impl Asked {
    /// Reads `/explain?method=GET&url=...&from=...&header=Name:+value&json`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(target: &[u8]) -> Result<Asked, String> {
        let query = target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(&form_text(bytes)).into_owned();
        let mut pairs = Vec::new();
        for pair in query.split(|byte| *byte == b'&') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            pairs.push((text(parts.next().unwrap_or_default()), text(parts.next().unwrap_or_default())));
        }
        let find = |name: &str| pairs.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str());
        let mut question = Question::new(find("method").unwrap_or("GET"), find("url").unwrap_or_default())?;
        if let Some(from) = find("from") {
            question.from = from.parse().map_err(|_| format!("`{from}` is no IP address"))?;
        }
        for (_, header) in pairs.iter().filter(|(name, _)| name == "header") {
            question.header(header)?;
        }
        Ok(Asked { question, json: find("json").is_some() })
    }

    /// Answers for one generation. The view is a new one: of a worker's it has what all of them share.
    pub fn answer(self, snapshot: &Arc<Snapshot>, values: &Values, sources: &Sources) -> Reply {
        match explain::explain(&View::new(snapshot.clone()), values, sources, self.question) {
            Ok(explanation) if self.json => Reply::Json(format!("{:#}\n", explain::json(&explanation))),
            Ok(explanation) => Reply::Done(explain::text(&explanation)),
            Err(why) => Reply::Refused(format!("{why}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_in_a_query() {
        let target = b"/explain?method=POST&url=https%3A%2F%2Fa.test%2Fx%3Fy%3D1&from=10.0.0.1&header=X-A%3A+1&header=X-B:2&json";
        let asked = Asked::read(target).unwrap();
        assert_eq!((asked.question.method.as_str(), asked.question.url().as_str()), ("POST", "https://a.test/x?y=1"));
        let pairs = asked.question.headers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        assert_eq!((asked.question.from.to_string().as_str(), pairs.join(" ").as_str()), ("10.0.0.1", "X-A=1 X-B=2"));
        assert!(asked.json);
        for wrong in ["/explain?", "/explain?url=a", "/explain?url=http://a&from=x", "/explain?url=http://a&header=x"] {
            assert!(Asked::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
