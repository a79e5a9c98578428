"""HTTP/2 to backends: heads and bodies both ways, connections, and servers that misbehave."""

import os
import threading
import unittest

import h2.errors
import support
from backends import RawServer
from h2raw import H2Client
from h2server import H2Server
from rawhttp import Client

LARGE = bytes(range(256)) * 20480
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
TRAILERS = (("x-checksum", "abc"), ("x-last", "1"))


def request(method="GET", path="/", body=None, *fields):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {support.HOST}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Case(unittest.TestCase):
    def server(self, **options):
        server = H2Server(**options)
        self.addCleanup(server.close)
        return server

    def proxy(self, *servers, site="", upstream=""):
        addresses = ", ".join(f'"h2c://127.0.0.1:{server.port}"' for server in servers)
        proxy = support.Proxy(
            f'[sites."{support.HOST}"]\nupstream = "app"\nhttp = "serve"\n{site}\n'
            f"[upstreams.app]\nservers = [{addresses}]\n{upstream}\n"
        )
        self.addCleanup(proxy.close)
        return proxy

    def ask(self, proxy, *arguments):
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request(*arguments))
            return client.answer()

    def h2(self, proxy):
        client = H2Client(proxy.https, proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(client.client.socket.close)
        return client

    def head(self, method="GET", path="/", *fields):
        return ((":method", method), (":scheme", "https"), (":path", path), (":authority", support.HOST), *fields)


class Messages(Case):
    def test_the_head_of_a_request_is_what_http_2_wants(self):
        server = self.server()
        proxy = self.proxy(server)
        fields = ("X-Kept: 1", "Connection: x-gone, keep-alive", "X-Gone: 1", "TE: trailers, deflate", "Cookie: a=1; b=2")
        self.assertEqual(self.ask(proxy, "POST", "/a%20b?c=%2F", b"12", *fields).status, 200)
        head = server.heads[-1]
        expected = {
            ":method": "POST",
            ":scheme": "http",
            ":authority": support.HOST,
            ":path": "/a%20b?c=%2F",
            "x-kept": "1",
            "te": "trailers",
            "cookie": "a=1; b=2",
            "content-length": "2",
            "x-forwarded-for": "127.0.0.1",
        }
        self.assertEqual({name: head.get(name) for name in expected}, expected)
        self.assertFalse({"host", "connection", "keep-alive", "x-gone", "transfer-encoding"} & set(head))
        self.assertTrue(all(name == name.lower() for name in head))

    def test_te_is_not_made_up(self):
        server = self.server()
        self.ask(self.proxy(server), "GET", "/", None, "TE: deflate")
        self.assertNotIn("te", server.heads[-1])

    def test_host_header_decides_the_authority(self):
        server = self.server()
        self.ask(self.proxy(server, upstream='host_header = "upstream"'))
        self.ask(self.proxy(server, upstream='host_header = "api.internal"'))
        self.assertEqual([head[":authority"] for head in server.heads], [f"127.0.0.1:{server.port}", "api.internal"])

    def test_five_mebibytes_both_ways_from_every_kind_of_client(self):
        proxy = self.proxy(self.server())
        self.assertEqual(self.ask(proxy, "POST", "/", LARGE).body, LARGE)
        body = support.curl(proxy, "--http2", "--data-binary", "@-", proxy.doors()[1][1], input="x" * (5 << 20))
        self.assertEqual(body, "x" * (5 << 20))
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            client.send(request("POST", "/", None, "Transfer-Encoding: chunked") + chunk * 80 + b"0\r\n\r\n")
            self.assertEqual(len(client.answer().body), 80 << 16)

    def test_trailers_pass_both_ways(self):
        def respond(stream):
            stream.respond(200)
            stream.data(b"body")
            stream.trail(*TRAILERS, ("content-length", "7"))

        server = self.server(on_end=respond)
        proxy = self.proxy(server)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            head = request("POST", "/", None, "Transfer-Encoding: chunked", "TE: trailers")
            client.send(head + b"2\r\nhi\r\n0\r\nX-Up: 1\r\n\r\n")
            raw = client.read_until(b"x-last: 1\r\n\r\n")
        self.assertEqual(server.streams[-1].trailers, {"x-up": "1"})
        self.assertIn(b"4\r\nbody\r\n0\r\nx-checksum: abc\r\n", raw)
        client = self.h2(proxy)
        client.headers(1, self.head())
        answer = client.answer(1)
        self.assertTrue(answer.complete)
        self.assertEqual((answer.body, client.trailers[1]), (b"body", list(TRAILERS)))

    def test_trailers_behind_a_content_length_are_not_lost(self):
        def respond(stream):
            stream.respond(200, ("content-length", "4"))
            stream.data(b"body")
            stream.trail(*TRAILERS)

        client = self.h2(self.proxy(self.server(on_end=respond)))
        client.headers(1, self.head())
        answer = client.answer(1)
        self.assertEqual((answer.complete, answer.body, client.trailers[1]), (True, b"body", list(TRAILERS)))

    def test_bodiless_answers(self):
        def respond(stream):
            kind = stream.fields[":path"]
            if kind == "/head":
                stream.respond(200, ("content-length", "10"), end=True)
            elif kind == "/204":
                stream.respond(204, end=True)
            elif kind == "/304":
                stream.respond(304, ("etag", '"a"'), ("content-length", "99"), end=True)
            else:
                stream.respond(200, ("content-length", "0"))
                stream.data(b"", end=True)

        proxy = self.proxy(self.server(on_end=respond))
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            cases = (("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("GET", "/0", 200))
            for method, path, status in cases:
                client.send(request(method, path))
                answer = client.answer(method)
                self.assertEqual((answer.status, answer.body), (status, b""), path)

    def test_early_hints_reach_a_client_of_http_1_1(self):
        def respond(stream):
            stream.respond(103, ("link", "</style.css>; rel=preload"))
            stream.respond(200, end=True)

        with Client(self.proxy(self.server(on_end=respond)).http, timeout=support.PATIENCE) as client:
            client.send(request())
            answer = client.answer()
        self.assertEqual(answer.status, 200)
        self.assertEqual([status for status, *_ in answer.interim], [103])

    def test_expect_100_continue_asks_the_server(self):
        def on_head(stream):
            if stream.fields[":path"] == "/yes":
                stream.respond(100)
            else:
                stream.respond(403, end=True)

        server = self.server(on_head=on_head, on_end=lambda stream: stream.respond(200, end=True))
        proxy = self.proxy(server)
        for path, statuses, sent in (("/yes", [100], b"12345"), ("/no", [], b"")):
            with self.subTest(path), Client(proxy.http, timeout=support.PATIENCE) as client:
                head = request("POST", path, b"12345", "Expect: 100-continue")
                client.send(head[:-5])
                if statuses:
                    self.assertIn(b"100 Continue", client.read_until(b"\r\n\r\n"))
                    client.send(b"12345")
                self.assertEqual(client.answer().status, 200 if statuses else 403)
                self.assertEqual(server.streams[-1].body, sent)

    def test_an_answer_overtakes_an_upload(self):
        server = self.server(on_head=lambda stream: stream.respond(413, end=True))
        with Client(self.proxy(server).http, timeout=support.PATIENCE) as client:
            client.send(request("POST", "/", b"x" * 1_000_000)[:2000])
            self.assertEqual(client.answer().status, 413)

    def test_a_websocket_is_refused_in_clear(self):
        proxy = self.proxy(self.server())
        fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
        answer = self.ask(proxy, "GET", "/", None, *fields)
        self.assertEqual(answer.status, 502)
        self.assertIn("upstream.no_upgrade", answer.value("proxy-status"))


class Flow(Case):
    def test_a_slow_server_holds_the_upload_back(self):
        server = self.server(reads=False, on_end=lambda stream: None)
        proxy = self.proxy(server)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request("POST", "/", None, "Content-Length: 90000000"))
            sent = 0
            # Nothing more is taken: that can only be seen by waiting.
            client.socket.settimeout(2)
            try:
                while sent < 90_000_000:
                    sent += client.socket.send(bytes(65536))
            except TimeoutError:
                pass
            self.assertLess(sent, 40_000_000)
            self.assertLess(proxy.status("VmRSS"), 64)

    def test_a_client_that_does_not_read_holds_back_only_its_own_streams(self):
        def respond(stream):
            stream.respond(200)
            stream.data(bytes(8 << 20) if stream.fields[":path"] == "/big" else b"small", end=True)

        server = self.server(on_end=respond)
        proxy = self.proxy(server)
        stuck = [Client(proxy.http, timeout=support.PATIENCE) for _ in range(20)]
        for client in stuck:
            self.addCleanup(client.socket.close)
            client.send(request("GET", "/big"))
        support.wait_until(lambda: len(server.streams) == 20, "the server has all of them")
        for _ in range(10):
            self.assertEqual(self.ask(proxy).body, b"small")
        self.assertLess(proxy.status("VmRSS"), 100)

    def test_more_requests_than_streams_open_more_connections_up_to_a_bound(self):
        release = threading.Event()
        self.addCleanup(release.set)

        def respond(stream):
            waiting.append(stream)

        waiting = []
        server = self.server(on_end=respond, max_streams=5)
        proxy = self.proxy(server)
        clients = [Client(proxy.http, timeout=support.PATIENCE) for _ in range(30)]
        for client in clients:
            self.addCleanup(client.socket.close)
            client.send(request())
        answered = set()

        def all_answered():
            for stream in list(waiting):
                if stream not in answered:
                    answered.add(stream)
                    stream.respond(200, end=True)
            return len(answered) == 30

        support.wait_until(lambda: len(waiting) >= 5, "streams wait")
        support.wait_until(all_answered, "every request had its turn")
        self.assertEqual({client.answer().status for client in clients}, {200})
        self.assertLessEqual(server.connections, 8 * len(os.sched_getaffinity(0)))

    def test_a_hundred_requests_at_once_share_one_connection_of_a_worker(self):
        proxy = self.proxy(server := self.server())
        client = self.h2(proxy)
        for number in range(90):
            client.headers(1 + 2 * number, self.head())
        for number in range(90):
            self.assertEqual(client.answer(1 + 2 * number).status, 200)
        self.assertEqual(server.connections, 1)

    def test_a_client_that_leaves_cancels_the_stream_at_the_server(self):
        server = self.server(on_end=lambda stream: None)
        proxy = self.proxy(server)
        client = self.h2(proxy)
        client.headers(1, self.head())
        support.wait_until(lambda: server.streams, "the server has the request")
        client.client.socket.close()
        support.wait_until(lambda: server.streams[0].reset == h2.errors.ErrorCodes.CANCEL, "RST_STREAM CANCEL")
        server.on_end = H2Server.echo
        self.assertEqual(self.ask(proxy).status, 200)


class Failures(Case):
    def test_a_reset_before_the_answer_is_a_502(self):
        server = self.server(on_end=lambda stream: stream.rst(h2.errors.ErrorCodes.INTERNAL_ERROR))
        answer = self.ask(self.proxy(server))
        self.assertEqual(answer.status, 502)
        self.assertIn("upstream.reset", answer.value("proxy-status"))
        self.assertEqual(len(server.streams), 1)

    def broken(self, proxy):
        """What both protocols' clients see of one answer: `complete` must be false."""
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request())
            first = client.answer()
        client = self.h2(proxy)
        client.headers(1, self.head())
        return first, client.answer(1)

    def test_a_reset_in_the_body_never_looks_whole(self):
        for name, fields in {"chunked": (), "with a length": (("content-length", "100000"),)}.items():

            def respond(stream, fields=fields):
                stream.respond(200, *fields)
                stream.data(b"x" * 1000)
                stream.rst(h2.errors.ErrorCodes.INTERNAL_ERROR)

            with self.subTest(name):
                for answer in self.broken(self.proxy(self.server(on_end=respond))):
                    self.assertTrue(answer is None or not answer.complete)

    def test_a_connection_that_ends_in_the_body_never_looks_whole(self):
        def respond(stream):
            stream.respond(200)
            stream.data(b"x" * 1000)
            stream.peer.socket.shutdown(2)

        for answer in self.broken(self.proxy(self.server(on_end=respond))):
            self.assertTrue(answer is None or not answer.complete)

    def test_a_length_that_is_not_that_of_the_data_is_malformed(self):
        def short(stream):
            stream.respond(200, ("content-length", "10"))
            stream.data(b"12345", end=True)

        def long(stream):
            stream.respond(200, ("content-length", "3"))
            stream.data(b"12345", end=True)

        def two(stream):
            stream.respond(200, ("content-length", "5"), ("content-length", "6"))
            stream.data(b"12345", end=True)

        def none(stream):
            stream.respond(200, ("content-length", "10"), end=True)

        for respond in (short, long, two, none):
            with self.subTest(respond.__name__):
                for answer in self.broken(self.proxy(self.server(on_end=respond))):
                    self.assertTrue(answer is None or not answer.complete or answer.status == 502)

    def test_heads_that_http_2_forbids_are_a_502(self):
        heads = {
            "connection": (("connection", "close"),),
            "transfer-encoding": (("transfer-encoding", "chunked"),),
            "no number": (("content-length", "x"),),
            "spaces": (("x-a", " b "),),
            "upper case": (("X-A", "b"),),
        }
        for name, fields in heads.items():

            def respond(stream, fields=fields):
                stream.respond(200, *fields)
                stream.data(b"12345", end=True)

            with self.subTest(name):
                answer = self.ask(self.proxy(self.server(on_end=respond)))
                self.assertEqual(answer.status, 502)
                self.assertIn("upstream.malformed", answer.value("proxy-status"))

    def test_a_switch_of_protocols_is_malformed(self):
        answer = self.ask(self.proxy(self.server(on_end=lambda stream: stream.respond(101))))
        self.assertEqual(answer.status, 502)

    def test_a_server_of_http_1_1_is_a_502(self):
        def speak(peer):
            peer.recv(100)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        server = RawServer(speak)
        self.addCleanup(server.close)
        self.assertEqual(self.ask(self.proxy(server)).status, 502)

    def test_a_server_that_is_silent_is_a_504(self):
        server = self.server(on_end=lambda stream: None)
        answer = self.ask(self.proxy(server, site='timeouts = { response_header = "300ms" }'))
        self.assertEqual(answer.status, 504)
        support.wait_until(lambda: server.streams[0].reset == h2.errors.ErrorCodes.CANCEL, "RST_STREAM CANCEL")


class Retries(Case):
    """What a server says it has not looked at is sent again, whatever the method; the rest only when harmless."""

    @staticmethod
    def goaway(stream):
        """Says that nothing was processed, and closes."""
        stream.peer.h2.close_connection(error_code=0, last_stream_id=0)
        stream.peer.flush()

    def test_a_stream_above_the_last_one_of_goaway_is_sent_again(self):
        for servers in (1, 2):
            for method, body in (("GET", None), ("POST", b"12345")):
                with self.subTest(method, servers=servers):
                    refusals = []

                    def first_refuses(stream, refusals=refusals):
                        if not refusals:
                            refusals.append(stream)
                            self.goaway(stream)
                        else:
                            H2Server.echo(stream)

                    group = [self.server(on_end=first_refuses) for _ in range(servers)]
                    answer = self.ask(self.proxy(*group), method, "/", body)
                    self.assertEqual((answer.status, answer.body), (200, body or b""))
                    self.assertEqual(len(refusals), 1)

    def test_a_refused_stream_is_sent_again(self):
        refusals = []

        def first_refuses(stream):
            if not refusals:
                refusals.append(stream)
                stream.rst(h2.errors.ErrorCodes.REFUSED_STREAM)
            else:
                H2Server.echo(stream)

        answer = self.ask(self.proxy(self.server(on_end=first_refuses)), "POST", "/", b"12345")
        self.assertEqual((answer.status, answer.body), (200, b"12345"))

    def test_streams_below_the_last_one_of_goaway_are_finished(self):
        later = []

        def slow(stream):
            later.append(stream)
            stream.respond(200)
            # A GOAWAY frame by hand: last stream, NO_ERROR.
            frame = b"\0\0\x08\x07\0\0\0\0\0" + stream.number.to_bytes(4, "big") + bytes(4)
            stream.raw(frame)

        def respond(stream):
            slow(stream) if stream.fields[":path"] == "/slow" else H2Server.echo(stream)

        server = self.server(on_end=respond)
        proxy = self.proxy(server)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request("GET", "/slow"))
            support.wait_until(lambda: later, "the server has the slow one")
            answers = [self.ask(proxy).status for _ in range(5)]
            later[0].data(b"late", end=True)
            answer = client.answer()
        self.assertEqual((answer.status, answer.body, answer.complete), (200, b"late", True))
        self.assertEqual(answers, [200] * 5)

    def test_a_connection_that_closes_after_each_answer_costs_no_get(self):
        def respond(stream):
            H2Server.echo(stream)
            stream.peer.socket.shutdown(2)

        server = self.server(on_end=respond)
        proxy = self.proxy(server)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            answers = []
            for _ in range(100):
                client.send(request())
                answers.append(client.answer().status)
        self.assertEqual(answers, [200] * 100)

    def test_a_post_that_may_have_been_seen_is_not_sent_twice(self):
        posts = []

        def respond(stream):
            if stream.fields[":method"] == "POST":
                posts.append(stream)
                stream.peer.socket.shutdown(2)
            else:
                H2Server.echo(stream)

        proxy = self.proxy(self.server(on_end=respond))
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request())
            client.answer()
            client.send(request("POST", "/", b"12345"))
            answer = client.answer()
        self.assertEqual(answer.status, 502)
        self.assertIn("upstream.closed_reused", answer.value("proxy-status"))
        self.assertEqual(len(posts), 1)

    def test_a_server_that_is_gone_leaves_the_work_to_the_other(self):
        gone, there = self.server(), self.server()
        gone.close()
        proxy = self.proxy(gone, there)
        self.assertEqual({self.ask(proxy).status for _ in range(20)}, {200})


if __name__ == "__main__":
    support.main()
