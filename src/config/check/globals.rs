//! `[tls]`, `[dev_ca]`, `[access_log]`, `[log]`, `[admin]` and `[server]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Checker, headers, hosts, texts};
use crate::config::diagnostics::Diagnostic;
use crate::config::value::{Node, Table, Value, quote};
use crate::config::{
    AccessLog, Admin, AdminSocket, CertFiles, DevCa, Inspector, Level, Log, LogFormat, LogOutput, Redact, Server, Tls,
    UnknownHost,
};

/// 90 days.
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(8);
const GENERATION_GRACE: Duration = Duration::from_secs(600);

impl Checker<'_> {
    pub(super) fn tls(&mut self, table: &Table) -> Tls {
        let certificates: Vec<_> = table.list("certificates").filter_map(|node| self.cert_files(node)).collect();
        let unknown_host = match table.text("unknown_host") {
            Some("default") => UnknownHost::Default,
            _ => UnknownHost::Reject,
        };
        if let (UnknownHost::Default, true, Some(node)) =
            (unknown_host, table.list("certificates").next().is_none(), table.get("unknown_host"))
        {
            let diagnostic = Diagnostic::warning("no-default-certificate", "there is no certificate to be the default")
                .label("stands for the first of `certificates`")
                .note("an unknown SNI is refused");
            self.report(diagnostic, node.at);
        }
        Tls { only_tls13: table.text("min_version") == Some("1.3"), certificates, unknown_host }
    }

    /// `{ cert, key }`.
    pub(super) fn cert_files(&mut self, node: &Node) -> Option<CertFiles> {
        let table = node.table()?;
        let cert = self.file(table, "cert", node.at);
        let key = self.file(table, "key", node.at);
        let ((cert, cert_origin), (key, key_origin)) = (cert?, key?);
        Some(CertFiles { cert, key, cert_origin, key_origin })
    }

    pub(super) fn dev_ca(&mut self, table: &Table) -> DevCa {
        let mut extra_domains = Vec::new();
        for (text, at) in texts(table, "extra_domains") {
            match hosts::name(text.strip_prefix('.').unwrap_or(text)) {
                Ok(name) => extra_domains.push(name),
                Err(why) => {
                    let message = format!("{} is no domain: it {why}", quote(text));
                    self.report(Diagnostic::error("bad-host", message).label("not a domain"), at);
                }
            }
        }
        let dir = table.get("dir").and_then(|node| match node.text()? {
            "auto" => None,
            path => Some(self.path(node, path)),
        });
        let leaf_lifetime = table.duration("leaf_lifetime").flatten().unwrap_or(LEAF_LIFETIME);
        DevCa { dir, leaf_lifetime, extra_domains, download: false }
    }

    pub(super) fn admin(&mut self, root: &Table) -> Admin {
        let node = root.table("admin").and_then(|table| table.get("socket"));
        let socket = match node.and_then(|node| Some((node, node.text()?))) {
            None | Some((_, "auto")) => AdminSocket::Auto,
            Some((_, "off")) => AdminSocket::Off,
            Some((node, path)) => AdminSocket::Path(self.path(node, path)),
        };
        Admin { socket, inspector: self.inspector(root) }
    }

    /// The page shows what passes, so no other machine may open it: `ssh -L` is the way from there.
    fn inspector(&mut self, root: &Table) -> Option<Inspector> {
        let table = root.table("admin")?.table("inspector")?;
        let Some(node) = table.get("listen") else { return Some(Inspector::default()) };
        let text = node.text()?;
        match text.parse::<SocketAddr>() {
            Ok(listen) if listen.ip().is_loopback() => return Some(Inspector { listen }),
            Ok(listen) => {
                let message = format!("{} can be reached from other machines", quote(text));
                let diagnostic = Diagnostic::error("inspector-not-local", message)
                    .label("not a loopback address")
                    .note("the page shows the requests of everybody")
                    .replace(format!("\"127.0.0.1:{}\"", listen.port()))
                    .help(format!("from another machine: ssh -L {0}:127.0.0.1:{0} HOST", listen.port()));
                self.report(diagnostic, node.at);
            }
            Err(_) => {
                let diagnostic =
                    Diagnostic::error("bad-address", format!("{} is no address to listen on", quote(text)))
                        .label("not an address")
                        .help("the inspector takes \"127.0.0.1:4480\" or \"[::1]:4480\"");
                self.report(diagnostic, node.at);
            }
        }
        None
    }

    pub(super) fn access_log(&mut self, root: &Table) -> AccessLog {
        let Some(node) = root.get("access_log") else {
            let redact = Redact::default();
            return AccessLog::On { format: Default::default(), output: Default::default(), redact, sample: 1.0 };
        };
        let Value::Table(table) = &node.value else { return AccessLog::Off };
        let format = match table.text("format") {
            Some("json") => LogFormat::Json,
            Some("text") => LogFormat::Text,
            Some("combined") => LogFormat::Combined,
            _ => LogFormat::Auto,
        };
        let output = match table.get("output").and_then(|node| Some((node, node.text()?))) {
            None | Some((_, "stdout")) => LogOutput::Stdout,
            Some((_, "stderr")) => LogOutput::Stderr,
            Some((node, "off")) => {
                let diagnostic = Diagnostic::error("log-output-off", "`output` names where the log goes")
                    .label("would be a file of this name")
                    .help("to write none: access_log = \"off\"")
                    .help("for a file of this name: output = \"./off\"");
                self.report(diagnostic, node.at);
                LogOutput::Stdout
            }
            Some((node, path)) => LogOutput::File(self.path(node, path)),
        };
        let mut redact = Redact::default();
        if let Some(table) = table.table("redact") {
            if table.has("query") {
                redact.query = texts(table, "query").map(|(text, _)| text.to_ascii_lowercase()).collect();
            }
            if table.has("headers") {
                let names = texts(table, "headers").collect::<Vec<_>>();
                redact.headers = names
                    .into_iter()
                    .filter_map(|(text, at)| self.take(headers::name(text), at))
                    .map(|name| name.to_ascii_lowercase())
                    .collect();
            }
        }
        let sample = self.share(table, "sample").unwrap_or(1.0);
        AccessLog::On { format, output, redact, sample }
    }
}

pub(super) fn log(root: &Table) -> Log {
    let level = match root.table("log").and_then(|table| table.text("level")) {
        Some("error") => Level::Error,
        Some("warn") => Level::Warn,
        Some("debug") => Level::Debug,
        Some("trace") => Level::Trace,
        _ => Level::Info,
    };
    Log { level }
}

pub(super) fn server(root: &Table) -> Server {
    let table = root.table("server");
    let count = |key| table.and_then(|table| table.integer(key)).and_then(|number| usize::try_from(number).ok());
    Server {
        workers: count("workers"),
        shutdown_grace: table.and_then(|table| table.duration("shutdown_grace")).flatten().unwrap_or(SHUTDOWN_GRACE),
        watch_config: table.and_then(|table| table.bool("watch_config")).unwrap_or(false),
        shutdown_delay: table.and_then(|table| table.duration("shutdown_delay")).flatten(),
        generation_grace: table
            .and_then(|table| table.duration("generation_grace"))
            .flatten()
            .unwrap_or(GENERATION_GRACE),
        max_connections: count("max_connections"),
    }
}
