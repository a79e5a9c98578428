//! `status`: what the running proxy says of itself.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ConfigFile, admin, report};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Show it anew every second until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

/// How often `--watch` asks.
const EVERY: Duration = Duration::from_secs(1);
/// Cursor to the corner, and the rest of the screen cleared: nothing flickers.
const HOME: &str = "\x1b[H\x1b[J";
const CLEAR: &str = "\x1b[2J";

pub(super) fn main(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.watch {
        return watch(&arguments.file);
    }
    let (status, text) = admin::ask(&arguments.file, "GET", "/status")?;
    anyhow::ensure!(status == 200, "{}", text.trim_end());
    if arguments.json {
        report::data(&text);
    } else {
        report::data(&table(&serde_json::from_str(&text)?));
    }
    Ok(ExitCode::SUCCESS)
}

/// The live view: on a terminal each picture takes the place of the last, elsewhere they follow each other.
fn watch(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let live = std::io::stdout().is_terminal();
    if live {
        report::data(CLEAR);
    }
    let mut last: Option<(Instant, u64)> = None;
    loop {
        let (status, text) = admin::ask(file, "GET", "/status")?;
        anyhow::ensure!(status == 200, "{}", text.trim_end());
        let (now, value) = (Instant::now(), serde_json::from_str(&text)?);
        let requests = requests(&value);
        let rate = last.map_or(0.0, |(then, before)| {
            // Another process counts from nothing.
            requests.saturating_sub(before) as f64 / now.duration_since(then).as_secs_f64().max(0.001)
        });
        last = Some((now, requests));
        let picture = format!("{rate:.0} requests a second\n{}", table(&value));
        let picture = if live { format!("{HOME}{picture}") } else { format!("{picture}\n") };
        if std::io::stdout().write_all(picture.as_bytes()).is_err() {
            // The reader has gone.
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(EVERY);
    }
}

fn requests(status: &Value) -> u64 {
    status["workers"].as_array().into_iter().flatten().filter_map(|worker| worker["requests"].as_u64()).sum()
}

/// The status for a person.
fn table(status: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |key: &str| status[key].as_array().into_iter().flatten();
    let mut out = format!(
        "vestibule {}, process {}, up {}\ngeneration {}",
        word(&status["version"]),
        status["pid"],
        duration(status["running_seconds"].as_u64().unwrap_or_default()),
        status["generation"],
    );
    out += &match (&status["last_reload"]["at"], &status["last_reload"]["error"]) {
        (Value::Null, _) => "\n".into(),
        (at, Value::Null) => format!(", reloaded {}\n", word(at)),
        (at, error) => format!(", a reload failed {}:\n{}\n", word(at), word(error).trim_end()),
    };
    if let Some(back_to) = status["trial"]["back_to"].as_u64() {
        let seconds = &status["trial"]["seconds"];
        out +=
            &format!("on trial: generation {back_to} comes back in {seconds} s unless you say `vestibule confirm`\n");
    }
    for (key, what) in [("panics", "panics: please report them"), ("worker_restarts", "workers began anew")] {
        if let Some(count @ 1..) = status[key].as_u64() {
            out += &format!("{count} {what}\n");
        }
    }
    let (responses, by) = (&status["responses"], &status["connections_by_protocol"]);
    out += &format!(
        "{} connections ({} HTTP/1.1, {} HTTP/2, {} tunnels); answers: {} 2xx, {} 3xx, {} 4xx, {} 5xx\n",
        status["connections"],
        by["http/1.1"],
        by["h2"],
        by["tunnel"],
        responses["2xx"],
        responses["3xx"],
        responses["4xx"],
        responses["5xx"]
    );
    for (what, lost) in [("lines of the access log", "access_log"), ("spans", "tracing")] {
        if let Some(lost @ 1..) = status[lost]["lost"].as_u64() {
            out += &format!("{lost} {what} lost\n");
        }
    }
    out += "\nlistener    address\n";
    for listener in list("listeners") {
        out += &format!("{:<11} {}\n", word(&listener["name"]), word(&listener["address"]));
    }
    if let Some(address) = status["metrics"].as_str() {
        out += &format!("{:<11} {address}\n", "metrics");
    }
    out += "\nworker  connections  requests\n";
    for (number, worker) in list("workers").enumerate() {
        out += &match worker {
            Value::Null => format!("{number:<7} does not answer\n"),
            worker => {
                format!("{number:<7} {:<12} {}\n", worker["connections"].to_string(), worker["requests"])
            }
        };
    }
    out += "\nupstream                  server                    health    in flight  idle\n";
    for upstream in list("upstreams") {
        for server in upstream["servers"].as_array().into_iter().flatten() {
            out += &format!(
                "{:<25} {:<25} {:<9} {:<10} {}\n",
                word(&upstream["name"]),
                word(&server["address"]),
                word(&server["health"]),
                server["in_flight"].to_string(),
                server["idle"],
            );
        }
    }
    if list("certificates").next().is_some() {
        out += "\ncertificate                     days left  from  issuer\n";
    }
    for cert in list("certificates") {
        let (host, days) = (word(&cert["host"]), cert["days_left"].to_string());
        out += &format!("{host:<31} {days:<10} {:<5} {}\n", word(&cert["from"]), word(&cert["issuer"]));
    }
    for site in list("unusable") {
        out += &format!("\nrefused: {}, {}\n", word(&site["site"]), word(&site["why"]));
    }
    out += &errors(status);
    for cert in list("acme") {
        let names: Vec<String> = cert["names"].as_array().into_iter().flatten().map(word).collect();
        out += &format!("\ncertificate of {}: {}\n", names.join(", "), word(&cert["state"]));
    }
    out += &format!("\n{} sites\n", list("sites").count());
    for site in list("sites").take(20) {
        out += &format!("{}\n", word(&site["host"]));
    }
    out
}

/// What is wrong with certificate files, one line each with the remedies below.
fn errors(status: &Value) -> String {
    let mut out = String::new();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    for error in status["certificate_errors"].as_array().into_iter().flatten() {
        let text = |key: &str| error[key].as_str().unwrap_or_default();
        out += &format!("\nerror[{}]: {}\n", text("code"), text("message"));
        if error["file"].is_string() {
            out += &format!("  {}:{}: {}\n", text("file"), error["line"], text("label"));
        }
        out += &texts(&error["notes"]).iter().map(|note| format!("  note: {note}\n")).collect::<String>();
        for help in texts(&error["help"]) {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_a_worker_that_does_not_answer_and_a_reload_that_failed() {
        let status = serde_json::json!({
            "version": "1", "pid": 7, "running_seconds": 7322, "generation": 2,
            "last_reload": { "at": "now", "error": "error[x]: y\n" }, "connections": 1, "panics": 2, "worker_restarts": 0,
            "connections_by_protocol": { "http/1.1": 1, "h2": 0, "tunnel": 0 }, "trial": { "back_to": 1, "seconds": 9 },
            "unusable": [{ "site": "b.example", "why": "not-pem: `b.pem` is empty (t.toml:3:9)" }],
            "certificate_errors": [{
                "code": "not-pem", "message": "`b.pem` is empty", "file": "t.toml", "line": 3, "label": "here", "help": ["x"],
            }],
            "certificates": [{ "host": "a.example", "days_left": 12, "from": "file", "issuer": "us" }],
            "responses": { "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0 }, "workers": [null], "listeners": [], "sites": [],
            "upstreams": [{ "name": "a", "servers": [{ "address": "b", "in_flight": 1, "idle": 2, "health": "ejected" }] }],
        });
        let text = table(&status);
        for part in [
            "up 2 h 2 min",
            "a reload failed now:\nerror[x]: y\n",
            "0       does not answer",
            "ejected   1",
            "2 panics",
            "1 comes back in 9 s",
            "(1 HTTP/1.1, 0 HTTP/2, 0 tunnels)",
            "a.example                       12         file  us",
            "refused: b.example, not-pem: `b.pem` is empty (t.toml:3:9)\n",
            "error[not-pem]: `b.pem` is empty\n  t.toml:3: here\n  help: x\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
