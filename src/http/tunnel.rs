//! Two connections joined after a 101: bytes pass both ways, unread.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::wire::Wire;
use crate::net::Deadline;

/// Read size in each direction.
const READ: usize = 8 << 10;

/// The server's side of a tunnel, with what it sent behind its 101.
pub struct Tunnel {
    pub wire: Wire,
    /// Silence after which it is closed; `None` is never.
    pub idle: Option<Duration>,
    /// Dropped when the tunnel ends: what counts it as a request in flight.
    pub guard: Box<dyn std::any::Any>,
    /// The protocol both sides agreed on, as the 101 names it.
    pub protocol: Box<str>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnel({})", self.protocol)
    }
}

/// One direction: read, then write all of it, then read again.
#[derive(Default)]
struct Direction {
    ended: bool,
    closed: bool,
}

impl Direction {
    /// Moves bytes until one side is not ready; ready when the direction is closed or broken.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire, moved: &mut bool) -> Poll<()> {
        while !self.closed {
            match to.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            if !from.input.is_empty() {
                to.put(from.input.split().freeze(), b"");
                *moved = true;
                continue;
            }
            if self.ended {
                match to.poll_shutdown(cx) {
                    Poll::Ready(_) => self.closed = true,
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match from.poll_fill(cx, READ) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => {
                    // A broken side ends the tunnel: the other one is told by its own closing.
                    self.closed = true;
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

/// Passes bytes until both directions are closed, one side breaks, or nothing moved for the tunnel's `idle`.
pub(super) async fn run(mut client: Wire, tunnel: Tunnel, deadline: &Deadline) {
    let Tunnel { wire: mut server, idle, guard: _guard, .. } = tunnel;
    let (mut up, mut down) = (Direction::default(), Direction::default());
    deadline.set(idle);
    poll_fn(|cx| {
        let mut moved = false;
        let up_done = up.poll(cx, &mut client, &mut server, &mut moved).is_ready();
        let down_done = down.poll(cx, &mut server, &mut client, &mut moved).is_ready();
        let broken = (up_done && !up.closed) || (down_done && !down.closed);
        if broken || (up_done && down_done) {
            return Poll::Ready(());
        }
        if moved {
            deadline.set(idle);
        }
        deadline.poll(cx)
    })
    .await;
}
