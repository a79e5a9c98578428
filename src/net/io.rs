//! The kinds of byte stream behind one type, so that everything above is compiled once and calls nothing indirectly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::Socket;
use super::copy::{PIECE, put_in_pieces};

/// One connection's bytes in clear: a plain socket, or what TLS makes of it.
#[derive(Debug)]
pub enum Io {
    Tcp(Socket),
    Unix(UnixStream),
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    /// The TCP socket underneath, where there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Io::Tcp(socket) => Some(socket.tcp()),
            Io::Tls(tls) => Some(tls.get_ref().0.tcp()),
            Io::Unix(_) => None,
        }
    }

    /// Ready when a read may find something, without a buffer to read into.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Tcp(socket) => socket.tcp().poll_read_ready(cx),
            Io::Unix(unix) => unix.poll_read_ready(cx),
            Io::Tls(tls) => Pin::new(&mut **tls).poll_fill_buf(cx).map_ok(|_| ()),
        }
    }

    /// Ready when the socket itself has something to say: bytes, the end, an error. Nothing is read, and TLS is not asked.
    pub fn poll_socket(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Tcp(socket) => socket.tcp().poll_read_ready(cx),
            Io::Unix(unix) => unix.poll_read_ready(cx),
            Io::Tls(tls) => tls.get_ref().0.tcp().poll_read_ready(cx),
        }
    }

    /// TLS holds bytes that the socket has not taken: what was written is not out yet.
    pub fn holds(&self) -> bool {
        matches!(self, Io::Tls(tls) if tls.get_ref().1.wants_write())
    }

    /// What is written from here on is the last: it waits for the end of the stream, which [`AsyncWrite::poll_shutdown`]
    /// is to write at once behind it, so that both leave in one packet.
    pub fn hold(&mut self) {
        match self {
            Io::Tcp(socket) => socket.hold(),
            Io::Tls(tls) => tls.get_mut().0.hold(),
            Io::Unix(_) => {}
        }
    }

    /// True when the peer has closed or sent something unasked while the connection was idle, as far as the runtime has
    /// heard (`ask_kernel`: asks the kernel too, at the price of a system call).
    pub fn is_stale(&mut self, ask_kernel: bool) -> bool {
        let mut byte = [0u8; 1];
        let read = match self {
            Io::Tcp(socket) if ask_kernel => {
                socket2::SockRef::from(socket.tcp()).recv(&mut [std::mem::MaybeUninit::uninit(); 1])
            }
            Io::Unix(unix) if ask_kernel => {
                socket2::SockRef::from(&*unix).recv(&mut [std::mem::MaybeUninit::uninit(); 1])
            }
            Io::Tcp(socket) => socket.tcp().try_read(&mut byte),
            Io::Unix(unix) => unix.try_read(&mut byte),
            Io::Tls(tls) => return is_tls_stale(tls, ask_kernel),
        };
        // Any answer but "nothing yet" ends the connection: bytes nobody asked for belong to no request.
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// As [`Io::is_stale`] for TLS: messages of its own, such as tickets, may come at any time and are taken in. What the kernel
/// holds beyond them is the end or an alert, as far as can be told without a read.
fn is_tls_stale(tls: &mut TlsStream<Socket>, ask_kernel: bool) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    if Pin::new(&mut *tls).poll_fill_buf(&mut cx).is_ready() {
        return true;
    }
    if !ask_kernel {
        return false;
    }
    let peeked = socket2::SockRef::from(tls.get_ref().0.tcp()).peek(&mut [std::mem::MaybeUninit::uninit(); 1]);
    !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Pieces of one write.
const PIECES: usize = 64;

/// Hands data to TLS in pieces of [`PIECE`].
fn write_in_pieces(
    tls: &mut TlsStream<Socket>,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut pieces = [io::IoSlice::new(&[]); PIECES];
    let mut count = 0;
    for (to, from) in pieces.iter_mut().zip(bufs.iter().flat_map(|buf| buf.chunks(PIECE))) {
        *to = io::IoSlice::new(from);
        count += 1;
    }
    Pin::new(tls).poll_write_vectored(cx, &pieces[..count])
}

/// Room in a buffer that is there for a large body.
const LARGE: usize = 32 << 10;

/// Takes decrypted data out of TLS in pieces of [`PIECE`].
fn read_in_pieces(tls: &mut TlsStream<Socket>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    tls.get_mut().0.read_ahead(buf.remaining() >= LARGE);
    let mut tls = Pin::new(tls);
    let mut any = false;
    while buf.remaining() > 0 {
        let data = match tls.as_mut().poll_fill_buf(cx) {
            Poll::Ready(Ok(data)) => data,
            // What has been read is handed out first; the error or the end shows at the next read.
            _ if any => break,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let take = data.len().min(buf.remaining());
        if take == 0 {
            break;
        }
        put_in_pieces(buf, &data[..take]);
        tls.as_mut().consume(take);
        any = true;
    }
    Poll::Ready(Ok(()))
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
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(tls) => read_in_pieces(tls, cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Io::Unix(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(tls) if buf.len() > PIECE => write_in_pieces(tls, cx, &[io::IoSlice::new(buf)]),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Unix(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(tls) => write_in_pieces(tls, cx, bufs),
        }
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
