"""Transfer-Encoding: spellings and lists (RFC 9112 6.1), and the syntax of chunks (7.1)."""

from cases import CHUNKED, CUT, HELLO, PASSED, REFUSED, SAFE, Case, post, shown


def spellings():
    """Everything but a lone `chunked` is refused; its case does not matter."""
    refused = [
        b"xchunked", b"chunkedx", b"chunk", b"chunked,", b",chunked", b"chunked, chunked", b"chunked,chunked",
        b"gzip, chunked", b"chunked, gzip", b"identity", b"identity, chunked", b"chunked, identity", b"chunked;q=1",
        b"chunked; a=b", b'"chunked"', b"'chunked'", b"chu nked", b"chunked foo", b"foo chunked", b"\x0bchunked",
        b"\x0cchunked", b"chunked\x0b", b"\x00chunked", b"chunked\x00", b"\xa0chunked", b"ch\xc3\xbcnked", b"",
        b"trailers", b"gzip", b"compress", b"deflate", b"br", b"chunked/1", b"chunked=1", b"[chunked]",
        b"chunked\r\n ", b"\r\n chunked", b"\r\n\tchunked", b"x\r\n chunked", b"chunked\rX: y", b"chunked\nX: y",
    ]  # fmt: skip
    for value in refused:
        yield Case(f"coding {shown(value)}", post(b"Transfer-Encoding: " + value + b"\r\n", HELLO), REFUSED)
    for value in (b"chunked", b"chunked ", b"  chunked", b"\tchunked\t", b"Chunked", b"CHUNKED", b"cHuNkEd"):
        yield Case(
            f"coding {shown(value)}", post(b"Transfer-Encoding:" + value + b"\r\n", HELLO), PASSED, body=b"hello"
        )
    for first, second in (
        (b"chunked", b"chunked"),
        (b"chunked", b"identity"),
        (b"identity", b"chunked"),
        (b"gzip", b"chunked"),
        (b"chunked", b""),
    ):
        lines = b"Transfer-Encoding: " + first + b"\r\nTransfer-Encoding: " + second + b"\r\n"
        yield Case(f"two codings {shown(first)} and {shown(second)}", post(lines, HELLO), REFUSED)
    for name in (
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"\tTransfer-Encoding",
        b"Transfer-Encoding\x00", b"\x0bTransfer-Encoding", b"Transfer Encoding", b"Transfer-\nEncoding",
        b"\rTransfer-Encoding", b"Transfer-Encoding\r",
    ):  # fmt: skip
        yield Case(f"coding named {shown(name)}", post(name + b": chunked\r\n", HELLO), REFUSED)
    for name in (b"Transfer_Encoding", b"Transfer.Encoding", b"X-Transfer-Encoding"):
        raw = post(name + b": chunked\r\n", HELLO)
        yield Case(f"coding named {shown(name)} is no coding", raw, SAFE, body=b"", lacks=("transfer-encoding",))
    yield Case("coding in HTTP/1.0", post(CHUNKED, HELLO, version=b"HTTP/1.0"), REFUSED)
    yield Case(
        "coding in HTTP/1.0 with keep-alive",
        post(b"Connection: keep-alive\r\n" + CHUNKED, HELLO, version=b"HTTP/1.0"),
        REFUSED,
    )
    yield Case("coding on GET", post(CHUNKED, HELLO, method=b"GET"), SAFE, method="GET", body=b"hello")


