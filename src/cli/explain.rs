//! `explain [METHOD] URL`: what would happen to one request, and why. Nothing is sent.

use std::net::IpAddr;
use std::process::ExitCode;

use super::{CONFIG, ConfigFile, find, report};
use crate::config::{self, Loaded};
use crate::explain::{self, Question};
use crate::tls::{Access, CertStore, DevAuthority, Managed};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The method, GET where it is left out, and the URL
    #[arg(required = true, num_args = 1..=2, value_name = "[METHOD] URL")]
    request: Vec<String>,
    /// A header field of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address of the client
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Print a JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let (method, url) = match arguments.request.as_slice() {
        [method, url] => (method.to_ascii_uppercase(), url),
        [url] => ("GET".to_owned(), url),
        _ => anyhow::bail!("`explain` wants a URL"),
    };
    let mut question = Question::new(&method, url).map_err(anyhow::Error::msg)?;
    for header in &arguments.headers {
        question.header(header).map_err(anyhow::Error::msg)?;
    }
    question.from = arguments.from;
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let Loaded { config, warnings: _, sources, values } = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let certs = match CertStore::build(&config, &DevAuthority::new(Access::ReadOnly), &Managed::default()) {
        Ok(certs) => Some(certs.into()),
        // Routing can be explained all the same.
        Err(problems) => {
            eprint!("{}", config::render_diagnostics(&problems, &sources, color));
            None
        }
    };
    let (view, problems) = explain::view(config, certs);
    eprint!("{}", config::render_diagnostics(&problems, &sources, color));
    match explain::explain(&view, &values, &sources, question) {
        Ok(explanation) if arguments.json => report::data(&format!("{:#}\n", explain::json(&explanation))),
        Ok(explanation) => report::data(&explain::text(&explanation)),
        Err(why) => {
            eprintln!("error: {why}");
            return Ok(ExitCode::from(CONFIG));
        }
    }
    Ok(ExitCode::SUCCESS)
}
