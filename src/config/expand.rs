//! `${env:X}`, `${env:X:-default}` and `${file:/path}` inside strings, and `$${` for a literal `${`.
//!
//! Expansion comes after parsing: what a variable holds can never add a key or end a string.

use std::env::VarError;
use std::io::Read;
use std::path::Path;

use super::diagnostics::{Checked, Diagnostic};
use super::value::{Text, quote};

/// How the value of an environment variable is found; the process's own outside tests.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Greatest file of a `${file:...}`: secrets are short.
const FILE_LIMIT: u64 = 64 << 10;

/// Expands one string of a file whose relative paths start at `base`.
pub(super) fn expand(text: &str, base: &Path, env: Environment<'_>) -> Checked<Text> {
    let mut out = Text::default();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.text.push_str(before);
            out.text.push_str("${");
            rest = &found[2..];
            continue;
        }
        out.text.push_str(before);
        let Some(end) = found.find('}') else {
            return Err(broken("`${` without `}`"));
        };
        one(&found[2..end], base, env, &mut out)?;
        out.expanded = true;
        rest = &found[end + 1..];
    }
    out.text.push_str(rest);
    Ok(out)
}

/// Expands what stands between `${` and `}`.
fn one(inner: &str, base: &Path, env: Environment<'_>, out: &mut Text) -> Checked<()> {
    if let Some(name) = inner.strip_prefix("env:") {
        let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        out.text.push_str(&variable(name, default, env)?);
    } else if let Some(path) = inner.strip_prefix("file:") {
        out.secret = true;
        out.text.push_str(&file(&base.join(path))?);
    } else {
        return Err(broken(format!("`${{{}}}` is no expansion", inner.escape_debug())));
    }
    Ok(())
}

fn variable(name: &str, default: Option<&str>, env: Environment<'_>) -> Checked<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(broken(format!("{} is no name of an environment variable", quote(name))));
    }
    match (env(name), default) {
        // An empty variable counts as not set where there is a default, as in the shell's `:-`.
        (Ok(value), None) => Ok(value),
        (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
        (Ok(_) | Err(VarError::NotPresent), Some(default)) => Ok(default.to_owned()),
        (Err(VarError::NotPresent), None) => {
            Err(Diagnostic::error("env-not-set", format!("environment variable {name} is not set"))
                .label("wanted here")
                .help(format!("export it, or give a default: \"${{env:{name}:-value}}\""))
                .boxed())
        }
        (Err(VarError::NotUnicode(_)), _) => {
            Err(Diagnostic::error("env-not-set", format!("environment variable {name} is not UTF-8"))
                .label("wanted here")
                .boxed())
        }
    }
}

fn file(path: &Path) -> Checked<String> {
    let failed = |why: String| {
        Diagnostic::error("file-not-read", format!("cannot read {}: {why}", path.display()))
            .label("wanted here")
            .boxed()
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(failed(format!("larger than {} KiB", FILE_LIMIT >> 10)));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| failed("not UTF-8".to_owned()))?;
    // Editors and `echo` end a file with a line break that is no part of the secret.
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

fn broken(message: impl Into<String>) -> Box<Diagnostic> {
    Diagnostic::error("bad-expansion", message)
        .label("in this text")
        .help("expansions are ${env:NAME}, ${env:NAME:-default} and ${file:PATH}; `$${` is a literal `${`")
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> Result<String, &'static str> {
        let env = |name: &str| match name {
            "PORT" => Ok("8000".to_owned()),
            "EMPTY" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        };
        expand(text, Path::new("/nonexistent"), &env).map(|text| text.text).map_err(|d| d.code)
    }

    #[test]
    fn variables_defaults_and_literals_expand() {
        let table = [
            ("plain $ text }", Ok("plain $ text }")),
            ("a:${env:PORT}/${env:PORT}", Ok("a:8000/8000")),
            ("${env:NONE:-x:-y}", Ok("x:-y")),
            ("${env:EMPTY:-x}", Ok("x")),
            ("[${env:EMPTY}]", Ok("[]")),
            ("$${env:PORT}", Ok("${env:PORT}")),
            ("$$${env:PORT}", Ok("$${env:PORT}")),
            ("${env:NONE}", Err("env-not-set")),
            ("${env:}", Err("bad-expansion")),
            ("${PORT}", Err("bad-expansion")),
            ("${env:PORT", Err("bad-expansion")),
            ("${file:none}", Err("file-not-read")),
        ];
        for (text, expected) in table {
            assert_eq!(run(text).as_deref().map_err(|code| *code), expected, "{text}");
        }
    }

    #[test]
    fn a_file_loses_its_last_line_break_and_is_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "s3cret\n").unwrap();
        let text = expand("<${file:key}>", dir.path(), &|_| Err(VarError::NotPresent)).unwrap();
        assert_eq!(text.text, "<s3cret>");
        assert!(text.secret);
    }

    proptest! {
        #[test]
        fn any_text_expands_or_is_refused_without_a_panic(text in "[$a-z{}:é-]{0,40}") {
            let _ = run(&text);
        }
    }
}
