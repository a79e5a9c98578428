//! What a request costs in our own code, step by step: `cargo bench`, or `cargo bench -- route` for some of it.
//!
//! The kernel is not in these figures; docs/performance.md says how much of a request's time that is.

use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vestibule::config::{self, Config, Forwarding};
use vestibule::h1::{Decoder, Limits, Parsed, ResponseTo, Step, parse_request, parse_response};
use vestibule::http::ConnInfo;
use vestibule::http::headers::prepare_request;
use vestibule::message::{Fields, Framing, RequestHead};
use vestibule::route::{Asked, From, Router};
use vestibule::upstream::{Choice, Cluster, Shared};

const LIMITS: Limits = Limits { bytes: 32 << 10, fields: 100, target: 16 << 10 };

/// What a browser sends for a page.
const BROWSER: &[u8] = b"GET /assets/app.4f1c.js?v=7 HTTP/1.1\r\n\
Host: shop.example.com\r\n\
Connection: keep-alive\r\n\
sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
sec-ch-ua-mobile: ?0\r\n\
sec-ch-ua-platform: \"Linux\"\r\n\
Upgrade-Insecure-Requests: 1\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Sec-Fetch-Site: same-origin\r\n\
Sec-Fetch-Mode: navigate\r\n\
Sec-Fetch-Dest: document\r\n\
Referer: https://shop.example.com/cart\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Cookie: session=2f6c1c0b7a8d4e51; theme=dark\r\n\
\r\n";

/// What an application answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: gunicorn\r\n\
Date: Wed, 25 Nov 2026 12:00:00 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 1024\r\n\
Cache-Control: private, max-age=0\r\n\
ETag: \"5f1c-7a8d\"\r\n\
Vary: Accept-Encoding\r\n\
Set-Cookie: session=2f6c1c0b7a8d4e51; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\
\r\n";

fn config(text: &str) -> Config {
    config::parse("bench.toml", text, Path::new("")).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn request(raw: &[u8]) -> RequestHead {
    match parse_request(raw, &LIMITS) {
        Ok(Parsed::Head(head, _)) => head,
        other => panic!("{other:?}"),
    }
}

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(BROWSER.len() as u64));
    group.bench_function("request, browser", |bencher| bencher.iter(|| parse_request(black_box(BROWSER), &LIMITS)));
    let small = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("request, smallest", |bencher| bencher.iter(|| parse_request(black_box(&small[..]), &LIMITS)));
    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    let to = ResponseTo { is_head: false };
    group.bench_function("response", |bencher| bencher.iter(|| parse_response(black_box(ANSWER), to)));
    group.finish();
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for size in [64, 4096] {
        let mut body = Vec::new();
        for _ in 0..65536 / size {
            body.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            body.resize(body.len() + size, b'x');
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        group.throughput(Throughput::Bytes(65536));
        group.bench_function(format!("64 KiB in chunks of {size}"), |bencher| {
            bencher.iter_batched(
                || (Decoder::new(Framing::Chunked), BytesMut::from(&body[..])),
                |(mut decoder, mut input)| {
                    let mut data = 0;
                    while let Ok(Step::Data(bytes)) = decoder.step(&mut input) {
                        data += bytes.len();
                    }
                    assert_eq!(data, 65536);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn route(criterion: &mut Criterion) {
    let mut text = String::from("[sites]\n");
    for number in 0..10_000 {
        text += &format!("\"site-{number}.example.test\" = 3000\n");
    }
    text += "\"*.wild.example.test\" = 3000\n[sites.\"paths.example.test\"]\nproxy = 3000\n";
    for number in 0..20 {
        text += &format!("[[sites.\"paths.example.test\".routes]]\npath = \"/api/v{number}/*\"\nproxy = 3001\n");
    }
    let router = Router::bare(&config(&text).sites);
    let mut group = criterion.benchmark_group("route, 10,000 hosts");
    let cases: &[(&str, &[u8], &[u8])] = &[
        ("exact", b"site-7777.example.test", b"/assets/app.js"),
        ("wildcard", b"a.b.wild.example.test", b"/assets/app.js"),
        ("unknown", b"nobody.example.org", b"/"),
        ("20 prefixes", b"paths.example.test", b"/api/v19/orders"),
        ("a path to normalise", b"site-7777.example.test", b"/a/./b/%7euser"),
    ];
    for (name, host, path) in cases {
        let fields = Fields::default();
        let asked = Asked {
            host,
            path,
            target: path,
            method: "GET",
            fields: &fields,
            from: From::Address([203, 0, 113, 9].into()),
        };
        group.bench_function(*name, |bencher| bencher.iter(|| router.find(black_box(&asked))));
    }
    group.finish();
}

fn headers(criterion: &mut Criterion) {
    let conn = ConnInfo::new(([203, 0, 113, 9], 5000).into(), ([192, 0, 2, 1], 443).into(), 0, None);
    let rules = Forwarding::default();
    let head = request(BROWSER);
    criterion.bench_function("headers, browser", |bencher| {
        bencher.iter_batched_ref(|| head.clone(), |head| prepare_request(head, &conn, &rules), BatchSize::SmallInput);
    });
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick, 16 servers");
    for balance in ["least-requests", "round-robin", "random"] {
        let servers: Vec<_> = (1..=16).map(|number| format!("\"192.0.2.{number}:80\"")).collect();
        let config = config(&format!(
            "[sites.\"a.test\"]\nupstream = \"app\"\n[upstreams.app]\nbalance = \"{balance}\"\nservers = [{}]\n",
            servers.join(", ")
        ));
        let cluster = {
            let shared = Arc::new(Shared::new(&config.upstreams[0], None));
            Cluster::new(&config.upstreams[0], None, None, shared)
        };
        group.bench_function(balance, |bencher| bencher.iter(|| take(&cluster)));
    }
    group.finish();
}

/// Without `max_requests` a server is taken at once.
fn take(cluster: &Cluster) {
    let taking = std::pin::pin!(cluster.take(black_box(&[]), Choice::default()));
    let taken = taking.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(black_box(taken), Poll::Ready(Ok(_))));
}

criterion_group! {
    name = request_path;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    targets = heads, chunked, route, headers, pick
}
criterion_main!(request_path);
