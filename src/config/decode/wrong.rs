//! What is said of a value that does not fit, with the text that would.

use crate::config::diagnostics::Diagnostic;
use crate::config::schema::{Kind, nearest};
use crate::config::units::{UnitError, show_size};
use crate::config::value::{Text, Value, quote, quote_key};

const DURATIONS: &str = "durations carry a unit: \"30s\", \"500ms\", \"5m\"";
const SIZES: &str = "sizes carry a unit: \"512B\", \"32KiB\", \"10MiB\" (powers of 1024), \"10MB\" (powers of 1000)";

/// A key, or a word of a key, of the language that this version does not act on.
pub(super) fn not_supported(what: &str) -> Diagnostic {
    Diagnostic::error("not-supported-yet", format!("`{what}` is not supported yet"))
        .label("this version does not act on it")
}

/// `headers` of a route that looks like that of a site.
pub(super) fn route_headers() -> Diagnostic {
    Diagnostic::error("rules-on-route", "`headers` of a route says which requests it is for")
        .label("rules that change fields")
        .help("rules stand on the site: `headers.request` and `headers.response` of `[sites.\"HOST\"]`")
}

/// A value of another TOML type. `subject` names it: "`proxy`".
pub(super) fn kind(subject: &str, kind: &Kind, value: &Value) -> Box<Diagnostic> {
    let found = value.describe();
    if let (Kind::Duration { off: true } | Kind::Size { off: true, .. }, Value::Integer(Some(0))) = (kind, value) {
        return Diagnostic::error("wrong-type", format!("{subject} needs {}, found {found}", wanted(kind)))
            .label("no unit")
            .help("\"off\" removes the bound")
            .replace("\"off\"")
            .boxed();
    }
    if let (Kind::Duration { .. }, Value::Integer(Some(number))) = (kind, value) {
        return Diagnostic::error("bad-duration", format!("{subject} needs a duration, found {found}"))
            .label(format!("{number} what?"))
            .help(DURATIONS)
            .replace(format!("\"{number}s\""))
            .boxed();
    }
    if let (Kind::Size { .. }, Value::Integer(Some(number))) = (kind, value) {
        return Diagnostic::error("bad-size", format!("{subject} needs a size, found {found}"))
            .label(format!("{number} what?"))
            .help(SIZES)
            .replace(number_as_size(*number))
            .boxed();
    }
    let diagnostic = Diagnostic::error("wrong-type", format!("{subject} needs {}, found {found}", wanted(kind)))
        .label("of the wrong type");
    match mended(kind, value) {
        Some(text) => diagnostic.help("write").replace(text),
        None => diagnostic,
    }
    .boxed()
}

fn number_as_size(number: i64) -> String {
    quote(&show_size(u64::try_from(number).unwrap_or(0)))
}

/// The type in a sentence.
fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer { min: 1, max: 65_535 } => "a port".to_owned(),
        Kind::Integer { min, max } => format!("a number from {min} to {max}"),
        Kind::Text(what) => format!("{what} as text"),
        Kind::Duration { .. } => "a duration such as \"30s\"".to_owned(),
        Kind::Size { .. } => "a size such as \"10MiB\"".to_owned(),
        Kind::Choice { now, .. } => one_of(now),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(..) | Kind::Table(_) => "a table".to_owned(),
        Kind::OneOf(kinds) => kinds.iter().map(wanted).collect::<Vec<_>>().join(", or "),
    }
}

/// What the writer most likely meant, as TOML.
fn mended(kind: &Kind, value: &Value) -> Option<String> {
    match (kind, value) {
        (Kind::OneOf(kinds), value) => kinds.iter().find_map(|kind| mended(kind, value)),
        (Kind::List(Kind::Text(_)), Value::Text(text)) if !text.expanded => Some(format!("[{}]", quote(&text.text))),
        (Kind::Integer { .. }, Value::Text(text)) => text.text.parse::<i64>().ok().map(|number| number.to_string()),
        (Kind::Bool, Value::Text(text)) => match text.text.as_str() {
            "true" | "on" | "yes" => Some("true".to_owned()),
            "false" | "off" | "no" => Some("false".to_owned()),
            _ => None,
        },
        (Kind::Text("an address"), Value::Bool(false)) => Some("\"off\"".to_owned()),
        (Kind::Text("an address"), Value::Integer(Some(port))) => Some(format!("\":{port}\"")),
        (Kind::Text(_), Value::Integer(Some(number))) => Some(format!("\"{number}\"")),
        (Kind::Choice { now, .. }, Value::Bool(false)) if now.contains(&"off") => Some("\"off\"".to_owned()),
        _ => None,
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
        [] => String::new(),
    }
}

