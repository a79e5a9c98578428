"""Field syntax, request line and target, Host and authority (RFC 9112 2.2, 3, 5; RFC 9110 5.5, 7.2)."""

from cases import HOST, PASSED, REFUSED, SAFE, Case, get, shown


def fields():
    wrong = [
        b"X-A : 1\r\n", b"X-A\t: 1\r\n", b"X-A 1\r\n", b"X-A\r\n", b": 1\r\n", b":\r\n", b"X A: 1\r\n",
        b"X(A: 1\r\n", b'X"A: 1\r\n', b"X/A: 1\r\n", b"X@A: 1\r\n", b"X\x7fA: 1\r\n", b"X\x80A: 1\r\n",
        b"X[A: 1\r\n", b"X{A: 1\r\n", b"X;A: 1\r\n", b"X=A: 1\r\n", b"X\x00A: 1\r\n", b"X-A: 1\x002\r\n",
        b"X-A: 1\r2\r\n", b"X-A: 1\nX-B: 2\r\n", b"X-A: 1\n", b"X-A: 1\r", b"X-A: 1\r\n 2\r\n",
        b"X-A: 1\r\n\t2\r\n", b" X-A: 1\r\n", b"X-A: \x01\r\n", b"X-A: \x1f\r\n", b"X-A: \x0b\r\n",
        b"X-A: a\x7fb\r\n", b"X-A: 1\r\r\n", b"\nX-A: 1\r\n", b"\rX-A: 1\r\n", b"\x00X-A: 1\r\n",
        b"X-A: 1\r\n \r\n",
    ]  # fmt: skip
    for line in wrong:
        yield Case(f"field {shown(line)}", get(line + b"X-Z: 1\r\n"), REFUSED, eof=True)
    yield Case("head with bare LF throughout", get().replace(b"\r\n", b"\n"), REFUSED, eof=True)
    yield Case("head with bare CR throughout", get().replace(b"\r\n", b"\r"), REFUSED, eof=True)
    yield Case("head that ends in LF LF", b"GET / HTTP/1.1\r\n" + HOST[:-2] + b"\n\n", REFUSED, eof=True)
    yield Case("head that ends in LF CRLF", b"GET / HTTP/1.1\r\n" + HOST[:-2] + b"\n\r\n", REFUSED, eof=True)
    yield Case("a first line that is folded", b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", REFUSED, eof=True)
    right = {
        "empty": (b"X-A:\r\n", ""),
        "spaces only": (b"X-A:   \r\n", ""),
        "spaces around": (b"X-A:   1 2\t\r\n", "1 2"),
        "no space": (b"X-A:1\r\n", "1"),
        "a tab inside": (b"X-A: 1\t2\r\n", "1\t2"),
        "colons inside": (b"X-A: a:b:c\r\n", "a:b:c"),
        "quotes and commas": (b'X-A: "a,b", c\r\n', '"a,b", c'),
        "another case of the name": (b"x-a: 1\r\n", "1"),
        "twice, in order": (b"X-A: 1\r\nX-A: 2\r\n", "1, 2"),
        "a long value": (b"X-A: " + b"v" * 20000 + b"\r\n", "v" * 20000),
    }
    for name, (line, value) in right.items():
        yield Case(f"field value: {name}", get(line), PASSED, has={"x-a": value})
    yield Case("field value: octets over 127", get(b"X-A: \xc3\xa9\r\n"), SAFE, has={"x-a": "\u00c3\u00a9"})
    yield Case(
        "field name of every token octet", get(b"!#$%&'*+-.^`|~9aZ: 1\r\n"), SAFE, has={"!#$%&'*+-.^`|~9az": "1"}
    )


def request_lines():
    wrong = [
        b"GET / http/1.1", b"GET / HTTP/2.0", b"GET / HTTP/3.0", b"GET / HTTP/0.9", b"GET / HTTP/1.10",
        b"GET / HTTP/1", b"GET / HTTP/01.1", b"GET / HTTP/1.1 x", b"GET / HTTP/1.1x", b"GET / HTTP/1.1 ",
        b"GET / HTTP /1.1", b"GET / HTTPS/1.1", b"GET / HTTP/1,1", b"GET / HTTP/-1.1", b"GET /", b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b" GET / HTTP/1.1", b"G(T / HTTP/1.1",
        b"G\x00T / HTTP/1.1", b"/ HTTP/1.1", b"GET HTTP/1.1", b"GET", b"GET / HTTP/1.1\x00", b"\x00GET / HTTP/1.1",
        b"GET / HTTP/1.1\r", b"GET: / HTTP/1.1", b"\x80 / HTTP/1.1", b"GET /\x0bHTTP/1.1",
    ]  # fmt: skip
    for line in wrong:
        yield Case(f"request line {shown(line)}", line + b"\r\n" + HOST + b"\r\n", REFUSED, eof=True)
    yield Case("request line HTTP/0.9 alone", b"GET /\r\n", REFUSED, eof=True)
    # With its right end it is HTTP/2 by prior knowledge, which the plain door speaks.
    yield Case("a broken preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", REFUSED, eof=True)
    yield Case("CONNECT", get(method=b"CONNECT", target=b"a.test:443"), REFUSED, status=(400, 405, 501))
    yield Case("CONNECT with a path", get(method=b"CONNECT", target=b"/"), REFUSED)
    yield Case(
        "CONNECT, then a request", get(method=b"CONNECT", target=b"a.test:443") + get(target=b"/second"), REFUSED
    )
    for method in (b"get", b"FOO", b"M-SEARCH", b"TRACE", b"PATCH"):
        yield Case(f"method {shown(method)}", get(method=method), SAFE, method=method.decode())
    yield Case("HTTP/1.0", get(version=b"HTTP/1.0"), PASSED, method="GET")
    yield Case("HTTP/1.2", get(version=b"HTTP/1.2"), SAFE, method="GET")
    yield Case("an empty line before", b"\r\n" + get(), SAFE, method="GET")
    yield Case("a bare LF before", b"\n" + get(), SAFE, method="GET")
    yield Case("octets one at a time", get(b"X-A: 1\r\n"), PASSED, has={"x-a": "1"}, drip=True)


def targets():
    wrong = [
        b"/a b",
        b"/a\x00",
        b"/a\x01",
        b"/a\x7f",
        b"/a#b",
        b"#",
        b"*",
        b"a",
        b"a/b",
        b"?a",
        b"a.test:80",
        b"../a",
        b"\\a",
        b"http:/a",
        b"http:a",
        b"http://",
        b"http:///a",
    ]
    for target in wrong:
        yield Case(f"target {shown(target)}", get(target=target), REFUSED, eof=True)
    for octet in b'"<>\\^`{|}\x80\xff':
        target = b"/a" + bytes([octet])
        yield Case(f"target {shown(target)}", get(target=target), SAFE, target=target.decode("latin-1"))
    kept = [
        b"/", b"/a//b", b"//a", b"/a/", b"/%2F", b"/%252F", b"/a%2fb", b"/%C3%A9", b"/a;b=c", b"/!$&'()*+,;=:@-._~",
        b"/?", b"/?a=b&c=%20", b"/?a?b/c", b"/a?x=http://b/", b"/?[a]=1",
    ]  # fmt: skip
    for target in kept:
        yield Case(f"target {shown(target)} is forwarded as sent", get(target=target), PASSED, target=target.decode())
    for target in (
        b"/./a",
        b"/../a",
        b"/x/../a",
        b"/a/..",
        b"/%2e%2e/a",
        b"/a%00",
        b"/a%zz",
        b"/a%",
        b"/%u0041",
        b"/..;/a",
        b"/a%0d%0aX:1",
    ):
        yield Case(
            f"target {shown(target)} is refused or forwarded as sent", get(target=target), SAFE, target=target.decode()
        )
    yield Case("OPTIONS *", get(method=b"OPTIONS", target=b"*"), SAFE, method="OPTIONS", target="*")


def hosts():
    for lines in (
        b"",
        b"Host: a.test\r\nHost: a.test\r\n",
        b"Host: a.test\r\nHost: b.test\r\n",
        b"Host: a.test\r\nhost: a.test\r\n",
    ):
        yield Case(f"{lines.lower().count(b'host')} Host fields {shown(lines)}", get(host=lines), REFUSED)
    wrong = [
        b"a b", b"a.test, b.test", b"a.test,b.test", b"user@a.test", b"a.test/b", b"a.test?b", b"a.test#b",
        b"a.test:b", b"a.test:99999", b"a.test:-1", b"a.test:0x50", b"a.test:80:80", b"[::1", b"::1", b"[::1]x",
        b"a\x00b", b"a\x01b", b"a%00b", b"a\\b", b"<a>", b"a.test:80 ,", b"http://a.test", b'"a.test"', b"a\tb",
        b"a.test:8 0", b"a.test\x0b", b"a|b",
    ]  # fmt: skip
    for value in wrong:
        yield Case(f"Host {shown(value)}", get(host=b"Host: " + value + b"\r\n"), REFUSED)
    yield Case("Host named with a space", get(host=b"Host : a.test\r\n"), REFUSED)
    yield Case("Host folded", get(host=b"Host:\r\n a.test\r\n"), REFUSED)
    for value in (
        b"a.test",
        b"a.test:8080",
        b"127.0.0.1",
        b"127.0.0.1:80",
        b"[::1]",
        b"[::1]:80",
        b"xn--bcher-kva.test",
        b"A.TEST",
    ):
        yield Case(
            f"Host {shown(value)} is forwarded as sent",
            get(host=b"Host: " + value + b"\r\n"),
            PASSED,
            has={"host": value.decode()},
        )
    for value in (b"", b"a.test.", b"a.test:", b"a..test", b"-", b"a_b.test"):
        yield Case(f"Host {shown(value)}", get(host=b"Host: " + value + b"\r\n"), SAFE)
    absolute = {
        "the same authority": (b"http://a.test/x", b"a.test", SAFE),
        "another authority wins over Host": (b"http://a.test/x", b"b.test", SAFE),
        "userinfo": (b"http://u:p@a.test/x", b"a.test", REFUSED),
        "another scheme": (b"ftp://a.test/x", b"a.test", REFUSED),
        "a bad port": (b"http://a.test:x/x", b"a.test", REFUSED),
        "a fragment": (b"http://a.test/x#y", b"a.test", REFUSED),
        "a space": (b"http://a.test /x", b"a.test", REFUSED),
    }
    for name, (target, host, verdict) in absolute.items():
        yield Case(
            f"absolute form: {name}",
            get(target=target, host=b"Host: " + host + b"\r\n"),
            verdict,
            target="/x",
            has={"host": "a.test"},
        )
    yield Case("absolute form without Host", get(target=b"http://a.test/x", host=b""), REFUSED)
    yield Case("HTTP/1.0 without Host", get(version=b"HTTP/1.0", host=b""), SAFE)


def cases():
    yield from fields()
    yield from request_lines()
    yield from targets()
    yield from hosts()
