"""HTTP/1.1 read octet by octet: a strict reader of requests for the recorder, and a client that sends any bytes.

Nothing here repairs what it reads. The reader of requests takes only the canonical form that a proxy should write; the
client takes a response as it is and says how it ended.
"""

import re
import select
import socket
import ssl
from dataclasses import dataclass, field

REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.1")
FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e]*)?")


class NotCanonical(Exception):
    """The octets are not the one form in which a request may be forwarded."""


@dataclass
class Message:
    method: str
    target: str
    fields: list
    body: bytes = b""
    framing: str = "none"
    trailers: list = field(default_factory=list)

    def values(self, name):
        return [value for key, value in self.fields if key == name.lower()]

    def value(self, name):
        return ", ".join(self.values(name)) if self.values(name) else None


def parse_fields(block):
    """Field lines to a list of (lower-case name, value)."""
    fields = []
    for line in block.split(b"\r\n") if block else []:
        if not (match := FIELD_LINE.fullmatch(line)):
            raise NotCanonical(f"field line {line!r}")
        fields.append((match[1].decode().lower(), match[2].decode("latin-1")))
    return fields


def read_request(data):
    """One request from the front of `data`: `(message, rest)`, or None while it is incomplete."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    line, _, block = head.partition(b"\r\n")
    if not (match := REQUEST_LINE.fullmatch(line)):
        raise NotCanonical(f"request line {line!r}")
    message = Message(match[1].decode(), match[2].decode(), parse_fields(block))
    if len(message.values("host")) != 1:
        raise NotCanonical(f"{len(message.values('host'))} Host fields")
    lengths, codings = message.values("content-length"), message.values("transfer-encoding")
    if lengths and codings:
        raise NotCanonical("Content-Length beside Transfer-Encoding")
    if codings:
        if codings != ["chunked"]:
            raise NotCanonical(f"Transfer-Encoding {codings}")
        message.framing = "chunked"
        return read_chunked(message, rest)
    if lengths:
        if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise NotCanonical(f"Content-Length {lengths}")
        message.framing, length = "length", int(lengths[0])
        if len(rest) < length:
            return None
        message.body = rest[:length]
        return message, rest[length:]
    return message, rest


def read_chunked(message, data):
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not (match := CHUNK_SIZE.fullmatch(line)):
            raise NotCanonical(f"chunk size line {line!r}")
        size = int(match[1], 16)
        if size == 0:
            break
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise NotCanonical("chunk without its CRLF")
        message.body += data[:size]
        data = data[size + 2 :]
    if data.startswith(b"\r\n"):
        return message, data[2:]
    block, end, data = data.partition(b"\r\n\r\n")
    if not end:
        return None
    message.trailers = parse_fields(block)
    return message, data


@dataclass
class Answer:
    """A response as the client saw it. `complete` is false when the connection ended inside it."""

    status: int = 0
    fields: list = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    interim: list = field(default_factory=list)

    def value(self, name):
        found = [value for key, value in self.fields if key == name.lower()]
        return ", ".join(found) if found else None


class Client:
    """One connection that sends what it is told, byte by byte."""

    def __init__(self, port, tls=None, name=None, timeout=10, alpn=("http/1.1",), source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=tls)
            context.set_alpn_protocols(list(alpn))
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
        self.buffer, self.ended = b"", None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """False when the peer has closed already: an answer may still be there to read."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def readable_within(self, seconds):
        """Whether an answer or the end comes within `seconds`; nothing is read. For a connection without TLS."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def finish_sending(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def fill(self):
        """Read more. False at the end; `ended` tells how: "closed", "reset" or "timeout"."""
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            self.ended = "timeout"
        except (ConnectionError, ssl.SSLError):
            self.ended = "reset"
        else:
            if data:
                self.buffer += data
                return True
            self.ended = "closed"
        return False

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                return None
        block, _, self.buffer = self.buffer.partition(mark)
        return block

    def read_exactly(self, count):
        # Pieces are joined once: a body of 200 MB must not be copied a read.
        parts, left = [], count
        while True:
            part, self.buffer = self.buffer[:left], self.buffer[left:]
            parts.append(part)
            left -= len(part)
            if not left or not self.fill():
                return b"".join(parts)

    def answer(self, method="GET"):
        """The next final response; None when the connection ended before one began."""
        result = Answer()
        while True:
            head = self.read_until(b"\r\n\r\n")
            if head is None:
                return None
            line, _, block = head.partition(b"\r\n")
            match = re.fullmatch(rb"HTTP/1\.[01] ([0-9]{3})( .*)?", line)
            if not match:
                raise NotCanonical(f"status line {line!r}")
            status, fields = int(match[1]), parse_fields(block)
            if status >= 200 or status == 101:
                break
            result.interim.append((status, fields))
        result.status, result.fields = status, fields
        self._body(result, method)
        return result

    def _body(self, result, method):
        if method == "HEAD" or result.status in (101, 204, 304):
            result.complete = True
        elif result.value("transfer-encoding"):
            self._chunks(result)
        elif (length := result.value("content-length")) is not None:
            result.body = self.read_exactly(int(length))
            result.complete = len(result.body) == int(length)
        else:
            while self.fill():
                pass
            result.body, self.buffer = self.buffer, b""
            result.complete = self.ended == "closed"

    def _chunks(self, result):
        while (line := self.read_until(b"\r\n")) is not None:
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                while (trailer := self.read_until(b"\r\n")) is not None:
                    if not trailer:
                        result.complete = True
                        return
                return
            data = self.read_exactly(size + 2)
            result.body += data[:size]
            if len(data) < size + 2:
                return

    def at_end(self, timeout=10):
        """Whether the peer closes without sending more."""
        self.socket.settimeout(timeout)
        while self.fill():
            pass
        return self.ended in ("closed", "reset") and not self.buffer
