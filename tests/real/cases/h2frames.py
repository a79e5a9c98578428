"""HTTP/2 frames as octets, right or wrong, and rows of cases made of them (RFC 9113 section 6).

Field blocks never touch the dynamic table unless a case writes them by hand, so every frame is the same whenever it is
sent.
"""

from dataclasses import dataclass

from hpack import Encoder, NeverIndexedHeaderTuple

AUTHORITY = "app.localhost"
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
DATA, HEADERS, PRIORITY_FRAME, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME_SIZE, MAX_LIST = range(1, 7)
ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
    "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
).split()


def fields(method="GET", path="/", scheme="https", *more):
    return ((":method", method), (":scheme", scheme), (":path", path), (":authority", AUTHORITY), *more)


GET, POST, HEAD = fields(), fields("POST"), fields("HEAD")


def without(name):
    return tuple(item for item in GET if item[0] != name)


def block(pairs):
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in pairs])


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(stream, pairs=GET, end=True, last=True, pad=None, priority=b"", raw=None):
    """HEADERS; `last` is END_HEADERS, `pad` a length of padding, `priority` five octets, `raw` the field block."""
    flags = (END_STREAM if end else 0) | (END_HEADERS if last else 0) | (PRIORITY if priority else 0)
    payload = priority + (block(pairs) if raw is None else raw)
    if pad is not None:
        flags, payload = flags | PADDED, bytes([pad]) + payload + bytes(pad)
    return frame(HEADERS, flags, stream, payload)


def continuation(stream, payload=b"", last=True):
    return frame(CONTINUATION, END_HEADERS if last else 0, stream, payload)


def large_headers(stream, pairs):
    """HEADERS with as many CONTINUATION frames as the field block needs."""
    raw = block(pairs)
    parts = [raw[at : at + 16384] for at in range(0, len(raw), 16384)]
    sent = headers(stream, raw=parts[0], last=len(parts) == 1)
    return sent + b"".join(continuation(stream, part, last=part is parts[-1]) for part in parts[1:])


def data(stream, payload=b"test", end=True, pad=None):
    flags = END_STREAM if end else 0
    if pad is not None:
        flags, payload = flags | PADDED, bytes([pad]) + payload + bytes(pad)
    return frame(DATA, flags, stream, payload)


def depends(on, weight=255, exclusive=False):
    return ((1 << 31 if exclusive else 0) | on).to_bytes(4, "big") + bytes([weight])


def priority(stream, on=0, weight=255, exclusive=False):
    return frame(PRIORITY_FRAME, 0, stream, depends(on, weight, exclusive))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def ping(payload=b"vestibul", flags=0, stream=0):
    return frame(PING, flags, stream, payload)


def goaway(code=0, stream=0):
    return frame(GOAWAY, 0, stream, bytes(4) + code.to_bytes(4, "big"))


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


@dataclass(frozen=True)
class Await:
    """A step: wait until the response of this stream is whole."""

    stream: int


@dataclass(frozen=True)
class Expect:
    """What has to come: the first event that `kinds` names decides, and it has to be one of `good`."""

    kinds: tuple
    good: tuple


def connection_error(*codes):
    """GOAWAY with one of the codes."""
    return Expect(("goaway", "close"), tuple(("goaway", code) for code in codes))


def stream_error(*codes):
    """RST_STREAM or GOAWAY with one of the codes."""
    good = tuple((kind, code) for code in codes for kind in ("reset", "goaway"))
    return Expect(("reset", "goaway", "close"), good)


ANSWERED = Expect(("answer", "reset", "goaway", "close"), (("answer", "200"),))
REFUSED_FIELDS = Expect(
    ("answer", "reset", "goaway", "close"), (("reset", "PROTOCOL_ERROR"), ("goaway", "PROTOCOL_ERROR"))
)
PONG = Expect(("ping", "goaway", "close"), (("ping", b"vestibul"),))
ACKNOWLEDGED = Expect(("settings", "goaway", "close"), (("settings", "ack"),))
ONE_OCTET = Expect(("data", "reset", "goaway", "close"), (("data", 1),))
CLOSED = Expect(("close",), (("close", None),))


@dataclass(frozen=True)
class Row:
    """A case of h2spec: its number there, a sentence, what is sent after the prefaces, and what has to come."""

    number: str
    sentence: str
    steps: tuple
    expect: Expect
