"""Sizes, hop-by-hop fields and Upgrade (RFC 9110 7.6.1, 7.8), the forwarding family, pipelining (RFC 9112 9.3.2)."""

from cases import CHUNKED, HELLO, PASSED, REFUSED, SAFE, Case, get, post


def sizes():
    yield Case("a field of 33 KiB", get(b"X-A: " + b"a" * 33792 + b"\r\n"), REFUSED, status=(431,))
    yield Case("a field name of 33 KiB", get(b"a" * 33792 + b": 1\r\n"), REFUSED)
    yield Case(
        "many fields, 40 KiB in all",
        get(b"".join(b"X-%d: " % n + b"a" * 500 + b"\r\n" for n in range(80))),
        REFUSED,
        status=(431,),
    )
    yield Case("110 fields", get(b"".join(b"X-%d: 1\r\n" % n for n in range(109))), REFUSED, status=(431,))
    yield Case("90 fields", get(b"".join(b"X-%d: 1\r\n" % n for n in range(89))), PASSED, has={"x-88": "1"})
    yield Case("a target of 17 KiB", get(target=b"/" + b"a" * 17408), REFUSED, status=(414,))
    yield Case("a target of 33 KiB", get(target=b"/" + b"a" * 33792), REFUSED, status=(414, 431))
    yield Case("a target of 8 KiB", get(target=b"/" + b"a" * 8191), PASSED, target="/" + "a" * 8191)
    yield Case("a method of 1 KiB", get(method=b"A" * 1024), SAFE)
    yield Case("a body over the limit", post(b"Content-Length: 104857601\r\n", b""), REFUSED, status=(413,))
    yield Case("a head that never ends", get()[:-2] + b"X-A: 1\r\n", REFUSED, eof=True)
    yield Case("a request line that never ends", b"GET /", REFUSED, eof=True)
    yield Case("a head of 1 MiB without a line end", b"GET /" + b"a" * 1048576, REFUSED, eof=True)
    yield Case("a megabyte of empty lines", b"\r\n" * 524288, REFUSED, eof=True)


