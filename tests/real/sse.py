"""Server-sent events arrive when they are sent: within 50 ms, over HTTP/1.1, HTTP/1.1 with TLS, and HTTP/2."""

import subprocess
import threading
import time
import unittest

import support
from backends import FunctionServer

EVENTS, PAUSE, LIMIT = 8, 0.2, 0.05
# The machine is shared: a round may be late by chance, a proxy that holds events back is late in each.
ROUNDS = 3


class Sse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pace = threading.Event()

        def events(handler):
            handler.begin_chunked("text/event-stream")
            for number in range(EVENTS):
                handler.chunk(b"data: %d %.6f\n\n" % (number, time.monotonic()))
                cls.pace.wait(PAUSE)
            handler.chunk(b"")

        def until_close(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Connection", "close")
            handler.end_headers()
            for number in range(EVENTS):
                handler.wfile.write(b"data: %d %.6f\n\n" % (number, time.monotonic()))
                handler.wfile.flush()
                cls.pace.wait(PAUSE)

        cls.backend = FunctionServer({"/events": events, "/until-close": until_close})
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"))
        cls.addClassCleanup(cls.proxy.close)

    def delays(self, *arguments):
        """Seconds from the backend's write to curl's output, an event each."""
        curl = subprocess.Popen(
            support.curl_line(self.proxy, "--no-buffer", "--fail", *arguments), stdout=subprocess.PIPE
        )
        found = []
        try:
            for line in curl.stdout:
                now = time.monotonic()
                if line.startswith(b"data: "):
                    found.append(now - float(line.split()[2]))
        finally:
            curl.kill()
            curl.stdout.close()
            curl.wait()
        self.assertEqual(len(found), EVENTS)
        return found

    def check(self, *arguments):
        worst = []
        for _ in range(ROUNDS):
            worst.append(max(self.delays(*arguments)))
            if worst[-1] <= LIMIT:
                return
        self.fail(f"an event was late in each of {ROUNDS} rounds: {[f'{late * 1000:.0f} ms' for late in worst]}")

    def test_events_arrive_within_50_ms(self):
        (_, plain), (_, secure) = self.proxy.doors()
        for path in ("/events", "/until-close"):
            for name, arguments in {
                "HTTP/1.1": ("--http1.1", plain + path),
                "HTTP/1.1 with TLS": ("--http1.1", secure + path),
                "HTTP/2": ("--http2", secure + path),
            }.items():
                with self.subTest(name, path=path):
                    self.check(*arguments)


if __name__ == "__main__":
    support.main()
