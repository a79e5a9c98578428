"""The http2 and hpack sections of h2spec: what a server must refuse, and how (RFC 9113 and RFC 7541)."""

from cases.h2frames import (
    ACK, ACKNOWLEDGED, ANSWERED, AUTHORITY, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, GET, HEADERS,
    INITIAL_WINDOW, MAX_FRAME_SIZE, ONE_OCTET, PADDED, PING, PONG, POST, PRIORITY_FRAME, PUSH_PROMISE, REFUSED_FIELDS,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, Await, Row, block, connection_error, continuation, data, depends, fields, frame,
    goaway, headers, ping, priority, reset, settings, stream_error, window, without,
)  # fmt: skip

PROTOCOL, CLOSED = "PROTOCOL_ERROR", "STREAM_CLOSED"
SIZE, FLOW, COMPRESSION = "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR", "COMPRESSION_ERROR"
MAX_WINDOW = (1 << 31) - 1
LONG = block((*GET, *((f"x-{n}", "a" * 4000) for n in range(7))))
OPEN = headers(1, POST, end=False)
START = b"\x82\x87\x84\x01" + bytes([len(AUTHORITY)]) + AUTHORITY.encode()

HPACK = {
    "2.3.3/1": ("an index outside of both tables", START + b"\xc6"),
    "2.3.3/2": ("a name's index outside of both tables", START + b"\x7f\x07\x01x"),
    "4.2/1": ("a table size update at the end of a block", START + b"\x20"),
    "5.2/1": ("Huffman padding of more than 7 bits", START + b"\x40\x01x\x82\x1f\xff"),
    "5.2/2": ("Huffman padding of zeros", START + b"\x40\x01x\x81\x18"),
    "5.2/3": ("a string with Huffman's EOS", START + b"\x40\x01x\x85\xff\xff\xff\xff\xff"),
    "6.1/1": ("index 0", START + b"\x80"),
    "6.3/1": ("a table size above the limit", b"\x3f\xe2\x1f" + START),
}


def connection():
    """Sections 3 to 4: frames as such."""
    yield Row("http2/3.5/1", "a client preface", (), ACKNOWLEDGED)
    for number, sent in enumerate(
        (
            frame(0x16, 0, 0, bytes(8)),
            frame(PING, 0xFE, 0, b"vestibul"),
            frame(PING, 0, 1 << 31, b"vestibul"),
        ),
        1,
    ):
        names = ("a frame of an unknown type is ignored", "undefined flags are ignored", "the reserved bit is ignored")
        yield Row(f"http2/4.1/{number}", names[number - 1], (sent, ping()), PONG)
    yield Row("http2/4.2/1", "a DATA frame of 2^14 octets", (OPEN, data(1, bytes(1 << 14))), ANSWERED)
    yield Row("http2/4.2/2", "a DATA frame above the largest size", (OPEN, data(1, bytes((1 << 14) + 1))), stream_error(SIZE))
    large = headers(1, raw=LONG)
    yield Row("http2/4.2/3", "a HEADERS frame above the largest size", (large,), connection_error(SIZE))
    broken = headers(1, raw=START + b"\x40\x0aab")
    yield Row("http2/4.3/1", "a field block that cannot be decoded", (broken,), connection_error(COMPRESSION))
    half = headers(1, last=False)
    yield Row("http2/4.3/2", "PRIORITY inside a field block", (half, priority(1)), connection_error(PROTOCOL))
    yield Row("http2/4.3/3", "HEADERS of another stream inside one", (half, headers(3)), connection_error(PROTOCOL))


