//! `confirm`, `rollback`, `upgrade`: what is asked of the running proxy besides a reload.

use std::process::ExitCode;

use super::{CONFIG, ConfigFile, admin, report};

#[derive(clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    file: ConfigFile,
    /// The generation to serve again; default: the one before
    generation: Option<u64>,
}

pub(super) fn confirm(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    ask(file, "/confirm", "not confirmed")
}

pub(super) fn rollback(arguments: &Rollback) -> anyhow::Result<ExitCode> {
    let target = match arguments.generation {
        Some(generation) => format!("/rollback?generation={generation}"),
        None => "/rollback".into(),
    };
    ask(&arguments.file, &target, "not rolled back")
}

pub(super) fn upgrade(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    ask(file, "/upgrade", "not upgraded: the process serves on")
}

fn ask(file: &ConfigFile, target: &str, otherwise: &str) -> anyhow::Result<ExitCode> {
    let (status, text) = admin::ask(file, "POST", target)?;
    if status == 200 {
        report::data(&text);
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{text}");
    eprintln!("{otherwise}");
    Ok(ExitCode::from(if status == 422 { CONFIG } else { 1 }))
}
