"""One exchange with a backend when a side is slow, closes early or repeats itself."""

import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import support
from backends import RawServer, read_message
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


if __name__ == "__main__":
    support.main()
