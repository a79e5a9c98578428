//! `dev`: local HTTPS for apps on this machine, without a config file.

use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::child::{self, Child};
use super::lan::Lan;
use super::local::{self, HIGH, Ports, USUAL};
use super::{inspector, report};
use crate::config;
use crate::tls;

/// A request waits this long for a backend that is being started again.
const HOLD: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A port or host:port; NAME=TARGET for several, each at https://NAME.FOLDER.localhost
    #[arg(required_unless_present = "command", value_name = "[NAME=]TARGET")]
    targets: Vec<String>,
    /// Port of the plain door (default: 80, else 8080)
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// Port of the TLS door (default: 443, else 8443)
    #[arg(long, value_name = "PORT")]
    https: Option<u16>,
    /// Listen on the local network too, for phones: on this address of the machine (default: its private one)
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true)]
    lan: Option<Option<IpAddr>>,
    /// The app's own command: it is started with PORT (the first target's, else a free one) and HOST set, and stopped again
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A site to serve: its host and where it goes.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    host: String,
    target: String,
}

pub(super) fn main(arguments: &Arguments, began: Instant, color: bool) -> anyhow::Result<ExitCode> {
    let folder = std::env::current_dir().ok().and_then(|dir| dir.file_name().map(|n| n.to_string_lossy().into_owned()));
    let targets = match &arguments.targets[..] {
        [] => vec![child::free_port()?.to_string()],
        given => given.to_vec(),
    };
    let sites = sites(&targets, folder.as_deref().unwrap_or("app"))?;
    let load = |hosts: &[String]| config::parse("the command line", &config_text(&sites, hosts), Path::new(""));
    let mut loaded = match load(&[]) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(report::problems(&problems, color)),
    };
    let lan = arguments.lan.map(|wanted| lan(wanted, &sites, &loaded.config.dev_ca)).transpose()?;
    if let Some(lan) = &lan {
        loaded = match load(&lan.hosts()) {
            Ok(loaded) => loaded,
            Err(problems) => return Ok(report::problems(&problems, color)),
        };
        loaded.config.dev_ca.download = true;
    }
    loaded.config.upstreams.iter_mut().for_each(|upstream| upstream.hold = Some(HOLD));
    report::start_log(&loaded.config, color);
    let with = |ports: Ports| Ports {
        http: arguments.http.unwrap_or(ports.http),
        https: arguments.https.unwrap_or(ports.https),
    };
    let choices = [with(USUAL), with(HIGH)];
    let (bound, ports) = match local::bind(&mut loaded.config, &choices, lan.as_ref().map(Lan::ip)) {
        Ok(bound) => bound,
        Err(error) => return Ok(report::start_error(&error, &loaded.sources, color)),
    };
    loaded.config.admin.inspector = Some(config::Inspector::default());
    let page = match inspector::open(&loaded.config, &bound, true) {
        Ok(page) => page,
        Err(error) => return Ok(report::start_error(&error, &loaded.sources, color)),
    };
    let root = tls::root_path(&loaded.config.dev_ca);
    let sources = loaded.sources.clone();
    let mut child = match &arguments.command[..] {
        [] => None,
        command => Some(Child::start(command, port(&sites[0].target))?),
    };
    let served = bound.serve(loaded, began, None, |snapshot| {
        for site in &sites {
            let state = if answers(&site.target) { "backend answers" } else { "waiting for the backend" };
            eprintln!("  {}  ->  {}   {state}", local::url("https", &site.host, ports.https), site.target);
            eprintln!("  {}   redirects to https", local::url("http", &site.host, ports.http));
        }
        if ports == HIGH {
            eprintln!(
                "  ports 80 and 443 cannot be had here. Once: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80"
            );
        }
        page.start(snapshot);
        if let Some(lan) = &lan {
            lan.announce(ports, snapshot, color);
        }
        if let Some(root) = root {
            eprintln!("  trust   browsers warn until they trust {}: once, vestibule trust", root.display());
        }
        eprintln!("ready in {:.3} s. Ctrl-C stops.", began.elapsed().as_secs_f64());
        child.as_mut().map(Child::watch);
    });
    let code = child.map_or(ExitCode::SUCCESS, Child::end);
    Ok(match served {
        Ok(()) => code,
        Err(error) => report::start_error(&error, &sources, color),
    })
}

