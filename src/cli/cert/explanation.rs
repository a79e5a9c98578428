//! What `cert explain` found, as text and as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::plan::Ahead;
use super::{days_left, facts, moment, render, stamp};
use crate::config;
use crate::tls::{Choice, Examined, Link, Provenance, Signed};

/// What is told about one certificate.
pub(super) struct Explanation<'a> {
    /// The host it should be for.
    pub host: Option<String>,
    pub origin: Origin<'a>,
    /// `None`: there is no certificate.
    pub examined: Option<Examined>,
}

/// Why it is this certificate.
pub(super) enum Origin<'a> {
    /// It was named.
    File(PathBuf),
    Config {
        choice: &'a Choice,
        ahead: Option<&'a Ahead<'a>>,
    },
}

impl Explanation<'_> {
    /// A browser of this machine opens the site without a warning.
    pub fn is_accepted(&self) -> bool {
        self.examined.as_ref().is_some_and(Examined::is_accepted)
    }

    pub fn text(&self, color: bool) -> String {
        let mut out = String::new();
        self.origin_text(&mut out);
        if let Some(examined) = &self.examined {
            if let Some(leaf) = examined.links.first() {
                out += &facts(&leaf.facts);
            }
            key(examined, &mut out);
            chain(examined, &mut out);
            believed(examined, &mut out);
        }
        line(&mut out, "a browser", &self.browser());
        let problems = self.examined.as_ref().map(|examined| examined.problems.as_slice()).unwrap_or_default();
        if !problems.is_empty() {
            out.push('\n');
            out += &render(problems, color);
        }
        out
    }

    fn origin_text(&self, out: &mut String) {
        match &self.origin {
            Origin::File(path) => line(out, "file", &path.display().to_string()),
            Origin::Config { choice, ahead } => {
                line(out, "host", self.host.as_deref().unwrap_or_default());
                line(out, "chosen", &choice.why);
                match (&choice.files, ahead.and_then(Ahead::file)) {
                    (Some(files), _) => {
                        let (cert, key) = (files.cert.display(), files.key.display());
                        line(out, "from", &format!("{cert} with {key} ({})", files.cert_origin));
                    }
                    (None, Some(path)) => line(out, "from", &path.display().to_string()),
                    (None, None) => {}
                }
                if let Some(ahead) = ahead {
                    line(out, "plan", &ahead.sentence());
                }
            }
        }
    }

    /// What a browser does, in a sentence.
    fn browser(&self) -> String {
        let Some(examined) = &self.examined else {
            return match &self.origin {
                Origin::Config { choice: Choice { provenance: Some(Provenance::Acme(_)), .. }, .. } => {
                    "ERR_SSL_UNRECOGNIZED_NAME_ALERT: the certificate is not there yet".into()
                }
                _ => "ERR_SSL_UNRECOGNIZED_NAME_ALERT: the handshake ends with the alert unrecognized_name".into(),
            };
        };
        match examined.errors.as_slice() {
            [] if examined.is_accepted() => match &self.host {
                Some(host) => format!("opens https://{}/ without a warning", host.replacen('*', "any", 1)),
                None => "accepts it for its names".into(),
            },
            [] => "never sees it: no server can use it".into(),
            [first] => (*first).to_owned(),
            [first, rest @ ..] => format!("{first}, and behind it {}", rest.join(", ")),
        }
    }

    pub fn json(&self) -> Value {
        let examined = self.examined.as_ref();
        let problems = examined.map(|examined| config::diagnostics_to_json(&examined.problems));
        let problems = problems.and_then(|text| serde_json::from_str::<Value>(&text).ok()).unwrap_or_else(|| json!([]));
        let mut value = json!({
            "host": self.host,
            "accepted": self.is_accepted(),
            "browser": { "says": self.browser(), "errors": examined.map(|examined| &examined.errors) },
            "problems": problems,
        });
        match &self.origin {
            Origin::File(path) => value["file"] = json!(path),
            Origin::Config { choice, ahead } => {
                value["chosen"] = json!(choice.why);
                value["from"] = json!(choice.provenance.as_ref().map(kind));
                value["file"] =
                    json!(choice.files.as_ref().map(|files| files.cert.clone()).or(ahead.and_then(Ahead::file)));
                value["plan"] = ahead.map_or(Value::Null, Ahead::json);
            }
        }
        if let Some(examined) = examined {
            value["key"] = json!({
                "file": examined.key.path,
                "mode": examined.key.mode.map(|mode| format!("{mode:04o}")),
                "belongs": examined.key.belongs,
            });
            value["chain"] = examined.links.iter().map(link).collect();
            value["issuer_known_to"] = json!(examined.known_to);
            let believed = examined
                .believed
                .iter()
                .map(|(list, said)| json!({ "list": list, "accepts": said.is_ok(), "reason": said.as_ref().err() }));
            value["believed"] = believed.collect();
        }
        value
    }
}

