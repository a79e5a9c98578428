//! Happy Eyeballs (RFC 8305, simplified): one slow address of a server does not hold up the others.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// The next address is tried when the last try has not ended after this (RFC 8305 section 5), or has failed.
const DELAY: Duration = Duration::from_millis(250);

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// Connects to the first address that accepts. The sockets of the others are closed. The bound of the whole is the caller's:
/// dropping the future gives up.
///
/// # Errors
/// All addresses failed: that one refused, where one did, else the last failure.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    match addresses {
        [] => Err(io::ErrorKind::AddrNotAvailable.into()),
        [only] => TcpStream::connect(only).await,
        several => race(several).await,
    }
}

async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = interleaved(addresses).into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut failure: Option<io::Error> = None;
    let mut pause = pin!(tokio::time::sleep(Duration::ZERO));
    let mut due = true;
    poll_fn(|cx| {
        loop {
            if due && let Some(address) = waiting.next() {
                attempts.push(Box::pin(TcpStream::connect(address)));
                pause.as_mut().reset(Instant::now() + DELAY);
            }
            due = false;
            let mut connected = None;
            attempts.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(tcp)) => {
                    connected.get_or_insert(tcp);
                    false
                }
                Poll::Ready(Err(error)) => {
                    due = true;
                    // A server that refuses says more than an address this machine cannot use.
                    if failure.as_ref().is_none_or(|known| known.kind() != io::ErrorKind::ConnectionRefused) {
                        failure = Some(error);
                    }
                    false
                }
            });
            if let Some(tcp) = connected {
                return Poll::Ready(Ok(tcp));
            }
            if waiting.len() == 0 {
                if attempts.is_empty() {
                    return Poll::Ready(Err(failure.take().unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into())));
                }
                return Poll::Pending;
            }
            if !due && pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            due = true;
        }
    })
    .await
}

/// The families in turn, beginning with that of the first address (RFC 8305 section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first);
    let mut out = Vec::with_capacity(addresses.len());
    one.reverse();
    other.reverse();
    while !one.is_empty() || !other.is_empty() {
        out.extend(one.pop());
        out.extend(other.pop());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    fn parse(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_first() {
        let mixed = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleaved(&mixed), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]));
        let one = parse(&["1.1.1.1:1", "1.1.1.2:1"]);
        assert_eq!(interleaved(&one), one);
    }

    /// A socket that listens and whose backlog is full, with what fills it: the kernel drops further SYNs.
    fn black_hole() -> (Socket, Vec<Socket>, SocketAddr) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let fill = (0..3).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        });
        (listener, fill.collect(), address.as_socket().unwrap())
    }

    fn listener() -> (std::net::TcpListener, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn refused() -> SocketAddr {
        listener().1
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
        let (_hole, _fill, hole) = black_hole();
        let (_listener, good) = listener();
        let began = Instant::now();
        let tcp = connect(&[hole, good]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
        assert!(began.elapsed() >= DELAY);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_the_next_is_tried_at_once() {
        let (_hole, _fill, hole) = black_hole();
        let (_listener, good) = listener();
        let tcp = connect(&[refused(), refused(), good, hole]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn when_all_refuse_the_answer_is_refused() {
        for addresses in [vec![refused(), refused()], vec![refused()]] {
            assert_eq!(connect(&addresses).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
        assert!(connect(&[]).await.is_err());
    }
}
