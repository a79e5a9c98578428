#![forbid(unsafe_code)]
//! An HTTP and HTTPS reverse proxy with TLS termination.

pub mod config;
pub mod tls;
