"""The PROXY protocol: read on listeners behind a balancer, written to servers; by hand and with a real HAProxy."""

import ipaddress
import json
import pathlib
import socket
import ssl
import struct
import tempfile
import threading
import unittest

import support
from backends import RawServer, Recorder, read_message
from h2raw import H2Client
from rawhttp import Client

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# From the blocks of RFC 5737 and RFC 3849: nobody's.
CLIENT, DOOR = "203.0.113.9", "198.51.100.7"
CLIENT6, DOOR6 = "2001:db8::9", "2001:db8::7"


def version_2(command, family, block):
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(block)) + block


def block(source, destination, source_port=4711, destination_port=443):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + struct.pack("!HH", source_port, destination_port)


V1 = f"PROXY TCP4 {CLIENT} {DOOR} 4711 443\r\n".encode()
V1_6 = f"PROXY TCP6 {CLIENT6} {DOOR6} 4711 443\r\n".encode()
V2 = version_2(0x21, 0x11, block(CLIENT, DOOR))
V2_6 = version_2(0x21, 0x21, block(CLIENT6, DOOR6))
TLV = version_2(0x21, 0x11, block(CLIENT, DOOR) + b"\x02\0\x09authority" + b"\x04\x01\xff" + b"\0" * 0x1FF)
LOCAL = version_2(0x20, 0x00, b"")
BAD_SUM = version_2(0x21, 0x11, block(CLIENT, DOOR) + b"\x03\0\x04\1\2\3\4")
GET = f"GET /x HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode()


