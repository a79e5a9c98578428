//! Accepting connections, without asking for one that is not there.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

/// A listening socket of this runtime.
///
/// The runtime hears of new connections once, so all of them have to be taken. An accept that finds none is one of the
/// dearest system calls there are, since the kernel makes the new socket first: whether one waits is asked before.
#[derive(Debug)]
pub struct Accepting(AsyncFd<TcpListener>);

impl Accepting {
    /// # Errors
    /// The runtime cannot watch the socket, which must not block.
    pub fn new(listener: TcpListener) -> io::Result<Accepting> {
        #[expect(
            deprecated,
            reason = "what the new one wants promised in unsafe code holds: a listener keeps its descriptor"
        )]
        AsyncFd::with_interest(listener, Interest::READABLE).map(Accepting)
    }

    /// The next connection and its other end. Nothing is lost when it is dropped.
    ///
    /// # Errors
    /// As accept(2): the connection has gone again, or there is no room for one more.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            loop {
                let mut ready = std::task::ready!(self.0.poll_read_ready(cx))?;
                match acceptfrom_with(self.0.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Ok((socket, peer)) => {
                        if !waits(self.0.get_ref()) {
                            ready.clear_ready();
                        }
                        // A TCP socket's peer has an address of the internet.
                        let peer = peer.and_then(|peer| peer.try_into().ok()).ok_or(io::ErrorKind::NotConnected)?;
                        return Ok((TcpStream::from_std(socket.into())?, peer)).into();
                    }
                    Err(Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()).into(),
                }
            }
        })
        .await
    }
}

/// One more connection waits. Where the kernel does not say, it is looked for.
fn waits(listener: &TcpListener) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&at_once)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::listener;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn listening() -> (TcpListener, SocketAddr) {
        let any = crate::config::BindAddress::Exact("127.0.0.1:0".parse().unwrap());
        let listener = listener::bind(any, 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn connections_that_came_at_once_and_one_by_one_are_all_taken() {
        let (listener, address) = listening();
        runtime().block_on(async {
            let accepting = Accepting::new(listener).unwrap();
            for crowd in [1, 7, 1, 1, 30] {
                let mut clients: Vec<Client> = (0..crowd).map(|_| Client::connect(address).unwrap()).collect();
                let mut expected: Vec<SocketAddr> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
                let mut peers = Vec::new();
                for _ in 0..crowd {
                    let (mut tcp, peer) = accepting.accept().await.unwrap();
                    tcp.write_all(b"x").await.unwrap();
                    peers.push(peer);
                }
                expected.sort();
                peers.sort();
                assert_eq!(peers, expected);
                clients.iter_mut().for_each(|client| client.read_exact(&mut [0]).unwrap());
            }
        });
    }

    #[test]
    fn an_accept_that_is_given_up_loses_no_connection() {
        let (listener, address) = listening();
        runtime().block_on(async {
            let accepting = Accepting::new(listener).unwrap();
            let nothing = std::time::Duration::from_millis(1);
            assert!(tokio::time::timeout(nothing, accepting.accept()).await.is_err());
            let mut client = Client::connect(address).unwrap();
            let (tcp, _) = accepting.accept().await.unwrap();
            client.write_all(b"here").unwrap();
            tcp.readable().await.unwrap();
            assert_eq!(tcp.try_read(&mut [0; 8]).unwrap(), 4);
        });
    }
}