def hop_by_hop():
    gone = {
        "Keep-Alive": (b"Keep-Alive: timeout=5\r\n", "keep-alive"),
        "Proxy-Connection": (b"Proxy-Connection: keep-alive\r\n", "proxy-connection"),
        "a nominated field": (b"Connection: X-Secret\r\nX-Secret: 1\r\n", "x-secret"),
        "a nominated field in other case": (b"connection: x-SECRET\r\nX-Secret: 1\r\n", "x-secret"),
        "a nominated field beside close": (b"Connection: close, X-Secret\r\nX-Secret: 1\r\n", "x-secret"),
        "a nominated field after empty elements": (b"Connection: ,, X-Secret ,\r\nX-Secret: 1\r\n", "x-secret"),
        "a field nominated by the second Connection": (
            b"Connection: keep-alive\r\nConnection: X-Secret\r\nX-Secret: 1\r\n",
            "x-secret",
        ),
        "a field nominated after it stood": (b"X-Secret: 1\r\nConnection: X-Secret\r\n", "x-secret"),
        "Upgrade h2c": (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "upgrade",
        ),
        "HTTP2-Settings": (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "http2-settings",
        ),
        "HTTP2-Settings that nobody nominated": (
            b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "http2-settings",
        ),
        "Upgrade h2c beside websocket": (b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", "http2-settings"),
        "Upgrade to TLS": (b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", "upgrade"),
        "Upgrade to anything": (b"Connection: Upgrade\r\nUpgrade: foo/2\r\n", "upgrade"),
        "Upgrade without Connection": (b"Upgrade: websocket\r\n", "upgrade"),
    }
    for name, (lines, field) in gone.items():
        yield Case(f"hop-by-hop: {name} stays behind", get(lines), PASSED, lacks=(field,))
    yield Case("hop-by-hop: nominated Host is kept", get(b"Connection: Host\r\n"), SAFE, has={"host": "a.test"})
    yield Case(
        "hop-by-hop: nominated Content-Length",
        post(b"Connection: Content-Length\r\nContent-Length: 5\r\n", b"hello"),
        SAFE,
        body=b"hello",
    )
    yield Case(
        "hop-by-hop: nominated Transfer-Encoding",
        post(b"Connection: Transfer-Encoding\r\n" + CHUNKED, HELLO),
        SAFE,
        body=b"hello",
    )
    for name in ("X-Forwarded-For", "x-forwarded-for"):
        yield Case(
            f"hop-by-hop: nominated {name} is still ours",
            get(b"Connection: " + name.encode() + b"\r\n"),
            SAFE,
            has={"x-forwarded-for": "127.0.0.1"},
        )
    yield Case(
        "hop-by-hop: nominated X-Forwarded-Proto is still ours",
        get(b"Connection: X-Forwarded-Proto\r\n"),
        SAFE,
        has={"x-forwarded-proto": "http"},
    )
    yield Case(
        "Expect 100-continue", post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), PASSED, body=b"hello"
    )
    yield Case("Expect something else", post(b"Expect: 200-ok\r\nContent-Length: 5\r\n", b"hello"), SAFE, body=b"hello")
    websocket = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    websocket += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    yield Case("an upgrade that is answered 200", get(websocket), PASSED, has={"upgrade": "websocket"})
    yield Case("an upgrade answered 200, then a request", get(websocket) + get(target=b"/second"), PASSED, count=(1, 2))
    yield Case("an upgrade with a body", post(websocket + b"Content-Length: 5\r\n", b"hello"), SAFE, body=b"hello")


def forwarding():
    ours = {
        b"X-Forwarded-For": "127.0.0.1", b"X-Forwarded-Proto": "http", b"X-Forwarded-Host": "a.test",
        b"x-forwarded-for": "127.0.0.1",
    }  # fmt: skip
    for name, value in ours.items():
        yield Case(
            f"client's {name.decode()} is replaced", get(name + b": evil\r\n"), PASSED, has={name.decode(): value}
        )
    yield Case(
        "client's X-Forwarded-For twice is replaced",
        get(b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n"),
        PASSED,
        has={"x-forwarded-for": "127.0.0.1"},
    )
    for name in (
        b"Forwarded", b"X-Original-URL", b"X-Rewrite-URL", b"Client-Cert", b"Client-Cert-Chain", b"Proxy",
        b"X-Forwarded-Prefix", b"X-Forwarded-Server", b"X-Forwarded-Ssl", b"X_Forwarded_For", b"X_Forwarded_Proto",
        b"X-Forwarded_Proto", b"X.Forwarded.For", b"x_forwarded_host", b"X_Real_IP", b"Client_Cert",
    ):  # fmt: skip
        yield Case(
            f"client's {name.decode()} is dropped", get(name + b": evil\r\n"), PASSED, lacks=(name.decode().lower(),)
        )


def pipelining():
    second = get(target=b"/second")
    length = post(b"Content-Length: 5\r\n", b"hello")
    chunked = post(CHUNKED, HELLO)
    close = get(b"Connection: close\r\n")
    yield Case("pipeline: two GET", get() + second, PASSED, count=2)
    yield Case("pipeline: twenty GET", get() * 20, PASSED, count=20)
    yield Case("pipeline: POST with a length, GET", length + second, PASSED, body=b"hello", count=2)
    yield Case("pipeline: chunked POST, GET", chunked + second, PASSED, body=b"hello", count=2)
    yield Case("pipeline: GET, chunked POST", get() + chunked, PASSED, count=2)
    yield Case("pipeline: GET with length 0, GET", get(b"Content-Length: 0\r\n") + second, PASSED, count=2)
    yield Case("pipeline: HEAD, GET", get(method=b"HEAD") + second, PASSED, method="HEAD", count=2)
    yield Case("pipeline: nothing follows Connection: close", close + second, PASSED, count=1)
    yield Case(
        "pipeline: nothing follows a close among others", get(b"Connection: x, Close\r\n") + second, PASSED, count=1
    )
    yield Case("pipeline: nothing follows HTTP/1.0", get(version=b"HTTP/1.0") + second, PASSED, count=1)
    yield Case("pipeline: garbage after GET", get() + b"garbage\r\n\r\n", PASSED, count=1)
    yield Case("pipeline: half a request after GET", get() + b"GET /sec", PASSED, count=1)
    yield Case("pipeline: nothing follows a refused request", get(b"X-A : 1\r\n") + second, REFUSED)
    yield Case(
        "pipeline: nothing follows two lengths",
        post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello") + second,
        REFUSED,
    )
    yield Case(
        "pipeline: nothing follows a body over the limit",
        post(b"Content-Length: 104857601\r\n", b"") + second,
        REFUSED,
        status=(413,),
    )
    yield Case("pipeline: nothing follows a bad coding", post(b"Transfer-Encoding: x\r\n", b"") + second, REFUSED)


def cases():
    yield from sizes()
    yield from hop_by_hop()
    yield from forwarding()
    yield from pipelining()
