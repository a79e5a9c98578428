"""HTTP/2 requests and the HTTP/1.1 request that the backend may read for each (RFC 9113 8.2, 8.3; RFC 9110 7.6.1)."""

from dataclasses import dataclass, field

from cases import CUT, PASSED, REFUSED, SAFE

AUTHORITY = "app.localhost"
PSEUDO = ((":method", "GET"), (":scheme", "https"), (":authority", AUTHORITY), (":path", "/"))
POST = ((":method", "POST"), (":scheme", "https"), (":authority", AUTHORITY), (":path", "/p"))


@dataclass
class H2Case:
    """Fields of HEADERS, then DATA frames (None: END_STREAM on HEADERS), then trailers."""

    name: str
    fields: tuple
    verdict: str
    data: tuple | None = None
    trailers: tuple | None = None
    target: str | None = None
    body: bytes | None = None
    has: dict = field(default_factory=dict)
    lacks: tuple = ()


def without(name):
    return tuple(item for item in PSEUDO if item[0] != name)


def replaced(name, value):
    return tuple((key, value if key == name else old) for key, old in PSEUDO)


def pseudo_fields():
    for name in (":method", ":scheme", ":path"):
        yield H2Case(f"h2: no {name}", without(name), REFUSED)
        yield H2Case(f"h2: two {name}", (*PSEUDO, (name, dict(PSEUDO)[name])), REFUSED)
        yield H2Case(f"h2: empty {name}", replaced(name, ""), REFUSED)
    yield H2Case("h2: neither :authority nor Host", without(":authority"), REFUSED)
    yield H2Case(
        "h2: Host in place of :authority", (*without(":authority"), ("host", AUTHORITY)), SAFE, has={"host": AUTHORITY}
    )
    yield H2Case("h2: Host beside the same :authority", (*PSEUDO, ("host", AUTHORITY)), SAFE, has={"host": AUTHORITY})
    yield H2Case("h2: Host beside another :authority", (*PSEUDO, ("host", "evil.test")), SAFE, has={"host": AUTHORITY})
    yield H2Case("h2: two Host", (*without(":authority"), ("host", AUTHORITY), ("host", "evil.test")), REFUSED)
    yield H2Case("h2: two :authority", (*PSEUDO, (":authority", "evil.test")), REFUSED)
    yield H2Case("h2: unknown pseudo field", (*PSEUDO, (":foo", "1")), REFUSED)
    yield H2Case("h2: a response's pseudo field", (*PSEUDO, (":status", "200")), REFUSED)
    yield H2Case("h2: :protocol without CONNECT", (*PSEUDO, (":protocol", "websocket")), REFUSED)
    yield H2Case("h2: pseudo field after a field", (*without(":path"), ("x-a", "1"), (":path", "/")), REFUSED)
    for value in ("GET / HTTP/1.1\r\nX: y", "G T", "GET\r\n", "G\x00T", "GET\t"):
        yield H2Case(f"h2: :method {value!r}", replaced(":method", value), REFUSED)
    for value in (
        "/a b",
        "/a\r\nX: y",
        "/a\nX",
        "/ HTTP/1.1\r\nX: y",
        "/a\x00",
        "a",
        "http://evil.test/",
        "/a\t",
    ):
        yield H2Case(f"h2: :path {value!r}", replaced(":path", value), REFUSED)
    # The HTTP/2 library cuts a fragment off before anybody sees it, so routing and backend agree on what is left.
    yield H2Case("h2: :path '/a#b'", replaced(":path", "/a#b"), SAFE, target="/a")
    for value in (
        "a b",
        f"{AUTHORITY}\r\nX: y",
        f"u@{AUTHORITY}",
        f"{AUTHORITY}/x",
        f"{AUTHORITY}:x",
        f"{AUTHORITY}, evil.test",
        "a\x00",
    ):
        yield H2Case(f"h2: :authority {value!r}", replaced(":authority", value), REFUSED)
    for value in ("ftp", "htt ps", "https://", "h\x00"):
        yield H2Case(f"h2: :scheme {value!r}", replaced(":scheme", value), REFUSED)
    yield H2Case(
        "h2: :scheme http on the TLS door", replaced(":scheme", "http"), SAFE, has={"x-forwarded-proto": "https"}
    )
    connect = ((":method", "CONNECT"), (":authority", "a.test:443"))
    yield H2Case("h2: CONNECT", connect, REFUSED)
    for target in ("/", "//a", "/a//b", "/%2F", "/a;b=c?d=e&f", "/?"):
        yield H2Case(f"h2: :path {target} is forwarded as sent", replaced(":path", target), PASSED, target=target)


