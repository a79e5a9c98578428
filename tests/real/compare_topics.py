"""`vestibule compare --topic`, the built-in backend's paths, the WSGI call, and the primer in both languages.

Each topic of the primer has a test here that runs its command and checks the fact it shows; every command of
docs/http-and-https.md is run in suite `compare`.
"""

import json
import pathlib
import re
import sys
import unittest

import readme
import support
from compare import compare, legs

HOST = support.HOST
PAGES = [support.ROOT / "docs/http-and-https.md", support.ROOT / "docs/http-and-https.zh.md"]
WSGI = """
import json, sys, wsgiref.simple_server
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: str(value) for key, value in environ.items()}).encode()]
server = wsgiref.simple_server.make_server("127.0.0.1", 0, application)
print(server.server_port, flush=True)
server.serve_forever()
"""


def lesson(topic, *arguments):
    return json.loads(compare("--topic", topic, "--json", *arguments).stdout)


class Topics(unittest.TestCase):
    def rows(self, topic):
        """The rows by their first cell; of fields, which have two rows each, a list."""
        found = {}
        for first, *rest in lesson(topic)["rows"]:
            found.setdefault(first, []).append(rest)
        return found

    def test_methods_parameters_repetition_and_limits(self):
        rows = {first: cells for first, (cells, *_) in self.rows("methods").items()}
        expected = {
            "request line": ["GET /?user=ada&password=my-secret-password HTTP/1.1", "POST / HTTP/1.1"],
            "parameters are in": ["the address", "the body"],
            "backend's address": ["/?user=ada&password=my-secret-password", "/"],
            "backend's body": ["0 bytes", "36 bytes"],
            "connection breaks": ["200, came 2 times", "502 upstream.closed_reused"],
            "  with a key": ["-", "200, came 2 times"],
            "16,000 bytes": ["200", "200"],
            "17,000 bytes": ["414 limit.uri_bytes", "200"],
            "65,536 bytes": ["-", "200"],
            "65,537 bytes": ["-", "413 limit.body"],
            "  then, same connection": ["-", "200"],
        }
        self.assertEqual(rows.keys(), expected.keys())
        for name, cells in expected.items():
            with self.subTest(name):
                self.assertEqual(rows[name], cells)

    def test_redirects_keep_or_lose_a_post(self):
        expected = [
            ["301", "GET", "GET", "0 bytes", "yes"],
            ["302", "GET", "GET", "0 bytes", "no"],
            ["303", "GET", "GET", "0 bytes", "no"],
            ["307", "GET", "POST", "36 bytes", "no"],
            ["308", "GET", "POST", "36 bytes", "yes"],
        ]
        rows = lesson("redirects")["rows"]
        for row, cells in zip(rows[:5], expected, strict=True):
            with self.subTest(row[0]):
                self.assertEqual(row, cells)
        # The plain door keeps the method.
        door = [row[:3] for row in rows[5:]]
        self.assertIn(door[0][0], ("301 (port 80)", "302 (port 80)", "307 (port 80)", "308 (port 80)"))
        self.assertEqual((door[0][1], door[1][2]), ("GET", "POST"))

    def test_a_real_answer_of_each_class(self):
        rows = lesson("statuses")["rows"]
        by = {(status, by) for status, _, by, _ in rows}
        backend = "the backend"
        for answer in (
            *(("100", backend), ("103", backend), ("200", backend), ("204", backend), ("301", backend)),
            *(("304", backend), ("403", "access.denied"), ("404", backend), ("404", "route.no_host")),
            *(("413", "limit.body"), ("414", "limit.uri_bytes"), ("400", "request.host"), ("429", "limit.rate")),
            *(("500", backend), ("502", "upstream.refused"), ("504", "upstream.header_timeout")),
        ):
            with self.subTest(" ".join(answer)):
                self.assertIn(answer, by)
        self.assertEqual({status[0] for status, *_ in rows}, set("12345"))

    def test_nine_fields_change_what_happens(self):
        rows = self.rows("headers")
        kinds = [["502 is text/html", "502 is application/problem+json"], ["502 is text/plain", "502 is application/problem+json"]]
        expected = {
            "Host": ["200", "404 route.no_host"],
            "Connection": ["stays open; X-Hop arrives", "closes; X-Hop ends at the proxy"],
            "Upgrade-Insecure-Requests": ["200 in clear", "307 to https; Vary: Upgrade-Insecure-Requests"],
            "User-Agent": ["sees curl/8.0", "sees Mozilla/5.0"],
            "Referer": ["sees https://a.test/?from=me", "sees none"],
            "Accept": kinds[0],
            "Accept-Encoding": ["as it is, ", "gzip, "],
            "Cookie": ["visit 1", "visit 2"],
            "X-Requested-With": kinds[1],
        }
        self.assertEqual(rows.keys(), expected.keys())
        for name, facts in expected.items():
            for (_, value, happened), fact in zip(rows[name], facts, strict=True):
                with self.subTest(f"{name}: {value}"):
                    self.assertIn(fact, happened)
        plain, packed = (int(re.search(r"(\d+) bytes", row[2])[1]) for row in rows["Accept-Encoding"])
        self.assertLess(packed * 2, plain)

    def test_udp_has_no_opening_and_keeps_datagrams_apart(self):
        rows = {first: rest for first, *rest in lesson("transport")["rows"]}
        self.assertEqual(rows["before the first byte"], ["3 packets", "0 packets"])
        self.assertEqual(rows["the receiver reads"], ['"onetwo"', '"one", "two"'])
        self.assertIn("connecting fails", rows["nobody listens"][0])
        self.assertIn("sending works", rows["nobody listens"][1])
        tcp, udp = (int(cell.split()[0]) for cell in rows["until the answer"])
        self.assertEqual(udp, 3)
        self.assertGreaterEqual(tcp, 6)

    def test_text_and_page_of_every_topic(self):
        for topic in ("methods", "redirects", "statuses", "headers", "transport"):
            for width in ("80", "120"):
                with self.subTest(f"{topic} {width}"):
                    text = compare("--topic", topic, env={"COLUMNS": width}).stdout
                    self.assertNotIn("\x1b", text)
                    self.assertLessEqual(max(map(len, text.splitlines())), int(width))
            with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as folder:
                page = pathlib.Path(folder) / "page.html"
                compare("--topic", topic, "--html", page)
                text = page.read_text()
                self.assertIn("<table", text)
                self.assertEqual(re.findall(r"(?:src|href)=|url\(|@import|<script", text), [])
        refused = compare("--topic", "redirects", "https://localhost/", code=2)
        self.assertIn("cannot be used with", refused.stderr)

    def test_cookies_are_secure_behind_the_tls_door_only(self):
        with support.Proxy(support.site("builtin:show")) as proxy:
            for door, origin in proxy.doors():
                with self.subTest(door):
                    head = support.curl(proxy, "-o", "/dev/null", "-D", "-", f"{origin}/visits")
                    cookie = re.search(r"(?im)^set-cookie: (.*)$", head)[1]
                    self.assertEqual("Secure" in cookie, door == "https")


