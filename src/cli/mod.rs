//! The command line: one file a command. Data goes to stdout, talk to stderr.

mod admin;
mod ca;
mod cert;
mod check;
mod child;
mod compare;
mod config;
mod demo;
mod dev;
mod doctor;
mod explain;
mod find;
mod health;
mod init;
mod inspector;
mod lan;
mod local;
mod operate;
mod qr;
mod reload;
mod report;
mod run;
mod schema;
mod status;
mod trust;
mod why;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{ColorChoice, Parser, Subcommand};

/// Exit code for a config with errors.
const CONFIG: u8 = 2;

#[derive(Parser)]
#[command(
    name = "vestibule",
    version,
    about = "An HTTP and HTTPS reverse proxy with TLS termination, driven by one TOML file",
    long_about = "An HTTP and HTTPS reverse proxy with TLS termination, driven by one TOML file.\n\n\
        Without a command it runs ./vestibule.toml or /etc/vestibule/vestibule.toml, and where neither is there, the \
        built-in demonstration.",
    after_help = "Examples:\n  vestibule                         the demonstration, or the config in this folder\n  \
        vestibule dev 3000                https://localhost for the app on port 3000\n  \
        vestibule run --config app.toml   the proxy in the foreground"
)]
struct Arguments {
    /// Colours of messages: auto, always or never
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy in the foreground
    #[command(after_help = "Examples:\n  vestibule run\n  vestibule run --config app.toml\n  \
        VESTIBULE_SITES=app.localhost=web:8000 vestibule run")]
    Run(ConfigFile),
    /// Local HTTPS for apps on this machine, without a config file
    #[command(after_help = "Examples:\n  vestibule dev 3000\n  vestibule dev app=3000 api=8080\n  \
        vestibule dev 3000 --lan                              for phones, with a QR code\n  \
        vestibule dev 127.0.0.1:5173 --https 8443 --http 8080\n  \
        vestibule dev -- npm run dev          starts the app with PORT and HOST set, and stops it")]
    Dev(dev::Arguments),
    /// Read a config and open its certificates, start nothing, say every problem
    #[command(
        after_help = "Examples:\n  vestibule check\n  vestibule check --config app.toml\n  vestibule check --json"
    )]
    Check(check::Arguments),
    /// Write a commented config to start from, or translate an nginx.conf or a Caddyfile
    #[command(after_help = "Examples:\n  vestibule init app.localhost 3000 > vestibule.toml\n  \
        vestibule init --from /etc/nginx/nginx.conf > vestibule.toml\n  vestibule init --from Caddyfile > vestibule.toml")]
    Init(init::Arguments),
    /// What would happen to one request, and why; nothing is sent
    #[command(
        after_help = "Examples:\n  vestibule explain https://app.localhost/\n  vestibule explain POST http://app.localhost/api/x \
        -H 'Accept: text/html'\n  vestibule explain https://app.localhost/ --from 10.0.0.7 --json"
    )]
    Explain(explain::Arguments),
    /// The config as it is in effect, with the origin of every value; every key with its default
    #[command(
        after_help = "Examples:\n  vestibule config show\n  vestibule config show app.localhost --config app.toml\n  \
        vestibule config --defaults > reference.toml"
    )]
    Config(config::Arguments),
    /// The JSON Schema of the config, for editors
    #[command(after_help = "Examples:\n  vestibule schema > vestibule.schema.json\n  \
        vestibule schema | python3 -m json.tool | less\n  \
        printf '#:schema ./vestibule.schema.json\\n' > vestibule.toml")]
    Schema,
    /// The running proxy reads its config again
    #[command(after_help = "Examples:\n  vestibule reload\n  vestibule reload --dry-run\n  \
        vestibule reload --confirm 60s")]
    Reload(reload::Arguments),
    /// Keep the generation that `reload --confirm` has put on trial
    #[command(after_help = "Examples:\n  vestibule reload --confirm 60s\n  vestibule confirm\n  \
        vestibule confirm --config app.toml")]
    Confirm(ConfigFile),
    /// The running proxy serves a config again that it has served before
    #[command(after_help = "Examples:\n  vestibule rollback\n  vestibule rollback 3\n  \
        vestibule rollback --config app.toml")]
    Rollback(operate::Rollback),
    /// A new process takes the place of the running one, without a lost connection
    #[command(after_help = "Examples:\n  vestibule upgrade\n  vestibule upgrade --config app.toml\n  \
        install new/vestibule /usr/bin/ && vestibule upgrade")]
    Upgrade(ConfigFile),
    /// What the running proxy says of itself
    #[command(after_help = "Examples:\n  vestibule status\n  vestibule status --json\n  \
        vestibule status --watch")]
    Status(status::Arguments),
    /// The same request through both doors, side by side: what HTTPS hides, proves and costs
    #[command(after_help = "Examples:\n  vestibule compare https://localhost/\n  \
        vestibule compare app.localhost=3000          nothing has to run but the app\n  \
        vestibule compare https://localhost/ --pcap talk.pcapng --html talk.html\n  \
        vestibule compare --topic redirects")]
    Compare(compare::Arguments),
    /// Exit 0 when the running proxy is ready
    #[command(after_help = "Examples:\n  vestibule health\n  vestibule health --config app.toml\n  \
        vestibule health && echo ready")]
    Health(ConfigFile),
    /// Put the development root into the system's and the browsers' stores; it shows what it will write, and asks
    #[command(after_help = "Examples:\n  vestibule trust\n  vestibule trust --yes\n  \
        vestibule trust --config app.toml")]
    Trust(trust::Arguments),
    /// Take the development root out of every store, and check that it is gone
    #[command(after_help = "Examples:\n  vestibule untrust\n  vestibule untrust --yes\n  \
        vestibule untrust --delete-root       the next start makes a new root")]
    Untrust(trust::Untrust),
    /// Why a browser may warn: root, stores, names, ports, and the command that mends it
    #[command(after_help = "Examples:\n  vestibule doctor\n  vestibule doctor --config app.toml\n  \
        vestibule doctor || vestibule trust")]
    Doctor(doctor::Arguments),
    /// The development CA's root certificate
    #[command(after_help = "Examples:\n  vestibule ca path\n  vestibule ca print > root.crt\n  \
        curl --cacert \"$(vestibule ca path)\" https://localhost/\n  eval \"$(vestibule ca env)\"")]
    Ca(ca::Arguments),
    /// Certificates: those of a config, what clients make of them, when they are renewed, and new ones as files
    #[command(after_help = "Examples:\n  vestibule cert list\n  vestibule cert explain shop.example.com\n  \
        vestibule cert new app.test '*.app.test'")]
    Cert(cert::Arguments),
    /// Cause and remedy of a why-code
    #[command(after_help = "Examples:\n  vestibule why upstream.refused\n  vestibule why limit.body\n  vestibule why")]
    Why(why::Arguments),
}

