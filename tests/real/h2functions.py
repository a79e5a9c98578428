"""The applications of `backends.FunctionServer`, served over HTTP/2 in clear: the same functions, the same handler."""

import threading

from h2server import H2Server

HOP_BY_HOP = ("transfer-encoding", "connection")


class Headers:
    """A request's fields by name, whatever its spelling."""

    def __init__(self, fields):
        # A pseudo-field is no field; `:authority` is what Host was.
        self.fields = [(name, value) for name, value in fields if not name.startswith(":")]
        self.fields += [("host", value) for name, value in fields if name == ":authority"]

    def get(self, name, default=None):
        return next((value for other, value in self.fields if other == name.lower()), default)

    def __contains__(self, name):
        return self.get(name) is not None

    def items(self):
        return list(self.fields)


class Handler:
    """One request, as a function of an application sees it."""

    def __init__(self, stream, fields):
        self.stream, self.headers = stream, Headers(fields)
        self.path, self.command = stream.fields[":path"], stream.fields[":method"]
        self.status, self.head = None, []
        self.begun, self.ended = False, False

    def send_response(self, status):
        self.status = status

    def send_header(self, name, value):
        if name.lower() not in HOP_BY_HOP:
            self.head.append((name.lower(), value))

    def end_headers(self):
        """The head goes out with the first piece: one without a body ends its stream itself, as servers do."""

    def reply(self, status, body, *fields):
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), *fields):
            self.send_header(name, value)
        self.end_headers()
        self.write(b"" if self.command == "HEAD" else body, end=True)

    def begin_chunked(self, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()

    def chunk(self, data):
        self.write(data, end=not data)

    def write(self, data, end):
        with self.stream.peer.lock:
            if not self.begun:
                self.stream.respond(self.status, *self.head, end=end and not data)
            if data or (self.begun and end):
                self.stream.data(data, end)
            self.begun, self.ended = True, end

    def body_pieces(self, size=65536):
        body = self.stream.body
        return [body[start : start + size] for start in range(0, len(body), size)]


class H2FunctionServer:
    """`{path: function(handler)}` is the application; "*" is every other path. `target` is how a config names it."""

    def __init__(self, routes):
        self.routes = routes
        self.server = H2Server(on_end=self._begin)
        self.target = f"h2c://127.0.0.1:{self.server.port}"

    def _begin(self, stream):
        # In a thread of its own: a function may wait while others go on on the same connection.
        threading.Thread(target=self._run, args=(stream,), daemon=True).start()

    def _run(self, stream):
        server = self.server
        fields = server.all[server.streams.index(stream)]
        handler = Handler(stream, fields)
        function = self.routes.get(handler.path.partition("?")[0], self.routes.get("*"))
        if function is None:
            return handler.reply(404, b"no such path\n")
        function(handler)
        if not handler.ended:
            handler.write(b"", end=True)

    def close(self):
        self.server.close()
