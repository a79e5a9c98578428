//! The whole comparison: each request through every column, one after the other.

use super::leg::{self, Leg};
use super::request::{Column, Doors, Request};
use super::tls_client::{Speaks, TlsClient};
use super::trust::Trust;

/// One request with all its columns.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub request: Request,
    pub legs: Vec<Leg>,
}

/// What was observed.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub doors: Doors,
    pub exchanges: Vec<Exchange>,
    pub trust: Trust,
}

/// Sends every request through every column. Each column opens a connection of its own; the resumed one uses a ticket of
/// the one before it. A door that does not answer is a column that says so.
///
/// A certificate nobody vouches for ends the handshake, except on this machine: there the verdict is shown and nothing is
/// lost by going on.
///
/// # Errors
/// The TLS library does not work at all.
pub async fn run(doors: Doors, requests: Vec<Request>, trust: Trust) -> Result<Comparison, rustls::Error> {
    warm_up();
    let proceed = doors.https.ip().is_loopback();
    let mut exchanges = Vec::new();
    for request in requests {
        // One configuration for the full handshake and the resumed one: it holds the tickets.
        let tls13 = TlsClient::new(Speaks::Tls13, &trust, proceed)?;
        let tls12 = TlsClient::new(Speaks::Tls12, &trust, proceed)?;
        let http2 = TlsClient::new(Speaks::Http2, &trust, proceed)?;
        let mut legs = Vec::new();
        for column in Column::ALL {
            let tls = match column {
                Column::Plain => None,
                Column::Tls13 | Column::Resumed => Some(&tls13),
                Column::Tls12 => Some(&tls12),
                Column::Http2 => Some(&http2),
            };
            let mut leg = leg::run(column, doors, &request, tls).await;
            if column == Column::Resumed && leg.failure.is_none() && !leg.tls.as_ref().is_some_and(|tls| tls.resumed) {
                leg.failure = Some("not resumed: the server gave no ticket, or did not take it back".into());
            }
            legs.push(leg);
        }
        exchanges.push(Exchange { request, legs });
    }
    Ok(Comparison { doors, exchanges, trust })
}

/// The cryptography library prepares itself at its first use, which takes tens of milliseconds and belongs to no column.
fn warm_up() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    for group in &provider.kx_groups {
        // A group that cannot be used fails in the column that needs it.
        let _ = group.start();
    }
    let _ = provider.secure_random.fill(&mut [0; 32]);
}