/// What other devices reach. They have the address alone, where there is room for one site.
fn lan(wanted: Option<IpAddr>, sites: &[Site], root: &config::DevCa) -> anyhow::Result<Lan> {
    if sites.len() > 1 {
        anyhow::bail!(
            "--lan serves one target: other devices know this machine by its address alone, and none of them finds names \
             under .localhost; start one `vestibule dev TARGET --lan` for each, with --http and --https ports of its own"
        );
    }
    Lan::find(wanted, root)
}

/// One target alone is `localhost`; named ones share `FOLDER.localhost`, so that a browser treats them as one site for
/// cookies.
fn sites(targets: &[String], folder: &str) -> anyhow::Result<Vec<Site>> {
    let folder = label(folder);
    targets
        .iter()
        .map(|target| match target.split_once('=') {
            Some((name, target)) if !name.is_empty() => {
                Ok(Site { host: format!("{}.{folder}.localhost", label(name)), target: target.into() })
            }
            None if targets.len() == 1 => Ok(Site { host: "localhost".into(), target: target.clone() }),
            _ => anyhow::bail!("several targets need names: `vestibule dev app=3000 api=8080`, found `{target}`"),
        })
        .collect()
}

/// A folder's or service's name as a DNS label.
fn label(name: &str) -> String {
    let dashed: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let label: String = dashed.trim_matches('-').chars().take(63).collect();
    if label.is_empty() { "app".into() } else { label }
}

/// The config of the sites. The first one is also there under the `hosts` that other devices use.
fn config_text(sites: &[Site], hosts: &[String]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = String::from("[access_log]\nformat = \"text\"\n\n[sites]\n");
    let others = sites.first().into_iter().flat_map(|site| hosts.iter().map(move |host| (host, &site.target)));
    for (host, target) in sites.iter().map(|site| (&site.host, &site.target)).chain(others) {
        let target = if target.parse::<u16>().is_ok() { target.clone() } else { quoted(target) };
        // A name under .local is no local one by itself.
        text += &format!("{} = {{ proxy = {target}, tls = \"dev\" }}\n", quoted(host));
    }
    text
}

/// The port of a target that has one.
fn port(target: &str) -> Option<u16> {
    target.rsplit(':').next()?.parse().ok()
}

/// Whether something accepts connections there; said once, never waited for.
fn answers(target: &str) -> bool {
    let address = if target.parse::<u16>().is_ok() { format!("localhost:{target}") } else { target.to_string() };
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(targets: &[&str]) -> Vec<String> {
        let targets: Vec<String> = targets.iter().map(|t| t.to_string()).collect();
        sites(&targets, "My Shop").unwrap().into_iter().map(|site| site.host).collect()
    }

    #[test]
    fn one_target_is_localhost_and_named_ones_share_the_folder() {
        assert_eq!(hosts(&["3000"]), ["localhost"]);
        assert_eq!(hosts(&["app=3000", "api=127.0.0.1:8080"]), ["app.my-shop.localhost", "api.my-shop.localhost"]);
    }

    #[test]
    fn several_targets_without_names_are_refused() {
        assert!(sites(&["3000".into(), "4000".into()], "x").is_err());
    }

    #[test]
    fn a_command_is_told_the_port_of_its_target() {
        let targets = ["3000", "127.0.0.1:3000", "[::1]:3000", "h2c://localhost:3000", "unix:/run/3000"];
        assert_eq!(targets.map(port), [Some(3000), Some(3000), Some(3000), Some(3000), None]);
    }

    #[test]
    fn the_text_made_of_the_arguments_is_a_config() {
        let made = sites(&["a=3000".into(), "b=unix:/run/b.sock".into()], "shop").unwrap();
        let hosts = ["192.168.1.20".to_string(), "fd00::20".into(), "laptop.local".into()];
        let loaded = config::parse("t", &config_text(&made, &hosts), Path::new("")).unwrap();
        assert_eq!((loaded.config.sites.len(), loaded.config.upstreams.len()), (5, 2));
    }
}
