//! `schema`: the JSON Schema of the config language.

use std::process::ExitCode;

use super::report;
use crate::config::schema::json;

pub(super) fn main() -> ExitCode {
    report::data(&json::schema());
    ExitCode::SUCCESS
}
