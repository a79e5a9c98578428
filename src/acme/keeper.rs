//! Keeps one certificate: orders it when it is missing, renews it when it grows old, for as long as its names are served.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::CertificateIdentifier;
use tokio::sync::Semaphore;

use super::account::{self, Accounts};
use super::client::Client;
use super::failure::{Failure, Kind};
use super::forecast::{due, forbidden, in_turn, rehearses};
use super::order::{self, Issued, Wanted};
use super::plan;
use super::store::{Notes, Store, file_name};
use crate::config::Acme;
use crate::tls::{Challenges, ManagedCert, ServedCert};

/// The longest sleep: a clock that jumps is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// How soon another process that holds the lock is looked at again.
const LOCKED: Duration = Duration::from_secs(2);
/// How soon a certificate is looked at again whose order waits for a file.
const HELD: Duration = Duration::from_secs(1);
/// How soon a server without a window is asked for one again (RFC 9773 section 4.3.3), in seconds.
const NO_WINDOW: i64 = 6 * 3600;
/// How soon a certificate is renewed at the earliest that the server wants renewed from the beginning, in seconds.
const FIRST_WINDOW: i64 = 3600;
/// Bounds of the server's own word on that, in seconds (RFC 9773 section 4.3.2).
const WINDOW_AGAIN: (u64, u64) = (60, 86_400);
/// The least wait after a server has asked for patience, in seconds.
const RATE_LIMITED: u64 = 3600;

/// What all keepers share.
pub(super) struct Common {
    pub settings: Acme,
    pub client: Client,
    pub store: Store,
    pub accounts: Accounts,
    pub challenges: Arc<Challenges>,
    /// Orders at a time.
    pub permits: Semaphore,
}

pub(super) struct Keeper {
    common: Arc<Common>,
    cert: Arc<ManagedCert>,
    /// Tries in a row that failed without a cost.
    passing: u32,
    /// What the last try failed of, said once.
    refused: bool,
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn seconds(time: i64) -> Duration {
    Duration::from_secs(u64::try_from(time).unwrap_or_default())
}

impl Keeper {
    pub fn new(common: Arc<Common>, cert: Arc<ManagedCert>) -> Keeper {
        Keeper { common, cert, passing: 0, refused: false }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        loop {
            let wait = self.step().await;
            tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
        }
    }

    /// Does what is due and says when to look again.
    async fn step(&mut self) -> Duration {
        let names = self.cert.names().to_vec();
        let mut notes = self.common.store.notes(&names);
        let stored = serve_stored(&self.common.store, &self.cert);
        if let Some(stored) = &stored {
            self.ask_window(stored, &mut notes).await;
        }
        let (due, look) = due(stored.as_ref(), &names, &notes);
        let now = now();
        if now < due {
            match (&stored, notes.failures) {
                (Some(_), 0) => self.cert.say("it is there"),
                (_, 0) => {}
                _ => self.cert.say(&format!(
                    "the last order failed, the next try is in {} s: {}",
                    due - now,
                    notes.last_error
                )),
            }
            return seconds(due.min(look.max(now + 1)) - now).max(Duration::from_millis(200));
        }
        if stored.is_none() && self.cert.is_held() {
            self.cert.say("it is not ordered: a file of tls.certificates cannot be used, and may be for it");
            return HELD;
        }
        if let Some(why) = forbidden(&self.common.settings, &self.common.store) {
            self.cert.say(why);
            if !std::mem::replace(&mut self.refused, true) {
                tracing::error!("acme: no certificate is ordered for {}: {why}", names.join(", "));
            }
            return LONGEST_SLEEP;
        }
        self.attempt(&names, notes, stored.as_ref()).await
    }

    /// Places an order under the lock of the name set, and notes how it went.
    async fn attempt(&mut self, names: &[String], notes: Notes, stored: Option<&ServedCert>) -> Duration {
        let common = self.common.clone();
        // The semaphore is never closed.
        let _permit = common.permits.acquire().await;
        let _held = match common.store.lock(&file_name(names)) {
            Ok(Some(held)) => held,
            Ok(None) => {
                self.cert.say("another process is ordering it");
                return LOCKED;
            }
            Err(error) => return self.failed(names, notes, &Failure::lasting(format!("the lock file: {error}"))),
        };
        // Another process may have been here between the look and the lock.
        if common.store.notes(names) != notes {
            return Duration::ZERO;
        }
        self.cert.say("it is being ordered");
        let began = Instant::now();
        let outcome = match self.rehearse(names, &notes).await {
            Ok(()) => self.order(&common.settings.directory, &common.store, names, &notes, stored).await,
            Err(failure) => Err(failure),
        };
        let saved = outcome.and_then(|issued| {
            let saved = common.store.save(names, &issued.key, &issued.chain, issued.challenge);
            saved.map_err(|error| Failure::lasting(format!("{}: {error}", common.store.folder().display())))?;
            serve_stored(&common.store, &self.cert).ok_or_else(|| Failure::lasting("the certificate is damaged"))
        });
        match saved {
            Ok(served) if due(Some(&served), names, &Notes::default()).0 <= now() => {
                let words = "the server's new certificate is short of a name, or over already: it is served as it is";
                self.failed(names, notes, &Failure::lasting(words))
            }
            Ok(served) => {
                self.passing = 0;
                self.cert.note_order(true);
                let days = (served.facts.not_after - now()) / 86_400;
                tracing::info!(
                    "acme: new certificate for {} from {} in {:.1} s, valid for {days} days",
                    names.join(", "),
                    served.facts.issuer,
                    began.elapsed().as_secs_f64()
                );
                Duration::ZERO
            }
            Err(failure) => self.failed(names, notes, &failure),
        }
    }