def chunks():
    """Chunked bodies that are wrong somewhere: the backend never reads a whole request."""
    end = b"0\r\n\r\n"
    wrong = {
        "bare LF after the size": b"5\nhello\r\n" + end,
        "bare CR after the size": b"5\rhello\r\n" + end,
        "bare LF after the data": b"5\r\nhello\n" + end,
        "nothing after the data": b"5\r\nhello" + end,
        "CR and another octet after the data": b"5\r\nhello\rX" + end,
        "two octets after the data": b"5\r\nhelloXX" + end,
        "data longer than the size": b"5\r\nhello!\r\n" + end,
        "data shorter than the size": b"6\r\nhello\r\n" + end,
        "space before the size": b" 5\r\nhello\r\n" + end,
        "tab before the size": b"\t5\r\nhello\r\n" + end,
        "space after the size": b"5 \r\nhello\r\n" + end,
        "tab after the size": b"5\t\r\nhello\r\n" + end,
        "plus before the size": b"+5\r\nhello\r\n" + end,
        "minus before the size": b"-5\r\nhello\r\n" + end,
        "0x before the size": b"0x5\r\nhello\r\n" + end,
        "size no number": b"g\r\nhello\r\n" + end,
        "size with a letter behind": b"5g\r\nhello\r\n" + end,
        "size with an underscore": b"0_5\r\nhello\r\n" + end,
        "size with a comma": b"5,5\r\nhello\r\n" + end,
        "size with a dot": b"5.0\r\nhello\r\n" + end,
        "size empty": b"\r\nhello\r\n" + end,
        "size with only an extension": b";a=b\r\nhello\r\n" + end,
        "size NUL": b"5\x00\r\nhello\r\n" + end,
        "size quoted": b'"5"\r\nhello\r\n' + end,
        "size over 64 bits": b"10000000000000005\r\nhello\r\n" + end,
        "size that wraps 64 bits": b"fffffffffffffffff\r\nhello\r\n" + end,
        "size 2^64-1": b"FFFFFFFFFFFFFFFF\r\nhello\r\n" + end,
        "size 2^63": b"8000000000000000\r\nhello\r\n" + end,
        "size -1 in 32 bits and more": b"100000005\r\nhello\r\n" + end,
        "extension with a bare LF": b"5;a\nb\r\nhello\r\n" + end,
        "extension with a bare CR": b"5;a\rb\r\nhello\r\n" + end,
        "extension with NUL": b"5;a\x00\r\nhello\r\n" + end,
        "extension of 40 KiB": b"5;a=" + b"b" * 40960 + b"\r\nhello\r\n" + end,
        "last chunk with a bare LF": b"5\r\nhello\r\n0\n\r\n",
        "end with a bare LF": b"5\r\nhello\r\n0\r\n\n",
        "last chunk with a space": b"5\r\nhello\r\n0 \r\n\r\n",
        "trailer with a bare LF": b"5\r\nhello\r\n0\r\nX-T: 1\n\r\n",
        "trailer without a colon": b"5\r\nhello\r\n0\r\nX-T\r\n\r\n",
        "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX-T : 1\r\n\r\n",
        "trailer folded": b"5\r\nhello\r\n0\r\nX-T: 1\r\n 2\r\n\r\n",
        "trailer with NUL": b"5\r\nhello\r\n0\r\nX-T: \x00\r\n\r\n",
        "trailer of 100 KiB": b"5\r\nhello\r\n0\r\nX-T: " + b"t" * 102400 + b"\r\n\r\n",
        "end of the connection inside a size": b"5\r\nhello\r\n5",
        "end of the connection inside the data": b"5\r\nhel",
        "end of the connection after the last data": b"5\r\nhello\r\n",
        "end of the connection after the last chunk": b"5\r\nhello\r\n0\r\n",
    }
    for name, body in wrong.items():
        yield Case(f"chunks: {name}", post(CHUNKED, body), CUT, eof=True)
    right = {
        "one": (HELLO, b"hello"),
        "none": (end, b""),
        "two": (b"5\r\nhello\r\n6\r\n world\r\n" + end, b"hello world"),
        "upper-case hexadecimal": (b"A\r\n0123456789\r\n" + end, b"0123456789"),
        "lower-case hexadecimal": (b"a\r\n0123456789\r\n" + end, b"0123456789"),
        "data that looks like an end": (b"5\r\n0\r\n\r\n\r\n" + end, b"0\r\n\r\n"),
        "a thousand of one octet": (b"1\r\nx\r\n" * 1000 + end, b"x" * 1000),
    }
    for name, (body, whole) in right.items():
        yield Case(f"chunks: {name}", post(CHUNKED, body), PASSED, body=whole)
    tolerated = {
        "leading zeros": b"0005\r\nhello\r\n" + end,
        "an extension": b"5;a=b\r\nhello\r\n" + end,
        "a quoted extension": b'5;a="b;c"\r\nhello\r\n' + end,
        "extension with a space": b"5 ;a=b\r\nhello\r\n" + end,
        "last chunk of many zeros": b"5\r\nhello\r\n0000\r\n\r\n",
        "an extension on the last chunk": b"5\r\nhello\r\n0;a=b\r\n\r\n",
        "a trailer": b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    }
    for name, body in tolerated.items():
        yield Case(f"chunks: {name}", post(CHUNKED, body), SAFE, body=b"hello")
    for name in (b"Content-Length: 9", b"Transfer-Encoding: gzip", b"Host: evil.test", b"X-Forwarded-For: 9.9.9.9"):
        raw = post(CHUNKED, b"5\r\nhello\r\n0\r\n" + name + b"\r\n\r\n")
        yield Case(
            f"chunks: trailer {shown(name)} never joins the head",
            raw,
            SAFE,
            body=b"hello",
            has={"host": "a.test", "x-forwarded-for": "127.0.0.1"},
        )


def cases():
    yield from spellings()
    yield from chunks()
