//! Two connections joined after a 101: bytes pass both ways, unread.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::term::Standing;
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
    /// What it depends on.
    pub standing: Standing,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnel({})", self.protocol)
    }
}

/// One end of a tunnel.
pub(super) trait Side {
    /// Bytes that have come; none when the peer says no more. Asked again, it means that the last ones were taken.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Takes `data` and what was taken before out of the way; ready when all is on its way to the peer.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>>;

    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the peer has broken the tunnel off, where that shows without reading or writing.
    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// The other side broke: says so where there is a way that loses nothing on its way.
    fn abort(&mut self) {}

    /// The tunnel is over, whatever is on its way: it must not look like an orderly end.
    fn cut(&mut self) {
        self.abort();
    }
}

impl Side for Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.input.is_empty() {
            ready!(self.poll_fill(cx, READ))?;
        }
        Poll::Ready(Ok(self.input.split().freeze()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.put(std::mem::take(data), b"");
        self.poll_flush(cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Wire::poll_shutdown(self, cx)
    }

    /// A reset in place of FIN, where the socket has one.
    fn cut(&mut self) {
        if let Some(tcp) = self.io.tcp() {
            let _ = tcp.set_zero_linger();
        }
    }
}

/// Which end broke a tunnel.
enum Broken {
    From,
    To,
    Idle,
    /// What it depends on is over.
    Over,
}

/// One direction: read, then write all of it, then read again.
#[derive(Default)]
struct Direction {
    held: Bytes,
    ended: bool,
    closed: bool,
}

impl Direction {
    /// Moves bytes until one side is not ready; ready when the direction is closed.
    fn poll<F: Side, T: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
        moved: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        while !self.closed {
            let held = !self.held.is_empty();
            let written = to.poll_write(cx, &mut self.held);
            *moved |= held;
            ready!(written).map_err(|_| Broken::To)?;
            if self.ended {
                // A peer that does not want to hear the end has closed: that is an end too.
                let _ = ready!(to.poll_shutdown(cx));
                self.closed = true;
                break;
            }
            self.held = ready!(from.poll_read(cx)).map_err(|_| Broken::From)?;
            self.ended = self.held.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

/// Passes bytes until both directions are closed, one side breaks, nothing moved for the tunnel's `idle`, or what it depends on
/// is over.
pub(super) async fn run<C: Side>(mut client: C, tunnel: Tunnel, deadline: &Deadline) {
    let Tunnel { wire: mut server, idle, guard: _guard, standing, .. } = tunnel;
    let (mut up, mut down) = (Direction::default(), Direction::default());
    deadline.set(idle);
    standing.settle();
    let end = poll_fn(|cx| {
        if standing.over().is_some() {
            return Poll::Ready(Err(Broken::Over));
        }
        let mut moved = false;
        let up_done = up.poll(cx, &mut client, &mut server, &mut moved)?;
        let down_done = down.poll(cx, &mut server, &mut client, &mut moved).map_err(|broken| match broken {
            Broken::From => Broken::To,
            Broken::To => Broken::From,
            other => other,
        })?;
        if up_done.is_ready() && down_done.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if client.poll_broken(cx).is_ready() {
            return Poll::Ready(Err(Broken::From));
        }
        if moved {
            deadline.set(idle);
        }
        deadline.poll(cx).map(|()| Err(Broken::Idle))
    })
    .await;
    match end {
        Err(Broken::From) => server.cut(),
        Err(Broken::To) => client.abort(),
        Err(Broken::Over) => {
            client.cut();
            server.cut();
        }
        Err(Broken::Idle) | Ok(()) => {}
    }
}