def plain_fields():
    for name in ("X-A", "x a", "x:a", "x\ra", "x\na", "x\x00a", "", "x\x7fa", "x(a"):
        yield H2Case(f"h2: field name {name!r}", (*PSEUDO, (name, "1")), REFUSED)
    for value in ("1\r\nX: y", "1\n2", "1\r2", "1\x002"):
        yield H2Case(f"h2: field value {value!r}", (*PSEUDO, ("x-a", value)), REFUSED)
    for value in (" 1", "1 ", "\t1"):
        yield H2Case(f"h2: field value {value!r}", (*PSEUDO, ("x-a", value)), SAFE)
    specific = {
        "connection": "close", "keep-alive": "timeout=5", "proxy-connection": "keep-alive",
        "transfer-encoding": "chunked", "upgrade": "h2c",
    }  # fmt: skip
    for name, value in specific.items():
        yield H2Case(f"h2: {name} belongs to one connection", (*PSEUDO, (name, value)), REFUSED)
    yield H2Case("h2: te other than trailers", (*PSEUDO, ("te", "gzip")), REFUSED)
    yield H2Case("h2: te trailers", (*PSEUDO, ("te", "trailers")), PASSED)
    yield H2Case(
        "h2: cookie crumbs are joined",
        (*PSEUDO, ("cookie", "a=1"), ("cookie", "b=2")),
        PASSED,
        has={"cookie": "a=1; b=2"},
    )
    yield H2Case(
        "h2: client's X-Forwarded-For is replaced",
        (*PSEUDO, ("x-forwarded-for", "9.9.9.9")),
        PASSED,
        has={"x-forwarded-for": "127.0.0.1"},
    )
    yield H2Case(
        "h2: client's X-Forwarded-Proto is replaced",
        (*PSEUDO, ("x-forwarded-proto", "http")),
        PASSED,
        has={"x-forwarded-proto": "https"},
    )
    yield H2Case(
        "h2: client's x_forwarded_for is dropped",
        (*PSEUDO, ("x_forwarded_for", "9.9.9.9")),
        PASSED,
        lacks=("x_forwarded_for",),
    )
    yield H2Case(
        "h2: expect 100-continue", (*POST, ("expect", "100-continue")), PASSED, data=(b"hello",), body=b"hello"
    )
    many = tuple((f"x-{n}", "1") for n in range(110))
    yield H2Case("h2: 114 fields", (*PSEUDO, *many), REFUSED)
    yield H2Case("h2: fields of 40 KiB", (*PSEUDO, *((f"x-{n}", "a" * 4096) for n in range(10))), REFUSED)


def bodies():
    yield H2Case("h2: a body in one frame", POST, PASSED, data=(b"hello",), body=b"hello")
    yield H2Case("h2: a body in frames, some empty", POST, PASSED, data=(b"he", b"", b"llo", b""), body=b"hello")
    yield H2Case("h2: an empty body", POST, PASSED, data=(b"",), body=b"")
    yield H2Case("h2: a length that fits", (*POST, ("content-length", "5")), PASSED, data=(b"hello",), body=b"hello")
    yield H2Case("h2: a body with trailers", POST, SAFE, data=(b"hello",), trailers=(("x-t", "1"),), body=b"hello")
    wrong = {
        "more than the body": "9",
        "less than the body": "3",
        "zero": "0",
        "no number": "x",
        "negative": "-5",
        "a list": "5, 5",
        "empty": "",
        "plus": "+5",
    }
    for name, value in wrong.items():
        yield H2Case(
            f"h2: length {name}",
            (*POST, ("content-length", value)),
            SAFE if name == "a list" else CUT,
            data=(b"hello",),
        )
    yield H2Case("h2: two lengths", (*POST, ("content-length", "5"), ("content-length", "6")), CUT, data=(b"hello",))
    yield H2Case("h2: a length without a body", (*POST, ("content-length", "5")), CUT)
    yield H2Case("h2: trailers with a pseudo field", POST, CUT, data=(b"hello",), trailers=((":path", "/x"),))
    yield H2Case(
        "h2: trailers with a connection field",
        POST,
        CUT,
        data=(b"hello",),
        trailers=(("transfer-encoding", "chunked"),),
    )
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
    yield H2Case("h2: a body that looks like chunks and a request", POST, PASSED, data=(smuggled,), body=smuggled)


def cases():
    yield from pseudo_fields()
    yield from plain_fields()
    yield from bodies()