class Behind(unittest.TestCase):
    """Listeners that trust 127.0.0.1; 127.0.0.2 is a stranger."""

    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.addClassCleanup(cls.recorder.close)
        cls.plain, cls.tls = support.free_port(), support.free_port()
        rules = 'proxy_protocol = { trust = ["127.0.0.1", "10.0.0.0/8"], timeout = "1s" }'
        listeners = (
            f'[listeners.plain]\naddress = "127.0.0.1:{cls.plain}"\n{rules}\n'
            f'[listeners.tls]\naddress = "127.0.0.1:{cls.tls}"\ntls = true\n{rules}\n'
        )
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.recorder.port}") + listeners)
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    def setUp(self):
        self.recorder.clear()

    def ask(self, door, before, source=None):
        """The status of a GET behind `before`."""
        if door == "h2":
            with H2Client(self.tls, self.ca, support.HOST, source=source, before=before) as client:
                fields = ((":method", "GET"), (":scheme", "https"), (":path", "/x"), (":authority", support.HOST))
                client.headers(1, fields)
                return client.answer(1).status
        port, ca = (self.plain, None) if door == "http" else (self.tls, self.ca)
        with Client(port, tls=ca, name=support.HOST, source=source, before=before) as client:
            client.send(GET)
            return client.answer().status

    def seen(self):
        request = self.recorder.requests[-1]
        return tuple(request.value(f"x-forwarded-{name}") for name in ("for", "port", "proto"))

    def logged(self, client):
        """How many records of the access log name a client."""
        return sum(json.loads(line)["client"] == client for line in list(self.proxy.stdout) if line.startswith("{"))

    def lines_about(self, connection):
        """What the process log says about a connection. Two doors may have met the same port of a client."""
        return [line for line in list(self.proxy.stderr) if connection in line]

    @staticmethod
    def name(client):
        """A connection as the process log names it."""
        ends = client.socket.getsockname() + client.socket.getpeername()
        return "{}:{}: connection to {}:{} closed".format(*ends)

    def test_the_client_is_the_one_of_the_header_on_every_door(self):
        headers = {
            "v1": (V1, CLIENT), "v1 IPv6": (V1_6, CLIENT6), "v2": (V2, CLIENT), "v2 IPv6": (V2_6, CLIENT6),
            "v2 with fields": (TLV, CLIENT),
        }  # fmt: skip
        for door, proto in (("http", "http"), ("https", "https"), ("h2", "https")):
            for name, (header, client) in headers.items():
                with self.subTest(door=door, header=name):
                    self.assertEqual(self.ask(door, header), 200)
                    self.assertEqual(self.seen(), (client, "443", proto))
        support.wait_until(lambda: self.logged(CLIENT) >= 9 and self.logged(CLIENT6) == 6, "records of both clients")

    def test_a_balancer_that_speaks_for_itself_is_the_client(self):
        unix = version_2(0x21, 0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"))
        for door in ("http", "https", "h2"):
            for name, header in {"LOCAL": LOCAL, "UNKNOWN": b"PROXY UNKNOWN\r\n", "unix": unix}.items():
                with self.subTest(door=door, header=name):
                    self.assertEqual(self.ask(door, header), 200)
                    self.assertEqual(self.seen()[0], "127.0.0.1")

    def test_a_header_may_come_in_any_pieces(self):
        for header in (V1, V2):
            with self.subTest(header[:6]), Client(self.plain) as client:
                for at in range(len(header)):
                    client.send(header[at : at + 1])
                client.send(GET)
                self.assertEqual(client.answer().status, 200)
                self.assertEqual(self.seen()[0], CLIENT)

    def test_what_comes_in_one_piece_with_the_header_is_not_lost(self):
        with Client(self.plain, before=V2 + GET + GET) as client:
            self.assertEqual([client.answer().status for _ in range(2)], [200, 200])
        context = ssl.create_default_context(cafile=self.ca)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname=support.HOST)
        with socket.create_connection(("127.0.0.1", self.tls), support.PATIENCE) as peer:
            first = V1
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    # The first flight is the ClientHello, right behind the header.
                    peer.sendall(first + outgoing.read())
                    first = b""
                    incoming.write(peer.recv(65536))
            session.write(GET)
            peer.sendall(first + outgoing.read())
            answer = b""
            while b"recorded\n" not in answer:
                try:
                    answer += session.read(65536)
                except ssl.SSLWantReadError:
                    incoming.write(peer.recv(65536))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"))
        self.assertEqual(self.seen(), (CLIENT, "443", "https"))

    def test_a_stranger_is_not_believed(self):
        for name, header in {"v1": V1, "v2": V2}.items():
            for door in ("http", "https"):
                with self.subTest(door=door, header=name):
                    # Its header is a faulty request, in clear on the TLS door too.
                    port = self.plain if door == "http" else self.tls
                    with Client(port, source="127.0.0.2") as client:
                        client.send(header + GET)
                        self.assertIn(client.answer().status, (400, 505))
        self.assertEqual(self.recorder.requests, [])
        for door in ("http", "https", "h2"):
            with self.subTest(door=door, header="none"):
                self.assertEqual(self.ask(door, b"", source="127.0.0.2"), 200)
                self.assertEqual(self.seen()[0], "127.0.0.2")

    def test_a_trusted_peer_without_a_valid_header_is_closed_with_one_line(self):
        cases = {
            "no header": (GET, False, "proxy_protocol.missing"),
            "a ClientHello": (b"\x16\x03\x01\x02\x00\x01", False, "proxy_protocol.missing"),
            "a bad address": (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n" + GET, False, "proxy_protocol.malformed"),
            "a bad version": (SIGNATURE + b"\x31\x11\0\0", False, "proxy_protocol.malformed"),
            "a wrong checksum": (BAD_SUM + GET, False, "proxy_protocol.malformed"),
            "too long": (b"PROXY UNKNOWN " + b"x" * 200, False, "proxy_protocol.malformed"),
            "cut v1": (V1[:-1], True, "proxy_protocol.malformed"),
            "cut v2": (V2[:-1], True, "proxy_protocol.malformed"),
            "slow": (V2[:-1], False, "proxy_protocol.timeout"),
            "silent": (b"", False, "proxy_protocol.timeout"),
        }
        for port in (self.plain, self.tls):
            for name, (data, ends, code) in cases.items():
                with self.subTest(name, port="plain" if port == self.plain else "tls"), Client(port) as client:
                    place = self.name(client)
                    client.send(data)
                    if ends:
                        client.finish_sending()
                    self.assertTrue(client.at_end(support.PATIENCE))
                    support.wait_until(lambda: self.lines_about(place), f"a line about {place}")
                    self.assertEqual(len(self.lines_about(place)), 1)
                    self.assertIn(code, self.lines_about(place)[0])
        self.assertEqual(self.recorder.requests, [])

    def test_a_peer_that_only_knocks_is_nothing_to_report(self):
        with Client(self.plain) as client:
            place = self.name(client)
            client.finish_sending()
            self.assertTrue(client.at_end(support.PATIENCE))
        # A later connection has been reported: so the first would have been.
        self.assertEqual(self.ask("http", V1), 200)
        self.assertEqual(self.lines_about(place), [])

    def test_the_health_path_is_for_this_machine_and_not_for_whom_a_header_names(self):
        ask = f"GET /.vestibule/health HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode()
        for header, body in ((LOCAL, b"ready\n"), (V1, b"recorded\n")):
            with Client(self.plain, before=header) as client:
                client.send(ask)
                self.assertEqual(client.answer().body, body)


class Health(unittest.TestCase):
    def test_the_command_sends_a_header_where_the_door_waits_for_one(self):
        with tempfile.TemporaryDirectory() as folder:
            config, port = pathlib.Path(folder) / "vestibule.toml", support.free_port()
            config.write_text(
                f'[listeners]\nhttp = {{ address = "127.0.0.1:{port}", proxy_protocol = {{ trust = ["127.0.0.0/8"] }} }}\n'
                f'https = "off"\n[sites."{support.HOST}"]\ntls = "off"\nrespond = {{ body = "x" }}\n'
            )
            server = support.Process([support.BINARY, "run", "--config", config])
            self.addCleanup(server.stop)
            support.wait_for_port(port, server)
            run = support.command([support.BINARY, "health", "--config", config])
            self.assertEqual((run.returncode, run.stdout), (0, "ready\n"), run.stderr)


class HAProxyInFront(unittest.TestCase):
    """HAProxy passes bytes on and sends a header of each kind ahead of them."""

    KINDS = {
        "v1": "send-proxy", "v2": "send-proxy-v2", "v2 with a checksum": "send-proxy-v2 proxy-v2-options crc32c",
        "v2 with an authority": "send-proxy-v2 proxy-v2-options authority,crc32c,unique-id",
    }  # fmt: skip

    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.addClassCleanup(cls.recorder.close)
        plain, tls = support.free_port(), support.free_port()
        rules = 'proxy_protocol = { trust = ["127.0.0.1"] }'
        listeners = (
            f'[listeners.plain]\naddress = "127.0.0.1:{plain}"\n{rules}\n'
            f'[listeners.tls]\naddress = "127.0.0.1:{tls}"\ntls = true\n{rules}\n'
        )
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.recorder.port}") + listeners)
        cls.addClassCleanup(cls.proxy.close)
        cls.ports, text = {}, "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n mode tcp\n"
        for kind, options in cls.KINDS.items():
            for door, target in (("http", plain), ("https", tls)):
                port = cls.ports[kind, door] = support.free_port()
                text += f"listen l{port}\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{target} {options}\n"
        cls.haproxy = HAProxy(text, list(cls.ports.values()))
        cls.addClassCleanup(cls.haproxy.stop)

    def test_the_backend_hears_who_is_in_front_of_haproxy(self):
        for kind in self.KINDS:
            for name, door, extra in (("http", "http", ()), ("https", "https", ("--http1.1",)), ("h2", "https", ("--http2",))):
                with self.subTest(kind=kind, door=name):
                    self.recorder.clear()
                    port = self.ports[kind, door]
                    where = ("--resolve", f"{support.HOST}:{port}:127.0.0.1", "--interface", "127.0.0.3")
                    url = f"{door}://{support.HOST}:{port}/"
                    self.assertEqual(support.curl(self.proxy, *where, *extra, url), "recorded\n")
                    request = self.recorder.requests[-1]
                    self.assertEqual(request.values("x-forwarded-for"), ["127.0.0.3"])
                    self.assertEqual(request.value("x-forwarded-port"), str(port))
                    self.assertEqual(request.value("x-forwarded-proto"), door)


