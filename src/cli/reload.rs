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
    /// Undo it after this time unless `vestibule confirm` comes
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run", value_parser = seconds)]
    confirm: Option<u64>,
}

fn seconds(text: &str) -> Result<u64, String> {
    match crate::config::units::duration(text) {
        Ok(time) if time.as_secs() > 0 => Ok(time.as_secs()),
        _ => Err("a duration of a second or more, such as 60s".into()),
    }
}

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let target = match arguments.confirm {
        Some(seconds) => format!("/reload?confirm={seconds}"),
        None if arguments.dry_run => "/reload?dry_run".into(),
        None => "/reload".into(),
    };
    let (status, text) = admin::ask(&arguments.file, "POST", &target)?;
    if status == 200 {
        report::data(&text);
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{text}");
    eprintln!("not reloaded: the old config stays");
    Ok(ExitCode::from(if status == 422 { CONFIG } else { 1 }))
}