def states():
    """Section 5: streams."""
    idle = ("DATA", data(1)), ("RST_STREAM", reset(1)), ("WINDOW_UPDATE", window(1, 100)), ("CONTINUATION", continuation(1))
    for number, (name, sent) in enumerate(idle, 1):
        yield Row(f"http2/5.1/{number}", f"{name} on an idle stream", (sent,), connection_error(PROTOCOL))
    later = ("DATA", data(1)), ("HEADERS", headers(1)), ("CONTINUATION", continuation(1))
    places = (
        ("half-closed by the client", (OPEN, data(1))),
        ("closed by RST_STREAM", (OPEN, reset(1))),
        ("closed by its response", (headers(1), Await(1))),
    )
    number = 4
    for place, before in places:
        for name, sent in later:
            number += 1
            codes = (CLOSED, PROTOCOL) if name == "CONTINUATION" else (CLOSED,)
            yield Row(f"http2/5.1/{number}", f"{name} on a stream {place}", (*before, sent), stream_error(*codes))
    yield Row("http2/5.1.1/1", "an even stream identifier", (headers(2),), connection_error(PROTOCOL))
    smaller = (headers(5), headers(3))
    yield Row("http2/5.1.1/2", "an identifier smaller than the last", smaller, connection_error(PROTOCOL))
    many = tuple(headers(2 * n + 1, POST, end=False) for n in range(101))
    yield Row("http2/5.1.2/1", "more streams than are allowed", many, stream_error("REFUSED_STREAM", PROTOCOL))
    yield Row("http2/5.3.1/1", "HEADERS that depends on itself", (headers(1, priority=depends(1)),), stream_error(PROTOCOL))
    yield Row("http2/5.3.1/2", "PRIORITY that depends on itself", (priority(3, on=3),), stream_error(PROTOCOL))
    short = frame(PING, 0, 0, bytes(6))
    yield Row("http2/5.4.1/1", "a connection error closes", (short,), connection_error(SIZE))
    yield Row("http2/5.4.1/2", "a connection error sends GOAWAY", (short,), connection_error(SIZE))
    yield Row("http2/5.5/1", "an extension's frame is ignored", (frame(0x16, 0, 0, bytes(8)), ping()), PONG)
    inside = (headers(1, last=False), frame(0x16, 0, 0, bytes(8)), continuation(1))
    yield Row("http2/5.5/2", "an extension's frame inside a field block", inside, connection_error(PROTOCOL))


def wrong_frames():
    """Sections 6.1 to 6.5: each type with a wrong stream, padding or length."""
    yield Row("http2/6.1/1", "DATA on stream 0", (data(0),), connection_error(PROTOCOL))
    yield Row("http2/6.1/2", "DATA on a half-closed stream", (headers(1), data(1)), stream_error(CLOSED))
    padding = frame(DATA, PADDED | END_STREAM, 1, b"\x06test")
    yield Row("http2/6.1/3", "DATA with more padding than payload", (OPEN, padding), connection_error(PROTOCOL))
    half = headers(1, last=False)
    yield Row("http2/6.2/1", "PRIORITY in place of CONTINUATION", (half, priority(1)), connection_error(PROTOCOL))
    yield Row("http2/6.2/2", "HEADERS in place of CONTINUATION", (half, headers(3)), connection_error(PROTOCOL))
    yield Row("http2/6.2/3", "HEADERS on stream 0", (headers(0),), connection_error(PROTOCOL))
    raw = block(GET)
    padding = frame(HEADERS, PADDED | END_STREAM | END_HEADERS, 1, bytes([len(raw) + 1]) + raw)
    yield Row("http2/6.2/4", "HEADERS with more padding than payload", (padding,), connection_error(PROTOCOL))
    yield Row("http2/6.3/1", "PRIORITY on stream 0", (priority(0),), connection_error(PROTOCOL))
    short = frame(PRIORITY_FRAME, 0, 1, bytes(4))
    yield Row("http2/6.3/2", "PRIORITY of 4 octets", (headers(1, POST, end=False), short), stream_error(SIZE))
    yield Row("http2/6.4/1", "RST_STREAM on stream 0", (reset(0),), connection_error(PROTOCOL))
    yield Row("http2/6.4/2", "RST_STREAM on an idle stream", (reset(1),), connection_error(PROTOCOL))
    short = frame(RST_STREAM, 0, 1, bytes(3))
    yield Row("http2/6.4/3", "RST_STREAM of 3 octets", (OPEN, short), connection_error(SIZE))
    acked = frame(SETTINGS, ACK, 0, bytes(1))
    yield Row("http2/6.5/1", "an acknowledgement with a payload", (acked,), connection_error(SIZE))
    yield Row("http2/6.5/2", "SETTINGS on a stream", (frame(SETTINGS, 0, 1, bytes(6)),), connection_error(PROTOCOL))
    yield Row("http2/6.5/3", "SETTINGS of 3 octets", (frame(SETTINGS, 0, 0, bytes(3)),), connection_error(SIZE))
    values = (
        ("ENABLE_PUSH of 2", (ENABLE_PUSH, 2), PROTOCOL),
        ("INITIAL_WINDOW_SIZE of 2^31", (INITIAL_WINDOW, 1 << 31), FLOW),
        ("MAX_FRAME_SIZE of 2^14 - 1", (MAX_FRAME_SIZE, (1 << 14) - 1), PROTOCOL),
        ("MAX_FRAME_SIZE of 2^24", (MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
    )
    for number, (name, pair, code) in enumerate(values, 1):
        yield Row(f"http2/6.5.2/{number}", name, (settings(pair),), connection_error(code))
    yield Row("http2/6.5.2/5", "a setting nobody knows", (settings((0xFF, 1)), ping()), PONG)
    twice = (settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)), headers(1))
    yield Row("http2/6.5.3/1", "one setting twice: the last counts", twice, ONE_OCTET)
    yield Row("http2/6.5.3/2", "SETTINGS is acknowledged", (settings(),), ACKNOWLEDGED)


