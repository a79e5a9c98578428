//! When a request is sent twice, and when never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Client, DOORS, Door, empty, whole};
use super::raw::Conn;
use super::world::{Backend, Kind, Proxy, run};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The path of a socket that nobody listens on: connecting fails at once.
fn nobody(folder: &tempfile::TempDir) -> String {
    format!("unix:{}", folder.path().join("nobody.sock").display())
}

#[test]
fn a_failed_connect_goes_to_another_server_whatever_the_method() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        for kind in [Kind::Tcp, Kind::Unix] {
            let backend = Backend::echo(kind).await;
            let proxy = Proxy::start(&format!(
                "defaults = {{ http = \"serve\" }}\n[sites.\"a.localhost\"]\nupstream = \"app\"\n[upstreams.app]\n\
                 balance = \"first\"\nservers = [\"{}\", \"{}\"]\n",
                nobody(&folder),
                backend.target
            ));
            for door in DOORS {
                let mut client = Client::open(&proxy, door, "a.localhost").await;
                let get = client.get("/size/2").await;
                assert_eq!((get.status, get.body.len()), (200, 2), "{door:?} {kind:?}");
                let post = client.ask("POST", "/", &[], whole(b"once".to_vec())).await;
                assert_eq!((post.status, &post.body[..]), (200, &b"once"[..]), "{door:?} {kind:?}");
            }
        }
    });
}

#[test]
fn a_single_server_that_refuses_is_a_502_with_its_cause() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Proxy::start(&format!(
            "defaults = {{ http = \"serve\" }}\n[sites]\n\"a.localhost\" = \"{}\"\n",
            nobody(&folder)
        ));
        for door in DOORS {
            let answer = Client::open(&proxy, door, "a.localhost").await.get("/").await;
            assert_eq!((answer.status, answer.why()), (502, "upstream.refused"), "{door:?}");
        }
    });
}

/// A backend that answers the first request of its first connection, announces to keep it, and closes it unanswered at
/// the second. Later connections answer everything. Counts the requests it saw.
async fn closes_once(kind: Kind) -> (Backend, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    let backend = Backend::start(kind, move |mut conn: Conn, number| {
        let seen = seen.clone();
        async move {
            let mut answered = 0;
            while conn.request().await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
                if number == 1 && answered == 1 {
                    return;
                }
                conn.send(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok").await;
                answered += 1;
            }
        }
    })
    .await;
    (backend, requests)
}

#[test]
fn a_reused_connection_that_closes_unanswered_costs_only_what_must_not_be_done_twice() {
    run(async {
        // Method, fields, body; the status the client sees, the cause, and how often a backend saw the second request.
        type Case = (&'static str, &'static [(&'static str, &'static str)], usize, u16, &'static str, usize);
        let cases: &[Case] = &[
            ("GET", &[], 0, 200, "-", 2),
            ("PUT", &[], 1000, 200, "-", 2),
            ("DELETE", &[], 0, 200, "-", 2),
            ("POST", &[("Idempotency-Key", "1")], 1000, 200, "-", 2),
            ("POST", &[], 4, 502, "upstream.closed_reused", 1),
            ("PATCH", &[], 4, 502, "upstream.closed_reused", 1),
            // More than is remembered cannot be sent again.
            ("PUT", &[], 100_000, 502, "upstream.closed_reused", 1),
        ];
        for (method, fields, length, status, why, times) in cases {
            for door in DOORS {
                for kind in [Kind::Tcp, Kind::Unix] {
                    let place = format!("{method} of {length} bytes, {door:?}, {kind:?}");
                    let (backend, requests) = closes_once(kind).await;
                    let proxy = Proxy::start(&format!(
                        "defaults = {{ http = \"serve\" }}\n[sites]\n\"a.localhost\" = \"{}\"\n",
                        backend.target
                    ));
                    let mut client = Client::open(&proxy, door, "a.localhost").await;
                    assert_eq!(client.get("/").await.status, 200, "{place}");
                    let body = if *length == 0 { empty() } else { whole(vec![b'x'; *length]) };
                    let answer = client.ask(method, "/", fields, body).await;
                    assert_eq!((answer.status, answer.why()), (*status, *why), "{place}");
                    assert_eq!(requests.load(Ordering::SeqCst), 1 + times, "{place}");
                }
            }
        }
    });
}

#[test]
fn after_the_first_byte_of_an_answer_nothing_is_sent_twice() {
    run(async {
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = requests.clone();
        let backend = Backend::start(Kind::Tcp, move |mut conn: Conn, _| {
            let seen = seen.clone();
            async move {
                conn.request().await;
                conn.send(OK).await;
                if conn.request().await.is_some() {
                    seen.fetch_add(1, Ordering::SeqCst);
                    conn.send(b"HTTP/1.1 2").await;
                }
            }
        })
        .await;
        let proxy = Proxy::start(&format!(
            "defaults = {{ http = \"serve\" }}\n[sites]\n\"a.localhost\" = \"{}\"\n",
            backend.target
        ));
        for (number, door) in DOORS.into_iter().enumerate() {
            let mut client = Client::open(&proxy, door, "a.localhost").await;
            assert_eq!(client.get("/").await.status, 200, "{door:?}");
            let answer = client.get("/").await;
            assert_eq!((answer.status, answer.why()), (502, "upstream.cut"), "{door:?}");
            assert_eq!(requests.load(Ordering::SeqCst), number + 1, "{door:?}");
        }
    });
}

#[test]
fn a_body_that_the_backend_cuts_is_cut_for_the_client() {
    run(async {
        for framing in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
            let backend = Backend::start(Kind::Tcp, move |mut conn: Conn, _| async move {
                conn.request().await;
                conn.send(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes()).await;
            })
            .await;
            let proxy = Proxy::start(&format!(
                "defaults = {{ http = \"serve\" }}\n[sites]\n\"a.localhost\" = \"{}\"\n",
                backend.target
            ));
            for door in DOORS {
                let mut client = Client::open(&proxy, door, "a.localhost").await;
                let answer = match client.try_ask("GET", "/", &[], empty()).await {
                    Ok(answer) => answer,
                    // The reset of an HTTP/2 stream may overtake the head.
                    Err(_) if door == Door::Http2 => continue,
                    Err(error) => panic!("{error}"),
                };
                assert_eq!((answer.status, answer.whole), (200, false), "{door:?} {framing:?}");
                assert!(b"abc".starts_with(&answer.body), "{door:?}");
            }
        }
    });
}
