//! Every timeout at a short setting: it ends what it should, not before its time, and says so.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::client::{Client, DOORS, Door, tls};
use super::raw::Conn;
use super::world::{Backend, Kind, Proxy, run};

/// The setting of the timeout under test; all others are long.
const SHORT: Duration = Duration::from_millis(300);
/// Far below every other timeout, and far above what a busy machine adds.
const LONG: Duration = Duration::from_secs(20);

const TIMEOUTS: [&str; 8] = [
    "handshake",
    "request_header",
    "request_body_idle",
    "keep_alive",
    "connect",
    "response_header",
    "response_body_idle",
    "tunnel_idle",
];

/// A proxy whose one short timeout is `short`.
fn proxy(short: &str, target: &str) -> Proxy {
    assert!(TIMEOUTS.contains(&short));
    let settings = TIMEOUTS.map(|name| format!("{name} = \"{}\"", if name == short { "300ms" } else { "60s" }));
    Proxy::start(&format!(
        "[defaults]\nhttp = \"serve\"\ntimeouts = {{ {} }}\n[sites]\n\"a.localhost\" = \"{target}\"\n",
        settings.join(", ")
    ))
}

/// It took as long as the timeout under test and not as long as another.
fn assert_took(began: Instant, place: &str) {
    let took = began.elapsed();
    // The proxy's clock is that of its worker's last wake-up, so it may be some milliseconds behind.
    assert!(took >= SHORT - Duration::from_millis(20) && took < LONG, "{place}: {took:?}");
}

/// A connection to an HTTP/1.1 door.
async fn open(proxy: &Proxy, door: Door) -> Conn {
    match door {
        Door::Plain => Conn::connect(proxy.http).await,
        _ => Conn::new(tls(proxy.https, &proxy.root, "a.localhost", b"http/1.1").await),
    }
}

#[test]
fn a_client_that_sends_no_handshake_is_let_go() {
    run(async {
        let proxy = proxy("handshake", "127.0.0.1:9");
        for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
            let began = Instant::now();
            let mut conn = Conn::connect(proxy.https).await;
            conn.send(sent).await;
            conn.closed().await;
            assert_took(began, &format!("{sent:?}"));
        }
    });
}

#[test]
fn a_head_that_does_not_end_is_a_408_and_silence_is_closed() {
    run(async {
        let proxy = proxy("request_header", "127.0.0.1:9");
        for door in [Door::Plain, Door::Tls] {
            let began = Instant::now();
            let mut conn = open(&proxy, door).await;
            conn.send(b"GET / HTTP/1.1\r\nHost: a.localh").await;
            let answer = conn.response().await.expect("an answer");
            assert_eq!((answer.status(), answer.why()), (408, "timeout.request_header"), "{door:?}");
            assert_took(began, "a part");
            conn.closed().await;

            let began = Instant::now();
            let mut conn = open(&proxy, door).await;
            assert!(conn.rest().await.is_empty(), "{door:?}");
            assert_took(began, "silence");
        }
    });
}

#[test]
fn a_head_that_drips_in_is_ended_all_the_same() {
    run(async {
        let proxy = proxy("request_header", "127.0.0.1:9");
        let began = Instant::now();
        let mut conn = Conn::connect(proxy.http).await;
        conn.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX: ").await;
        let mut drip = tokio::time::interval(Duration::from_millis(20));
        let answer = loop {
            tokio::select! {
                biased;
                head = conn.head() => break head.expect("an answer"),
                _ = drip.tick() => {}
            }
            conn.send(b"x").await;
        };
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_took(began, "dripping");
    });
}

#[test]
fn a_connection_without_a_next_request_is_closed() {
    run(async {
        let backend = Backend::echo(Kind::Tcp).await;
        let proxy = proxy("keep_alive", &backend.target);
        for door in [Door::Plain, Door::Tls] {
            let mut conn = open(&proxy, door).await;
            conn.send(b"GET /size/1 HTTP/1.1\r\nHost: a.localhost\r\n\r\n").await;
            assert_eq!(conn.response().await.expect("an answer").status(), 200);
            let began = Instant::now();
            assert!(conn.rest().await.is_empty(), "{door:?}");
            assert_took(began, &format!("{door:?}"));
        }
    });
}

