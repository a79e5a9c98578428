"""HTTP/2 clients that mean harm: floods, resets, windows that never open, bodies that drip.

Each is ended with the right code, the backend never works on more requests than a client may have streams, and the
proxy's memory stays where it was.
"""

import threading
import time
import unittest

import support
from backends import Recorder, RawServer, read_message
from cases import h2frames as h2
from h2raw import FrameClient

# A flood ends before this many frames, and the backend never has more requests at work than there may be streams.
FLOOD, STREAMS = 999, 100
# MiB by which the proxy may grow: its allocator keeps some of what it once had.
GROWTH = 24
IDLE = 1


class Counting:
    """A backend that works on each request for a while, whoever still waits for it, and counts."""

    WORK = 0.5

    def __init__(self):
        self.lock, self.now, self.most, self.total = threading.Lock(), 0, 0, 0
        self.server = RawServer(self.serve)
        self.port = self.server.port

    def serve(self, peer):
        pending = b""
        while found := read_message(peer, pending):
            pending = found[1]
            with self.lock:
                self.now, self.total = self.now + 1, self.total + 1
                self.most = max(self.most, self.now)
            time.sleep(self.WORK)
            with self.lock:
                self.now -= 1
            try:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            except OSError:
                return


class Floods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = Counting()
        cls.addClassCleanup(cls.backend.server.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"))
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    def setUp(self):
        self.backend.most = 0

    def client(self, **options):
        return FrameClient(self.proxy.https, self.ca, support.HOST, **options)

    def flood(self, *parts):
        """Send the octets and say how the connection ended."""
        with self.client() as client:
            for part in parts:
                client.send(part)
            return client.event(("goaway", "close"))

    def test_frames_without_work_end_in_goaway(self):
        upload, half = h2.headers(1, h2.POST, end=False), h2.headers(1, last=False)
        floods = {
            "PING": (h2.ping(),),
            "answers to PING": (h2.ping(flags=h2.ACK),),
            "SETTINGS": (h2.settings((h2.INITIAL_WINDOW, 65535)),),
            "empty SETTINGS": (h2.settings(),),
            "PRIORITY": (h2.priority(1),),
            "WINDOW_UPDATE": (h2.window(0, 1),),
            "WINDOW_UPDATE of a stream": (h2.window(1, 1), upload),
            "empty DATA": (h2.data(1, b"", end=False), upload),
            "DATA of padding": (h2.data(1, b"", end=False, pad=10), upload),
            "empty CONTINUATION": (h2.continuation(1, last=False), half),
            "CONTINUATION": (h2.continuation(1, h2.block((("x-a", "a" * 8000),)), last=False), half),
            "unknown frames": (h2.frame(0x16, 0, 0, bytes(8)),),
            "RST_STREAM": (h2.reset(1), upload),
        }
        for name, (frame, *before) in floods.items():
            with self.subTest(name):
                self.assertEqual(self.flood(*before, frame * FLOOD), ("goaway", "ENHANCE_YOUR_CALM"))

    def test_a_busy_client_is_no_flood(self):
        with self.client(settings=((h2.INITIAL_WINDOW, 65535),)) as client:
            for number in range(600):
                stream = 2 * number + 1
                # What browsers and gRPC clients send around a request: priority, window, and a ping.
                client.send(h2.priority(stream) + h2.headers(stream, h2.fields(path="/.vestibule/health")))
                client.send(h2.window(stream, 10) + h2.window(0, 10) + h2.ping())
                self.assertEqual(client.event(("answer", "reset", "goaway", "close"), stream), ("answer", "200"))

    def check_backend(self):
        self.assertLessEqual(self.backend.most, STREAMS)

    def test_rapid_reset_ends_in_goaway(self):
        pairs = b"".join(h2.headers(n) + h2.reset(n) for n in range(1, 2 * FLOOD, 2))
        self.assertEqual(self.flood(pairs), ("goaway", "ENHANCE_YOUR_CALM"))
        self.check_backend()

    def test_rapid_reset_in_rounds_works_the_backend_no_harder(self):
        with self.client() as client:
            ended = None
            for number in range(1, 2 * FLOOD, 2):
                # The request is on its way to the backend when its reset comes.
                client.send(h2.headers(number) + h2.ping())
                if ended := next((e for e in [client.event(("ping", "goaway", "close"))] if e[0] != "ping"), None):
                    break
                client.send(h2.reset(number))
            self.assertEqual(ended or client.event(("goaway", "close")), ("goaway", "ENHANCE_YOUR_CALM"))
        self.check_backend()

    def test_open_streams_that_are_reset_and_opened_again_keep_their_places(self):
        with self.client() as client:
            first = range(1, 2 * STREAMS, 2)
            client.send(b"".join(h2.headers(n) for n in first) + h2.ping())
            client.event(("ping",))
            support.wait_until(lambda: self.backend.now >= STREAMS // 2, "the backend works")
            client.send(b"".join(h2.reset(n) for n in first[:99]))
            client.send(b"".join(h2.headers(n + 2 * STREAMS) for n in first[:99]))
            # One stream of the first ones is left, and all of the second.
            for _ in range(STREAMS):
                self.assertEqual(client.event(("answer", "reset", "goaway", "close")), ("answer", "200"))
        self.check_backend()

    def test_streams_the_server_has_to_reset_count_too(self):
        causes = {
            "a window too large": lambda n: h2.window(n, (1 << 31) - 1),
            "trailers that do not end": lambda n: h2.headers(n, (("x-a", "1"),), end=False),
        }
        for name, cause in causes.items():
            with self.subTest(name):
                made = b"".join(h2.headers(n, h2.POST, end=False) + cause(n) for n in range(1, 2 * FLOOD, 2))
                self.assertEqual(self.flood(made), ("goaway", "ENHANCE_YOUR_CALM"))
        refused = b"".join(h2.headers(n, h2.POST, end=False) for n in range(1, 2 * FLOOD, 2))
        with self.subTest("more streams than are allowed"):
            self.assertEqual(self.flood(refused), ("goaway", "ENHANCE_YOUR_CALM"))
        self.check_backend()

    def test_memory_stays_where_it_was(self):
        pairs = b"".join(h2.headers(n) + h2.reset(n) for n in range(1, 2 * FLOOD, 2))
        many = (("x-a", "a" * 3000),) * 200
        pieces = (h2.continuation(1, h2.block(many[n : n + 4]), last=False) for n in range(100))
        large = h2.headers(1, h2.GET, last=False) + b"".join(pieces)

        def rounds(count):
            for _ in range(count):
                self.flood(pairs)
                self.flood(h2.ping() * FLOOD)
                self.flood(large)

        rounds(3)
        before = self.proxy.status("VmRSS")
        rounds(20)
        self.assertLess(self.proxy.status("VmRSS") - before, GROWTH)


class Stalls(unittest.TestCase):
    """Clients that take nothing of what they asked for."""

    @classmethod
    def setUpClass(cls):
        cls.gone = threading.Semaphore(0)
        timeouts = f'[defaults]\ntimeouts = {{ response_body_idle = "{IDLE}s" }}\n'
        cls.backend = RawServer(cls.endless)
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"), timeouts)
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    @classmethod
    def endless(cls, peer):
        """A body that goes on for as long as it is taken."""
        try:
            if read_message(peer):
                peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    peer.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        except OSError:
            cls.gone.release()

    def test_streams_whose_window_stays_shut_are_reset(self):
        before = self.proxy.status("VmRSS")
        shut = ((h2.INITIAL_WINDOW, 0),)
        with FrameClient(self.proxy.https, self.ca, support.HOST, settings=shut) as client:
            client.send(b"".join(h2.headers(n) for n in range(1, 2 * STREAMS, 2)))
            for _ in range(STREAMS):
                self.assertEqual(client.event(("reset", "goaway", "close")), ("reset", "CANCEL"))
            # The connection is as good as before.
            client.send(h2.ping())
            self.assertEqual(client.event(("ping", "goaway", "close")), ("ping", b"vestibul"))
        self.assertLess(self.proxy.status("VmHWM") - before, 64)
        for _ in range(STREAMS):
            self.assertTrue(self.gone.acquire(timeout=support.PATIENCE), "the backend is let go")

    def test_windows_of_one_octet_do_not_keep_a_stream_for_ever(self):
        with FrameClient(self.proxy.https, self.ca, support.HOST, settings=((h2.INITIAL_WINDOW, 0),)) as client:
            client.send(h2.headers(1))
            self.assertEqual(client.event(("head", "reset", "goaway", "close")), ("head", "200"))
            client.send(h2.window(1, 1) * FLOOD)
            self.assertEqual(client.event(("goaway", "reset", "close")), ("goaway", "ENHANCE_YOUR_CALM"))
            self.assertTrue(self.gone.acquire(timeout=support.PATIENCE), "the backend is let go")

    def test_a_connection_that_reads_nothing_is_given_up(self):
        wide = ((h2.INITIAL_WINDOW, (1 << 31) - 1),)
        with FrameClient(self.proxy.https, self.ca, support.HOST, settings=wide) as client:
            client.send(h2.window(0, 1 << 30) + h2.headers(1))
            self.assertTrue(self.gone.acquire(timeout=support.PATIENCE), "the backend is let go")


class Requests(unittest.TestCase):
    """What one request may be."""

    @classmethod
    def setUpClass(cls):
        cls.backend = Recorder()
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"))
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()
        cls.dripped = []
        cls.drip = threading.Thread(target=cls.drip_a_body, daemon=True)
        cls.drip.start()

    @classmethod
    def drip_a_body(cls):
        """Fifty octets a second: less than the 240 that are asked for after 30 s."""
        with FrameClient(cls.proxy.https, cls.ca, support.HOST, timeout=0.25) as client:
            client.send(h2.headers(1, h2.POST, end=False))
            began = time.monotonic()
            while time.monotonic() - began < 60:
                client.send(h2.data(1, bytes(12), end=False))
                event = client.event(("answer", "reset", "goaway", "close"))
                if event[0] != "timeout":
                    cls.dripped.append((event, time.monotonic() - began))
                    return

    def status(self, *more):
        with FrameClient(self.proxy.https, self.ca, support.HOST) as client:
            client.send(h2.large_headers(1, (*h2.GET, *more)))
            return client.event(("answer", "reset", "goaway", "close"))

    def test_a_list_of_fields_is_counted_as_the_rfc_says(self):
        # 32 octets more than name and value: 90 fields of 368 are above 32 KiB, without the 32 they are not.
        self.assertEqual(self.status(*((f"x-{n:04}", "a" * 330) for n in range(90))), ("answer", "431"))
        self.assertEqual(self.status(*((f"x-{n:04}", "a" * 290) for n in range(90))), ("answer", "200"))

    def test_crumbs_of_a_cookie_are_counted(self):
        self.assertEqual(self.status(*(("cookie", f"c{n}=1") for n in range(101))), ("answer", "431"))
        self.assertEqual(self.status(*(("cookie", f"c{n}=1") for n in range(100))), ("answer", "200"))

    def test_a_target_that_is_too_long_has_its_own_answer(self):
        with FrameClient(self.proxy.https, self.ca, support.HOST) as client:
            client.send(h2.large_headers(1, h2.fields(path="/" + "a" * 17000)))
            self.assertEqual(client.event(("answer", "reset", "goaway", "close")), ("answer", "414"))

    def test_a_body_that_drips_is_given_up(self):
        self.drip.join(90)
        self.assertEqual([event for event, _ in self.dripped], [("answer", "408")])
        self.assertGreater(self.dripped[0][1], 29)


if __name__ == "__main__":
    support.main()
