//! `explain [METHOD] URL`: what would happen to one request, and why. Nothing is sent.

use std::net::IpAddr;
use std::process::ExitCode;

use super::{CONFIG, ConfigFile, admin, find, report};
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
    /// Ask the running proxy: what it serves now, whatever the file says
    #[arg(long)]
    live: bool,
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
    if arguments.live {
        return live(arguments, &question);
    }
    let source = find::find(&arguments.file).ok_or_else(find::none_found)?;
    let Loaded { config, warnings: _, sources, values } = match find::load(&source) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let certs = match CertStore::open(&config, &DevAuthority::new(Access::ReadOnly), &Managed::default(), None) {
        // As a start would: what cannot be used is refused, and the rest is served.
        Ok(certs) => {
            eprint!("{}", config::render_diagnostics(certs.errors(), &sources, color));
            Some(certs.into())
        }
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

fn live(arguments: &Arguments, question: &Question) -> anyhow::Result<ExitCode> {
    let mut target = format!("/explain?method={}&url={}", escape(&question.method), escape(&question.url()));
    target += &format!("&from={}", question.from);
    for (name, value) in &question.headers {
        target += &format!("&header={}", escape(&format!("{name}: {value}")));
    }
    if arguments.json {
        target += "&json";
    }
    let (status, text) = admin::ask(&arguments.file, "GET", &target)?;
    if status == 200 {
        report::data(&text);
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("error: {text}");
    Ok(ExitCode::from(CONFIG))
}

/// A text as the value of a query parameter.
fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