/// A number out of its range.
pub(super) fn range(name: &str, min: i64, max: i64, value: &Value) -> Box<Diagnostic> {
    let what = if (min, max) == (1, 65_535) { "a port is".to_owned() } else { format!("`{}` is", quote_key(name)) };
    let diagnostic = Diagnostic::error("out-of-range", format!("{what} a number from {min} to {max}"));
    let diagnostic = match value {
        Value::Text(text) => diagnostic.label(format!("expands to {}", quote(&text.text))),
        _ => diagnostic.label("outside of that"),
    };
    match name {
        "workers" | "max_connections" => diagnostic.help("\"auto\" picks the number"),
        _ => diagnostic,
    }
    .boxed()
}

/// A word that is none of those allowed.
pub(super) fn choice(name: &str, text: &Text, words: &'static [&'static str]) -> Box<Diagnostic> {
    let message = format!("`{}` is {}", quote_key(name), one_of(words));
    let diagnostic = expanded(Diagnostic::error("unknown-value", message), text, "none of these");
    match nearest(&text.text, words.iter().copied()) {
        Some(near) => diagnostic.help(format!("did you mean {}?", quote(near))).replace(quote(near)),
        None => diagnostic,
    }
    .boxed()
}

/// A text that is no duration.
pub(super) fn duration(name: &str, text: &Text, error: &UnitError, off: bool) -> Box<Diagnostic> {
    let (label, fix) = match error {
        UnitError::Zero => {
            let help = if off { "\"off\" removes the deadline" } else { "give at least \"1ms\"" };
            let diagnostic = Diagnostic::error("bad-duration", format!("`{}` cannot be zero", quote_key(name)))
                .label("no time at all")
                .help(help);
            return if off { diagnostic.replace("\"off\"") } else { diagnostic }.boxed();
        }
        UnitError::UnknownUnit { number, unit } => (format!("no unit: {}", quote(unit)), unit_fix(number, unit)),
        other => plain(other, "s"),
    };
    unit("bad-duration", "a duration", name, text, label, DURATIONS, fix)
}

/// The duration meant by a unit spelled out.
fn unit_fix(number: &str, unit: &str) -> Option<String> {
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "y" | "yr" | "year" | "years" => "y",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// A text that is no size.
pub(super) fn size(name: &str, text: &Text, error: &UnitError, off: bool) -> Box<Diagnostic> {
    let (label, fix) = match error {
        UnitError::UnknownUnit { number, unit } => {
            let first = unit.trim().chars().next().map(|c| c.to_ascii_uppercase());
            let known = first.filter(|c| "KMGT".contains(*c) && unit.trim().len() <= 3);
            (format!("no unit: {}", quote(unit)), known.map(|c| format!("{number}{c}iB")))
        }
        other => plain(other, "B"),
    };
    if off && text.text == "0" {
        return unit("bad-size", "a size", name, text, label, "\"off\" removes the limit", Some("off".to_owned()));
    }
    unit("bad-size", "a size", name, text, label, SIZES, fix)
}

/// Label and fix of an error that is the same for durations and sizes.
fn plain(error: &UnitError, unit: &str) -> (String, Option<String>) {
    match error {
        UnitError::Empty => ("nothing here".to_owned(), None),
        UnitError::NoUnit(number) => (format!("{} what?", number), Some(format!("{number}{unit}"))),
        UnitError::Fraction => ("whole numbers only".to_owned(), None),
        UnitError::Order => ("greater units come first, each once".to_owned(), None),
        UnitError::TooLarge => ("too large".to_owned(), None),
        _ => ("does not start with a number".to_owned(), None),
    }
}

fn unit(
    code: &'static str,
    what: &str,
    name: &str,
    text: &Text,
    label: String,
    help: &str,
    fix: Option<String>,
) -> Box<Diagnostic> {
    let message = format!("`{}` needs {what}, found {}", quote_key(name), quote(&text.text));
    let diagnostic = Diagnostic::error(code, message).label(label).help(help);
    match fix {
        // A compound ("1m30") is mended by hand.
        Some(fix) if !text.expanded && fix.len() <= text.text.len() + 2 => diagnostic.replace(quote(&fix)),
        _ => diagnostic,
    }
    .boxed()
}

/// A size out of its range.
pub(super) fn size_range(name: &str, min: u64, max: u64) -> Box<Diagnostic> {
    let message = format!("`{}` is a size from {} to {}", quote_key(name), show_size(min), show_size(max));
    Diagnostic::error("out-of-range", message).label("outside of that").boxed()
}

/// Says what an expanded text has become.
fn expanded(diagnostic: Diagnostic, text: &Text, label: &str) -> Diagnostic {
    if text.expanded {
        return diagnostic.label(format!("expands to {}, {label}", quote(&text.text)));
    }
    diagnostic.label(label)
}
