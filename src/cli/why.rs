//! `why CODE`: cause and remedy of a why-code.

use std::process::ExitCode;

use super::report;
use crate::error::TABLE;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The code, as the log and error pages show it; without one all are listed
    code: Option<String>,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(code) = &arguments.code else {
        for row in TABLE {
            report::data(&format!("{:<26} {}  {}\n", row.code, row.status, row.cause));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(row) = TABLE.iter().find(|row| row.code == code) else {
        let near = TABLE.iter().map(|row| row.code).max_by(|a, b| {
            let likeness = |other: &str| strsim::jaro_winkler(code, other);
            likeness(a).total_cmp(&likeness(b))
        });
        anyhow::bail!("`{code}` is not a why-code; did you mean `{}`?", near.unwrap_or_default());
    };
    report::data(&format!("{}: {}\n", row.code, row.cause));
    report::data(&format!("answered with {}, Proxy-Status error={}\n", row.status, row.proxy_status));
    report::data(&format!("remedy: {}\n", row.remedy));
    Ok(ExitCode::SUCCESS)
}
