//! `init`: a commented config to start from, or one translated from another program's.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{CONFIG, report};
use crate::config;
use crate::init::{self, Format};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The host of the site
    #[arg(required_unless_present = "from")]
    host: Option<String>,
    /// Where its requests go: a port of this machine, or host:port
    #[arg(required_unless_present = "from")]
    target: Option<String>,
    /// An nginx.conf or a Caddyfile to translate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "target"])]
    from: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let text = match (&arguments.from, &arguments.host, &arguments.target) {
        (Some(path), ..) => {
            let name =
                path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
            let text = std::fs::read_to_string(path)
                .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
            let caddy = name.to_ascii_lowercase().contains("caddy");
            let format = if caddy { Format::Caddyfile } else { Format::Nginx };
            let draft =
                init::translate(format, &name, &text).map_err(|problem| anyhow::anyhow!("{}", problem.message))?;
            for left in &draft.left {
                eprintln!("not translated: {name}:{}: {} ({})", left.line, left.text, left.why);
            }
            draft.toml(&name)
        }
        (None, Some(host), Some(target)) => init::starter(host, target),
        _ => anyhow::bail!("`init` wants HOST TARGET, or --from FILE"),
    };
    report::data(&text);
    let folder = std::env::current_dir().unwrap_or_default();
    Ok(match config::parse("vestibule.toml", &text, &folder) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => {
            eprint!("{}", problems.render(color));
            eprintln!("the result needs these mended");
            ExitCode::from(CONFIG)
        }
    })
}
