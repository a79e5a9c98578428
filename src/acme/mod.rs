//! Certificates from an ACME server (RFC 8555), on a thread of their own: the data plane never waits for a CA.
//!
//! [`Manager`] is handed the certificates of each generation. Those in the state folder are served at once; the thread
//! orders what is missing and renews what grows old, one task a certificate. What is shared with handshakes and requests
//! is in [`crate::tls::Managed`].

mod account;
mod client;
mod failure;
mod forecast;
mod hook;
mod keeper;
mod manager;
mod order;
pub mod plan;
pub mod store;

pub use forecast::{Forecast, Why, forecast};
pub use manager::Manager;
