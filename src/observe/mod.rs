//! The difference between HTTP and HTTPS, observed: the same request over connections of our own, each with a copy of its
//! bytes, read again as anybody on the way could and as only its two ends can.
//!
//! [`compare::run`] is the function to read first. Nothing here touches the connections of clients.

mod capture;
pub mod compare;
mod cost;
mod cursor;
mod exchange;
mod h2_frames;
pub mod hello;
pub mod html;
pub mod identity;
pub mod inspector;
pub mod json;
pub mod kernel;
pub mod ladder;
mod leg;
pub mod packet;
pub mod pcapng;
mod readable;
pub mod records;
pub mod render;
mod request;
pub mod secrets;
mod table;
pub mod tcp_info;
mod tls_client;
pub mod topics;
pub mod trips;
pub mod trust;

pub use leg::Leg;
pub use request::{Answer, Column, Doors, Request};
