"""The cases of the framing suite, a family a table.

A case is the octets that the client sends and what may follow:

refused  the client gets 4xx or 5xx or the connection is closed, and no octet reaches the backend
cut      the head may have gone on before the fault was seen (bodies stream), but the backend never reads a whole
         request and the client's connection is closed
passed   the backend reads exactly `count` canonical requests; the facts are about the first one
safe     either passed or cut: the RFC leaves the choice
"""

from dataclasses import dataclass, field

REFUSED, CUT, PASSED, SAFE = "refused", "cut", "passed", "safe"
HOST = b"Host: a.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


@dataclass
class Case:
    name: str
    raw: bytes
    verdict: str
    method: str | None = None
    target: str | None = None
    body: bytes | None = None
    # Field values that the backend must read, and fields that it must not.
    has: dict = field(default_factory=dict)
    lacks: tuple = ()
    # How many whole requests the backend reads: a number or a set of numbers.
    count: int | tuple = 1
    # The statuses that the client may get first; None: any that fits the verdict.
    status: tuple | None = None
    # The client half-closes after the octets: for messages that would wait for more.
    eof: bool = False
    # The octets are written one at a time.
    drip: bool = False


def get(fields=b"", target=b"/", host=HOST, version=b"HTTP/1.1", method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def post(fields, body, host=HOST, version=b"HTTP/1.1", method=b"POST"):
    return method + b" /p " + version + b"\r\n" + host + fields + b"\r\n" + body


def shown(value):
    """A name for octets: printable, short."""
    text = repr(value)[2:-1]
    return text if len(text) <= 40 else f"{text[:30]}... ({len(value)} octets)"
