//! Accounts: opened once a server and process, stored in the state folder, opened anew where the server forgot them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::client::Client;
use super::failure::{Failure, Kind};
use super::store::Store;
use crate::config::Acme;

/// How often the lock of another process that opens the account is tried again.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// The open accounts of a process, by the URL of the directory. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Accounts(Arc<Mutex<HashMap<String, Account>>>);

impl Accounts {
    /// The account at a server. Callers that come at once get the same one.
    pub async fn open(
        &self,
        directory: &str,
        settings: &Acme,
        store: &Store,
        client: &Client,
    ) -> Result<Account, Failure> {
        let mut open = self.0.lock().await;
        if let Some(account) = open.get(directory) {
            return Ok(account.clone());
        }
        let account = stored_or_new(directory, settings, store, client).await?;
        open.insert(directory.to_owned(), account.clone());
        Ok(account)
    }

    /// Lets the next order ask the server for its directory again.
    pub async fn close(&self, directory: &str) {
        self.0.lock().await.remove(directory);
    }
}

async fn stored_or_new(directory: &str, settings: &Acme, store: &Store, client: &Client) -> Result<Account, Failure> {
    let io =
        |error: std::io::Error| Failure::lasting(format!("the ACME account in {}: {error}", store.folder().display()));
    let _held = loop {
        match store.lock("account").map_err(io)? {
            Some(held) => break held,
            None => tokio::time::sleep(LOCK_POLL).await,
        }
    };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    if let Some(text) = store.account().map_err(io)? {
        let credentials: AccountCredentials = serde_json::from_str(&text)
            .map_err(|error| Failure::lasting(format!("account.json in {}: {error}", store.folder().display())))?;
        return builder.from_credentials(credentials).await.map_err(Failure::from);
    }
    let contact = settings.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new =
        NewAccount { contact: &contact, terms_of_service_agreed: settings.accept_terms, only_return_existing: false };
    let eab = settings.eab.as_ref().filter(|_| directory == settings.directory);
    let eab = eab.map(|eab| ExternalAccountKey::new(eab.key_id.clone(), &eab.hmac_key.0));
    let (account, credentials) =
        builder.create(&new, directory.to_owned(), eab.as_ref()).await.map_err(Failure::from)?;
    let text = serde_json::to_string(&credentials).map_err(|error| Failure::lasting(error.to_string()))?;
    store.save_account(&text).map_err(io)?;
    tracing::info!("acme: opened the account {}", account.id());
    Ok(account)
}

/// What follows from a failure for the account: one that the server does not know is put aside, and the next try opens a
/// new one.
pub(super) async fn after(failure: &mut Failure, accounts: &Accounts, directory: &str, store: &Store) {
    accounts.close(directory).await;
    if failure.kind == Kind::NoAccount {
        match store.forget_account() {
            Ok(()) => failure.kind = Kind::Passing,
            Err(error) => failure.words += &format!("; account.json cannot be put aside: {error}"),
        }
    }
}