class Wsgi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = support.Process([sys.executable, "-c", WSGI])
        cls.addClassCleanup(cls.server.stop)
        cls.port = support.wait_until(lambda: cls.server.stdout and int(cls.server.stdout[0]), "the server's port")

    def test_the_environ_is_shown_beside_the_request_of_every_column(self):
        report = json.loads(compare(f"{HOST}={self.port}", "--json", "-X", "GET").stdout)
        for name, leg in legs(report).items():
            with self.subTest(name):
                environ = leg["environ"]
                self.assertEqual(environ["wsgi.url_scheme"], "http")
                self.assertEqual(environ["HTTP_X_FORWARDED_PROTO"], "http" if name == "plain" else "https")
                self.assertEqual(environ["HTTP_COOKIE"], "session=my-secret-session")
                self.assertEqual(environ["HTTP_X_FORWARDED_FOR"], "127.0.0.1")

    def test_the_calls_stand_on_the_ladder_between_request_and_answer(self):
        report = json.loads(compare(f"{HOST}={self.port}", "--json", "-X", "GET").stdout)
        for name in ("plain", "tls13"):
            with self.subTest(name):
                steps = [m["name"] for step in legs(report)[name]["ladder"] for m in step["messages"]]
                order = [
                    next(i for i, step in enumerate(steps) if wanted in step)
                    for wanted in ("GET / HTTP/1.1", "application(environ", "start_response(200", "HTTP/1.1 200 OK")
                ]
                self.assertEqual(order, sorted(order))

    def test_the_text_names_both_sides(self):
        text = compare(f"{HOST}={self.port}", "-X", "GET").stdout
        for line in (
            r"What the WSGI application gets, TLS 1\.3",
            r"  method +REQUEST_METHOD +GET",
            r"  its door, by the proxy +HTTP_X_FORWARDED_PROTO +https",
            r"  scheme of the last hop +wsgi\.url_scheme +http",
        ):
            self.assertRegex(text, rf"(?m)^{line}$")


class Primer(unittest.TestCase):
    # Product topics and the word of the heading that each page has for them.
    TOPICS = (
        ("TCP: opening", "TCP：建立连接"),
        ("TCP: closing, and TIME_WAIT", "TCP：关闭连接与 TIME_WAIT"),
        ("TCP: window and retransmission", "TCP：窗口与重传"),
        ("UDP beside TCP", "UDP 与 TCP"),
        ("What HTTPS hides", "HTTPS 隐藏了什么"),
        ("What HTTPS proves", "HTTPS 证明了什么"),
        ("What HTTPS costs", "HTTPS 的代价"),
        ("What the backend sees", "后端看到什么"),
        ("GET and POST", "GET 与 POST"),
        ("Status codes", "状态码"),
        ("Header fields", "请求头"),
        ("WSGI", "WSGI"),
        ("Packets", "数据包"),
    )

    def test_every_topic_has_a_command_in_both_languages(self):
        for page, column in zip(PAGES, (0, 1), strict=True):
            parts = re.split(r"(?m)^## (.*)$", page.read_text())[1:]
            sections = dict(zip(parts[::2], parts[1::2], strict=True))
            self.assertEqual(list(sections), [topic[column] for topic in self.TOPICS])
            for heading, text in sections.items():
                with self.subTest(f"{page.name}: {heading}"):
                    self.assertRegex(text, r"(?m)^\$ (COLUMNS=\d+ )?vestibule ")

    def test_both_languages_show_the_same_commands_and_output(self):
        english, chinese = ([block[1:] for block in readme.blocks(page)] for page in PAGES)
        self.assertEqual(english, chinese)


if __name__ == "__main__":
    support.main()
