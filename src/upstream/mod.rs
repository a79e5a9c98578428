//! Servers behind the proxy: which one, over which connection, and one exchange with it.
//!
//! What is here belongs to one worker: connections are pooled where they are used. What is known of a server's health, and
//! where its name leads, is shared by atomics (`shared`, `health`, `names`) and looked after by a thread of its own (`keeper`).

mod balance;
mod check;
mod choice;
mod client;
mod cluster;
mod connect;
mod endpoint;
mod exchange;
mod gate;
mod h2;
mod happy_eyeballs;
mod health;
mod keeper;
mod names;
mod request_head;
mod resolve;
mod shared;
mod sticky;
mod upload;

use std::time::Duration;

pub use choice::Choice;
pub use cluster::Cluster;
pub use connect::connect;
pub use endpoint::{Channel, Connection, Endpoint, InFlight, ServerState};
pub use exchange::{Answer, Failure, Ongoing, Retry, exchange};
pub use gate::Gate;
pub use health::State;
pub use keeper::{Keeper, Watched};
pub use request_head::Outgoing;
pub use shared::{Held, Shared};
pub use sticky::Seal;
pub use upload::Upload;

/// Deadlines of one exchange; `None` is "off".
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    pub connect: Option<Duration>,
    pub response_header: Option<Duration>,
    /// How long a request body may stand still once the answer has begun.
    pub body_idle: Option<Duration>,
    pub tunnel_idle: Option<Duration>,
}
