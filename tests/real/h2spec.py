"""HTTP/2 to the letter: the cases of h2spec's sections, as raw frames (RFC 9113 and RFC 7541).

h2spec itself is a program that Debian and PyPI do not have. Its 146 cases are tables here: cases/h2spec_generic.py and
cases/h2spec_http2.py. Where h2spec takes a closed connection for an answer, these want the right code.
"""

import unittest

import support
from backends import Recorder
from cases import h2spec_generic, h2spec_http2
from cases.h2frames import Await
from h2raw import FrameClient

# As many as h2spec 2.6 counts; the invalid preface (http2/3.5/2) is a test of its own here.
COUNT = 146


class H2Spec(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = Recorder()
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}"))
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    def run_row(self, row, client):
        for step in row.steps:
            if isinstance(step, Await):
                self.assertEqual(client.event(("answer", "reset", "goaway", "close"), step.stream), ("answer", "200"))
            else:
                client.send(step)
        found = client.event(row.expect.kinds)
        self.assertIn(found, row.expect.good)

    def run_rows(self, rows):
        for row in rows:
            with (
                self.subTest(f"{row.number} {row.sentence}"),
                FrameClient(self.proxy.https, self.ca, support.HOST) as client,
            ):
                self.run_row(row, client)

    def test_the_tables_have_every_case(self):
        numbers = [row.number for row in (*h2spec_generic.rows(), *h2spec_http2.rows())]
        self.assertEqual((len(numbers), len(set(numbers))), (COUNT, COUNT))

    def test_what_the_rfc_allows_is_taken(self):
        self.run_rows(h2spec_generic.rows())

    def test_what_the_rfc_forbids_is_refused_with_the_right_code(self):
        self.run_rows(h2spec_http2.rows())

    def test_a_wrong_preface_ends_in_goaway(self):
        wrong = b"INVALID CONNECTION PREFACE\r\n\r\n"
        with FrameClient(self.proxy.https, self.ca, support.HOST, preface=wrong) as client:
            self.assertEqual(client.event(("goaway", "close")), ("goaway", "PROTOCOL_ERROR"))
            self.assertEqual(client.event(("close",)), ("close", None))

    def test_a_connection_error_closes_the_connection(self):
        with FrameClient(self.proxy.https, self.ca, support.HOST) as client:
            client.send(h2spec_http2.frame(h2spec_http2.PING, 0, 0, bytes(6)))
            self.assertEqual(client.event(("goaway", "close")), ("goaway", "FRAME_SIZE_ERROR"))
            self.assertEqual(client.event(("close",)), ("close", None))

    def test_the_settings_say_what_is_allowed(self):
        with FrameClient(self.proxy.https, self.ca, support.HOST) as client:
            client.event(("settings",))
            said = client.settings
        self.assertEqual(said.get(3), 100, "MAX_CONCURRENT_STREAMS")
        self.assertEqual(said.get(4), 256 << 10, "INITIAL_WINDOW_SIZE")
        self.assertEqual(said.get(8), 1, "ENABLE_CONNECT_PROTOCOL")


if __name__ == "__main__":
    support.main()
