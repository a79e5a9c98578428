//! `doctor`: why a browser may warn, and the command that mends it.

use std::net::{TcpListener, ToSocketAddrs};
use std::process::ExitCode;

use super::{ConfigFile, trust as trusting};
use crate::tls::CertFacts;
use crate::trust::{self, Machine, State, Store};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
}

/// The lines of a report, and how many of them are about something wrong.
#[derive(Default)]
struct Report {
    text: String,
    wrong: usize,
}

impl Report {
    fn ok(&mut self, what: &str, said: &str) {
        self.text += &format!("ok      {what}: {said}\n");
    }

    fn wrong(&mut self, what: &str, said: &str, cure: &str) {
        self.wrong += 1;
        self.text += &format!("wrong   {what}: {said}\n        {cure}\n");
    }

    fn note(&mut self, what: &str, said: &str) {
        self.text += &format!("note    {what}: {said}\n");
    }
}

pub(super) fn main(arguments: &Arguments, color: bool) -> anyhow::Result<ExitCode> {
    let machine = Machine::here().map_err(anyhow::Error::msg)?;
    let mut report = Report::default();
    match trusting::root(&arguments.file, false, color)? {
        Err(code) => return Ok(code),
        Ok(None) => report.wrong("root", "there is none yet", "made and trusted by: vestibule trust"),
        Ok(Some(root)) => {
            root_itself(&root, &mut report);
            stores(&machine, &root, &mut report);
        }
    }
    names(&mut report);
    ports(&mut report);
    report.note(
        "HSTS",
        "a browser that was once told to use https for localhost does so on every port: forget it at \
         chrome://net-internals/#hsts, or in Firefox by History, \"Forget About This Site\"",
    );
    super::report::data(&report.text);
    Ok(if report.wrong > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn root_itself(root: &trust::Root, report: &mut Report) {
    let path = root.path.display().to_string();
    match CertFacts::of_pem(&root.pem).ok().and_then(|all| all.into_iter().next()) {
        Some(facts) => {
            let at = time::OffsetDateTime::from_unix_timestamp(facts.not_after).map(|at| at.date().to_string());
            report.ok("root", &format!("{path}, valid until {}", at.unwrap_or_default()));
        }
        None => report.wrong("root", &format!("{path} does not decode"), "a new one: vestibule untrust --delete-root"),
    }
}

fn stores(machine: &Machine, root: &trust::Root, report: &mut Report) {
    let (stores, notes) = trust::stores(machine);
    for store in &stores {
        let what = format!("{} ({})", store.title(), store.place());
        match store.state(machine, root) {
            State::Trusted => report.ok(&what, "trusts the root"),
            State::Absent => report.wrong(&what, "does not have the root", "vestibule trust"),
            State::Unusable(why) => report.wrong(&what, "cannot be read", &why),
        }
    }
    if let (Some(_), true) = (stores.iter().find(|store| matches!(store, Store::Nss(_))), machine.os == "linux") {
        report.note("browsers", "those that were open when the root was added need a restart");
    }
    for note in notes {
        report.note("left out", &note);
    }
}

/// Browsers and curl find `*.localhost` by themselves; other programs ask the system.
fn names(report: &mut Report) {
    let finds = |name: &str| (name, 80).to_socket_addrs().is_ok_and(|mut all| all.any(|at| at.ip().is_loopback()));
    match finds("localhost") {
        true => report.ok("localhost", "is this machine"),
        false => {
            report.wrong("localhost", "is not this machine", "the line `127.0.0.1 localhost` belongs in /etc/hosts")
        }
    }
    match finds("app.project.localhost") {
        true => report.ok("*.localhost", "is this machine, for every program"),
        false => report.note(
            "*.localhost",
            "browsers and curl find it; wget, Node.js and Python do not: install libnss-myhostname, or name each host in \
             /etc/hosts",
        ),
    }
}

fn ports(report: &mut Report) {
    for port in [80, 443] {
        let what = format!("port {port}");
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => report.ok(&what, "can be had"),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                report.note(&what, "is in use, perhaps by vestibule itself: ss -ltnp | grep -w LISTEN");
            }
            Err(error) => report.wrong(
                &what,
                &format!("cannot be had: {error}"),
                "once: sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80",
            ),
        }
    }
}
