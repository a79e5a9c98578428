//! A TCP socket whose last bytes can wait for what comes behind them, so that both leave in one packet, and which can read
//! more at once than it is asked for.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::ahead::{self, Ahead};

/// The first byte of an encrypted TLS 1.3 record (RFC 8446 section 5.2).
const ENCRYPTED: u8 = 23;

/// A connected TCP socket.
#[derive(Debug)]
pub struct Socket {
    tcp: TcpStream,
    holds: Holds,
    reads_ahead: bool,
    ahead: Option<Box<Ahead>>,
}

/// Which bytes the kernel keeps, for 200 ms at most, until others or the end of the stream follow (`MSG_MORE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    /// What begins like an encrypted record. In a server's handshake only session tickets do: nobody needs them before the
    /// first answer.
    Encrypted,
    Everything,
}

impl Socket {
    pub fn new(tcp: TcpStream) -> Socket {
        Socket { tcp, holds: Holds::Nothing, reads_ahead: false, ahead: None }
    }

    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Session tickets of the TLS handshake that begins wait for the first answer.
    pub fn hold_tickets(&mut self) {
        self.holds = Holds::Encrypted;
    }

    /// What is written from here on waits for the end of the stream, which is to be written at once behind it.
    pub fn hold(&mut self) {
        self.holds = Holds::Everything;
    }

    /// What is written from here on leaves at once.
    pub fn hold_nothing(&mut self) {
        self.holds = Holds::Nothing;
    }

    /// Whether a read takes more than it is asked for, where more is there. What was taken stays first in line.
    pub fn read_ahead(&mut self, on: bool) {
        self.reads_ahead = on;
    }

    fn flags(&self, first: &[u8]) -> SendFlags {
        match self.holds {
            Holds::Everything => SendFlags::NOSIGNAL | SendFlags::MORE,
            Holds::Encrypted if first.first() == Some(&ENCRYPTED) => SendFlags::NOSIGNAL | SendFlags::MORE,
            _ => SendFlags::NOSIGNAL,
        }
    }

    /// Writes as soon as the socket takes something. `length`: how much it is asked to take.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        length: usize,
        mut send: impl FnMut() -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut part = None;
            let sent = self.tcp.try_io(Interest::WRITABLE, || match send()? {
                // The kernel is full. Known to the runtime now, the next write does not ask in vain.
                sent if sent < length => {
                    part = Some(sent);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                sent => Ok(sent),
            });
            match (sent, part) {
                (_, Some(part)) => return Poll::Ready(Ok(part)),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?
                }
                (Err(error), None) if error.kind() == io::ErrorKind::Interrupted => {}
                (sent, None) => return Poll::Ready(sent),
            }
        }
    }
}

/// A connection with an end on a loopback address shares its line with nobody. What the system does for those that do, such as the
/// pacing of BBR, would only cost time: 3 to 4 % of a large body's. The simplest algorithm is taken, which is always there.
pub fn choose_congestion_control(socket: impl AsFd, end: IpAddr) {
    if end.to_canonical().is_loopback() {
        // It works with any other one too.
        let _ = rustix::net::sockopt::set_tcp_congestion(socket, "reno");
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if let Some(ahead) = socket.ahead.take() {
            socket.ahead = ahead.give(buf);
            return Poll::Ready(Ok(()));
        }
        if !socket.reads_ahead {
            return Pin::new(&mut socket.tcp).poll_read(cx, buf);
        }
        socket.ahead = ready!(ahead::poll_read(&mut socket.tcp, cx, buf))?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let flags = self.flags(buf);
        self.poll_send(cx, buf.len(), || send(&self.tcp, buf, flags))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let flags = self.flags(bufs.first().map_or(&[], |first| first));
        let length = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_send(cx, length, || sendmsg(&self.tcp, bufs, &mut SendAncillaryBuffer::default(), flags))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
