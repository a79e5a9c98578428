"""Framing: raw octets in front, a recorder of exact octets behind; nothing ambiguous passes (RFC 9112, RFC 9113 8)."""

import unittest

import support
from backends import Recorder
from cases import CUT, PASSED, REFUSED, coding, hops, length, syntax, upstream
from cases import h2 as h2_cases
from h2raw import H2Client
from rawhttp import Client, NotCanonical

# Seconds in which a request that is forwarded at all reaches the backend.
SETTLE = 0.3
HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "http2-settings")
# The site "*" takes any Host, so that a refusal is never for want of a site.
SITES = """
[defaults]
timeouts = {{ request_header = "3s", request_body_idle = "3s" }}
[sites."*"]
proxy = "127.0.0.1:{port}"
tls = "off"
http = "serve"
[sites."app.localhost"]
proxy = "127.0.0.1:{port}"
http = "serve"
"""


class FramingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.recorder = Recorder()
        cls.addClassCleanup(cls.recorder.close)
        cls.proxy = support.Proxy(SITES.format(port=cls.recorder.port))
        cls.addClassCleanup(cls.proxy.close)

    def barrier(self):
        """A request of its own connection: what came before it has reached the backend once it is answered."""
        with Client(self.proxy.http) as client:
            client.send(b"GET /barrier HTTP/1.1\r\nHost: barrier.test\r\nConnection: close\r\n\r\n")
            answer = client.answer()
        self.assertTrue(
            answer and answer.status == 200, f"the proxy no longer answers: {answer}\n{self.proxy.output()[-1000:]}"
        )

    def seen(self):
        """What the backend read: (whole requests, faults, octets of requests left unfinished)."""
        self.barrier()
        with self.recorder.lock:
            requests = [message for message in self.recorder.requests if message.target != "/barrier"]
            octets = b"".join(self.recorder.octets)
            return requests, list(self.recorder.faults), octets

    def check_passed(self, case, requests):
        first = requests[0]
        for name in ("method", "target", "body"):
            if getattr(case, name, None) is not None:
                self.assertEqual(getattr(first, name), getattr(case, name), name)
        for name, value in case.has.items():
            self.assertEqual(first.value(name), value, f"field {name} of {first.fields}")
        for name in case.lacks:
            self.assertIsNone(first.value(name), f"field {name} went on")
        for message in requests:
            nominated = [part.strip().lower() for part in (message.value("connection") or "").split(",")]
            for name in HOP_BY_HOP[1:]:
                if name != "te":
                    self.assertIsNone(message.value(name), f"{name} is for one connection")
            self.assertLessEqual(
                set(nominated), {"", "close", "keep-alive", "upgrade", "te"}, "Connection of the backend hop"
            )

    def check_nothing(self, octets):
        """No octet but the barriers' reached the backend."""
        left = octets
        while b"GET /barrier" in left:
            head, _, rest = left.partition(b"GET /barrier")
            left = head + rest.partition(b"\r\n\r\n")[2]
        self.assertEqual(left, b"", "octets reached the backend")


class Http1(FramingTest):
    def exchange(self, case):
        """Send the case; the first answer, or None when there is none; and whether the connection is closed."""
        with Client(self.proxy.http, timeout=8) as client:
            if case.drip:
                for octet in case.raw:
                    client.send(bytes([octet]))
            else:
                client.send(case.raw)
            # The end comes late: a proxy that sees it at once may drop what it would otherwise have forwarded.
            if case.eof and not client.readable_within(SETTLE):
                client.finish_sending()
            answer = client.answer(case.method or "GET")
            self.assertNotEqual(client.ended, "timeout", "neither answer nor close")
            counts = case.count if isinstance(case.count, tuple) else (case.count,)
            if case.verdict == PASSED:
                for _ in range(min(counts) - 1):
                    following = client.answer()
                    self.assertTrue(following and following.complete, "a pipelined request got no answer")
            closed = client.ended is not None
            if not closed and answer is not None and case.verdict in (REFUSED, CUT) and answer.status == 400:
                closed = client.at_end()
            return answer, closed

    def check(self, case):
        self.recorder.clear()
        answer, closed = self.exchange(case)
        requests, faults, octets = self.seen()
        self.assertEqual(faults, [], "the backend read octets that are not canonical")
        refused = answer is None or answer.status >= 400
        if case.verdict == REFUSED:
            self.assertTrue(refused, f"answered {answer and answer.status}")
            self.check_nothing(octets)
        elif case.verdict == CUT or (case.verdict != PASSED and refused):
            self.assertTrue(refused, f"answered {answer and answer.status}")
            self.assertEqual(requests, [], "the backend read a whole request")
        else:
            self.assertTrue(answer is not None and answer.complete, "no whole answer")
            self.assertEqual(answer.status, 200)
            counts = case.count if isinstance(case.count, tuple) else (case.count,)
            self.assertIn(len(requests), counts, f"requests at the backend: {[message.target for message in requests]}")
            self.check_passed(case, requests)
        if case.status is not None and answer is not None:
            self.assertIn(answer.status, case.status)
        if case.verdict in (REFUSED, CUT) and answer is not None and answer.status == 400:
            self.assertTrue(closed, "400, but the connection stays open")

    def table(self, module):
        for case in module.cases():
            with self.subTest(case.name):
                self.check(case)

    def test_a_length_is_one_number_and_never_beside_a_coding(self):
        self.table(length)

    def test_a_coding_is_a_lone_chunked_and_chunks_are_exact(self):
        self.table(coding)

    def test_fields_lines_targets_and_hosts_follow_the_grammar(self):
        self.table(syntax)

    def test_sizes_hop_by_hop_fields_forwarding_fields_and_pipelining(self):
        self.table(hops)


