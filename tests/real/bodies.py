"""Bodies of 200 MB up and down: whole, in bounded memory, with no file, and with backpressure."""

import hashlib
import os
import socket
import threading
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client

SIZE = 200 * 1000 * 1000
PIECE = os.urandom(1 << 20)
MEMORY = 64
# MiB by which one slow upload may raise resident memory, whatever its size.
GROWTH = 16
# Socket buffers of both sides and the proxy's own: what may be on its way while nobody reads.
IN_FLIGHT = 32 * 1000 * 1000


def pieces(total):
    while total:
        part = PIECE[:total]
        total -= len(part)
        yield part


def digest(total):
    sha = hashlib.sha256()
    for part in pieces(total):
        sha.update(part)
    return sha.hexdigest()


class Bodies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.digest = digest(SIZE)
        cls.gate, cls.counted = threading.Event(), 0
        cls.gate.set()

        def down(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(SIZE))
            handler.end_headers()
            for part in pieces(SIZE):
                handler.wfile.write(part)
                cls.counted += len(part)

        def sized(handler):
            size = int(handler.path.partition("?")[2])
            handler.reply(200, b"".join(pieces(size)))
            cls.finished = size

        def down_chunked(handler):
            handler.begin_chunked("application/octet-stream")
            for part in pieces(SIZE):
                handler.chunk(part)
            handler.chunk(b"")

        def up(handler):
            sha = hashlib.sha256()
            cls.gate.wait(support.PATIENCE * 3)
            for part in handler.body_pieces():
                sha.update(part)
            handler.reply(200, sha.hexdigest().encode())

        def slow(handler):
            # Rests after each piece: always slower than its client.
            sha = hashlib.sha256()
            for part in handler.body_pieces():
                sha.update(part)
                time.sleep(0.001)
            handler.reply(200, sha.hexdigest().encode())

        routes = {"/down": down, "/down-chunked": down_chunked, "/sized": sized, "/up": up, "/slow": slow}
        cls.backend = FunctionServer(routes)
        cls.addClassCleanup(cls.backend.close)
        cls.folder = support.pathlib.Path(support.tempfile.mkdtemp(prefix="vestibule-bodies-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.folder, True)
        cls.file = cls.folder / "body"
        with open(cls.file, "wb") as file:
            for part in pieces(SIZE):
                file.write(part)

    def setUp(self):
        # A proxy of its own for each test: VmHWM is the highest since the process began.
        self.proxy = support.Proxy(support.site(f"127.0.0.1:{self.backend.port}", extra='limits = { body = "300MiB" }'))
        self.addCleanup(self.proxy.close)
        self.work_before = self.files()

    def files(self):
        return sorted(str(path) for path in self.proxy.work.rglob("*"))

    def check_bounds(self):
        highest = self.proxy.status("VmHWM")
        print(f"highest resident memory: {highest:.1f} MiB")
        self.assertLess(highest, MEMORY, "MiB of resident memory")
        self.assertEqual(os.listdir(self.proxy.tmpdir), [], "files in TMPDIR")
        self.assertEqual(self.files(), self.work_before, "files beside the config")
        opened = [os.readlink(f"/proc/{self.proxy.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{self.proxy.pid}/fd")]
        self.assertEqual(
            [path for path in opened if "(deleted)" in path and "/tmp" in path], [], "unlinked temporary files"
        )

    def each_way(self):
        """curl's arguments for each protocol in front."""
        (_, plain), (_, secure) = self.proxy.doors()
        return {
            "HTTP/1.1": ("--http1.1", plain),
            "HTTP/1.1 with TLS": ("--http1.1", secure),
            "HTTP/2": ("--http2", secure),
        }

    def test_200_mb_come_down_whole_in_bounded_memory(self):
        for name, (version, origin) in self.each_way().items():
            for path in ("/down", "/down-chunked"):
                with self.subTest(name, path=path):
                    out = self.folder / "out"
                    support.curl(self.proxy, "--fail", version, "-o", out, origin + path)
                    with open(out, "rb") as file:
                        self.assertEqual(hashlib.file_digest(file, "sha256").hexdigest(), self.digest)
                    self.check_bounds()

    def test_200_mb_go_up_whole_in_bounded_memory(self):
        for name, (version, origin) in self.each_way().items():
            for framing in ("length", "chunked"):
                with self.subTest(name, framing=framing):
                    extra = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
                    seen = support.curl(
                        self.proxy,
                        "--fail",
                        version,
                        "-H",
                        "Expect:",
                        "-X",
                        "POST",
                        "-T",
                        self.file,
                        *extra,
                        origin + "/up",
                    )
                    self.assertEqual(seen, self.digest)
                    self.check_bounds()

    def test_200_mb_into_a_slow_backend_raise_memory_by_less_than_16_mb(self):
        for name, (version, origin) in self.each_way().items():
            with self.subTest(name):
                url = origin + "/slow"
                # The first request pays for what every process needs once: connections, buffers, the certificate.
                support.curl(self.proxy, "--fail", version, "-d", "small", url)
                before = self.proxy.status("VmRSS")
                seen = support.curl(self.proxy, "--fail", version, "-H", "Expect:", "-X", "POST", "-T", self.file, url)
                self.assertEqual(seen, self.digest)
                growth = self.proxy.status("VmHWM") - before
                print(f"{name}: resident memory grew by {growth:.1f} MiB")
                self.assertLess(growth, GROWTH, "MiB of growth")

    def connection(self, secure):
        client = Client(
            self.proxy.https if secure else self.proxy.http,
            tls=self.proxy.ca() if secure else None,
            name=support.HOST,
            # A machine whose disk is busy may stand still for many seconds.
            timeout=100,
        )
        self.addCleanup(client.socket.close)
        return client

    def test_a_backend_that_does_not_read_stops_the_client(self):
        for secure in (False, True):
            with self.subTest(door="https" if secure else "http"):
                type(self).gate.clear()
                self.addCleanup(type(self).gate.set)
                client = self.connection(secure)
                client.send(f"POST /up HTTP/1.1\r\nHost: {support.HOST}\r\nContent-Length: {SIZE}\r\n\r\n".encode())
                # A second without room to write: the way is full.
                client.socket.settimeout(1)
                sent = 0
                try:
                    while sent < SIZE:
                        sent += client.socket.send(PIECE[: min(65536, SIZE - sent)])
                except TimeoutError:
                    pass
                self.assertLess(sent, IN_FLIGHT, "octets taken while the backend read none")
                self.check_bounds()
                type(self).gate.set()

    def test_a_client_that_does_not_read_stops_the_backend(self):
        for secure in (False, True):
            with self.subTest(door="https" if secure else "http"):
                type(self).counted = 0
                client = self.connection(secure)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.send(f"GET /down HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
                support.wait_until(lambda: self.counted > 0, "the backend has begun to send")
                self.wait_for_standstill()
                self.assertLess(self.counted, IN_FLIGHT, "octets sent while the client read none")
                self.check_bounds()
                answer = client.answer()
                self.assertTrue(answer.complete)
                self.assertEqual(hashlib.sha256(answer.body).hexdigest(), self.digest)

    def test_the_last_octets_arrive_where_the_client_reads_late(self):
        """Sizes around what the kernel takes: of some the last octets wait in the proxy when it has the whole answer."""
        for size in range(1 << 16, 6 << 20, 1 << 16):
            with self.subTest(size=size):
                client = self.connection(secure=True)
                client.socket.settimeout(20)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                type(self).finished = 0
                client.send(f"GET /sized?{size} HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
                # The larger ones do not fit: the backend waits for the client.
                deadline = time.monotonic() + 0.3
                while self.finished != size and time.monotonic() < deadline:
                    time.sleep(0.005)
                answer = client.answer()
                self.assertTrue(answer.complete)
                self.assertEqual(len(answer.body), size)

    def test_a_request_behind_a_large_body_is_answered_though_the_client_sends_nothing_more(self):
        """What is read along with the end of a body belongs to the next request, and no byte comes to tell of it."""
        for secure in (False, True):
            for size in (66_000, 1 << 17, 200_000, 1_000_000):
                for pause in (0, 16_384):
                    with self.subTest(secure=secure, size=size, pause=pause), self.connection(secure=secure) as client:
                        head = f"POST /up HTTP/1.1\r\nHost: {support.HOST}\r\nContent-Length: {size}\r\n\r\n".encode()
                        body = b"".join(pieces(size))
                        client.send(head + body[:pause])
                        client.send(body[pause:] + f"GET /sized?5 HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
                        answers = [client.answer(), client.answer()]
                        self.assertEqual([answer.body for answer in answers], [digest(size).encode(), PIECE[:5]])

    def wait_for_standstill(self):
        """Wait until the backend's count has been the same for a hundred looks."""
        same, last = 0, -1

        def still():
            nonlocal same, last
            same = same + 1 if self.counted == last else 0
            last = self.counted
            return same > 100 or last >= IN_FLIGHT

        support.wait_until(still, "the backend stops sending")


if __name__ == "__main__":
    support.main()
