//! `config`: every key with its default, and the values in effect with where each comes from.

use std::process::ExitCode;

use super::{ConfigFile, find, report};
use crate::config::HostPattern;
use crate::config::schema::reference;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    /// Print every key of the language with its default
    #[arg(long)]
    defaults: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the values in effect with their origin; what a table leaves out it takes from [defaults]
    Show(Show),
}

#[derive(clap::Args)]
struct Show {
    /// Only the site of this host
    host: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        None if arguments.defaults => {
            report::data(&reference::reference());
            Ok(ExitCode::SUCCESS)
        }
        None => anyhow::bail!("`config` wants `show` or `--defaults`"),
        Some(Command::Show(show)) => self::show(show, color),
    }
}

fn show(arguments: &Show, color: bool) -> anyhow::Result<ExitCode> {
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let loaded = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let host: Option<&HostPattern> = match &arguments.host {
        None => None,
        Some(host) => {
            let site = loaded.config.sites.iter().find(|site| site.host.to_string() == host.to_ascii_lowercase());
            Some(&site.ok_or_else(|| anyhow::anyhow!("no site is named `{host}`"))?.host)
        }
    };
    eprint!("{}", loaded.render_warnings(color));
    report::data(loaded.values.show(&loaded.sources, host).trim_start());
    Ok(ExitCode::SUCCESS)
}
