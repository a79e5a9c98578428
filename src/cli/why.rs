//! `why CODE`: cause and remedy of a why-code, or what a problem of a config means.

use std::process::ExitCode;

use super::report;
use crate::config::codes::{self, CODES};
use crate::error::TABLE;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The code, as the log and error pages show it, or the one in brackets of a problem of a config; without one all are
    /// listed
    code: Option<String>,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(code) = &arguments.code else {
        for row in TABLE {
            report::data(&format!("{:<26} {}  {}\n", row.code, row.status, row.cause));
        }
        for (code, meaning) in CODES {
            report::data(&format!("{code:<26} -    {meaning}\n"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(meaning) = codes::meaning(code) {
        report::data(&format!("{code}: {meaning}\n"));
        report::data("said of a config by `vestibule check`, with the place and the fix\n");
        return Ok(ExitCode::SUCCESS);
    }
    let Some(row) = TABLE.iter().find(|row| row.code == code) else {
        let all = TABLE.iter().map(|row| row.code).chain(CODES.iter().map(|(code, _)| *code));
        let near = all.max_by(|a, b| {
            let likeness = |other: &str| strsim::jaro_winkler(code, other);
            likeness(a).total_cmp(&likeness(b))
        });
        anyhow::bail!("`{code}` is not a code of ours; did you mean `{}`?", near.unwrap_or_default());
    };
    report::data(&format!("{}: {}\n", row.code, row.cause));
    report::data(&format!("answered with {}, Proxy-Status error={}\n", row.status, row.proxy_status));
    report::data(&format!("remedy: {}\n", row.remedy));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const END: &str = "<!-- end -->\n";

    fn block(page: &mut String, name: &str, text: &str) {
        let begin = format!("<!-- codes: {name} -->\n");
        let start = page.find(&begin).unwrap_or_else(|| panic!("docs/errors.md has no {begin}")) + begin.len();
        let end = start + page[start..].find(END).unwrap();
        page.replace_range(start..end, text);
    }

    /// `UPDATE=1` writes the page anew.
    #[test]
    fn what_is_generated_from_the_codes_is_committed() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
        let there = std::fs::read_to_string(&path).unwrap();
        let mut answers = String::from(
            "| code | status | fault | Proxy-Status error | cause | remedy |\n|---|---|---|---|---|---|\n",
        );
        for row in TABLE {
            let fault = format!("{:?}", row.fault).to_lowercase();
            let (code, status, token) = (row.code, row.status, row.proxy_status);
            let _ = writeln!(answers, "| `{code}` | {status} | {fault} | `{token}` | {} | {} |", row.cause, row.remedy);
        }
        let mut problems = String::from("| code | meaning |\n|---|---|\n");
        for (code, meaning) in CODES {
            let _ = writeln!(problems, "| `{code}` | {meaning} |");
        }
        let mut page = there.clone();
        block(&mut page, "answers", &answers);
        block(&mut page, "config", &problems);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, page).unwrap();
        } else {
            assert!(page == there, "docs/errors.md is not what the tables give: UPDATE=1 cargo nextest run generated");
        }
    }
}