class Http2(FramingTest):
    def exchange(self, case):
        with H2Client(self.proxy.https, self.proxy.ca(), support.HOST) as client:
            self.assertEqual(client.chosen, "h2", "ALPN")
            client.headers(1, case.fields, end=case.data is None)
            if case.data is not None:
                for number, piece in enumerate(case.data, 1):
                    client.data(1, piece, end=number == len(case.data) and case.trailers is None)
                if case.trailers is not None:
                    client.headers(1, case.trailers)
            answer = client.answer(1)
            self.assertNotEqual(client.client.ended, "timeout", "neither answer nor end of the stream")
            return answer

    def test_a_request_becomes_one_canonical_http_1_request_or_none(self):
        for case in h2_cases.cases():
            with self.subTest(case.name):
                self.recorder.clear()
                answer = self.exchange(case)
                requests, faults, octets = self.seen()
                self.assertEqual(faults, [], "the backend read octets that are not canonical")
                refused = answer is None or answer.status >= 400
                if case.verdict == REFUSED:
                    self.assertTrue(refused, f"answered {answer and answer.status}")
                    self.check_nothing(octets)
                elif case.verdict == CUT or (case.verdict != PASSED and refused):
                    self.assertTrue(refused, f"answered {answer and answer.status}")
                    self.assertEqual(requests, [], "the backend read a whole request")
                else:
                    self.assertTrue(answer and answer.complete and answer.status == 200, f"answer {answer}")
                    self.assertEqual(len(requests), 1)
                    self.check_passed(case, requests)


class Upstream(FramingTest):
    def exchange(self, reply):
        with Client(self.proxy.http, timeout=8) as client:
            client.send(f"{reply.method} /x HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            answer = client.answer(reply.method)
            self.assertNotEqual(client.ended, "timeout", "neither answer nor close")
            return answer

    def check(self, reply):
        self.recorder.script, self.recorder.script_closes = reply.raw, reply.closes
        try:
            answer = self.exchange(reply)
        finally:
            self.recorder.script = None
        if reply.verdict == "any":
            self.assertTrue(answer is not None)
        elif reply.verdict == upstream.BAD:
            self.assertTrue(answer is not None and answer.complete, "no whole answer of the proxy's own")
            self.assertEqual(answer.status, 502)
        elif reply.verdict == upstream.GONE:
            whole = answer is not None and answer.complete and answer.status < 500
            self.assertFalse(whole, f"a cut answer looks whole: {answer}")
        else:
            self.assertTrue(answer is not None and answer.complete, f"no whole answer: {answer}")
            self.assertEqual((answer.status, answer.body), (reply.status, reply.body))
            self.assertNotIn("x-smuggled", dict(answer.fields))
            for name, value in reply.has.items():
                self.assertEqual(answer.value(name), value)
            for name in reply.lacks:
                self.assertIsNone(answer.value(name), f"field {name} went on")
            self.assertLessEqual(set(reply.interim), {status for status, _ in answer.interim})

    def test_a_wrong_answer_is_502_or_visibly_cut(self):
        for reply in upstream.replies():
            with self.subTest(reply.name):
                try:
                    self.check(reply)
                except NotCanonical as fault:
                    self.fail(f"the client read octets that are no response: {fault}")
                self.barrier()


if __name__ == "__main__":
    support.main()
