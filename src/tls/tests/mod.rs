//! Tests of the whole room: files made per run, real sockets, the `openssl` command as the other side.

mod dev;
mod examine;
mod files;
mod handshake;
mod managed;
mod store;
pub(super) mod support;
mod unusable;
