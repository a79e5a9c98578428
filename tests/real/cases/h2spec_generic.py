"""The generic sections of h2spec: what a client may do, and the server goes on."""

from cases.h2frames import (
    ACKNOWLEDGED, ANSWERED, AUTHORITY, CLOSED, HEAD, PONG, POST, Await, Row, block,
    continuation, data, depends, fields, goaway, headers, ping, priority, reset, settings, window,
)  # fmt: skip

HALF = block(fields(path="/" + "a" * 40))


def string(text, huffman=None):
    """A string literal of HPACK (RFC 7541 section 5.2)."""
    coded = text.encode() if huffman is None else huffman
    return bytes([len(coded) | (0x80 if huffman else 0)]) + coded


# RFC 7541 appendix C: "custom-key" and "custom-value" in Huffman code; "/" is 0x63 padded.
CUSTOM_KEY, CUSTOM_VALUE = bytes.fromhex("25a849e95ba97d7f"), bytes.fromhex("25a849e95bb8e8b4bf")
# :method GET, :scheme https, :path / by the static table, then :authority as a literal.
START = b"\x82\x87\x84" + b"\x01" + string(AUTHORITY)


def hpack(number, sentence, rest):
    return Row(f"generic/5/{number}", sentence, (headers(1, raw=rest),), ANSWERED)


def representations():
    """Every way to write a field: a prefix for a name in the static table (user-agent, 58) and one for a new name."""
    for number, (kind, known, new) in enumerate(
        (
            ("with incremental indexing", b"\x7a", b"\x40"),
            ("without indexing", b"\x0f\x2b", b"\x00"),
            ("never indexed", b"\x1f\x2b", b"\x10"),
        )
    ):
        first = 2 + 4 * number
        yield hpack(first, f"a literal field {kind}, its name indexed", START + known + string("custom-value"))
        yield hpack(
            first + 1, f"a literal field {kind}, its name indexed, in Huffman code", START + known + string("", CUSTOM_VALUE)
        )
        yield hpack(
            first + 2, f"a literal field {kind}, its name new", START + new + string("custom-key") + string("custom-value")
        )
        yield hpack(
            first + 3,
            f"a literal field {kind}, its name new, in Huffman code",
            START + new + string("", CUSTOM_KEY) + string("", CUSTOM_VALUE),
        )


def rows():
    yield Row("generic/1/1", "a client preface", (), ACKNOWLEDGED)
    yield Row("generic/2/1", "PRIORITY on an idle stream", (priority(1), headers(1)), ANSWERED)
    yield Row("generic/2/2", "WINDOW_UPDATE on a half-closed stream", (headers(1), window(1, 1)), ANSWERED)
    yield Row("generic/2/3", "PRIORITY on a half-closed stream", (headers(1), priority(1)), ANSWERED)
    yield Row("generic/2/4", "RST_STREAM on a half-closed stream", (headers(1), reset(1), ping()), PONG)
    yield Row("generic/2/5", "PRIORITY on a closed stream", (headers(1), Await(1), priority(1), ping()), PONG)
    yield Row("generic/3.1/1", "a DATA frame", (headers(1, POST, end=False), data(1)), ANSWERED)
    several = (headers(1, POST, end=False), data(1, end=False), data(1))
    yield Row("generic/3.1/2", "several DATA frames", several, ANSWERED)
    yield Row("generic/3.1/3", "a DATA frame with padding", (headers(1, POST, end=False), data(1, pad=6)), ANSWERED)
    yield Row("generic/3.2/1", "a HEADERS frame", (headers(1),), ANSWERED)
    yield Row("generic/3.2/2", "a HEADERS frame with padding", (headers(1, pad=6),), ANSWERED)
    yield Row("generic/3.2/3", "a HEADERS frame with priority", (headers(1, priority=depends(0)),), ANSWERED)
    for number, (name, sent) in enumerate(
        (
            ("of weight 1", priority(1, weight=0)),
            ("of weight 256", priority(1, weight=255)),
            ("with a dependency", priority(1, on=3)),
            ("with an exclusive dependency", priority(1, on=3, exclusive=True)),
            ("of a higher idle stream", priority(5)),
        ),
        1,
    ):
        yield Row(f"generic/3.3/{number}", f"a PRIORITY frame {name}", (sent, headers(1)), ANSWERED)
    yield Row("generic/3.4/1", "a RST_STREAM frame", (headers(1, POST, end=False), reset(1), ping()), PONG)
    yield Row("generic/3.5/1", "a SETTINGS frame", (settings((3, 100)),), ACKNOWLEDGED)
    yield Row("generic/3.7/1", "a PING frame", (ping(),), PONG)
    yield Row("generic/3.8/1", "a GOAWAY frame", (goaway(),), CLOSED)
    yield Row("generic/3.9/1", "a WINDOW_UPDATE frame of the connection", (window(0, 1), ping()), PONG)
    yield Row("generic/3.9/2", "a WINDOW_UPDATE frame of a stream", (headers(1), window(1, 1)), ANSWERED)
    parts = (headers(1, last=False, raw=HALF[:20]), continuation(1, HALF[20:]))
    yield Row("generic/3.10/1", "a CONTINUATION frame", parts, ANSWERED)
    parts = (headers(1, last=False, raw=HALF[:20]), continuation(1, HALF[20:30], last=False), continuation(1, HALF[30:]))
    yield Row("generic/3.10/2", "several CONTINUATION frames", parts, ANSWERED)
    yield Row("generic/4/1", "a GET", (headers(1),), ANSWERED)
    yield Row("generic/4/2", "a HEAD", (headers(1, HEAD),), ANSWERED)
    yield Row("generic/4/3", "a POST", (headers(1, POST, end=False), data(1)), ANSWERED)
    trailers = (headers(1, (*POST, ("trailer", "x-test")), end=False), data(1, end=False), headers(1, (("x-test", "ok"),)))
    yield Row("generic/4/4", "a POST with trailers", trailers, ANSWERED)
    yield hpack(1, "an indexed field", START + b"\x90")
    yield from representations()
    yield hpack(14, "a dynamic table size update", b"\x3f\x61" + START)
    yield hpack(15, "two dynamic table size updates", b"\x20\x3f\x61" + START)

