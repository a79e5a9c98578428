//! The proxy in this process, over real sockets on ports of the kernel's choice: every door, every kind of backend.

mod client;
mod exchange;
mod raw;
mod retries;
mod timeouts;
mod world;
