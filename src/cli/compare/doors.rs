//! Where the doors are: those of the running proxy, or our own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Arguments;
use super::request::Target;
use crate::cli::local::{self, HIGH, Ports, USUAL};
use crate::cli::{find, report};
use crate::config::{self, BindAddress, Config, HostPattern};
use crate::observe::Doors;
use crate::observe::topics;
use crate::observe::trust::Trust;
use crate::tls::{self, Access, DevAuthority};

/// Doors and whom to trust, or the exit code of a config with errors, which have been shown.
type Found = Result<(Doors, Trust), ExitCode>;

/// How long a door may take to accept when it is looked for.
const KNOCK: Duration = Duration::from_secs(3);

/// Opens both doors on loopback, on ports of the kernel's choice, for one backend. They close with the process. The
/// development CA is the user's where there is one, else it lives in memory: nothing is written.
pub(super) fn open(host: &str, backend: &str, color: bool) -> anyhow::Result<Found> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let target = if backend.parse::<u16>().is_ok() { backend.to_string() } else { quoted(backend) };
    serve(&format!("[sites.{}]\nproxy = {target}\nhttp = \"serve\"\n", quoted(host)), color)
}

/// The name of the site of the topics.
pub(super) const TOPIC_HOST: &str = "localhost";

/// Opens both doors with the sites of the topics.
pub(super) fn for_topics(color: bool) -> anyhow::Result<Found> {
    // A port that was free a moment ago: nobody listens there.
    let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    serve(&topics::sites(TOPIC_HOST, nobody), color)
}

/// Serves some sites on doors of our own.
fn serve(sites: &str, color: bool) -> anyhow::Result<Found> {
    let text = format!("access_log = \"off\"\n[log]\nlevel = \"error\"\n{sites}");
    let mut loaded = match config::parse("the command line", &text, Path::new("")) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(Err(report::problems(&problems, color))),
    };
    report::start_log(&loaded.config, color);
    let sources = loaded.sources.clone();
    let bound = match local::bind(&mut loaded.config, &[Ports { http: 0, https: 0 }], None) {
        Ok((bound, _)) => bound,
        Err(error) => return Ok(Err(report::start_error(&error, &sources, color))),
    };
    let addresses: Vec<_> =
        bound.addresses().map(|(index, address)| (loaded.config.listeners[index].tls, address)).collect();
    let door = |tls| addresses.iter().find(|(is_tls, _)| *is_tls == tls).map(|(_, address)| *address);
    let doors = Doors { http: door(false).context("no plain door")?, https: door(true).context("no TLS door")? };
    let dev = Arc::new(DevAuthority::new(Access::ReadOnly));
    let (ready, started) = mpsc::channel();
    let (authority, failed) = (dev.clone(), ready.clone());
    std::thread::Builder::new().name("doors".into()).spawn(move || {
        let announce = |_: &crate::snapshot::Snapshot| drop(ready.send(Ok(())));
        match bound.serve_with(loaded, authority, Instant::now(), None, announce) {
            // A signal has ended the doors, and what goes through them.
            Ok(()) => std::process::exit(130),
            Err(error) => drop(failed.send(Err(error))),
        }
    })?;
    if let Err(error) = started.recv().context("the doors did not open")? {
        return Ok(Err(report::start_error(&error, &sources, color)));
    }
    let mut trust = Trust::default();
    if let Some(root) = dev.root() {
        trust.add(root, "the development CA");
    }
    trust.add_system();
    Ok(Ok((doors, trust)))
}

/// The doors of the running proxy: by the flags, the URL, the config, and at last the usual ports.
pub(super) fn find(arguments: &Arguments, target: &Target, color: bool) -> anyhow::Result<Found> {
    let loaded = match find::find(&arguments.file) {
        Some(source) => match find::load(&source) {
            Ok(loaded) => Some(loaded.config),
            Err(problems) => return Ok(Err(report::problems(&problems, color))),
        },
        None => None,
    };
    let demonstration = || config::parse("the built-in config", find::DEMONSTRATION, Path::new(""));
    let settings = match &loaded {
        Some(config) => Some(config.dev_ca.clone()),
        None => demonstration().ok().map(|loaded| loaded.config.dev_ca),
    };
    let mut trust = Trust::default();
    if let Some(root) = settings.as_ref().and_then(tls::root_path).filter(|path| path.exists()) {
        trust.add_file(&root).map_err(anyhow::Error::msg)?;
    }
    trust.add_system();

    // A config says where a host's doors are only if the host is one of its sites.
    let own = loaded.filter(|config| arguments.file.config.is_some() || serves(config, &target.host));
    let of_config = |tls| own.as_ref().and_then(|config| listener(config, tls));
    let named = |tls| target.port.filter(|_| target.https == tls);
    let port = |tls, flag: Option<u16>| flag.or(named(tls)).or(of_config(tls).map(|address| address.port()));
    let address = match arguments.connect {
        Some(ip) => ip,
        None => match of_config(target.https) {
            Some(address) => address.ip(),
            None => resolve(&target.host)?,
        },
    };
    let (http, https) = (port(false, arguments.http), port(true, arguments.https));
    let ports = match (http, https) {
        (Some(http), Some(https)) => Ports { http, https },
        _ => {
            let with = |ports: Ports| Ports { http: http.unwrap_or(ports.http), https: https.unwrap_or(ports.https) };
            let answers = |ports: &Ports| knock(address, ports.http) || knock(address, ports.https);
            match [with(USUAL), with(HIGH)].into_iter().find(answers) {
                Some(ports) => ports,
                None => bail!(
                    "nothing listens for {} at {address} on ports 80 and 443, nor on 8080 and 8443\nhelp: start the proxy \
                     (a bare `vestibule` is enough), name its ports with --http and --https, or let compare open doors \
                     of its own: vestibule compare {}=PORT",
                    target.host,
                    target.host
                ),
            }
        }
    };
    let doors = Doors { http: SocketAddr::new(address, ports.http), https: SocketAddr::new(address, ports.https) };
    Ok(Ok((doors, trust)))
}

fn knock(address: IpAddr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(address, port), KNOCK).is_ok()
}

/// Whether a config has a site for a host.
fn serves(config: &Config, host: &str) -> bool {
    let meets = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(base) => host.strip_suffix(base.as_str()).is_some_and(|front| front.ends_with('.')),
        HostPattern::Any => true,
    };
    config.sites.iter().any(|site| meets(&site.host) || site.aliases.iter().any(meets))
}

/// Where the first listener of a kind can be reached from this machine.
fn listener(config: &Config, tls: bool) -> Option<SocketAddr> {
    let listener = config.listeners.iter().find(|listener| listener.tls == tls)?;
    Some(match listener.addresses.first()? {
        BindAddress::Any(port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port),
        BindAddress::Exact(address) if address.ip().is_unspecified() => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
        }
        BindAddress::Exact(address) => *address,
    })
}

/// Names of this machine are loopback (RFC 6761 section 6.3), whatever a resolver says.
fn resolve(host: &str) -> anyhow::Result<IpAddr> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(ip);
    }
    let found = (host, 0).to_socket_addrs().with_context(|| format!("{host} does not resolve"))?.next();
    found.map(|address| address.ip()).with_context(|| format!("{host} has no address"))
}
