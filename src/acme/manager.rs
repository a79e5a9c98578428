//! The thread of ACME, as the control side sees it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::account::Accounts;
use super::client::Client;
use super::keeper::{Common, Keeper, serve_stored};
use super::store::Store;
use crate::config::{Acme, Origin};
use crate::net::Background;
use crate::tls::{Challenges, ManagedCert};

/// Orders at a time: servers limit their number over time, and a thousand sites may begin at once.
const AT_A_TIME: usize = 4;

/// Hands the certificates of each generation to the thread that looks after them. The thread starts with the first one.
pub struct Manager {
    thread: Background<Work>,
}

impl Default for Manager {
    fn default() -> Manager {
        Manager { thread: Background::new("acme") }
    }
}

/// What is to be looked after from now on.
struct Work {
    settings: Acme,
    store: Store,
    certs: Vec<Arc<ManagedCert>>,
    challenges: Arc<Challenges>,
}

impl Manager {
    /// Serves what the state folder has of these certificates, and has the rest ordered. Nothing is waited for but the
    /// folder. What is not in the list any more is left alone from now on.
    pub fn adopt(&mut self, settings: Option<&Acme>, certs: &[Arc<ManagedCert>], challenges: &Arc<Challenges>) {
        let Some(settings) = settings.filter(|_| !certs.is_empty()) else {
            // The thread ends with its channel.
            self.thread.end();
            return;
        };
        let refuse = |why: &str| {
            certs.iter().for_each(|cert| cert.say(why));
            tracing::error!("acme: no certificate can be ordered: {why}");
        };
        let Some(store) = Store::of(&settings.directory) else {
            return refuse("there is no state folder: set VESTIBULE_STATE_DIR");
        };
        for cert in certs.iter().filter(|cert| cert.key().is_none()) {
            serve_stored(&store, cert);
        }
        if let Err(error) = store.open() {
            return refuse(&format!("the state folder {} cannot be written: {error}", store.folder().display()));
        }
        let work = Work { settings: settings.clone(), store, certs: certs.to_vec(), challenges: challenges.clone() };
        if let Err(why) = self.thread.send(work, look_after) {
            refuse(&format!("the thread of ACME: {why}"));
        }
    }
}

/// One task a certificate. New settings begin them anew; otherwise those that stay go on with what they do.
async fn look_after(mut work: mpsc::UnboundedReceiver<Work>) {
    let mut common: Option<Arc<Common>> = None;
    let mut tasks: HashMap<Vec<String>, JoinHandle<()>> = HashMap::new();
    while let Some(Work { settings, store, certs, challenges }) = work.recv().await {
        let settings = without_places(settings);
        let shared = match common.take().filter(|before| before.settings == settings) {
            Some(same) => same,
            None => {
                tasks.drain().for_each(|(_, task)| task.abort());
                let client = match Client::new(&settings) {
                    Ok(client) => client,
                    Err(why) => {
                        certs.iter().for_each(|cert| cert.say(&why));
                        tracing::error!("acme: no certificate can be ordered: {why}");
                        continue;
                    }
                };
                let permits = Semaphore::new(AT_A_TIME);
                Arc::new(Common { settings, client, store, accounts: Accounts::default(), challenges, permits })
            }
        };
        tasks.retain(|names, task| {
            let stays = certs.iter().any(|cert| cert.names() == names.as_slice());
            if !stays {
                task.abort();
            }
            stays && !task.is_finished()
        });
        for cert in certs {
            let keep = || tokio::spawn(Keeper::new(shared.clone(), cert.clone()).run());
            tasks.entry(cert.names().to_vec()).or_insert_with(keep);
        }
        common = Some(shared);
    }
}

/// Settings that compare by what they say, not by where it stands in the file.
fn without_places(mut settings: Acme) -> Acme {
    settings.origin = Origin::default();
    if let Some((_, origin)) = &mut settings.ca_root {
        *origin = Origin::default();
    }
    settings
}
