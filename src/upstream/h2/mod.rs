//! HTTP/2 to servers: streams of shared connections.
//!
//! The library speaks the protocol. Here is what a proxy decides: how many connections a server gets, which failures may
//! be tried again, and that neither side is read faster than the other takes.

mod connection;
mod download;
mod exchange;
mod head;
mod pool;
mod sending;

pub(super) use exchange::exchange;
pub(super) use head::as_text as head_as_text;
pub use pool::Lease;
pub(super) use pool::Pool;
