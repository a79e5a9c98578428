"""Answers of a backend that are wrong, or right in an unusual way, and what the client may see of them.

bad    the client gets 502
cut    the client gets at most a part, and can tell: the connection ends before the length or the last chunk
whole  the client gets the status and the body
gone   either `bad` or `cut`: the fault shows in the head or after it
"""

from dataclasses import dataclass, field

from cases import shown

BAD, CUT, WHOLE, GONE = "bad", "cut", "whole", "gone"
OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Reply:
    name: str
    raw: bytes
    verdict: str
    status: int = 200
    body: bytes | None = None
    closes: bool = True
    method: str = "GET"
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    # Interim statuses that the client reads before the final one.
    interim: tuple = ()


def heads():
    wrong = [
        b"", b"garbage\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46",
        b"<html>no head</html>", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 -20 OK\r\n\r\n", b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n", b"http/1.1 200 OK\r\n\r\n", b"HTTP/1.1  200 OK\r\n\r\n",
        b" HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1", OK + b"X-A : 1\r\n\r\n", OK + b"X-A\r\n\r\n", OK + b": 1\r\n\r\n",
        OK + b"X A: 1\r\n\r\n", OK + b"X-A: 1\r\n 2\r\n\r\n", OK + b" X-A: 1\r\n\r\n", OK + b"X-A: 1\n\r\n",
        OK + b"X-A: 1\nX-B: 2\r\n\r\n", OK + b"X-A: \x00\r\n\r\n", OK + b"X-A: 1\rX-B: 2\r\n\r\n",
        OK + b"X-A: " + b"a" * 1048576 + b"\r\n\r\n",
    ]  # fmt: skip
    for raw in wrong:
        yield Reply(f"answer {shown(raw)}", raw, BAD)
    yield Reply(
        "an unasked 101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
        BAD,
    )
    yield Reply("endless interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2000, GONE)
    yield Reply("an empty line before the answer", b"\r\n" + OK + b"Content-Length: 0\r\n\r\n", "any")


def framing():
    body = b"Content-Length: 5\r\n\r\nhello"
    wrong = {
        "length and coding": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "length +5": b"Content-Length: +5\r\n\r\nhello",
        "length -5": b"Content-Length: -5\r\n\r\nhello",
        "length 0x5": b"Content-Length: 0x5\r\n\r\nhello",
        "length empty": b"Content-Length:\r\n\r\nhello",
        "length over 64 bits": b"Content-Length: 18446744073709551621\r\n\r\nhello",
        "length of words": b"Content-Length: five\r\n\r\nhello",
        "length with a space before the colon": b"Content-Length : 5\r\n\r\nhello",
        "coding gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "coding chunked, identity": b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "coding xchunked": b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    }
    for name, rest in wrong.items():
        yield Reply(f"answer with {name}", OK + rest, BAD)
    yield Reply(
        "answer: HTTP/1.0 with a coding",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "any",
    )
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello"
    short = {
        "length, then the end": OK + b"Content-Length: 9\r\n\r\nhello",
        "chunks, then the end": chunked,
        "chunks without the last": chunked + b"\r\n",
        "last chunk without its end": chunked + b"\r\n0\r\n",
        "chunk with a bare LF": chunked + b"\n0\r\n\r\n",
        "chunk longer than its size": chunked + b"!!!\r\n0\r\n\r\n",
        "chunk size of letters": chunked + b"\r\nxyz\r\n0\r\n\r\n",
        "chunk size over 64 bits": chunked + b"\r\n10000000000000000\r\nh\r\n0\r\n\r\n",
        "chunk size with a minus": chunked + b"\r\n-1\r\nh\r\n0\r\n\r\n",
    }
    for name, raw in short.items():
        yield Reply(f"answer: {name}", raw, GONE)
    right = {
        "a length": (OK + body, b"hello"),
        "length 0": (OK + b"Content-Length: 0\r\n\r\n", b""),
        "chunks": (chunked + b"\r\n0\r\n\r\n", b"hello"),
        "chunks with an extension": (OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
        "chunks with a trailer": (chunked + b"\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
        "until the end": (OK + b"\r\nhello", b"hello"),
        "until the end, HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        "no reason": (b"HTTP/1.1 200 \r\n" + body, b"hello"),
        "neither reason nor space": (b"HTTP/1.1 200\r\n" + body, b"hello"),
        "another coding of the content": (OK + b"Content-Encoding: gzip\r\n" + body, b"hello"),
    }
    for name, (raw, whole) in right.items():
        yield Reply(f"answer: {name}", raw, WHOLE, body=whole)
    yield Reply(
        "answer: more than the length",
        OK + body + b"HTTP/1.1 200 OK\r\nX-Smuggled: 1\r\nContent-Length: 4\r\n\r\nevil",
        WHOLE,
        body=b"hello",
        closes=False,
    )
    yield Reply(
        "answer: a second answer after an empty one",
        OK + b"Content-Length: 0\r\n\r\n" + OK + body,
        WHOLE,
        body=b"",
        closes=False,
    )
    yield Reply(
        "answer to HEAD with a length",
        OK + b"Content-Length: 5\r\n\r\n",
        WHOLE,
        body=b"",
        method="HEAD",
        has={"content-length": "5"},
        closes=False,
    )
    yield Reply("204 without a body", b"HTTP/1.1 204 No Content\r\n\r\n", WHOLE, 204, b"", closes=False)
    yield Reply(
        "304 with a length",
        b'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "x"\r\n\r\n',
        WHOLE,
        304,
        b"",
        closes=False,
        has={"etag": '"x"'},
    )
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    yield Reply("103, then the answer", hints + OK + body, WHOLE, body=b"hello", interim=(103,))
    yield Reply("an unasked 100, then the answer", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + body, WHOLE, body=b"hello")


def hop_by_hop():
    body = b"Content-Length: 5\r\n\r\nhello"
    gone = {
        "Keep-Alive": (b"Keep-Alive: timeout=5\r\n", "keep-alive"),
        "Proxy-Connection": (b"Proxy-Connection: close\r\n", "proxy-connection"),
        "a nominated field": (b"Connection: X-Secret\r\nX-Secret: 1\r\n", "x-secret"),
        "Upgrade": (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", "upgrade"),
    }
    for name, (lines, field_name) in gone.items():
        yield Reply(f"answer: {name} stays behind", OK + lines + body, WHOLE, body=b"hello", lacks=(field_name,))
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    lines = f"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: s\r\nDate: {date}\r\n".encode()
    kept = {"set-cookie": "a=1, b=2", "server": "s", "date": date}
    yield Reply("answer: Set-Cookie twice, Server and Date pass", OK + lines + body, WHOLE, body=b"hello", has=kept)
    for status in (200, 201, 206, 301, 400, 401, 404, 418, 500, 503, 599):
        raw = b"HTTP/1.1 %d Said so\r\n" % status + body
        yield Reply(f"status {status} passes", raw, WHOLE, status, b"hello", closes=False)


def replies():
    yield from heads()
    yield from framing()
    yield from hop_by_hop()
