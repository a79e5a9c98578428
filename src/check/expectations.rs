//! The `[[test]]` blocks of a config: each request explained by the code that serves, and compared with what is expected.

use std::collections::HashSet;

use crate::config::{Diagnostic, Expectation, Expected, Sources, Test, Values};
use crate::explain::{self, Answer, Explanation, Question};
use crate::snapshot::View;

/// What running the tests of a config gave.
#[derive(Debug, Default)]
pub struct Outcome {
    pub passed: usize,
    pub failures: Vec<Diagnostic>,
    /// Routes that no test meets, as `host path`.
    pub unmet: Vec<String>,
}

/// Runs every test of the config that is served as `view`.
pub fn expectations(view: &View, values: &Values, sources: &Sources) -> Outcome {
    let config = &view.snapshot.config;
    let mut outcome = Outcome::default();
    let mut met = HashSet::new();
    for test in &config.tests {
        let before = outcome.failures.len();
        match ask(view, values, sources, test) {
            Err(why) => {
                let message = format!("{} {}: {why}", test.method, test.url);
                outcome.failures.push(Diagnostic::error("test-failed", message).label("this request").at(&test.origin));
            }
            Ok(explanation) => {
                met.extend(explanation.found);
                let failed = test.expect.iter().filter_map(|expected| compare(test, &explanation, expected));
                outcome.failures.extend(failed);
            }
        }
        outcome.passed += usize::from(outcome.failures.len() == before);
    }
    if !config.tests.is_empty() {
        for (index, site) in config.sites.iter().enumerate() {
            let unmet = site.routes.iter().enumerate().filter(|(route, _)| !met.contains(&(index, *route)));
            outcome.unmet.extend(unmet.map(|(_, route)| format!("{} {}", site.host, route.path)));
        }
    }
    outcome
}

fn ask(view: &View, values: &Values, sources: &Sources, test: &Test) -> Result<Explanation, String> {
    let mut question = Question::new(&test.method, &test.url)?;
    question.headers.clone_from(&test.headers);
    question.from = test.from;
    explain::explain(view, values, sources, question)
}

fn compare(test: &Test, explanation: &Explanation, expected: &Expected) -> Option<Diagnostic> {
    let found = found(explanation, &expected.what);
    if found.as_deref() == Some(expected.value.as_str()) {
        return None;
    }
    let is = found.map_or_else(|| "there is none".to_owned(), |found| format!("it is {found}"));
    let message = format!("{} {}: {} is not {}", test.method, test.url, expected.what, expected.value);
    let mut command = format!("vestibule explain {} '{}'", test.method, test.url);
    for (name, value) in &test.headers {
        command += &format!(" -H '{name}: {value}'");
    }
    Some(
        Diagnostic::error("test-failed", message)
            .label(is)
            .note(format!("the answer: {}", summary(explanation)))
            .help(format!("see why: {command}"))
            .at(&expected.origin),
    )
}

fn found(explanation: &Explanation, what: &Expectation) -> Option<String> {
    let fields = match &explanation.answer {
        Answer::Own { fields, .. } | Answer::Forward { fields, .. } | Answer::Refused { fields, .. } => {
            fields.as_slice()
        }
        Answer::Alert => &[],
    };
    let field = |name: &str| fields.iter().find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    match (what, &explanation.answer) {
        (Expectation::Status, Answer::Own { status, .. }) => Some(status.to_string()),
        (Expectation::Status, Answer::Refused { why, .. }) => Some(why.status().to_string()),
        (Expectation::Status, _) => None,
        (Expectation::Location, _) => field("Location"),
        (Expectation::Header(name), _) => field(name),
        (Expectation::Site, _) => explanation.site.as_ref().map(|site| site.name.clone()),
        (Expectation::Route, _) => explanation.route.as_ref().map(|route| route.name.clone()),
        (Expectation::Upstream, Answer::Forward { upstream, .. }) => Some(upstream.name.clone()),
        (Expectation::Why, Answer::Refused { why, .. }) => Some(why.code().to_owned()),
        (Expectation::Sent(name), Answer::Forward { head, .. }) => sent(&String::from_utf8_lossy(head), name),
        (Expectation::Upstream | Expectation::Why | Expectation::Sent(_), _) => None,
    }
}

/// A field of a head, or its target.
fn sent(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines();
    let first = lines.next()?;
    if name == ":target" {
        return first.split(' ').nth(1).map(str::to_owned);
    }
    let mut pairs = lines.filter_map(|line| line.split_once(": "));
    pairs.find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

fn summary(explanation: &Explanation) -> String {
    match &explanation.answer {
        Answer::Alert => "the TLS alert unrecognized_name".to_owned(),
        Answer::Refused { why, .. } => format!("{} {}", why.status(), why.code()),
        Answer::Own { by, status, .. } => format!("{status} by the {by}"),
        Answer::Forward { upstream, .. } => format!("forwarded to {}; the status is the server's", upstream.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Outcome {
        let loaded = crate::config::parse("t.toml", text, std::path::Path::new("")).unwrap_or_else(|p| panic!("{p}"));
        let (view, problems) = explain::view(loaded.config, None);
        assert_eq!(problems, []);
        expectations(&view, &loaded.values, &loaded.sources)
    }

    #[test]
    fn tests_that_hold_pass_and_routes_without_one_are_named() {
        let outcome = run(include_str!("../../tests/config/good/tests.toml"));
        assert_eq!((outcome.passed, outcome.failures), (4, vec![]));
        assert_eq!(outcome.unmet, [""; 0]);
        let outcome = run(
            "[sites]\n\"a.test\" = 1\n\"b.test\" = 2\n[[test]]\nrequest = \"https://a.test/\"\nexpect = { site = \"a.test\" }\n",
        );
        assert_eq!(outcome.unmet, ["b.test /*"]);
    }

    #[test]
    fn a_test_that_does_not_hold_says_what_is() {
        let site = "[sites]\n\"a.test\" = 1\n";
        let test = |expect: &str| {
            let text = format!("{site}[[test]]\nrequest = \"https://a.test/x\"\nexpect = {{ {expect} }}\n");
            run(&text).failures.iter().map(|failure| failure.label.clone()).collect::<Vec<_>>()
        };
        assert_eq!(test("upstream = \"localhost:1\", route = \"/*\", site = \"a.test\""), [""; 0]);
        assert_eq!(test("status = 200"), ["there is none"]);
        assert_eq!(test("upstream = \"b\""), ["it is localhost:1"]);
        assert_eq!(test("sent = { X-Forwarded-Proto = \"http\" }"), ["it is https"]);
        assert_eq!(test("header = { X-A = \"1\" }, why = \"route.no_host\""), ["there is none", "there is none"]);
        let nowhere = format!("{site}[[test]]\nrequest = \"https://a.test:99/\"\nexpect = {{ status = 200 }}\n");
        assert!(run(&nowhere).failures[0].message.contains("no listener speaks https on port 99"));
    }
}