/// The config file of a command.
#[derive(clap::Args, Default)]
struct ConfigFile {
    /// The config file; default: ./vestibule.toml, then /etc/vestibule/vestibule.toml
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    let began = Instant::now();
    let arguments = Arguments::parse();
    let choice = arguments.color;
    let color = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    let result = match arguments.command {
        None => demo::main(began, color),
        Some(Command::Run(file)) => run::main(&file, began, color),
        Some(Command::Dev(arguments)) => dev::main(&arguments, began, color),
        Some(Command::Check(arguments)) => check::main(&arguments, color),
        Some(Command::Init(arguments)) => init::main(&arguments, color),
        Some(Command::Explain(arguments)) => explain::main(&arguments, color),
        Some(Command::Config(arguments)) => config::main(&arguments, color),
        Some(Command::Schema) => Ok(schema::main()),
        Some(Command::Reload(arguments)) => reload::main(&arguments),
        Some(Command::Confirm(file)) => operate::confirm(&file),
        Some(Command::Rollback(arguments)) => operate::rollback(&arguments),
        Some(Command::Upgrade(file)) => operate::upgrade(&file),
        Some(Command::Status(arguments)) => status::main(&arguments),
        Some(Command::Compare(arguments)) => compare::main(&arguments, choice, color),
        Some(Command::Health(file)) => health::main(&file, color),
        Some(Command::Trust(arguments)) => trust::main(&arguments, color),
        Some(Command::Untrust(arguments)) => trust::untrust(&arguments, color),
        Some(Command::Doctor(arguments)) => doctor::main(&arguments, color),
        Some(Command::Ca(arguments)) => ca::main(&arguments, color),
        Some(Command::Cert(arguments)) => cert::main(&arguments, color),
        Some(Command::Why(arguments)) => why::main(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
