//! `cert plan`: what the thread of ACME does next about each certificate, as the state folder has it. Nothing is contacted.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Opened, days_left, moment, now, stamp};
use crate::acme::store::{Notes, Store};
use crate::acme::{self, Forecast, Why};
use crate::config::{Acme, Challenge, Config};
use crate::tls::ServedCert;

/// One certificate that ACME looks after, and what is ahead of it.
pub(super) struct Ahead<'a> {
    names: &'a [String],
    acme: Option<&'a Acme>,
    /// `None` where the environment names no state folder.
    store: Option<Store>,
    pub stored: Option<ServedCert>,
    /// Why the stored one cannot be used.
    damage: Option<String>,
    notes: Notes,
    forecast: Option<Forecast>,
}

impl<'a> Ahead<'a> {
    /// Reads the state folder.
    pub fn of(config: &'a Config, names: &'a [String]) -> Ahead<'a> {
        let acme = config.acme.as_ref();
        let store = acme.and_then(|acme| Store::of(&acme.directory));
        let (stored, damage) = match store.as_ref().map(|store| store.cert(names)) {
            Some(Ok(stored)) => (stored, None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        let notes = store.as_ref().map(|store| store.notes(names)).unwrap_or_default();
        let forecast = acme.zip(store.as_ref());
        let forecast = forecast.map(|(acme, store)| acme::forecast(acme, store, names, stored.as_ref(), &notes));
        Ahead { names, acme, store, stored, damage, notes, forecast }
    }

    /// What is done, when, and why: one line.
    pub fn sentence(&self) -> String {
        let Some(forecast) = &self.forecast else { return "nothing: there is no state folder".into() };
        let what = if self.stored.is_some() { "renewal" } else { "order" };
        if self.acme.is_some_and(|acme| !acme.accept_terms) {
            return format!("{what} when acme.accept_terms is true");
        }
        if let Some(why) = forecast.forbidden {
            return format!("nothing: {why}");
        }
        let when = if forecast.due <= now() { "now".to_owned() } else { format!("after {}", moment(forecast.due)) };
        let why = match forecast.why {
            Why::Failed(count) => return format!("{what} {when}; {count} failed: {}", self.notes.last_error),
            Why::Missing => "there is none yet",
            Why::Names => "the one that is there lacks a name",
            Why::Window => "in the server's window",
            Why::Ratio => "a third of its life is left then",
        };
        format!("{what} {when} ({why})")
    }

    /// The file of the certificate, where there is one that can be used.
    pub fn file(&self) -> Option<PathBuf> {
        let (_, store) = self.stored.as_ref().zip(self.store.as_ref())?;
        Some(store.path(self.names))
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n", self.names.join(", "));
        let mut line = |label: &str, text: &str| {
            // Writing into a text cannot fail.
            let _ = writeln!(out, "  {:<13} {text}", format!("{label}:"));
        };
        line("plan", &self.sentence());
        line(
            "now",
            &match (&self.stored, &self.damage) {
                (Some(stored), _) => format!("{} days left, from {}", days_left(&stored.facts), stored.facts.issuer),
                (None, Some(why)) => format!("none that can be used: {why}"),
                (None, None) => "none".into(),
            },
        );
        if let Some(acme) = self.acme {
            line("authority", &acme.directory);
        }
        if let Some(store) = &self.store {
            line("kept in", &store.path(self.names).display().to_string());
        }
        let Some(forecast) = &self.forecast else { return out };
        let challenges: Vec<&str> = forecast.challenges.iter().map(|challenge| challenge.name()).collect();
        let first = if forecast.rehearsed { "on the staging server first: " } else { "" };
        line("challenges", &format!("{first}{}", challenges.join(", then ")));
        match forecast.window_at {
            Some(0) => line("window", "the server is asked for one at the next start"),
            Some(at) => line("window", &format!("the server is asked again after {}", moment(at))),
            None => {}
        }
        out
    }

    pub fn json(&self) -> Value {
        let facts = self.stored.as_ref().map(|stored| &stored.facts);
        let forecast = self.forecast.as_ref();
        json!({
            "names": self.names,
            "action": if self.stored.is_some() { "renewal" } else { "order" },
            "due": forecast.map(|forecast| stamp(forecast.due.max(now()))),
            "due_now": forecast.is_some_and(|forecast| forecast.due <= now() && forecast.forbidden.is_none()),
            "why": forecast.map(|forecast| forecast.why.code()),
            "plan": self.sentence(),
            "forbidden": forecast.map_or(Some("there is no state folder: set VESTIBULE_STATE_DIR"), |found| found.forbidden),
            "failures": self.notes.failures,
            "last_error": self.notes.last_error,
            "challenges": forecast.map(|found| found.challenges.iter().copied().map(Challenge::name).collect::<Vec<_>>()),
            "staging_first": forecast.is_some_and(|forecast| forecast.rehearsed),
            "window_asked_at": forecast.and_then(|forecast| forecast.window_at).filter(|at| *at > 0).and_then(stamp),
            "authority": self.acme.map(|acme| &acme.directory),
            "file": self.store.as_ref().map(|store| store.path(self.names)),
            "damage": self.damage,
            "issuer": facts.map(|facts| &facts.issuer),
            "not_after": facts.and_then(|facts| stamp(facts.not_after)),
            "days_left": facts.map(days_left),
        })
    }
}

/// Every certificate that ACME looks after.
pub(super) fn all(opened: &Opened, json: bool) -> String {
    let managed = opened.certs.managed();
    let all: Vec<Ahead<'_>> = managed.iter().map(|cert| Ahead::of(&opened.config, cert.names())).collect();
    if json {
        return format!("{:#}\n", Value::Array(all.iter().map(Ahead::json).collect()));
    }
    if all.is_empty() {
        return "nothing is ordered or renewed by ACME here: certificate files are yours to renew, leaves of the development CA \
                are made at the handshake\n"
            .into();
    }
    all.iter().map(Ahead::text).collect::<Vec<_>>().join("\n")
}