class HAProxy(support.Process):
    """HAProxy with this configuration, when it listens on all of `ports`."""

    def __init__(self, text, ports):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "haproxy.cfg"
        path.write_text(text)
        super().__init__(["haproxy", "-db", "-f", path])
        for port in ports:
            # HAProxy may be asked in any way: a knock is nothing to it.
            support.wait_for_port(port, self)

    def stop(self):
        super().stop()
        self.folder.cleanup()


class ToServers(unittest.TestCase):
    """`proxy_protocol` of an upstream, read by a real HAProxy in front of a recorder."""

    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.addClassCleanup(cls.recorder.close)
        reader, behind = support.free_port(), support.free_port()
        cls.haproxy = HAProxy(
            "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n mode http\n"
            f"listen reader\n bind 127.0.0.1:{reader} accept-proxy\n"
            " http-request set-header X-Seen-Src %[src]:%[src_port]\n"
            " http-request set-header X-Seen-Dst %[dst]:%[dst_port]\n"
            f" server recorder 127.0.0.1:{cls.recorder.port}\n",
            [reader],
        )
        cls.addClassCleanup(cls.haproxy.stop)
        upstreams = "".join(
            f'[upstreams.{version}]\nservers = ["127.0.0.1:{reader}"]\nproxy_protocol = "{version}"\n'
            for version in ("v1", "v2")
        )
        sites = "".join(
            f'[sites."{version}.localhost"]\nupstream = "{version}"\nhttp = "serve"\n' for version in ("v1", "v2")
        )
        cls.behind = behind
        listener = (
            f'[listeners.behind]\naddress = "127.0.0.1:{behind}"\nproxy_protocol = {{ trust = ["127.0.0.1"] }}\n'
        )
        cls.proxy = support.Proxy(sites + upstreams + listener)
        cls.addClassCleanup(cls.proxy.close)

    def get(self, client, version):
        client.send(f"GET / HTTP/1.1\r\nHost: {version}.localhost\r\n\r\n".encode())
        self.assertEqual(client.answer().status, 200)
        request = self.recorder.requests[-1]
        return request.value("x-seen-src"), request.value("x-seen-dst")

    def test_the_server_learns_the_client_and_the_door(self):
        for version in ("v1", "v2"):
            with self.subTest(version), Client(self.proxy.http, source="127.0.0.4") as client:
                place = "{}:{}".format(*client.socket.getsockname())
                self.assertEqual(self.get(client, version), (place, f"127.0.0.1:{self.proxy.http}"))

    def test_no_client_is_taken_for_another_on_a_kept_connection(self):
        for version in ("v1", "v2"):
            with (
                self.subTest(version),
                Client(self.proxy.http, source="127.0.0.5") as one,
                Client(self.proxy.http, source="127.0.0.6") as other,
            ):
                for client in (one, other, one, one, other):
                    place = "{}:{}".format(*client.socket.getsockname())
                    self.assertEqual(self.get(client, version)[0], place)

    def test_what_came_in_a_header_goes_out_in_one(self):
        for version in ("v1", "v2"):
            for header, seen in ((V2, (f"{CLIENT}:4711", f"{DOOR}:443")), (V1_6, (f"{CLIENT6}:4711", f"{DOOR6}:443"))):
                with self.subTest(version, header=header[:12]), Client(self.behind, before=header) as client:
                    self.assertEqual(self.get(client, version), seen)

    def test_the_header_is_the_first_of_a_connection_over_a_unix_socket_too(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            path, heads = f"{folder}/s", []
            listener.bind(path)
            listener.listen()

            def serve():
                peer, _ = listener.accept()
                with peer:
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += peer.recv(65536)
                    heads.append(data)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            upstream = f'[upstreams.u]\nservers = ["unix:{path}"]\nproxy_protocol = "v1"\n'
            site = f'[sites."{support.HOST}"]\nupstream = "u"\nhttp = "serve"\n'
            with support.Proxy(site + upstream) as proxy, Client(proxy.http) as client:
                client.send(GET)
                self.assertEqual(client.answer().status, 200)
                port = client.socket.getsockname()[1]
                thread.join(support.PATIENCE)
                line = f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {proxy.http}\r\nGET /x HTTP/1.1\r\n"
                self.assertTrue(heads[0].startswith(line.encode()), heads[0])

    def test_a_listener_on_every_address_names_the_one_the_client_chose(self):
        lines = []

        def keep(peer):
            data = b""
            while b"\r\n" not in data:
                data += peer.recv(1)
            lines.append(data.decode())
            if read_message(peer):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        backend = RawServer(keep)
        self.addCleanup(backend.close)
        # Free on every address: the ports of other clients are on addresses of their own.
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", 0))
            everywhere = probe.getsockname()[1]
        upstream = f'[upstreams.u]\nservers = ["127.0.0.1:{backend.port}"]\nproxy_protocol = "v1"\n'
        site = f'[sites."{support.HOST}"]\nupstream = "u"\nhttp = "serve"\n[listeners.all]\naddress = "0.0.0.0:{everywhere}"\n'
        with support.Proxy(site + upstream), Client(everywhere) as client:
            client.send(GET)
            self.assertEqual(client.answer().status, 200)
            port = client.socket.getsockname()[1]
            self.assertEqual(lines, [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {everywhere}\r\n"])


if __name__ == "__main__":
    support.main()
