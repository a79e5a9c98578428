"""Content-Length against Transfer-Encoding, and spellings of Content-Length (RFC 9112 6.1 to 6.3)."""

from cases import CHUNKED, CUT, HELLO, PASSED, REFUSED, SAFE, Case, get, post, shown

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def both():
    """Content-Length beside Transfer-Encoding: always refused, whatever they say."""
    rows = {
        "length first": b"Content-Length: 15\r\n" + CHUNKED,
        "coding first": CHUNKED + b"Content-Length: 15\r\n",
        "length zero": b"Content-Length: 0\r\n" + CHUNKED,
        "length of the payload": b"Content-Length: 5\r\n" + CHUNKED,
        "length in other case": b"CONTENT-LENGTH: 15\r\ntransfer-encoding: CHUNKED\r\n",
        "length twice": b"Content-Length: 15\r\nContent-Length: 15\r\n" + CHUNKED,
        "length invalid": b"Content-Length: x\r\n" + CHUNKED,
        "length empty": b"Content-Length:\r\n" + CHUNKED,
        "coding identity": b"Content-Length: 15\r\nTransfer-Encoding: identity\r\n",
        "coding gzip": b"Content-Length: 15\r\nTransfer-Encoding: gzip\r\n",
        "coding unknown": b"Content-Length: 15\r\nTransfer-Encoding: xchunked\r\n",
        "coding empty": b"Content-Length: 15\r\nTransfer-Encoding:\r\n",
        "coding with a tab": b"Content-Length: 15\r\nTransfer-Encoding:\tchunked\r\n",
        "fields in between": b"Content-Length: 15\r\nX-A: 1\r\nX-B: 2\r\n" + CHUNKED,
        "connection close": b"Connection: close\r\nContent-Length: 15\r\n" + CHUNKED,
        "length nominated by Connection": b"Connection: Content-Length\r\nContent-Length: 15\r\n" + CHUNKED,
        "coding nominated by Connection": b"Connection: Transfer-Encoding\r\nContent-Length: 15\r\n" + CHUNKED,
    }
    for name, fields in rows.items():
        yield Case(f"both: {name}", post(fields, HELLO), REFUSED)
    both_fields = b"Content-Length: 15\r\n" + CHUNKED
    yield Case("both: GET", post(both_fields, HELLO, method=b"GET"), REFUSED)
    yield Case("both: HTTP/1.0", post(both_fields, HELLO, version=b"HTTP/1.0"), REFUSED)
    yield Case("both: CL.TE smuggling", post(b"Content-Length: 50\r\n" + CHUNKED, b"0\r\n\r\n" + SMUGGLED), REFUSED)
    yield Case(
        "both: TE.CL smuggling",
        post(CHUNKED + b"Content-Length: 4\r\n", b"28\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
        REFUSED,
    )


def spellings():
    """Values of Content-Length before the body `hello`."""
    refused = [
        b"+5", b"-5", b"-0", b"0x5", b"5 5", b"5,6", b"5,", b",5", b"5;q=1", b"5.0", b"5e0", b"", b"five", b'"5"',
        b"1_0", b"5\x00", b"\x0b5", b"5\x0c", b"\xef\xbc\x95", b"5\xa0", b"5h", b"0b101", b"99999999999999999999",
        b"18446744073709551621", b"9223372036854775808", b"4294967301", b"1" * 400, b"5\r\n 0", b"\r\n 5",
    ]  # fmt: skip
    for value in refused:
        yield Case(f"length {shown(value)}", post(b"Content-Length: " + value + b"\r\n", b"hello"), REFUSED)
    for value in (b"005", b"5, 5", b"5,5"):
        yield Case(f"length {shown(value)}", post(b"Content-Length: " + value + b"\r\n", b"hello"), SAFE, body=b"hello")
    for value in (b"5", b"5 ", b"  5", b"\t5\t"):
        yield Case(
            f"length {shown(value)}", post(b"Content-Length:" + value + b"\r\n", b"hello"), PASSED, body=b"hello"
        )


def fields():
    """Content-Length as a field: repeated, misspelt, and against the octets that follow."""
    for first, second in ((b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0"), (b"5", b"")):
        lines = b"Content-Length: " + first + b"\r\nContent-Length: " + second + b"\r\n"
        yield Case(f"two lengths {shown(first)} and {shown(second)}", post(lines, b"hello"), REFUSED)
    for name in (
        b"Content-Length ",
        b"Content-Length\t",
        b" Content-Length",
        b"Content-Length\x00",
        b"\x0bContent-Length",
        b"Content Length",
    ):
        yield Case(f"length named {shown(name)}", post(name + b": 5\r\n", b"hello"), REFUSED)
    other = b"Content_Length: 5\r\n"
    yield Case(
        "length named Content_Length is no length",
        post(other, b"hello\r\n\r\n"),
        SAFE,
        body=b"",
        lacks=("content-length",),
    )
    yield Case("length: fewer octets, then the end", post(b"Content-Length: 9\r\n", b"hello"), CUT, eof=True)
    yield Case("length: no octets, then the end", post(b"Content-Length: 5\r\n", b""), CUT, eof=True)
    yield Case(
        "length: more octets than said", post(b"Content-Length: 5\r\n", b"hello???\r\n\r\n"), PASSED, body=b"hello"
    )
    yield Case("length zero on GET", get(b"Content-Length: 0\r\n"), PASSED, body=b"")
    yield Case(
        "body on GET", post(b"Content-Length: 5\r\n", b"hello", method=b"GET"), SAFE, method="GET", body=b"hello"
    )
    yield Case(
        "body on DELETE",
        post(b"Content-Length: 5\r\n", b"hello", method=b"DELETE"),
        PASSED,
        method="DELETE",
        body=b"hello",
    )
    yield Case("no length on POST", post(b"", b""), SAFE, method="POST", body=b"")
    yield Case("body that looks like a request", post(b"Content-Length: 40\r\n", SMUGGLED), PASSED, body=SMUGGLED)


def cases():
    yield from both()
    yield from spellings()
    yield from fields()
