//! One order, from its names to a certificate (RFC 8555 section 7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType, Error, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};

use super::failure::{Failure, Kind, said};
use super::hook;
use crate::config::{Acme, Challenge};
use crate::tls::{Challenges, Live};

/// How the state of an order is asked for: soon at first, as most servers check within a second.
const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(100)).backoff(1.5).timeout(Duration::from_secs(120));

/// What is ordered, and how the names are proven.
pub(super) struct Wanted<'a> {
    pub settings: &'a Acme,
    pub names: &'a [String],
    pub challenges: &'a Arc<Challenges>,
    /// Challenges to try, the best first.
    pub order: Vec<Challenge>,
    /// The certificate this one takes the place of (RFC 9773 section 5).
    pub replaces: Option<CertificateIdentifier<'static>>,
}

/// A certificate, as the server gave it.
pub(super) struct Issued {
    /// PEM, PKCS#8.
    pub key: String,
    /// PEM, the leaf first.
    pub chain: String,
    /// What the last name was proven by, where one had to be.
    pub challenge: Option<Challenge>,
}

/// What has to be taken back when an order is over. Answers in memory end when they are dropped.
#[derive(Default)]
struct Shown {
    live: Vec<Live>,
    /// Names and values of TXT records.
    records: Vec<(String, String)>,
    last: Option<Challenge>,
}

pub(super) async fn place(account: &Account, wanted: &Wanted<'_>) -> Result<Issued, Failure> {
    let names: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let mut new = NewOrder::new(&names);
    if let Some(profile) = &wanted.settings.profile {
        let offered: Vec<&str> = account.profiles().map(|profile| profile.name).collect();
        if !offered.contains(&profile.as_str()) {
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            return Err(Failure::lasting(format!("acme.profile: the server offers no {profile:?}; it has: {offered}")));
        }
        new = new.profile(profile);
    }
    if let Some(replaces) = &wanted.replaces {
        new = new.replaces(replaces.clone());
    }
    let mut order = account.new_order(&new).await?;
    let mut shown = Shown::default();
    let proven = prove(&mut order, wanted, &mut shown).await;
    for (name, value) in &shown.records {
        if let Err(why) = hook::call(&wanted.settings.dns01_hook, "cleanup", name, value).await {
            tracing::warn!("acme: {why}");
        }
    }
    proven?;
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLLING).await?;
    Ok(Issued { key, chain, challenge: shown.last })
}

/// Shows what each name asks for, and waits until the server has seen it.
async fn prove(order: &mut Order, wanted: &Wanted<'_>, shown: &mut Shown) -> Result<(), Failure> {
    if order.state().status == OrderStatus::Ready {
        return Ok(());
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            other => return Err(Failure::lasting(format!("the authorization for {name} is {other:?}"))),
        }
        // Only a TXT record proves a wildcard (RFC 8555 section 7.1.3).
        let order = if authorization.wildcard { &[Challenge::Dns01][..] } else { &wanted.order };
        let offered = |kind: &Challenge| authorization.challenges.iter().any(|c| c.r#type == kind_of(*kind));
        let Some(kind) = order.iter().copied().find(offered) else {
            return Err(Failure::lasting(format!(
                "the ACME server offers no challenge for {name} that is configured here"
            )));
        };
        let Some(mut challenge) = authorization.challenge(kind_of(kind)) else { continue };
        show(kind, &challenge, wanted, shown).await?;
        challenge.set_ready().await?;
    }
    match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(_) => {
            let words = explain(order).await;
            Err(Failure::lasting(words.unwrap_or_else(|| "the ACME server refused the order without a reason".into())))
        }
        Err(error @ Error::Api(_)) => {
            let failure = Failure::from(error);
            // The server's words on each name say more than those on the order.
            let words = if failure.kind == Kind::Lasting { explain(order).await } else { None };
            Err(words.map_or(failure, Failure::lasting))
        }
        Err(error) => Err(error.into()),
    }
}

fn kind_of(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

async fn show(
    kind: Challenge,
    challenge: &ChallengeHandle<'_>,
    wanted: &Wanted<'_>,
    shown: &mut Shown,
) -> Result<(), Failure> {
    let authorization = challenge.key_authorization();
    let Identifier::Dns(name) = challenge.identifier().identifier else {
        return Err(Failure::lasting("the ACME server asks about something that is no host name"));
    };
    match kind {
        Challenge::Http01 => {
            shown.live.push(wanted.challenges.answer_http(&challenge.token, authorization.as_str()));
        }
        Challenge::TlsAlpn01 => {
            let live = wanted.challenges.answer_tls(name, authorization.digest().as_ref()).map_err(Failure::lasting)?;
            shown.live.push(live);
        }
        Challenge::Dns01 => {
            let (record, value) = (format!("_acme-challenge.{name}"), authorization.dns_value());
            // Noted first: what was set in part is cleaned up too.
            shown.records.push((record.clone(), value.clone()));
            hook::call(&wanted.settings.dns01_hook, "present", &record, &value).await.map_err(Failure::lasting)?;
        }
    }
    shown.last = Some(kind);
    Ok(())
}

/// Why an order is invalid: the server's words on each name that it could not check.
async fn explain(order: &mut Order) -> Option<String> {
    let mut words = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        for challenge in &state.challenges {
            if let Some(problem) = &challenge.error {
                let known = [Challenge::Http01, Challenge::TlsAlpn01, Challenge::Dns01];
                let kind = known.into_iter().find(|kind| kind_of(*kind) == challenge.r#type);
                words.push(format!(
                    "{name} by {}: {}",
                    kind.map_or("an unknown challenge", Challenge::name),
                    said(problem)
                ));
            }
        }
    }
    if words.is_empty() { None } else { Some(words.join("; ")) }
}
