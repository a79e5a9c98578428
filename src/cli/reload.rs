//! `reload`: the running proxy reads its config again.

use std::process::ExitCode;

use super::{CONFIG, ConfigFile, admin, report};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Say what would change, change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let target = if arguments.dry_run { "/reload?dry_run" } else { "/reload" };
    let (status, text) = admin::ask(&arguments.file, "POST", target)?;
    if status == 200 {
        report::data(&text);
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{text}");
    eprintln!("not reloaded: the old config stays");
    Ok(ExitCode::from(if status == 422 { CONFIG } else { 1 }))
}
