//! The kinds of byte stream behind one type, so that everything above is compiled once and calls nothing indirectly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// One connection's bytes in clear: a plain socket, or what TLS makes of it.
#[derive(Debug)]
pub enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// The TCP socket underneath, where there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Io::Tcp(tcp) => Some(tcp),
            Io::Tls(tls) => Some(tls.get_ref().0),
            Io::Unix(_) => None,
        }
    }

    /// True when the peer has closed or sent something unasked while the connection was idle, as far as the runtime has
    /// heard (`ask_kernel`: asks the kernel too, at the price of a system call).
    pub fn is_stale(&self, ask_kernel: bool) -> bool {
        let mut byte = [0u8; 1];
        let read = match self {
            Io::Tcp(tcp) if ask_kernel => socket2::SockRef::from(tcp).recv(&mut [std::mem::MaybeUninit::uninit(); 1]),
            Io::Unix(unix) if ask_kernel => {
                socket2::SockRef::from(unix).recv(&mut [std::mem::MaybeUninit::uninit(); 1])
            }
            Io::Tcp(tcp) => tcp.try_read(&mut byte),
            Io::Unix(unix) => unix.try_read(&mut byte),
            Io::Tls(_) => return false,
        };
        // Any answer but "nothing yet" ends the connection: bytes nobody asked for belong to no request.
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tcp($io) => $call,
            Io::Unix($io) => $call,
            Io::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}
