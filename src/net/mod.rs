//! Sockets: where connections come from, what they are made of, and what time it is for them.

mod background;
pub mod clock;
mod deadline;
pub mod holder;
mod io;
pub mod listener;
pub mod proxy_protocol;
pub mod tap;

pub use background::Background;
pub use deadline::Deadline;
pub use io::Io;
