"""Renewal windows (RFC 9773) in front of pebble, which has none: a relay that adds them to its directory."""

import base64
import datetime
import http.client
import http.server
import json
import ssl
import threading

HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Ari:
    """Everything goes on to pebble but `renewalInfo`; `window` is what that says, in seconds from now."""

    def __init__(self, pebble):
        self.window = (86_400, 2 * 86_400)
        # Certificates asked about, and the predecessors that orders named.
        self.asked, self.replaced = [], []
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def relay(self):
                if self.path.startswith("/renewal/"):
                    return front.tell(self)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                context = ssl.create_default_context(cafile=pebble.root)
                link = http.client.HTTPSConnection("127.0.0.1", pebble.port, timeout=20, context=context)
                kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                # The name in Host goes into the URLs that pebble makes and checks.
                link.request(self.command, self.path, body or None, kept)
                answer = link.getresponse()
                data = answer.read()
                link.close()
                if self.path == "/dir":
                    address = f"https://{self.headers['Host']}/renewal"
                    data = json.dumps({**json.loads(data), "renewalInfo": address}).encode()
                elif self.path == "/order-plz" and answer.status == 201:
                    data = front.confirm(body, data)
                fields = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP]
                self.reply(answer.status, data, fields)

            do_GET = do_POST = do_HEAD = relay

            def reply(self, status, data, fields):
                self.send_response(status)
                for name, value in fields:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pebble.folder / "api.pem", pebble.folder / "api.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def directory(self):
        return f"https://127.0.0.1:{self.server.server_address[1]}/dir"

    def tell(self, handler):
        self.asked.append(handler.path.rpartition("/")[2])
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        start, end = (now + datetime.timedelta(seconds=offset) for offset in self.window)
        window = {"start": start.isoformat(), "end": end.isoformat()}
        data = json.dumps({"suggestedWindow": window}).encode()
        handler.reply(200, data, [("Content-Type", "application/json"), ("Retry-After", "21600")])

    def confirm(self, body, data):
        """A server that takes a predecessor names it in its answer (RFC 9773 section 5)."""
        replaces = decoded(json.loads(body)["payload"]).get("replaces")
        if replaces is None:
            return data
        self.replaced.append(replaces)
        return json.dumps({**json.loads(data), "replaces": replaces}).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def decoded(text):
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
