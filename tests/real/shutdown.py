"""Stopping: TERM drains what is in flight and exits 0, a second TERM ends at once, and new connections are refused."""

import threading
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client


class Shutdown(unittest.TestCase):
    def setUp(self):
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

        def half(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "10")
            handler.end_headers()
            handler.wfile.write(b"first")
            handler.wfile.flush()
            self.gate.wait(support.PATIENCE * 2)
            handler.wfile.write(b"other")

        self.backend = FunctionServer({"/half": half, "/": lambda handler: handler.reply(200, b"whole\n")})
        self.addCleanup(self.backend.close)

    def start(self, top=""):
        proxy = support.Proxy(support.site(f"127.0.0.1:{self.backend.port}"), top)
        self.addCleanup(proxy.close)
        return proxy

    def begin_download(self, proxy, secure):
        client = Client(
            proxy.https if secure else proxy.http,
            tls=proxy.ca() if secure else None,
            name=support.HOST,
            timeout=support.PATIENCE,
        )
        self.addCleanup(client.socket.close)
        client.send(f"GET /half HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        support.wait_until(lambda: client.fill() and b"first" in client.buffer, "the first half arrives")
        return client

    def wait_for_refusal(self, proxy):
        for port in (proxy.http, proxy.https):
            support.wait_until(lambda port=port: not support.accepts(("127.0.0.1", port)), f"port {port} is closed")

    def test_term_drains_a_download_and_exits_0(self):
        for secure in (False, True):
            with self.subTest(door="https" if secure else "http"):
                self.gate.clear()
                proxy = self.start()
                idle = Client(proxy.http)
                self.addCleanup(idle.socket.close)
                client = self.begin_download(proxy, secure)
                proxy.term()
                self.wait_for_refusal(proxy)
                self.assertFalse(proxy.ended(), "the process ended with a download in flight")
                self.gate.set()
                answer = client.answer()
                self.assertTrue(answer.complete)
                self.assertEqual(answer.body, b"firstother")
                self.assertTrue(client.at_end(), "the connection outlives the drain")
                self.assertEqual(proxy.wait(), 0, proxy.output())

    def test_term_drains_an_http_2_download_and_exits_0(self):
        proxy = self.start()
        url = proxy.doors()[1][1] + "/half"
        curl = support.Process(support.curl_line(proxy, "--http2", "--no-buffer", "--fail", "-D", "/dev/stderr", url))
        self.addCleanup(curl.stop)
        support.wait_until(lambda: any("content-length" in line.lower() for line in curl.stderr), "the head arrives")
        proxy.term()
        self.wait_for_refusal(proxy)
        self.gate.set()
        self.assertEqual(curl.wait(), 0, curl.output())
        self.assertEqual("".join(curl.stdout), "firstother")
        self.assertEqual(proxy.wait(), 0, proxy.output())

    def test_a_second_term_ends_at_once(self):
        proxy = self.start()
        self.begin_download(proxy, False)
        proxy.term()
        self.wait_for_refusal(proxy)
        self.assertFalse(proxy.ended())
        start = time.monotonic()
        proxy.term()
        proxy.wait()
        self.assertLess(time.monotonic() - start, 1)

    def test_the_grace_bounds_the_drain(self):
        proxy = self.start('[server]\nshutdown_grace = "1s"\n')
        client = self.begin_download(proxy, False)
        start = time.monotonic()
        proxy.term()
        proxy.wait()
        took = time.monotonic() - start
        self.assertGreater(took, 0.8)
        self.assertLess(took, 4)
        answer = client.answer()
        self.assertFalse(answer is not None and answer.complete, "a cut download looks whole")

    def test_idle_connections_do_not_delay_the_end(self):
        proxy = self.start()
        with Client(proxy.http) as client, Client(proxy.http):
            client.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
            self.assertEqual(client.answer().status, 200)
            start = time.monotonic()
            proxy.term()
            self.assertEqual(proxy.wait(), 0, proxy.output())
            self.assertLess(time.monotonic() - start, 3)

    def test_health_checks_hear_first_and_requests_go_on_until_the_delay_is_over(self):
        proxy = self.start('[server]\nshutdown_delay = "2s"\n')
        with Client(proxy.http) as asker, Client(proxy.http) as client:
            self.assertEqual(self.health(asker), 200)
            start = time.monotonic()
            proxy.term()
            support.wait_until(lambda: self.health(asker) == 503, "the health check fails")
            client.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
            answer = client.answer()
            self.assertEqual((answer.status, answer.value("connection")), (200, None))
            self.assertTrue(support.accepts(("127.0.0.1", proxy.http)))
            self.assertEqual(proxy.wait(), 0, proxy.output())
            self.assertGreater(time.monotonic() - start, 1.9)

    def test_a_second_term_ends_the_delay_at_once(self):
        proxy = self.start('[server]\nshutdown_delay = "1h"\n')
        with Client(proxy.http) as asker:
            self.assertEqual(self.health(asker), 200)
            proxy.term()
            support.wait_until(lambda: self.health(asker) == 503, "the health check fails")
        proxy.term()
        self.assertEqual(proxy.wait(), 0, proxy.output())

    @staticmethod
    def health(client):
        client.send(b"GET /.vestibule/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.answer().status

    def test_interrupt_stops_as_term_does(self):
        proxy = self.start()
        proxy.child.send_signal(support.signal.SIGINT)
        self.assertEqual(proxy.wait(), 0, proxy.output())


if __name__ == "__main__":
    support.main()
