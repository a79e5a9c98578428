#![forbid(unsafe_code)]
//! An HTTP and HTTPS reverse proxy with TLS termination.

pub mod acme;
pub mod check;
pub mod cli;
pub mod config;
pub mod error;
pub mod explain;
pub mod filter;
pub mod h1;
pub mod http;
pub mod init;
pub mod inspect;
pub mod message;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod tls;
pub mod trust;
pub mod upstream;