def control_frames():
    """Sections 6.7 to 7."""
    yield Row("http2/6.7/1", "PING is answered", (ping(),), PONG)
    yield Row("http2/6.7/2", "an answer to PING is not answered", (ping(b"notasked", ACK), ping()), PONG)
    yield Row("http2/6.7/3", "PING on a stream", (ping(stream=1),), connection_error(PROTOCOL))
    yield Row("http2/6.7/4", "PING of 6 octets", (frame(PING, 0, 0, bytes(6)),), connection_error(SIZE))
    yield Row("http2/6.8/1", "GOAWAY on a stream", (goaway(stream=1),), connection_error(PROTOCOL))
    yield Row("http2/6.9/1", "WINDOW_UPDATE by 0", (window(0, 0),), connection_error(PROTOCOL))
    yield Row("http2/6.9/2", "WINDOW_UPDATE by 0 on a stream", (OPEN, window(1, 0)), stream_error(PROTOCOL))
    short = frame(WINDOW_UPDATE, 0, 0, bytes(3))
    yield Row("http2/6.9/3", "WINDOW_UPDATE of 3 octets", (short,), connection_error(SIZE))
    small = settings((INITIAL_WINDOW, 1))
    yield Row("http2/6.9.1/1", "no more DATA than the window", (small, headers(1)), ONE_OCTET)
    twice = (window(0, MAX_WINDOW), window(0, MAX_WINDOW))
    yield Row("http2/6.9.1/2", "the connection's window above 2^31 - 1", twice, connection_error(FLOW))
    twice = (OPEN, window(1, MAX_WINDOW), window(1, MAX_WINDOW))
    yield Row("http2/6.9.1/3", "a stream's window above 2^31 - 1", twice, stream_error(FLOW))
    zero = settings((INITIAL_WINDOW, 0))
    yield Row("http2/6.9.2/1", "the window is opened by SETTINGS", (zero, headers(1), small), ONE_OCTET)
    negative = (settings((INITIAL_WINDOW, 3)), headers(1), settings((INITIAL_WINDOW, 2)), window(1, 2), ping())
    yield Row("http2/6.9.2/2", "a window may become negative", negative, PONG)
    above = settings((INITIAL_WINDOW, 1 << 31))
    yield Row("http2/6.9.2/3", "INITIAL_WINDOW_SIZE above 2^31 - 1", (above,), connection_error(FLOW))
    raw = block(fields(path="/" + "a" * 40))
    parts = (headers(1, last=False, raw=raw[:20]), continuation(1, raw[20:30], last=False), continuation(1, raw[30:]))
    yield Row("http2/6.10/1", "CONTINUATION after CONTINUATION", parts, ANSWERED)
    parts = (*parts[:2], data(1))
    yield Row("http2/6.10/2", "DATA in place of CONTINUATION", parts, connection_error(PROTOCOL))
    half = headers(1, last=False)
    yield Row("http2/6.10/3", "CONTINUATION on stream 0", (half, continuation(0)), connection_error(PROTOCOL))
    after = (headers(1), frame(CONTINUATION, END_HEADERS, 1, block((("x-a", "1"),))))
    yield Row("http2/6.10/4", "CONTINUATION after a whole HEADERS", after, connection_error(PROTOCOL))
    after = (half, continuation(1), continuation(1))
    yield Row("http2/6.10/5", "CONTINUATION after the last one", after, connection_error(PROTOCOL))
    after = (OPEN, data(1, end=False), continuation(1))
    yield Row("http2/6.10/6", "CONTINUATION after DATA", after, connection_error(PROTOCOL))
    yield Row("http2/7/1", "GOAWAY with an unknown code", (OPEN, goaway(0xFF), ping()), PONG)
    yield Row("http2/7/2", "RST_STREAM with an unknown code", (OPEN, reset(1, 0xFF), ping()), PONG)


