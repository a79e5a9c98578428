"""One exchange with a backend when a side is slow, closes early or repeats itself."""

import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import support
from backends import RawServer, Recorder, read_message
from h2raw import H2Client
from rawhttp import Client

# Short, and far enough apart that the machine's own delays do not mix them up.
IDLE, HEADER = 0.5, 2.5
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
TIMEOUTS = f'{{ request_body_idle = "{int(IDLE * 1000)}ms", response_header = "{int(HEADER * 1000)}ms" }}'


def fields_of(*lines):
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


class Uploads(unittest.TestCase):
    """Which side a stalled upload waits for decides which timeout ends it."""

    @classmethod
    def setUpClass(cls):
        cls.over = threading.Event()

        def swallow(peer):
            """Reads for ever and never answers."""
            peer.settimeout(support.PATIENCE)
            while not cls.over.is_set() and peer.recv(65536):
                pass

        cls.backend = RawServer(swallow)
        cls.addClassCleanup(cls.backend.close)
        cls.addClassCleanup(cls.over.set)
        target = f"127.0.0.1:{cls.backend.port}"
        by_defaults = support.Proxy(support.site(target), f"[defaults]\ntimeouts = {TIMEOUTS}\n")
        route = f'[[sites."{support.HOST}".routes]]\npath = "/*"\ntimeouts = {TIMEOUTS}\nproxy = "{target}"\n'
        by_route = support.Proxy(f'[sites."{support.HOST}"]\nhttp = "serve"\n{route}')
        cls.proxies = {"defaults": by_defaults, "route": by_route}
        for proxy in cls.proxies.values():
            cls.addClassCleanup(proxy.close)

    def h1_status(self, proxy, framing, *pieces):
        head = b"POST / HTTP/1.1\r\n" + fields_of(b"Host: " + support.HOST.encode(), framing)
        with Client(proxy.http) as client:
            client.send(head)
            for piece in pieces:
                client.send(piece)
            began = time.monotonic()
            answer = client.answer()
            return answer.status, time.monotonic() - began

    def h2_status(self, proxy, *pieces, end=False):
        with H2Client(proxy.https, proxy.ca(), support.HOST) as client:
            fields = ((":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", support.HOST))
            client.headers(1, fields, end=False)
            for number, piece in enumerate(pieces, 1):
                client.data(1, piece, end=end and number == len(pieces))
            began = time.monotonic()
            return client.answer(1).status, time.monotonic() - began

    def outcomes(self, cases):
        """`(place, name, status, seconds)` of `cases(proxy)` for each proxy, all at once: they only wait."""
        table = [(place, name, ask) for place, proxy in self.proxies.items() for name, ask in cases(proxy).items()]
        with ThreadPoolExecutor(len(table)) as pool:
            asked = [(place, name, pool.submit(ask)) for place, name, ask in table]
        return [(place, name, *future.result()) for place, name, future in asked]

    def test_a_client_that_stalls_in_its_body_is_ended_by_request_body_idle(self):
        def stalled(proxy):
            return {
                "nothing of a length": lambda: self.h1_status(proxy, b"Content-Length: 10"),
                "half of a length": lambda: self.h1_status(proxy, b"Content-Length: 10", b"12345"),
                "two pieces": lambda: self.h1_status(proxy, b"Content-Length: 10", b"1", b"2"),
                "no chunk": lambda: self.h1_status(proxy, b"Transfer-Encoding: chunked"),
                "a chunk": lambda: self.h1_status(proxy, b"Transfer-Encoding: chunked", b"1\r\na\r\n"),
                "HTTP/2, nothing": lambda: self.h2_status(proxy),
                "HTTP/2, a piece": lambda: self.h2_status(proxy, b"12345"),
            }

        for place, name, status, took in self.outcomes(stalled):
            with self.subTest(name, by=place):
                self.assertEqual(status, 408)
                self.assertLess(took, HEADER)

    def test_a_server_that_stalls_after_a_whole_body_is_ended_by_response_header(self):
        def whole(proxy):
            return {
                "length": lambda: self.h1_status(proxy, b"Content-Length: 5", b"12345"),
                "length in two pieces": lambda: self.h1_status(proxy, b"Content-Length: 5", b"12", b"345"),
                "chunked": lambda: self.h1_status(proxy, b"Transfer-Encoding: chunked", b"1\r\na\r\n0\r\n\r\n"),
                "HTTP/2": lambda: self.h2_status(proxy, b"12345", end=True),
            }

        for place, name, status, took in self.outcomes(whole):
            with self.subTest(name, by=place):
                self.assertEqual(status, 504)
                self.assertGreater(took, HEADER - IDLE)


