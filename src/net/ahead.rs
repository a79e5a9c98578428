//! Bytes read from a socket before anybody asked for them.
//!
//! The TLS library asks for 4 KiB where it has nothing of a record yet, and for 4 KiB more each time: five system calls for
//! a record of 16 KiB that a client sends alone. While a large body comes in, one call takes what is there.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::copy::put_in_pieces;

/// Bytes read at once: as many as a large body is read by, and four records.
const SIZE: usize = 64 << 10;
/// Buffers that a worker keeps.
const SPARES: usize = 4;

thread_local! {
    #[expect(clippy::vec_box, reason = "they go to connections, which keep a pointer, and come back as they are")]
    static SPARE: RefCell<Vec<Box<Ahead>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that wait to be asked for. A connection that has none holds no more than a pointer.
#[derive(Debug)]
pub(super) struct Ahead {
    bytes: Box<[u8]>,
    taken: usize,
    filled: usize,
}

/// Reads once, more than `buf` has room for. What does not fit is returned for the next time.
pub(super) fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<Option<Box<Ahead>>>> {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    let mut ahead = spare.unwrap_or_else(|| Box::new(Ahead { bytes: vec![0; SIZE].into(), taken: 0, filled: 0 }));
    let mut space = ReadBuf::new(&mut ahead.bytes);
    let read = Pin::new(io).poll_read(cx, &mut space);
    (ahead.taken, ahead.filled) = (0, space.filled().len());
    let rest = ahead.give(buf);
    ready!(read)?;
    Poll::Ready(Ok(rest))
}

impl Ahead {
    /// Hands over as many bytes as `buf` has room for, and what is left of them.
    pub(super) fn give(mut self: Box<Self>, buf: &mut ReadBuf<'_>) -> Option<Box<Ahead>> {
        let waiting = &self.bytes[self.taken..self.filled];
        let count = waiting.len().min(buf.remaining());
        put_in_pieces(buf, &waiting[..count]);
        self.taken += count;
        if self.taken < self.filled {
            return Some(self);
        }
        // At the end of a thread there is nobody to keep it for.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARES {
                spare.push(self);
            }
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::net::Socket;

    fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tcp, _) = listener.accept().unwrap();
        tcp.set_nonblocking(true).unwrap();
        (client, Socket::new(tokio::net::TcpStream::from_std(tcp).unwrap()))
    }

    /// Waits until the kernel has all that was sent.
    async fn arrived(socket: &Socket, count: usize) {
        let mut space = vec![0; count];
        while socket.tcp().peek(&mut space).await.unwrap() < count {
            tokio::task::yield_now().await;
        }
    }

    fn some_bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 7 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn one_call_takes_what_the_kernel_has_and_the_next_reads_get_it_in_order() {
        let (mut client, mut socket) = pair();
        let sent = some_bytes(20_000);
        client.write_all(&sent).unwrap();
        arrived(&socket, sent.len()).await;
        socket.read_ahead(true);
        let mut first = [0; 1000];
        assert_eq!(socket.read(&mut first).await.unwrap(), 1000);
        // Nothing but the end is left in the kernel, and the end does not overtake.
        client.shutdown(Shutdown::Write).unwrap();
        socket.read_ahead(false);
        assert_eq!(socket.tcp().peek(&mut [0; 1]).await.unwrap(), 0);
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!([&first[..], &rest].concat(), sent);
    }

    #[tokio::test]
    async fn a_socket_that_does_not_read_ahead_leaves_the_rest_in_the_kernel() {
        let (mut client, mut socket) = pair();
        client.write_all(&some_bytes(2000)).unwrap();
        arrived(&socket, 2000).await;
        assert_eq!(socket.read(&mut [0; 1000]).await.unwrap(), 1000);
        assert_eq!(socket.tcp().peek(&mut [0; 2000]).await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn more_than_fits_at_once_arrives_whole_whatever_the_size_of_the_reads() {
        for size in [1, 4096, 5000, SIZE, 3 * SIZE] {
            let (mut client, mut socket) = pair();
            let sent = some_bytes(5 * SIZE / 2 + 17);
            let writer = std::thread::spawn({
                let sent = sent.clone();
                move || {
                    client.write_all(&sent).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    client.read_to_end(&mut answer).unwrap();
                }
            });
            let (mut got, mut buf) = (Vec::new(), vec![0; size]);
            socket.read_ahead(true);
            while let count @ 1.. = socket.read(&mut buf).await.unwrap() {
                got.extend_from_slice(&buf[..count]);
            }
            assert_eq!(got, sent, "reads of {size}");
            drop(socket);
            writer.join().unwrap();
        }
    }
}