fn kind(provenance: &Provenance) -> &'static str {
    match provenance {
        Provenance::File(_) => "file",
        Provenance::DevCa => "development CA",
        Provenance::Acme(_) => "ACME",
    }
}

fn link(link: &Link) -> Value {
    json!({
        "subject": link.subject,
        "names": link.facts.names.texts(),
        "issuer": link.facts.issuer,
        "not_before": stamp(link.facts.not_before),
        "not_after": stamp(link.facts.not_after),
        "days_left": days_left(&link.facts),
        "public_key": link.public_key,
        "signature": link.signature,
        "signed": match link.signed {
            Signed::ByNext => "by the next",
            Signed::NotByNext => "not by the next",
            Signed::ByItself => "by itself",
            Signed::Elsewhere => "by one that is not here",
            Signed::Unchecked => "unchecked",
        },
        "sha256": link.facts.fingerprint,
        "place": link.place,
    })
}

fn line(out: &mut String, label: &str, text: &str) {
    // Writing into a text cannot fail.
    let _ = writeln!(out, "{:<13} {text}", format!("{label}:"));
}

fn key(examined: &Examined, out: &mut String) {
    let key = &examined.key;
    let path = key.path.as_deref().map(Path::display);
    let mode = key.mode.map(|mode| format!(", mode {mode:04o}")).unwrap_or_default();
    let text = match (path, key.belongs) {
        (Some(path), Some(true)) => format!("{path}{mode}: belongs to the certificate"),
        (Some(path), Some(false)) => format!("{path}{mode}: belongs to another certificate"),
        (Some(path), None) => format!("{path}{mode}: cannot be used"),
        (None, Some(true)) => "in memory".into(),
        (None, _) => "none in the file or beside it: --key FILE has it looked at".into(),
    };
    line(out, "key", &text);
}

fn chain(examined: &Examined, out: &mut String) {
    let width = examined.links.iter().map(|link| link.subject.chars().count()).max().unwrap_or_default();
    for (depth, link) in examined.links.iter().enumerate() {
        let until = moment(link.facts.not_after);
        let label = if depth == 0 { "chain:" } else { "" };
        let _ =
            writeln!(out, "{label:<13} {}  {:<width$}  {}, until {until}", depth + 1, link.subject, link.public_key);
        let by = match link.signed {
            Signed::ByNext => "the next one".to_owned(),
            Signed::NotByNext => "another than the next one".to_owned(),
            Signed::ByItself => format!("itself{}", known(examined)),
            Signed::Elsewhere => format!("`{}`{}", examined.issuer, known(examined)),
            Signed::Unchecked => "the next one, by its name; the signature cannot be checked here".to_owned(),
        };
        let _ = writeln!(
            out,
            "{:<13} {}  signed by {by}: {}",
            "",
            if depth + 1 < examined.links.len() { "|" } else { " " },
            link.signature
        );
    }
}

fn known(examined: &Examined) -> String {
    match examined.known_to.as_slice() {
        [] => " (no root that is known here)".into(),
        lists => format!(" (among {})", lists.join(", ")),
    }
}

fn believed(examined: &Examined, out: &mut String) {
    for (index, (list, said)) in examined.believed.iter().enumerate() {
        let label = if index == 0 { "believed by:" } else { "" };
        let said = said.as_ref().map_or_else(|why| format!("no, {why}"), |()| "yes".into());
        let _ = writeln!(out, "{label:<13} {list}: {said}");
    }
}