    /// After a failure that counts, a try on the staging server comes first, where the server has one: its limits are
    /// wide.
    async fn rehearse(&self, names: &[String], notes: &Notes) -> Result<(), Failure> {
        if !rehearses(&self.common.settings, notes) {
            return Ok(());
        }
        let Some(store) = Store::of(Acme::LETS_ENCRYPT_STAGING) else { return Ok(()) };
        store.open().map_err(|error| Failure::lasting(format!("{}: {error}", store.folder().display())))?;
        let rehearsed = self.order(Acme::LETS_ENCRYPT_STAGING, &store, names, notes, None).await;
        rehearsed
            .map(|_| ())
            .map_err(|failure| Failure { words: format!("on the staging server: {failure}"), ..failure })
    }

    async fn order(
        &self,
        directory: &str,
        store: &Store,
        names: &[String],
        notes: &Notes,
        stored: Option<&ServedCert>,
    ) -> Result<Issued, Failure> {
        let common = &self.common;
        let account = common.accounts.open(directory, &common.settings, store, &common.client).await?;
        let mut wanted = Wanted {
            settings: &common.settings,
            names,
            challenges: &common.challenges,
            order: in_turn(&common.settings.challenges, notes),
            // Only a server that gave a window knows what `replaces` means.
            replaces: stored.filter(|_| notes.renew_at.is_some()).and_then(identifier),
        };
        let mut placed = order::place(&account, &wanted).await;
        if placed.as_ref().is_err_and(|failure| failure.kind == Kind::Replaces) {
            wanted.replaces = None;
            placed = order::place(&account, &wanted).await;
        }
        if let Err(failure) = &mut placed {
            account::after(failure, &common.accounts, directory, store).await;
        }
        placed
    }

    /// Notes a failure, says it, and says how long to wait.
    fn failed(&mut self, names: &[String], mut notes: Notes, failure: &Failure) -> Duration {
        self.cert.note_order(false);
        let random = fastrand::f64();
        let wait = match failure.kind {
            Kind::Passing => {
                self.passing += 1;
                plan::backoff(self.passing, true, random)
            }
            kind => {
                notes.failures += 1;
                let wait = plan::backoff(notes.failures, false, random);
                if kind == Kind::RateLimited { wait.max(Duration::from_secs(RATE_LIMITED)) } else { wait }
            }
        };
        if failure.kind != Kind::Passing {
            notes.retry_at = now() + i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
            notes.last_error = failure.words.clone();
            if let Err(error) = self.common.store.save_notes(names, &notes) {
                tracing::warn!("acme: {}: {error}", self.common.store.folder().display());
            }
        }
        let state = format!("the last order failed, the next try is in {} s: {failure}", wait.as_secs().max(1));
        self.cert.say(&state);
        tracing::error!("acme: no certificate for {}: {state}", names.join(", "));
        wait
    }

    /// Asks the server when it wants the certificate renewed (RFC 9773), when it is time to ask.
    async fn ask_window(&self, stored: &ServedCert, notes: &mut Notes) {
        let now = now();
        if now < notes.window_at || forbidden(&self.common.settings, &self.common.store).is_some() {
            return;
        }
        let common = &self.common;
        let Some(id) = identifier(stored) else { return };
        let asked = match common
            .accounts
            .open(&common.settings.directory, &common.settings, &common.store, &common.client)
            .await
        {
            Ok(account) => account.renewal_info(&id).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match asked {
            Ok((info, again)) => {
                let window = (info.suggested_window.start.unix_timestamp(), info.suggested_window.end.unix_timestamp());
                // A moment that was chosen in this window before stays.
                if notes.renew_at.is_none_or(|chosen| chosen < window.0 || chosen > window.1) {
                    let chosen = plan::choose(window.0, window.1, now, fastrand::f64());
                    // The first window of a certificate should not be over: a server that says so of each new one
                    // would be asked for orders without end.
                    let first = notes.renew_at.is_none();
                    notes.renew_at = Some(if first { chosen.max(now + FIRST_WINDOW) } else { chosen });
                }
                let again = again.as_secs().clamp(WINDOW_AGAIN.0, WINDOW_AGAIN.1);
                notes.window_at = now + i64::try_from(again).unwrap_or(NO_WINDOW);
            }
            Err(failure) => {
                tracing::debug!("acme: no renewal window: {failure}");
                notes.window_at = now + NO_WINDOW;
            }
        }
        if let Err(error) = common.store.save_notes(self.cert.names(), notes) {
            tracing::warn!("acme: {}: {error}", common.store.folder().display());
        }
    }
}

/// Serves what the store has, where it is not served already, and gives it back. A damaged file is no certificate.
pub(super) fn serve_stored(store: &Store, cert: &ManagedCert) -> Option<ServedCert> {
    let stored = match store.cert(cert.names()) {
        Ok(stored) => stored?,
        Err(why) => {
            tracing::error!("acme: {why}");
            return None;
        }
    };
    let served = cert.key();
    if served.is_none_or(|served| served.cert != stored.key.cert) {
        cert.serve(stored.key.clone());
    }
    Some(stored)
}

fn identifier(stored: &ServedCert) -> Option<CertificateIdentifier<'static>> {
    let leaf = stored.key.cert.first()?;
    CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned)
}
