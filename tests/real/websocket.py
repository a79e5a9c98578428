"""WebSocket through both doors: echo, a message glued to the request, refusals, and extended CONNECT (RFC 8441)."""

import asyncio
import base64
import contextlib
import hashlib
import http
import os
import queue
import socket
import ssl
import struct
import threading
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol, State
from websockets.sync.server import serve

import support
from backends import RawServer, read_message
from h2raw import H2Client
from hyperframe.frame import RstStreamFrame, SettingsFrame
from rawhttp import Client

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(text):
    """A masked text frame of less than 126 octets (RFC 6455 5.2)."""
    mask = os.urandom(4)
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(octet ^ mask[at % 4] for at, octet in enumerate(text))


class EchoServer:
    """A real server that echoes, and the proxy in front of it."""

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


class WebSocket(EchoServer, unittest.IsolatedAsyncioTestCase):
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


class Tunnel:
    """A WebSocket on one HTTP/2 stream (RFC 8441): the protocol of the `websockets` package over DATA frames."""

    def __init__(self, client, stream, path="/", *more):
        self.client, self.stream, self.seen = client, stream, 0
        client.headers(stream, connect_fields(path, *more), end=False)
        self.protocol = Protocol(CLIENT, state=State.OPEN, max_size=None)

    def flush(self):
        self.client.data_within_windows(self.stream, b"".join(self.protocol.data_to_send()))

    def send(self, message):
        self.protocol.send_binary(message) if isinstance(message, bytes) else self.protocol.send_text(message.encode())
        self.flush()

    def feed(self):
        answer = self.client.answers.get(self.stream)
        if answer is not None and len(answer.body) > self.seen:
            self.protocol.receive_data(bytes(answer.body[self.seen :]))
            self.seen = len(answer.body)

    def receive(self):
        """The next whole message."""
        parts = []
        while True:
            self.feed()
            for event in self.protocol.events_received():
                parts.append(event)
                if event.fin:
                    whole = b"".join(bytes(part.data) for part in parts)
                    return whole.decode() if parts[0].opcode is Opcode.TEXT else whole
            if self.stream in self.client.ended or not self.client.step():
                raise AssertionError(f"the stream ended ({self.client.ended}) with {parts!r}")

    def close(self, code, reason):
        self.protocol.send_close(code, reason)
        self.flush()
        while self.protocol.close_rcvd is None:
            self.feed()
            if self.protocol.close_rcvd is None and not self.client.step():
                raise AssertionError("no close came back")
        return self.protocol.close_rcvd.code


def connect_fields(path="/", *more, protocol="websocket"):
    pseudo = (":method", "CONNECT"), (":protocol", protocol), (":scheme", "https"), (":authority", support.HOST)
    return (*pseudo, (":path", path), ("sec-websocket-version", "13"), *more)


class OverHttp2(EchoServer, unittest.TestCase):
    """RFC 8441: one stream is one WebSocket; the backend sees an ordinary HTTP/1.1 handshake."""

    def client(self):
        return H2Client(self.proxy.https, self.ca, support.HOST, timeout=support.PATIENCE)

    def status(self, client, stream):
        while stream not in client.answers or not client.answers[stream].status:
            self.assertTrue(client.step() and stream not in client.ended, f"no response: {client.ended}")
        return client.answers[stream].status

    def test_extended_connect_is_offered(self):
        with self.client() as client:
            self.assertEqual(client.first_settings().get(SettingsFrame.ENABLE_CONNECT_PROTOCOL), 1)

    def test_messages_are_echoed_on_a_stream(self):
        with self.client() as client:
            tunnel = Tunnel(client, 1)
            self.assertEqual(self.status(client, 1), 200)
            for name in ("sec-websocket-accept", "upgrade", "connection"):
                self.assertIsNone(client.answers[1].value(name), name)
            for message in ("hello", "", "\u00fc" * 1000, b"\x00\xff" * 1000, os.urandom(5_000_000)):
                tunnel.send(message)
                self.assertEqual(tunnel.receive(), message)
            self.assertEqual(tunnel.close(4001, "bye"), 4001)

    def test_a_message_glued_to_the_connect_is_echoed(self):
        with self.client() as client:
            tunnel = Tunnel(client, 1)
            tunnel.send("over h2")
            self.assertEqual(tunnel.receive(), "over h2")

    def test_a_hundred_sockets_share_a_connection(self):
        with self.client() as client:
            tunnels = [Tunnel(client, 2 * number + 1) for number in range(100)]
            for number, tunnel in enumerate(tunnels):
                tunnel.send(str(number))
            for number, tunnel in enumerate(tunnels):
                self.assertEqual(tunnel.receive(), str(number))

    def test_the_handshake_at_the_backend_is_fresh_and_whole(self):
        with self.client() as client:
            more = ("sec-websocket-protocol", "chat"), ("sec-websocket-key", "bm90IHRoaXMgb25lIG5vdyE=")
            Tunnel(client, 1, "/agree?x=2", *more)
            self.assertEqual(self.status(client, 1), 200)
            self.assertEqual(client.answers[1].value("sec-websocket-protocol"), "chat")
            head = self.heads[-1]
            self.assertEqual(head.path, "/agree?x=2")
            self.assertEqual(head.headers["X-Forwarded-Proto"], "https")
            self.assertEqual(len(base64.b64decode(head.headers["Sec-WebSocket-Key"])), 16)
            self.assertNotEqual(head.headers["Sec-WebSocket-Key"], more[1][1])

    def test_a_refusal_passes_as_it_is(self):
        with self.client() as client:
            client.headers(1, connect_fields("/forbidden"), end=False)
            answer = client.answer(1)
            self.assertEqual((answer.status, answer.body), (403, b"not for you\n"))

    def test_other_tunnels_are_refused(self):
        with self.client() as client:
            client.headers(1, connect_fields(protocol="connect-udp"), end=False)
            self.assertEqual(client.answer(1).status, 405)
            client.headers(3, connect_fields(), end=True)
            self.assertEqual(client.answer(3).status, 400)
            client.headers(5, connect_fields("/", ("content-length", "5")), end=False)
            self.assertEqual(client.answer(5).status, 400)


