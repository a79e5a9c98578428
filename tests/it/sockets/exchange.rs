//! Requests and answers through every door, to every kind of backend.

use std::time::Duration;

use super::client::{Client, DOORS, Door, empty, pieces, whole};
use super::raw::Conn;
use super::world::{Backend, Kind, Proxy, pattern, run};

/// Larger than every buffer on the way.
const LARGE: usize = 300_000;

/// A site for each kind of backend.
fn sites(tcp: &Backend, unix: &Backend) -> String {
    format!(
        "[defaults]\nhttp = \"serve\"\n[sites]\n\"tcp.localhost\" = \"{}\"\n\"unix.localhost\" = \"{}\"\n",
        tcp.target, unix.target
    )
}

/// Runs a check for each door and each kind of backend, with a name for its failures.
async fn everywhere(check: impl AsyncFn(&mut Client, &str)) {
    let (tcp, unix) = (Backend::echo(Kind::Tcp).await, Backend::echo(Kind::Unix).await);
    let proxy = Proxy::start(&sites(&tcp, &unix));
    for door in DOORS {
        for host in ["tcp.localhost", "unix.localhost"] {
            let mut client = Client::open(&proxy, door, host).await;
            check(&mut client, &format!("{door:?}, {host}")).await;
        }
    }
}

#[test]
fn a_get_brings_the_backends_answer_whatever_its_framing() {
    run(everywhere(async |client, place| {
        for path in [
            "/size/0",
            "/size/10",
            "/chunked/0",
            "/chunked/10",
            &format!("/size/{LARGE}"),
            &format!("/chunked/{LARGE}"),
        ] {
            let answer = client.get(path).await;
            let count: usize = path.rsplit('/').next().and_then(|count| count.parse().ok()).expect("a count");
            assert_eq!((answer.status, answer.whole), (200, true), "{place} {path}");
            assert!(answer.body == pattern(count), "{place} {path}: {} bytes", answer.body.len());
            assert_eq!(answer.field("x-line"), format!("GET {path} HTTP/1.1"), "{place}");
        }
    }));
}

#[test]
fn a_head_brings_the_length_and_no_body_and_the_connection_goes_on() {
    run(everywhere(async |client, place| {
        let answer = client.ask("HEAD", "/size/10", &[], empty()).await;
        assert_eq!((answer.status, answer.field("content-length"), answer.body.len()), (200, "10", 0), "{place}");
        let chunked = client.ask("HEAD", "/chunked/10", &[], empty()).await;
        assert_eq!((chunked.status, chunked.body.len()), (200, 0), "{place}");
        assert_eq!(client.get("/size/3").await.body, pattern(3), "{place}");
    }));
}

#[test]
fn a_post_reaches_the_backend_octet_by_octet_and_keeps_its_framing() {
    run(everywhere(async |client, place| {
        for count in [1, 70_000, LARGE] {
            let sent = pattern(count);
            let answer = client.ask("POST", "/echo?a=%2F", &[], whole(sent.clone())).await;
            assert_eq!((answer.status, answer.field("x-framing")), (200, "length"), "{place} {count}");
            assert_eq!(answer.field("x-line"), "POST /echo?a=%2F HTTP/1.1", "{place}");
            assert!(answer.body == sent, "{place} {count}: {} bytes", answer.body.len());
            let answer = client.ask("POST", "/echo", &[], pieces(&sent, 4000)).await;
            assert_eq!((answer.status, answer.field("x-framing")), (200, "chunked"), "{place} {count}");
            assert!(answer.body == sent, "{place} {count}: {} bytes", answer.body.len());
        }
    }));
}

#[test]
fn trailers_of_the_backend_reach_the_client() {
    run(async {
        let serve = |mut conn: Conn, _| async move {
            while conn.request().await.is_some() {
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n")
                    .await;
            }
        };
        let (tcp, unix) = (Backend::start(Kind::Tcp, serve).await, Backend::start(Kind::Unix, serve).await);
        let proxy = Proxy::start(&sites(&tcp, &unix));
        for door in DOORS {
            for host in ["tcp.localhost", "unix.localhost"] {
                let mut client = Client::open(&proxy, door, host).await;
                let answer = client.ask("GET", "/", &[("TE", "trailers")], empty()).await;
                let trailers = answer.trailers.expect("trailers");
                assert_eq!(trailers.get("x-sum").map(|value| value.as_bytes()), Some(&b"1"[..]), "{door:?} {host}");
                assert!(trailers.get("host").is_none());
                assert_eq!(answer.body, b"abc");
            }
        }
    });
}

#[test]
fn one_connection_to_the_backend_serves_many_requests_of_many_clients() {
    run(async {
        for door in DOORS {
            let (tcp, unix) = (Backend::echo(Kind::Tcp).await, Backend::echo(Kind::Unix).await);
            let proxy = Proxy::start(&sites(&tcp, &unix));
            for host in ["tcp.localhost", "unix.localhost"] {
                for _ in 0..3 {
                    let mut client = Client::open(&proxy, door, host).await;
                    for _ in 0..3 {
                        let answer = client.get("/size/5").await;
                        assert_eq!((answer.status, answer.field("x-connection")), (200, "1"), "{door:?} {host}");
                    }
                }
            }
            assert_eq!((tcp.connections(), unix.connections()), (1, 1), "{door:?}");
        }
    });
}

#[test]
fn many_streams_of_one_http2_connection_are_answered_side_by_side() {
    run(async {
        let (tcp, unix) = (Backend::echo(Kind::Tcp).await, Backend::echo(Kind::Unix).await);
        let proxy = Proxy::start(&sites(&tcp, &unix));
        let client = Client::open(&proxy, Door::Http2, "tcp.localhost").await;
        let mut streams = tokio::task::JoinSet::new();
        for count in 0..50 {
            let mut stream = client.another_stream();
            streams.spawn(async move { (count, stream.get(&format!("/size/{}", count * 1000)).await) });
        }
        while let Some(done) = streams.join_next().await {
            let (count, answer) = done.expect("a stream");
            assert!(answer.body == pattern(count * 1000), "{count}");
        }
        assert!(tcp.connections() <= 50);
    });
}

#[test]
fn a_stopped_proxy_finishes_what_it_has_begun_and_takes_nothing_new() {
    run(async {
        let begun = std::sync::Arc::new(tokio::sync::Notify::new());
        let answer = std::sync::Arc::new(tokio::sync::Notify::new());
        let backend = Backend::start(Kind::Tcp, {
            let (begun, answer) = (begun.clone(), answer.clone());
            move |mut conn: Conn, _| {
                let (begun, answer) = (begun.clone(), answer.clone());
                async move {
                    conn.request().await;
                    begun.notify_one();
                    answer.notified().await;
                    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        })
        .await;
        let proxy = Proxy::start(&sites(&backend, &backend));
        let http = proxy.http;
        let mut conn = Conn::connect(http).await;
        conn.send(b"GET / HTTP/1.1\r\nHost: tcp.localhost\r\n\r\n").await;
        begun.notified().await;
        let stopping = tokio::spawn(proxy.stop(Duration::from_secs(20)));
        // The listening socket goes at once.
        while tokio::net::TcpStream::connect(http).await.is_ok() {
            tokio::task::yield_now().await;
        }
        answer.notify_one();
        let response = conn.response().await.expect("an answer");
        assert_eq!((response.status(), &response.body[..]), (200, &b"ok"[..]));
        conn.closed().await;
        assert!(stopping.await.expect("stopping"), "a request was cut");
    });
}
