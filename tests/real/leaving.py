"""A client of HTTP/1.1 that leaves while the server works, and one that only ends its own side."""

import contextlib
import socket
import struct
import threading
import unittest

import support
from backends import RawServer, read_message
from rawhttp import Client

RESET = struct.pack("ii", 1, 0)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"


class Leaving(unittest.TestCase):
    def setUp(self):
        self.asked, self.left, self.go = threading.Event(), threading.Event(), threading.Event()
        self.addCleanup(self.go.set)
        self.backend = RawServer(self.serve)
        self.addCleanup(self.backend.close)
        self.proxy = support.Proxy(support.site(f"127.0.0.1:{self.backend.port}"))
        self.addCleanup(self.proxy.close)

    def serve(self, peer):
        """Answers `/wait` when it may, begins a stream at `/stream`, and knows when the proxy has left."""
        rest = b""
        with contextlib.suppress(OSError):
            while found := read_message(peer, rest):
                message, rest = found
                if message.target == "/stream":
                    peer.sendall(STREAM)
                self.asked.set()
                if message.target == "/wait":
                    self.go.wait(support.PATIENCE)
                    peer.sendall(ANSWER)
        self.left.set()

    def ask(self, target, tls=False, body=b""):
        client = Client(
            self.proxy.https if tls else self.proxy.http, tls=self.proxy.ca() if tls else None, name=support.HOST,
            timeout=support.PATIENCE,
        )
        self.addCleanup(client.socket.close)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        client.send(f"{'POST' if body else 'GET'} {target} HTTP/1.1\r\nHost: {support.HOST}\r\n{length}\r\n".encode() + body)
        self.assertTrue(self.asked.wait(support.PATIENCE))
        self.asked.clear()
        return client

    def leave(self, client, tls=False):
        # Over TLS the end without close_notify is enough: it ends both ways.
        if not tls:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.socket.close()

    def test_the_server_is_let_go_when_the_connection_breaks(self):
        for tls in (False, True):
            for target, body in (("/never", b""), ("/never", b"x" * 1000), ("/stream", b"")):
                with self.subTest(tls=tls, target=target, body=len(body)):
                    client = self.ask(target, tls, body)
                    if target == "/stream":
                        self.assertIsNotNone(client.read_until(b"first"))
                    self.leave(client, tls)
                    self.assertTrue(self.left.wait(support.PATIENCE), "the server still works for it")
                    self.left.clear()

    def test_bytes_of_the_next_request_do_not_hide_the_break(self):
        client = self.ask("/never")
        client.send(f"GET /next HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        self.leave(client)
        self.assertTrue(self.left.wait(support.PATIENCE))

    def test_a_client_that_ends_its_own_side_gets_its_answer(self):
        client = self.ask("/wait")
        client.finish_sending()
        # The FIN was there before the answer: the proxy has had to decide.
        self.assertFalse(self.left.wait(0.3))
        self.go.set()
        answer = client.answer()
        self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
        self.assertTrue(client.at_end())

    def test_requests_sent_ahead_are_answered_in_order(self):
        client = self.ask("/wait")
        client.send(f"GET /wait HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode() * 2)
        client.finish_sending()
        self.go.set()
        self.assertEqual([client.answer().body for _ in range(3)], [b"ok\n"] * 3)


if __name__ == "__main__":
    support.main()