class Handshakes(unittest.TestCase):
    """Backends that do not speak as they should, and tunnels that break."""

    def setUp(self):
        self.ended, self.messages = queue.Queue(), queue.Queue()
        self.answer = None
        backend = RawServer(self.serve)
        self.addCleanup(backend.close)
        self.proxy = support.Proxy(support.site(f"127.0.0.1:{backend.port}"))
        self.addCleanup(self.proxy.close)
        self.client = H2Client(self.proxy.https, self.proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(self.client.client.socket.close)

    def serve(self, peer):
        found = read_message(peer)
        if found is None:
            return
        message, rest = found
        key = message.value("sec-websocket-key").encode()
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        peer.sendall(self.answer(accept))
        try:
            while data := rest or peer.recv(65536):
                rest = b""
                self.messages.put(data)
                if data == b"half-close":
                    peer.shutdown(socket.SHUT_WR)
                elif data == b"break":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    peer.close()
                    return
            self.ended.put("end")
        except ConnectionResetError:
            self.ended.put("reset")

    @staticmethod
    def switch(accept):
        fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
        return b"HTTP/1.1 101 Switching Protocols\r\n" + fields + accept + b"\r\n\r\nhello"

    def open(self):
        self.answer = self.switch
        self.client.headers(1, connect_fields(), end=False)
        while 1 not in self.client.answers or self.client.answers[1].body != b"hello":
            self.assertTrue(self.client.step() and 1 not in self.client.ended)

    def until_ended(self):
        while 1 not in self.client.ended and self.client.step():
            pass
        return self.client.ended.get(1)

    def test_a_wrong_accept_or_a_success_that_is_no_switch_opens_no_tunnel(self):
        answers = {
            "wrong": lambda _: self.switch(b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            "none": lambda accept: self.switch(accept).replace(b"Sec-WebSocket-Accept", b"X-Other"),
            "200": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        }
        for number, (name, answer) in enumerate(answers.items()):
            with self.subTest(name):
                self.answer, stream = answer, 2 * number + 1
                self.client.headers(stream, connect_fields(), end=False)
                found = self.client.answer(stream)
                self.assertEqual(found.status, 502)
                self.assertIn(b"upstream.websocket", found.body)

    def test_the_end_of_one_direction_leaves_the_other_open(self):
        self.open()
        self.client.data(1, b"half-close", end=False)
        self.assertEqual(self.until_ended(), "end")
        self.client.data(1, b"after", end=True)
        self.assertEqual([self.messages.get(timeout=support.PATIENCE) for _ in range(2)], [b"half-close", b"after"])
        self.assertEqual(self.ended.get(timeout=support.PATIENCE), "end")

    def test_a_reset_of_the_stream_is_a_reset_for_the_server(self):
        self.open()
        self.client.send_frame(RstStreamFrame(1, error_code=8))
        self.assertEqual(self.ended.get(timeout=support.PATIENCE), "reset")

    def test_a_reset_of_the_server_is_a_cancelled_stream(self):
        self.open()
        self.client.data(1, b"break", end=False)
        self.assertEqual(self.until_ended(), "reset 8")


if __name__ == "__main__":
    support.main()
