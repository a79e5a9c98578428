"""The same request through every kind of client connection: HTTP/1.1 in clear, HTTP/1.1 and HTTP/2 over TLS."""

from h2raw import H2Client
from rawhttp import Client

FRONTS = ("http", "https", "h2")


def request(method, target, host, fields=(), body=b""):
    """The octets of an HTTP/1.1 request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Front:
    """One way to ask a proxy; a connection a request."""

    def __init__(self, kind, proxy, ca, host):
        self.kind, self.proxy, self.ca, self.host = kind, proxy, ca, host
        self.secure = kind != "http"
        self.port = proxy.https if self.secure else proxy.http
        self.origin = f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def ask(self, target="/", method="GET", fields=(), body=b"", source="127.0.0.1", host=None):
        """The answer to one request; `fields` is a mapping or pairs."""
        fields = list(fields.items() if isinstance(fields, dict) else fields)
        host = host or self.host
        if self.kind == "h2":
            return self._ask_h2(target, method, fields, body, source, host)
        tls = self.ca if self.secure else None
        with Client(self.port, tls=tls, name=host, source=source, timeout=30) as client:
            client.send(request(method, target, f"{host}:{self.port}", fields, body))
            return client.answer(method)

    def _ask_h2(self, target, method, fields, body, source, host):
        with H2Client(self.port, self.ca, host, source=source, timeout=30) as client:
            pseudo = [(":method", method), (":scheme", "https"), (":path", target)]
            pseudo.append((":authority", f"{host}:{self.port}"))
            fields = [(name.lower(), value) for name, value in fields]
            if body:
                fields.append(("content-length", str(len(body))))
            client.headers(1, pseudo + fields, end=not body)
            if body:
                client.data(1, body)
            return client.answer(1)