#[test]
fn a_body_that_stalls_is_a_408() {
    run(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let backend = Backend::echo(kind).await;
            let proxy = proxy("request_body_idle", &backend.target);
            for door in [Door::Plain, Door::Tls] {
                for (framing, part) in [("Content-Length: 10", "123"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
                    let mut conn = open(&proxy, door).await;
                    let head = format!("POST / HTTP/1.1\r\nHost: a.localhost\r\n{framing}\r\n\r\n{part}");
                    let began = Instant::now();
                    conn.send(head.as_bytes()).await;
                    let answer = conn.response().await.expect("an answer");
                    assert_eq!((answer.status(), answer.why()), (408, "timeout.request_body"), "{door:?} {kind:?}");
                    assert_took(began, framing);
                }
            }
        }
    });
}

/// An address whose queue of waiting connections is full, so that the kernel answers no further connect, with what fills
/// it.
fn full_queue() -> (SocketAddr, Vec<Box<dyn Send>>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("a listening socket");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let mut held: Vec<Box<dyn Send>> = vec![Box::new(socket)];
    for _ in 0..20 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => held.push(Box::new(stream)),
            Err(error) if error.kind() == ErrorKind::TimedOut => return (address, held),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the queue does not fill");
}

#[test]
fn a_server_that_accepts_no_connection_is_a_504() {
    run(async {
        let (address, held) = full_queue();
        let proxy = proxy("connect", &address.to_string());
        for door in DOORS {
            let mut client = Client::open(&proxy, door, "a.localhost").await;
            let began = Instant::now();
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.why()), (504, "upstream.connect_timeout"), "{door:?}");
            assert_took(began, &format!("{door:?}"));
        }
        drop(held);
    });
}

#[test]
fn a_server_that_does_not_answer_is_a_504() {
    run(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let backend = Backend::start(kind, |mut conn: Conn, _| async move {
                conn.request().await;
                conn.closed().await;
            })
            .await;
            let proxy = proxy("response_header", &backend.target);
            for door in DOORS {
                let mut client = Client::open(&proxy, door, "a.localhost").await;
                let began = Instant::now();
                let answer = client.get("/").await;
                assert_eq!((answer.status, answer.why()), (504, "upstream.header_timeout"), "{door:?} {kind:?}");
                assert_took(began, &format!("{door:?}"));
            }
        }
    });
}

#[test]
fn an_answer_that_stalls_is_cut() {
    run(async {
        for kind in [Kind::Tcp, Kind::Unix] {
            let backend = Backend::start(kind, |mut conn: Conn, _| async move {
                conn.request().await;
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
                conn.closed().await;
            })
            .await;
            let proxy = proxy("response_body_idle", &backend.target);
            for door in DOORS {
                let mut client = Client::open(&proxy, door, "a.localhost").await;
                let began = Instant::now();
                let answer = client.get("/").await;
                assert_eq!((answer.status, answer.whole, &answer.body[..]), (200, false, &b"abc"[..]), "{door:?}");
                assert_took(began, &format!("{door:?}"));
            }
        }
    });
}

#[test]
fn a_silent_tunnel_is_closed_and_one_that_speaks_is_not() {
    run(async {
        let backend = Backend::start(Kind::Tcp, |mut conn: Conn, _| async move {
            conn.head().await;
            conn.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
            let mut tick = tokio::time::interval(SHORT / 6);
            for _ in 0..12 {
                tick.tick().await;
                conn.send(b".").await;
            }
            conn.closed().await;
        })
        .await;
        let proxy = proxy("tunnel_idle", &backend.target);
        for door in [Door::Plain, Door::Tls] {
            let mut conn = open(&proxy, door).await;
            conn.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
            let head = conn.head().await.expect("an answer");
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let began = Instant::now();
            assert_eq!(conn.rest().await, [b'.'; 12], "{door:?}");
            assert_took(began, &format!("{door:?}"));
        }
    });
}