def messages():
    """Section 8: requests that are malformed."""
    second = (OPEN, headers(1, POST, end=False))
    yield Row("http2/8.1/1", "a second HEADERS without END_STREAM", second, stream_error(PROTOCOL))
    malformed = (
        ("8.1.2/1", "a field name in upper case", (*GET, ("X-TEST", "ok"))),
        ("8.1.2.1/1", "an unknown pseudo-field", (*GET, (":test", "ok"))),
        ("8.1.2.1/2", "a response's pseudo-field", (*GET, (":status", "200"))),
        ("8.1.2.1/4", "a pseudo-field after a field", (*without(":path"), ("x-test", "ok"), (":path", "/"))),
        ("8.1.2.2/1", "a field of the connection", (*GET, ("connection", "keep-alive"))),
        ("8.1.2.2/2", "TE other than trailers", (*GET, ("trailers", "test"), ("te", "trailers, deflate"))),
        ("8.1.2.3/1", "an empty :path", (*without(":path"), (":path", ""))),
        ("8.1.2.3/2", "no :method", without(":method")),
        ("8.1.2.3/3", "no :scheme", without(":scheme")),
        ("8.1.2.3/4", "no :path", without(":path")),
        ("8.1.2.3/5", "two :method", (*GET, (":method", "POST"))),
        ("8.1.2.3/6", "two :scheme", (*GET, (":scheme", "https"))),
        ("8.1.2.3/7", "two :path", (*GET, (":path", "/"))),
    )
    for number, sentence, pairs in malformed:
        yield Row(f"http2/{number}", sentence, (headers(1, pairs),), REFUSED_FIELDS)
    trailers = (OPEN, data(1, end=False), headers(1, ((":method", "200"), ("x-test", "ok"))))
    yield Row("http2/8.1.2.1/3", "a pseudo-field in trailers", trailers, REFUSED_FIELDS)
    length = headers(1, (*POST, ("content-length", "1")), end=False)
    yield Row("http2/8.1.2.6/1", "more DATA than content-length", (length, data(1)), stream_error(PROTOCOL))
    twice = (length, data(1, end=False), data(1))
    yield Row("http2/8.1.2.6/2", "more DATA in two frames", twice, stream_error(PROTOCOL))
    promise = frame(PUSH_PROMISE, END_HEADERS, 1, (3).to_bytes(4, "big") + block(GET))
    yield Row("http2/8.2/1", "a client that pushes", (OPEN, promise), connection_error(PROTOCOL))


def hpack():
    """The sections of RFC 7541."""
    for number, (sentence, raw) in HPACK.items():
        yield Row(f"hpack/{number}", sentence, (headers(1, raw=raw),), connection_error(COMPRESSION))


def rows():
    for part in (connection, states, wrong_frames, control_frames, messages, hpack):
        yield from part()
