//! Tests over the whole crate, in one binary.

mod codec;
mod layering;
mod lock;
mod sockets;
