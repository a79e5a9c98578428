"""WebSocket through both doors: echo, a message glued to the request, refusals, and extended CONNECT (RFC 8441)."""

import asyncio
import base64
import contextlib
import hashlib
import http
import os
import ssl
import struct
import threading
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

import support
from h2raw import H2Client
from hyperframe.frame import SettingsFrame
from rawhttp import Client

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(text):
    """A masked text frame of less than 126 octets (RFC 6455 5.2)."""
    mask = os.urandom(4)
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(octet ^ mask[at % 4] for at, octet in enumerate(text))


class WebSocket(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.heads = []

        def decide(connection, request):
            cls.heads.append(request)
            if request.path == "/forbidden":
                return connection.respond(http.HTTPStatus.FORBIDDEN, "not for you\n")
            return None

        def choose(_, offered):
            return "chat" if "chat" in offered else None

        def echo(connection):
            with contextlib.suppress(ConnectionClosed):
                for message in connection:
                    connection.send(message)

        port = support.free_port()
        cls.server = serve(echo, "127.0.0.1", port, process_request=decide, select_subprotocol=choose, max_size=None)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.server.shutdown)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{port}"))
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    def doors(self):
        return (("http", "ws", self.proxy.http), ("https", "wss", self.proxy.https))

    def open(self, scheme, port, path="/", **options):
        """A client of one thread: Python's TLS is not safe for a reader and a writer at once."""
        context = ssl.create_default_context(cafile=self.ca) if scheme == "wss" else None
        uri = f"{scheme}://{support.HOST}:{port}{path}"
        return connect(uri, ssl=context, max_size=None, host="127.0.0.1", port=port, proxy=None, **options)

    async def receive(self, socket):
        return await asyncio.wait_for(socket.recv(), support.PATIENCE)

    async def test_messages_are_echoed(self):
        for door, scheme, port in self.doors():
            with self.subTest(door):
                async with self.open(scheme, port) as socket:
                    for message in ("hello", "", "\u00fc" * 1000, b"\x00\xff" * 1000, os.urandom(5_000_000)):
                        await socket.send(message)
                        self.assertEqual(await self.receive(socket), message)
                    await asyncio.wait_for(await socket.ping(), support.PATIENCE)

    async def test_a_hundred_connections_live_side_by_side(self):
        for door, scheme, port in self.doors():
            with self.subTest(door):
                sockets = [await self.open(scheme, port, compression=None) for _ in range(100)]
                for number, socket in enumerate(sockets):
                    await socket.send(str(number))
                for number, socket in enumerate(sockets):
                    self.assertEqual(await self.receive(socket), str(number))
                    await socket.close()

    async def test_what_the_two_ends_agree_on_passes(self):
        for door, scheme, port in self.doors():
            with self.subTest(door):
                async with self.open(scheme, port, "/agree?x=1", subprotocols=["chat"]) as socket:
                    self.assertEqual(socket.subprotocol, "chat")
                    self.assertIn("permessage-deflate", socket.response.headers["Sec-WebSocket-Extensions"])
                    head = self.heads[-1]
                    self.assertEqual(head.path, "/agree?x=1")
                    self.assertEqual(head.headers["Host"], f"{support.HOST}:{port}")
                    self.assertEqual(head.headers["X-Forwarded-Proto"], door)

    async def test_the_close_code_passes_both_ways(self):
        for door, scheme, port in self.doors():
            with self.subTest(door):
                async with self.open(scheme, port) as socket:
                    await socket.close(4001, "bye")
                    self.assertEqual(socket.close_code, 4001)

    def test_a_refused_handshake_arrives_as_the_applications_own(self):
        key = base64.b64encode(os.urandom(16)).decode()
        for door, _, port in self.doors():
            with (
                self.subTest(door),
                Client(port, tls=self.ca if door == "https" else None, name=support.HOST) as client,
            ):
                client.send(self.handshake("/forbidden", key, port))
                answer = client.answer()
                self.assertEqual((answer.status, answer.body), (403, b"not for you\n"))

    @staticmethod
    def handshake(path, key, port):
        return (
            f"GET {path} HTTP/1.1\r\nHost: {support.HOST}:{port}\r\n"
            f"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode()

    def test_a_message_glued_to_the_request_is_echoed(self):
        for door, _, port in self.doors():
            with (
                self.subTest(door),
                Client(port, tls=self.ca if door == "https" else None, name=support.HOST) as client,
            ):
                key = base64.b64encode(os.urandom(16)).decode()
                client.send(self.handshake("/", key, port) + frame(b"glued"))
                answer = client.answer()
                self.assertEqual(answer.status, 101)
                accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
                self.assertEqual(answer.value("sec-websocket-accept"), accept)
                self.assertEqual(answer.value("upgrade").lower(), "websocket")
                self.assertEqual(client.read_exactly(7), b"\x81\x05glued")
                client.send(frame(b"again"))
                self.assertEqual(client.read_exactly(7), b"\x81\x05again")

    def test_extended_connect_over_http_2_is_echoed(self):
        with H2Client(self.proxy.https, self.ca, support.HOST) as client:
            if client.first_settings().get(SettingsFrame.ENABLE_CONNECT_PROTOCOL) != 1:
                self.skipTest("extended CONNECT (RFC 8441) is not offered in SETTINGS")
            fields = (
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "https"),
                (":authority", support.HOST),
                (":path", "/"),
            )
            client.headers(1, (*fields, ("sec-websocket-version", "13")), end=False)
            client.data(1, frame(b"over h2"), end=False)
            expected = b"\x81" + struct.pack("B", 7) + b"over h2"
            while len(client.answers.get(1).body if 1 in client.answers else b"") < len(expected):
                self.assertTrue(client.step() and 1 not in client.ended, "the stream ended without the echo")
            self.assertEqual((client.answers[1].status, client.answers[1].body), (200, expected))


if __name__ == "__main__":
    support.main()