class Interim(unittest.TestCase):
    """Early hints (103) and other interim responses reach the client before the answer, on both protocols."""

    HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: close\r\n\r\n"

    @classmethod
    def setUpClass(cls):
        def hint(peer):
            while read_message(peer):
                peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + cls.HINTS + b"HTTP/1.1 102 Processing\r\n\r\n")
                cls.seen.wait(support.PATIENCE)
                peer.sendall(ANSWER)

        cls.seen = threading.Event()
        cls.backend = RawServer(hint)
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"))
        cls.addClassCleanup(cls.proxy.close)

    def setUp(self):
        self.seen.clear()

    def check(self, answer):
        self.assertEqual([status for status, _ in answer.interim], [103, 102])
        fields = dict(answer.interim[0][1])
        self.assertEqual((fields["link"], fields.get("connection")), ("</a.css>; rel=preload", None))
        self.assertEqual(answer.status, 200)

    def test_hints_reach_an_http_1_client_before_the_answer(self):
        with Client(self.proxy.http) as client:
            client.send(b"GET / HTTP/1.1\r\n" + fields_of(b"Host: " + support.HOST.encode()))
            while b" 102 " not in client.buffer:
                self.assertTrue(client.fill(), "the hints come while the server still works")
            self.seen.set()
            self.check(client.answer())

    def test_hints_reach_an_http_2_client_before_the_answer(self):
        with H2Client(self.proxy.https, self.proxy.ca(), support.HOST) as client:
            client.headers(1, ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", support.HOST)))
            while 1 not in client.answers or len(client.answers[1].interim) < 2:
                self.assertTrue(client.step(), "the hints come while the server still works")
            self.seen.set()
            self.check(client.answer(1))


class Lengths(unittest.TestCase):
    def test_equal_lengths_of_a_server_leave_as_one(self):
        def repeat(peer):
            while read_message(peer):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nok\n")

        backend = RawServer(repeat)
        self.addCleanup(backend.close)
        with support.Proxy(support.site(f"127.0.0.1:{backend.port}")) as proxy, Client(proxy.http) as client:
            client.send(b"GET / HTTP/1.1\r\n" + fields_of(b"Host: " + support.HOST.encode()))
            answer = client.answer()
            self.assertEqual((answer.value("content-length"), answer.body), ("3", b"ok\n"))


class Closing(unittest.TestCase):
    """A server that closes a reused connection at the moment a request arrives on it."""

    REQUESTS = 500

    def setUp(self):
        self.posts = []

        def closes_when_reused(peer):
            """Answers once a connection, and closes it when the next request has come."""
            found = read_message(peer)
            if found is None:
                return
            self.note(found[0])
            peer.sendall(ANSWER)
            if found := read_message(peer, found[1]):
                self.note(found[0])

        backend = RawServer(closes_when_reused)
        self.addCleanup(backend.close)
        self.proxy = support.Proxy(support.site(f"127.0.0.1:{backend.port}"))
        self.addCleanup(self.proxy.close)
        self.client = Client(self.proxy.http)
        self.addCleanup(self.client.socket.close)

    def note(self, message):
        if message.method == "POST":
            self.posts.append(message.body)

    def ask(self, method, body=b""):
        length = (b"Content-Length: %d" % len(body),) if body else ()
        head = method.encode() + b" / HTTP/1.1\r\n" + fields_of(b"Host: " + support.HOST.encode(), *length)
        self.client.send(head + body)
        return self.client.answer().status

    def test_no_get_fails(self):
        answers = [self.ask("GET") for _ in range(self.REQUESTS)]
        self.assertEqual(answers, [200] * self.REQUESTS)

    def test_no_post_fails_or_is_delivered_twice(self):
        answers = [self.ask("POST", b"%d" % number) for number in range(self.REQUESTS)]
        self.assertEqual(answers, [200] * self.REQUESTS)
        self.assertEqual(len(set(self.posts)), len(self.posts))


class ClosingBetween(unittest.TestCase):
    """A server that closes every connection right after its answer, without having said so."""

    REQUESTS = 2000

    def test_no_request_fails(self):
        seen = []

        def closes(peer):
            if found := read_message(peer):
                seen.append((found[0].method, found[0].body))
                peer.sendall(ANSWER)

        backend = RawServer(closes)
        self.addCleanup(backend.close)
        with support.Proxy(support.site(f"127.0.0.1:{backend.port}")) as proxy, Client(proxy.http) as client:
            host = b"Host: " + support.HOST.encode()
            answers = []
            for number in range(self.REQUESTS):
                if number % 2:
                    body = b"%d" % number
                    client.send(b"POST / HTTP/1.1\r\n" + fields_of(host, b"Content-Length: %d" % len(body)) + body)
                else:
                    client.send(b"GET / HTTP/1.1\r\n" + fields_of(host))
                answers.append(client.answer().status)
            self.assertEqual([status for status in answers if status != 200], [])
            posts = [body for method, body in seen if method == "POST"]
            self.assertEqual(len(posts), self.REQUESTS // 2)


class Buffering(unittest.TestCase):
    """`buffer_request = true`: the body is read whole before a server is asked."""

    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.addClassCleanup(cls.recorder.close)
        target = f"127.0.0.1:{cls.recorder.port}"
        routes = "".join(
            f'[[sites."{support.HOST}".routes]]\npath = "{path}"\nproxy = "{target}"\n{keys}\n'
            for path, keys in (("/small/*", 'limits = { body = "1KiB" }'), ("/plain/*", "buffer_request = false"))
        )
        cls.proxy = support.Proxy(support.site(target, extra=f"buffer_request = true\n{routes}"))
        cls.addClassCleanup(cls.proxy.close)

    def setUp(self):
        self.recorder.clear()

    def head(self, path, *fields):
        return f"POST {path} HTTP/1.1\r\n".encode() + fields_of(b"Host: " + support.HOST.encode(), *fields)

    def test_a_chunked_body_arrives_with_its_length_and_without_trailers(self):
        pieces = [b"%d" % number * 5000 for number in range(40)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        with Client(self.proxy.http) as client:
            client.send(self.head("/", b"Transfer-Encoding: chunked") + chunks + b"0\r\nX-Sum: 1\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
            client.send(self.head("/", b"Transfer-Encoding: chunked") + b"0\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
            client.send(self.head("/plain/x", b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
        long, empty, plain = self.recorder.requests
        self.assertEqual((long.framing, long.body, long.trailers), ("length", b"".join(pieces), []))
        self.assertEqual((empty.framing, empty.value("content-length")), ("length", "0"))
        self.assertEqual((plain.framing, plain.body), ("chunked", b"a"))

    def test_a_body_of_http_2_arrives_with_its_length(self):
        with H2Client(self.proxy.https, self.proxy.ca(), support.HOST) as client:
            fields = ((":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", support.HOST))
            client.headers(1, fields, end=False)
            client.data(1, b"a" * 16000, end=False)
            client.data(1, b"b")
            self.assertEqual(client.answer(1).status, 200)
        request = self.recorder.requests[-1]
        self.assertEqual((request.framing, request.body), ("length", b"a" * 16000 + b"b"))

    def test_no_server_is_held_while_the_body_is_on_its_way(self):
        with Client(self.proxy.http) as slow, Client(self.proxy.http) as quick:
            slow.send(self.head("/slow", b"Content-Length: 4") + b"ab")
            # The other request came later and is over: the first one waits for its client alone.
            quick.send(self.head("/quick", b"Content-Length: 2") + b"ok")
            self.assertEqual(quick.answer().status, 200)
            self.assertEqual([request.target for request in self.recorder.requests], ["/quick"])
            self.assertEqual(self.recorder.partial, [])
            slow.send(b"cd")
            self.assertEqual(slow.answer().status, 200)
            self.assertEqual(self.recorder.requests[-1].body, b"abcd")

    def test_a_client_that_waits_is_told_to_send_and_the_server_is_not_asked(self):
        with Client(self.proxy.http) as client:
            client.send(self.head("/", b"Content-Length: 2", b"Expect: 100-continue"))
            self.assertEqual(client.read_until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
            self.assertEqual(self.recorder.requests, [])
            client.send(b"ok")
            self.assertEqual(client.answer().status, 200)
        self.assertIsNone(self.recorder.requests[-1].value("expect"))

    def test_a_body_over_the_limit_never_reaches_a_server(self):
        for framing, body in (
            (b"Content-Length: 1025", b"x" * 1025),
            (b"Transfer-Encoding: chunked", b"401\r\n" + b"x" * 1025 + b"\r\n0\r\n\r\n"),
        ):
            with self.subTest(framing), Client(self.proxy.http) as client:
                client.send(self.head("/small/x", framing) + body)
                answer = client.answer()
                self.assertEqual((answer.status, b"limit.body" in answer.body), (413, True))
        self.assertEqual(self.recorder.requests, [])

    def test_a_body_that_ends_early_never_reaches_a_server(self):
        with Client(self.proxy.http) as client:
            client.send(self.head("/", b"Content-Length: 4") + b"ab")
            client.finish_sending()
            self.assertEqual(client.answer().status, 400)
        self.assertEqual((self.recorder.requests, self.recorder.partial), ([], []))


class Upgrades(unittest.TestCase):
    """`upgrade`: the protocols a route lets a client switch to."""

    @classmethod
    def setUpClass(cls):
        cls.heads = []

        def serve(peer):
            rest = b""
            while found := read_message(peer, rest):
                head, rest = found
                cls.heads.append(head)
                asked = head.value("upgrade")
                if asked is None:
                    peer.sendall(ANSWER)
                    continue
                agreed = "other" if head.target == "/wrong" else asked
                peer.sendall(f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {agreed}\r\n\r\n".encode())
                peer.sendall(rest)
                while data := peer.recv(65536):
                    peer.sendall(data)
                return

        backend = RawServer(serve)
        cls.addClassCleanup(backend.close)
        target = f"127.0.0.1:{backend.port}"
        routes = f'[[sites."{support.HOST}".routes]]\npath = "/none"\nupgrade = []\nproxy = "{target}"\n'
        cls.proxy = support.Proxy(support.site(target, extra=f'upgrade = ["websocket", "Echo/1"]\n{routes}'))
        cls.addClassCleanup(cls.proxy.close)

    def ask(self, client, token, path="/", *more):
        head = f"GET {path} HTTP/1.1\r\n".encode()
        upgrade = b"Upgrade: " + token.encode()
        client.send(head + fields_of(b"Host: " + support.HOST.encode(), b"Connection: Upgrade", upgrade, *more))
        return client.answer()

    def test_a_protocol_of_the_list_becomes_a_tunnel(self):
        for token in ("Echo/1", "echo/1", "websocket"):
            with self.subTest(token), Client(self.proxy.http) as client:
                answer = self.ask(client, token)
                self.assertEqual((answer.status, answer.value("upgrade").lower()), (101, token.lower()))
                client.send(b"ping")
                self.assertEqual(client.read_exactly(4), b"ping")

    def test_any_other_protocol_is_not_asked_for_and_the_request_is_answered(self):
        cases = {
            "another version": ("echo/2", "/"), "no version": ("echo", "/"), "another one": ("irc", "/"),
            "two": ("echo/1, websocket", "/"), "a route of its own": ("websocket", "/none"),
            "h2c": ("h2c", "/"), "TLS": ("TLS/1.0", "/"),
        }  # fmt: skip
        for name, (token, path) in cases.items():
            with self.subTest(name), Client(self.proxy.http) as client:
                answer = self.ask(client, token, path, b"HTTP2-Settings: AAMAAABk")
                self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
                fields = [self.heads[-1].value(field) for field in ("upgrade", "connection", "http2-settings")]
                self.assertEqual(fields, [None] * 3)

    def test_a_server_that_switches_to_something_else_is_not_followed(self):
        with Client(self.proxy.http) as client:
            answer = self.ask(client, "echo/1", "/wrong")
            self.assertEqual((answer.status, b"upstream.upgrade" in answer.body), (502, True))


if __name__ == "__main__":
    support.main()
