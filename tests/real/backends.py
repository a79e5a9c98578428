"""Backends in threads of the suite's own process: a recorder of exact octets, and a small server of functions."""

import contextlib
import http.server
import socket
import socketserver
import threading

import support
import websockets.exceptions
import websockets.sync.server
from rawhttp import NotCanonical, read_request


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that leaves early is nothing to report: suites look at what was recorded."""


class Recorder:
    """Keeps the exact octets of every connection and answers each canonical request it reads.

    `requests` holds what was read whole, `faults` what could not be the canonical form, `partial` the octets of
    requests that were never finished. `script`, when set, is the raw answer to the next requests: bytes, and the
    connection closes after them when `script_closes` is true.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.octets, self.requests, self.faults, self.partial = [], [], [], []
        self.script, self.script_closes = None, False
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                recorder._connection(self.request)

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def clear(self):
        with self.lock:
            for log in (self.octets, self.requests, self.faults, self.partial):
                log.clear()

    def _connection(self, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pending, asked = b"", False
        try:
            while data := peer.recv(65536):
                with self.lock:
                    self.octets.append(data)
                pending += data
                while (found := read_request(pending)) is not None:
                    (message, pending), asked = found, False
                    with self.lock:
                        self.requests.append(message)
                    if not self._answer(peer, message):
                        return
                if not asked and b"\r\n\r\n" in pending and b"100-continue" in pending.lower():
                    asked = True
                    peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        except NotCanonical as fault:
            with self.lock:
                self.faults.append(str(fault))
        except OSError:
            pass
        finally:
            if pending:
                with self.lock:
                    self.partial.append(pending)
            peer.close()

    def _answer(self, peer, message):
        if self.script is not None and message.target != "/barrier":
            peer.sendall(self.script)
            return not self.script_closes
        body = b"" if message.method == "HEAD" else b"recorded\n"
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n\r\n" + body)
        return True


class RawServer:
    """Calls `function(peer)` for each connection: any octets, any end. `connections` counts them."""

    def __init__(self, function):
        self.connections = 0
        raw = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                raw.connections += 1
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                function(self.request)

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def read_message(peer, pending=b""):
    """The next canonical request of a connection: `(message, rest)`, or None at its end."""
    while (found := read_request(pending)) is None:
        data = peer.recv(65536)
        if not data:
            return None
        pending += data
    return found


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """As of `_Server`."""


class FunctionServer:
    """An HTTP/1.1 server whose `{path: function(handler)}` table is the application; "*" is every other path.

    It listens on a port of its own, or at `path` of a unix socket; `target` is how a config names it.
    """

    def __init__(self, routes, path=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One write for the head: the standard library's default is a write a line.
            wbufsize = 65536
            disable_nagle_algorithm = path is None

            def dispatch(self):
                function = routes.get(self.path.partition("?")[0], routes.get("*"))
                if function is None:
                    self.reply(404, b"no such path\n")
                else:
                    function(self)
                    self.wfile.flush()

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = dispatch

            def reply(self, status, body, *fields):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in fields:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                self.wfile.flush()

            def begin_chunked(self, content_type):
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()

            def body_pieces(self, size=65536):
                """The request body in pieces, whatever its framing."""
                if self.headers.get("Transfer-Encoding"):
                    while left := int(self.rfile.readline().partition(b";")[0], 16):
                        while left and (data := self.rfile.read(min(left, size))):
                            left -= len(data)
                            yield data
                        self.rfile.readline()
                    while self.rfile.readline().strip():
                        pass
                else:
                    left = int(self.headers.get("Content-Length", 0))
                    while left and (data := self.rfile.read(min(left, size))):
                        left -= len(data)
                        yield data

            def log_message(self, *_):
                """The suites' output is the tests' own."""

        if path is None:
            self.server = _Server(("127.0.0.1", 0), Handler)
            self.port = self.server.server_address[1]
            self.target = f"127.0.0.1:{self.port}"
        else:
            self.server = _UnixServer(str(path), Handler)
            self.target = f"unix:{path}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def held_server(release):
    """`/` answers at once, `/slow` ends its answer when `release` is set, `/upload` counts what it gets."""

    def slow(handler):
        handler.begin_chunked("text/plain")
        handler.chunk(b"first")
        release.wait(support.PATIENCE)
        handler.chunk(b"last")
        handler.chunk(b"")

    def upload(handler):
        handler.reply(200, b"%d" % sum(map(len, handler.body_pieces())))

    return FunctionServer({"/": lambda h: h.reply(200, b"one"), "/slow": slow, "/upload": upload})


def websocket_echo():
    """A WebSocket server that sends back what it gets, until its `shutdown()`; and its port."""

    def echo(connection):
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            for message in connection:
                connection.send(message)

    server = websockets.sync.server.serve(echo, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.socket.getsockname()[1]
