//! Sockets: where connections come from, what they are made of, and what time it is for them.

mod accepting;
mod ahead;
mod background;
pub mod clock;
mod copy;
mod deadline;
pub mod holder;
mod io;
pub mod listener;
pub mod proxy_protocol;
mod socket;
pub mod tap;

pub use accepting::Accepting;
pub use background::Background;
pub use deadline::Deadline;
pub use io::Io;
pub use socket::{Socket, choose_congestion_control};
