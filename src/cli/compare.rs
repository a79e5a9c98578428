//! `compare`: the same request through both doors, side by side.

mod doors;
mod request;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ColorChoice;

use super::{ConfigFile, report};
use crate::observe::render::{self, Style};
use crate::observe::topics::{self, Topic};
use crate::observe::{compare, html, json, pcapng};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A URL of the running proxy, or HOST=TARGET: doors of its own on loopback, for an app on a port or host:port
    #[arg(value_name = "URL|HOST=TARGET", required_unless_present = "topic")]
    what: Option<String>,
    /// Show one thing of HTTP, on doors of its own with the built-in backend
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["what", "method", "headers", "data", "pcap"])]
    topic: Option<Topic>,
    /// Send this method only (default: a GET and a POST)
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,
    /// Add a field, or replace one of the defaults
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Send this body, as a form unless a Content-Type says otherwise (method POST by default)
    #[arg(short = 'd', long, value_name = "TEXT")]
    data: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write packets with the TLS secrets of these connections, for Wireshark
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Trust the root certificates of this file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Connect here, whatever the name resolves to
    #[arg(long, value_name = "IP")]
    connect: Option<IpAddr>,
    /// Port of the plain door (default: the config's, or 80, else 8080)
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// Port of the TLS door (default: the URL's, the config's, or 443, else 8443)
    #[arg(long, value_name = "PORT")]
    https: Option<u16>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn main(arguments: &Arguments, choice: ColorChoice, color: bool) -> anyhow::Result<ExitCode> {
    if let Some(topic) = arguments.topic {
        return lesson(topic, arguments, choice, color);
    }
    let target = request::Target::parse(arguments.what.as_deref().unwrap_or_default())?;
    let found = match &target.backend {
        Some(backend) => doors::open(&target.host, backend, color)?,
        None => doors::find(arguments, &target, color)?,
    };
    let (doors, mut trust) = match found {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    if let Some(file) = &arguments.ca {
        trust.add_file(file).map_err(anyhow::Error::msg)?;
    }
    let requests = request::requests(arguments, &target)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let comparison = tokio::task::LocalSet::new().block_on(&runtime, compare::run(doors, requests, trust))?;
    if let Some(file) = &arguments.html {
        std::fs::write(file, html::page(&comparison)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &arguments.pcap {
        std::fs::write(file, pcapng::bytes(&comparison)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if arguments.json {
        report::data(&format!("{:#}\n", json::value(&comparison)));
    } else {
        report::data(&render::text(&comparison, style(choice)));
    }
    let answered = comparison.exchanges.iter().flat_map(|exchange| &exchange.legs).any(|leg| leg.answer.is_some());
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One topic, on doors of its own.
fn lesson(topic: Topic, arguments: &Arguments, choice: ColorChoice, color: bool) -> anyhow::Result<ExitCode> {
    let (doors, _) = match doors::for_topics(color)? {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let lesson = topics::run(topic, doors, doors::TOPIC_HOST).map_err(anyhow::Error::msg)?;
    if let Some(file) = &arguments.html {
        std::fs::write(file, topics::page(&lesson)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let text =
        if arguments.json { format!("{:#}\n", topics::json(&lesson)) } else { topics::text(&lesson, style(choice)) };
    report::data(&text);
    Ok(ExitCode::SUCCESS)
}

/// The width of the terminal and whether it takes colour; 80 columns for a pipe.
fn style(choice: ColorChoice) -> Style {
    let stdout = std::io::stdout();
    let color = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    };
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = asked.or_else(|| rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col.into()));
    Style { width: width.unwrap_or(80), color }
}
