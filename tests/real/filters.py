"""Every filter over every pair of protocols: HTTP/1.1 in clear, HTTP/1.1 and HTTP/2 over TLS in front; HTTP/1.1 over TCP
and unix sockets, and HTTP/2 in clear behind."""

import gzip
import json
import pathlib
import tempfile
import threading
import unittest
import zlib

import brotli
import support
import zstandard
from backends import FunctionServer
from fronts import FRONTS, Front, request
from h2functions import H2FunctionServer
from h2raw import H2Client
from rawhttp import Client

BACKS = ("tcp", "unix", "h2c")
TEXT = b"".join(b"line %d of a page that is worth compressing\n" % n for n in range(200))
ORIGIN = "https://app.example.com"
DECODERS = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}

ROUTES = """
[[sites."HOST".routes]]
path = "/redirect/*"
redirect = { to = "https://{host}/new/{path}?from=old&{query}", status = 307 }
[[sites."HOST".routes]]
path = "/moved/*"
redirect = "/elsewhere/{path}"
[[sites."HOST".routes]]
path_regex = "/blog/([0-9]{4})/(?<slug>[a-z-]+)"
redirect = { to = "/posts/{slug}?year={1}", status = 301 }
[[sites."HOST".routes]]
path = "/rewrite/*"
rewrite = "/echo/{path}"
[[sites."HOST".routes]]
path_regex = "/user/(?<name>[a-z]+)/(.*)"
rewrite = "/echo/{2}/of/{name}"
[[sites."HOST".routes]]
path = "/strip/*"
strip_prefix = "/strip"
[[sites."HOST".routes]]
path = "/allowed/*"
allow = ["127.0.0.1", "127.0.0.3"]
deny = ["127.0.0.3"]
[[sites."HOST".routes]]
path = "/limited/*"
rate_limit = { rate = "1/h", burst = 3, key = "header:X-Key" }
[[sites."HOST".routes]]
path = "/tried/*"
rate_limit = { rate = "1/h", burst = 1, key = "route", dry_run = true }
[[sites."HOST".routes]]
path = "/private/*"
basic_auth = { realm = "the \\"vault\\"", users_file = "htpasswd" }
[[sites."HOST".routes]]
path = "/asked/*"
forward_auth = { url = "http://AUTH/verify?site=1", copy_headers = ["Remote-User", "Remote-Groups"] }
[[sites."HOST".routes]]
path = "/unasked/*"
forward_auth = { url = "http://127.0.0.1:9/verify" }
[[sites."HOST".routes]]
path = "/cors/*"
cors = { origins = ["https://app.example.com"], methods = ["GET", "PUT"], credentials = true }
basic_auth = { users_file = "htpasswd" }
[[sites."HOST".routes]]
path = "/compressed/*"
strip_prefix = "/compressed"
compress = true
[[sites."HOST".routes]]
path = "/paged/*"
error_pages = { "503" = "PAGES/503.html", "5xx" = "PAGES/5xx.html", upstream = true }
[[sites."HOST".routes]]
path = "/paged/dead/*"
proxy = "127.0.0.1:9"
error_pages = { "5xx" = "PAGES/5xx.html" }
[[sites."HOST".routes]]
path = "/narrow/*"
limits = { uri_bytes = "64B", body = "100B" }
[[sites."HOST".routes]]
path = "/wide/*"
limits = { uri_bytes = "20KiB", body = "off" }
[[sites."HOST".routes]]
path = "/own/*"
error_pages = { "5xx" = "PAGES/5xx.html" }
"""

SITE = """
[sites."HOST"]
proxy = "TARGET"
http = "serve"
tls = { cert = "CERT", key = "KEY" }
hsts = { max_age = "1y", include_subdomains = true }
headers.request.set = { "X-Facts" = "FACTS" }
headers.request.remove = ["X-Secret"]
headers.response = { set = { "X-Id" = "{request_id}" }, add = { "X-Host" = "{host}" }, remove = ["X-Powered-By"] }
"""
FACTS = "{client_ip}|{scheme}|{host}|{method}|{path}|{query}|{tls.version}|{tls.sni}|{tls.alpn}"


def every_pair(test):
    """Run a test for each kind of front with each kind of back, a sub-test each."""

    def run(self):
        for back in BACKS:
            for kind in FRONTS:
                with self.subTest(front=kind, back=back):
                    test(self, Front(kind, self.proxy, self.cert, f"{back}.example.com"))

    run.__doc__ = test.__doc__
    return run


class Application:
    """What the backend does, and what the server of forward_auth does."""

    def __init__(self):
        self.verified, self.gate = [], threading.Event()
        self.routes = {
            "*": self.echo,
            "/text": lambda h: h.reply(200, TEXT, ("Content-Type", "text/plain"), ("ETag", '"v1"')),
            "/image": lambda h: h.reply(200, TEXT, ("Content-Type", "image/png")),
            "/small": lambda h: h.reply(200, b"small", ("Content-Type", "text/plain")),
            "/packed": lambda h: h.reply(
                200, gzip.compress(TEXT), ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")
            ),
            "/verbatim": lambda h: h.reply(
                200, TEXT, ("Content-Type", "text/plain"), ("Cache-Control", "no-transform")
            ),
            "/chunked": self.chunked,
            "/file": self.file,
            "/events": self.events,
            "/paged/500": lambda h: self.failed(h, 500),
            "/paged/503": lambda h: self.failed(h, 503),
            "/paged/404": lambda h: self.failed(h, 404),
            "/own/500": lambda h: self.failed(h, 500),
        }

    def echo(self, handler):
        facts = {"target": handler.path, "method": handler.command}
        facts["fields"] = {name.lower(): value for name, value in handler.headers.items()}
        facts["body"] = b"".join(handler.body_pieces()).decode()
        handler.reply(
            200, json.dumps(facts).encode(), ("Content-Type", "application/json"), ("X-Powered-By", "a machine"),
            ("Access-Control-Allow-Origin", "*"),
        )  # fmt: skip

    def chunked(self, handler):
        """A first piece, and the rest when the client has read that."""
        handler.begin_chunked("text/plain")
        handler.chunk(b"first piece\n")
        self.gate.wait(support.PATIENCE)
        handler.chunk(TEXT)
        handler.chunk(b"")

    def events(self, handler):
        handler.begin_chunked("text/event-stream")
        handler.chunk(b"data: one\n\n")
        self.gate.wait(support.PATIENCE)
        handler.chunk(b"")

    @staticmethod
    def failed(handler, status):
        fields = (("Content-Type", "text/html"), ("ETag", '"e"'), ("Set-Cookie", "kept=1"), ("Retry-After", "7"))
        handler.reply(status, b"of the application", *fields)

    def file(self, handler):
        """Ranges and conditions, as a server of files answers them."""
        tag = '"f1"'
        if tag in handler.headers.get("If-None-Match", ""):
            handler.send_response(304)
            handler.send_header("ETag", tag)
            handler.end_headers()
        elif handler.headers.get("Range") == "bytes=5-9" and handler.headers.get("If-Range", tag) == tag:
            content_range = ("Content-Range", f"bytes 5-9/{len(TEXT)}")
            handler.reply(206, TEXT[5:10], content_range, ("ETag", tag), ("Content-Type", "text/plain"))
        else:
            handler.reply(200, TEXT, ("ETag", tag), ("Content-Type", "text/plain"), ("Accept-Ranges", "bytes"))

    def verify(self, handler):
        self.verified.append((handler.command, handler.path, dict(handler.headers.items())))
        token = handler.headers.get("Authorization")
        if token == "Bearer joe":
            handler.reply(204 if "X-Empty" in handler.headers else 200, b"", ("Remote-User", "joe"))
        elif token == "Bearer broken":
            handler.reply(500, b"no idea\n")
        else:
            handler.reply(302, b"log in\n", ("Location", "/login"), ("Set-Cookie", "state=1"))


class Filters(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-filters-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        cls.app = Application()
        auth = FunctionServer({"/verify": cls.app.verify})
        backs = {
            "tcp": FunctionServer(cls.app.routes),
            "unix": FunctionServer(cls.app.routes, path=cls.work / "app.sock"),
            "h2c": H2FunctionServer(cls.app.routes),
        }
        for server in (auth, *backs.values()):
            cls.addClassCleanup(server.close)
        hosts = {back: f"{back}.example.com" for back in BACKS}
        cls.cert, key = support.make_certificate(cls.work, *hosts.values())
        users = cls.work / "htpasswd"
        run = support.command(["htpasswd", "-cBb", "-C", "5", users, "joe", "secret"])
        cls.assertEqual(cls(), run.returncode, 0, run.stderr)
        (cls.work / "503.html").write_text("<p>busy {status}</p>")
        (cls.work / "5xx.html").write_text("<style>p{color:red}</style>{status} {reason}|{code}|{cause}|{request_id}|")
        sites = support.site(backs["tcp"].target, extra='hsts = { max_age = "1y" }')
        for back, host in hosts.items():
            text = SITE + ROUTES.replace('"htpasswd"', f'"{users}"').replace("AUTH", auth.target)
            text = text.replace("HOST", host).replace("TARGET", backs[back].target).replace("FACTS", FACTS)
            text = text.replace("PAGES", str(cls.work))
            sites += text.replace("CERT", str(cls.cert)).replace("KEY", str(key))
        cls.proxy = support.Proxy(sites, '[access_log]\nformat = "json"\n')
        cls.addClassCleanup(cls.proxy.close)

    def facts(self, answer):
        self.assertEqual(answer.status, 200, answer)
        return json.loads(answer.body)

    def log_of(self, why, key):
        """A line of the access log with this value."""
        return support.wait_until(
            lambda: [line for line in map(json.loads, list(self.proxy.stdout)) if line.get(key) == why], f"{why} logged"
        )

    @every_pair
    def test_redirects_are_filled_from_the_request(self, front):
        authority = front.origin.partition("//")[2]
        table = [
            ("/redirect/a/b%20c?x=1", 307, f"https://{authority}/new/a/b%20c?from=old&x=1"),
            ("/redirect", 307, f"https://{authority}/new/?from=old&"),
            ("/moved/a?x=1", 308, "/elsewhere/a?x=1"),
            ("/blog/2024/a-title", 301, "/posts/a-title?year=2024"),
        ]
        for target, status, location in table:
            answer = front.ask(target, method="POST", body=b"kept by 307 and 308")
            self.assertEqual((answer.status, answer.value("location")), (status, location))

    @every_pair
    def test_paths_are_rewritten_and_prefixes_stripped(self, front):
        table = [
            ("/rewrite/a%2Fb?q=1", "/echo/a%2Fb?q=1", None),
            ("/user/joe/a/b", "/echo/a/b/of/joe", None),
            ("/strip/a//b%41?q", "/a//b%41?q", "/strip"),
            ("/strip", "/", "/strip"),
            ("/plain//a/./b", "/plain//a/./b", None),
        ]
        for sent, seen, prefix in table:
            facts = self.facts(front.ask(sent))
            self.assertEqual((facts["target"], facts["fields"].get("x-forwarded-prefix")), (seen, prefix), sent)

    @every_pair
    def test_a_path_whose_spelling_leads_elsewhere_is_refused(self, front):
        for target in ("/strip/../strip/x", "/%73trip/x", "/x/../private/x", "/allowed/../plain", "/user/a/../b/x"):
            answer = front.ask(target)
            self.assertEqual(answer.status, 400, target)
            self.assertIn("route.ambiguous_path", answer.value("proxy-status"))

    @every_pair
    def test_header_rules_know_the_client_and_its_connection(self, front):
        answer = front.ask("/plain?q=1", fields={"X-Secret": "1", "X-Facts": "mine"}, source="127.0.0.9")
        facts, authority = self.facts(answer), front.origin.partition("//")[2]
        tls = f"TLS 1.3|{front.host}|{'h2' if front.kind == 'h2' else 'http/1.1'}" if front.secure else "||"
        scheme = "https" if front.secure else "http"
        self.assertEqual(facts["fields"]["x-facts"], f"127.0.0.9|{scheme}|{authority}|GET|/plain|q=1|{tls}")
        self.assertNotIn("x-secret", facts["fields"])
        self.assertRegex(answer.value("x-id"), "^[0-9a-f]{16}$")
        self.assertEqual((answer.value("x-host"), answer.value("x-powered-by")), (authority, None))

    @every_pair
    def test_hsts_is_sent_over_tls_only_and_on_errors_too(self, front):
        expected = "max-age=31536000; includeSubDomains" if front.secure else None
        for target, status in (("/plain", 200), ("/moved/x", 308), ("/unasked/x", 502)):
            answer = front.ask(target)
            self.assertEqual((answer.status, answer.value("strict-transport-security")), (status, expected), target)

    def test_hsts_never_stands_on_a_development_certificate(self):
        answer = Front("https", self.proxy, self.proxy.ca(), support.HOST).ask("/plain")
        self.assertEqual((answer.status, answer.value("strict-transport-security")), (200, None))

    @every_pair
    def test_deny_wins_over_allow_and_the_rest_is_refused(self, front):
        for source, status in (("127.0.0.1", 200), ("127.0.0.2", 403), ("127.0.0.3", 403)):
            answer = front.ask("/allowed/x", source=source, fields={"X-Forwarded-For": "127.0.0.1"})
            self.assertEqual(answer.status, status, source)
        self.assertIn("access.denied", answer.value("proxy-status"))

    @every_pair
    def test_a_rate_limit_refuses_what_is_over_the_burst(self, front):
        fields = {"X-Key": f"{front.kind} {front.host}"}
        statuses = []
        for left in (2, 1, 0):
            answer = front.ask("/limited/x", fields=fields)
            statuses.append(answer.status)
            self.assertRegex(answer.value("ratelimit"), f'^"default";r={left};t=[0-9]+$')
            self.assertEqual(answer.value("ratelimit-policy"), '"default";q=3;w=10800')
        answer = front.ask("/limited/x", fields=fields)
        self.assertEqual([*statuses, answer.status], [200, 200, 200, 429])
        self.assertTrue(3000 < int(answer.value("retry-after")) <= 3600, answer.fields)
        self.assertIn("limit.rate", answer.value("proxy-status"))
        self.assertEqual(front.ask("/limited/x", fields={"X-Key": f"other {fields['X-Key']}"}).status, 200)

    @every_pair
    def test_a_limit_on_trial_only_says_so(self, front):
        for _ in range(3):
            answer = front.ask(f"/tried/{front.kind}/{front.host}")
            self.assertEqual((answer.status, answer.value("ratelimit")), (200, None))
        lines = self.log_of("limit.rate", "would_refuse")
        self.assertEqual({line["status"] for line in lines}, {200})

    @every_pair
    def test_basic_auth_wants_the_right_password(self, front):
        answer = front.ask("/private/x")
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.value("www-authenticate"), 'Basic realm="the \\"vault\\"", charset="UTF-8"')
        # joe:secret, joe:wrong, ann:secret
        for token, status in (("am9lOnNlY3JldA==", 200), ("am9lOndyb25n", 401), ("YW5uOnNlY3JldA==", 401)):
            began = support.time.monotonic()
            answer = front.ask("/private/x", fields={"Authorization": f"Basic {token}"})
            self.assertEqual(answer.status, status, token)
            if status == 401:
                self.assertGreater(support.time.monotonic() - began, 0.9)
        self.assertEqual(front.ask("/private/x", method="POST", body=b"unread").status, 401)
        logged = self.log_of("joe", "user")
        self.assertEqual({(line["status"], line["target"].split("/")[1]) for line in logged}, {(200, "private")})

    @every_pair
    def test_another_server_decides_and_says_who_it_is(self, front):
        self.app.verified.clear()
        fields = [("Authorization", "Bearer joe"), ("Remote-User", "root"), ("Remote_User", "root"),
                  ("Remote-Groups", "wheel"), ("X-Mine", "1"), ("If-None-Match", "*")]  # fmt: skip
        facts = self.facts(front.ask("/asked/x?q=1", method="POST", fields=fields, body=b"whole"))
        self.assertEqual((facts["method"], facts["body"]), ("POST", "whole"))
        seen = facts["fields"]
        self.assertEqual((seen["remote-user"], seen.get("remote_user"), seen.get("remote-groups")), ("joe", None, None))
        [(method, path, asked)] = self.app.verified
        asked = {name.lower(): value for name, value in asked.items()}
        self.assertEqual((method, path), ("GET", "/verify?site=1"))
        self.assertEqual((asked["x-forwarded-method"], asked["x-forwarded-uri"]), ("POST", "/asked/x?q=1"))
        self.assertEqual(asked["x-forwarded-host"], front.origin.partition("//")[2])
        self.assertEqual(asked["x-forwarded-proto"], "https" if front.secure else "http")
        self.assertEqual((asked["x-forwarded-for"], asked["x-mine"]), ("127.0.0.1", "1"))
        for name in ("remote-user", "remote-groups", "content-length", "if-none-match"):
            self.assertNotIn(name, asked)

    @every_pair
    def test_the_other_servers_refusal_is_the_answer(self, front):
        answer = front.ask("/asked/x", method="POST", body=b"unread")
        self.assertEqual((answer.status, answer.value("location"), answer.body), (302, "/login", b"log in\n"))
        self.assertEqual(answer.value("set-cookie"), "state=1")
        self.assertEqual(front.ask("/asked/x", fields={"Authorization": "Bearer broken"}).status, 500)
        self.assertEqual(front.ask("/unasked/x").status, 502, "no answer lets nobody pass")

    @every_pair
    def test_a_preflight_is_answered_before_anybody_logs_in(self, front):
        ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
        answer = front.ask("/cors/x", method="OPTIONS", fields=ask)
        self.assertEqual((answer.status, answer.body), (204, b""))
        expected = {
            "origin": ORIGIN, "methods": "GET, PUT", "headers": "x-a", "credentials": "true",
        }  # fmt: skip
        for name, value in expected.items():
            self.assertEqual(answer.value(f"access-control-allow-{name}"), value)
        self.assertEqual(answer.value("access-control-max-age"), "600")
        self.assertIn("Origin", answer.value("vary"))
        evil = front.ask("/cors/x", method="OPTIONS", fields={**ask, "Origin": "https://evil.example.com"})
        self.assertEqual((evil.status, evil.value("access-control-allow-origin")), (204, None))

    @every_pair
    def test_other_origins_read_what_they_may_and_errors_too(self, front):
        login = {"Authorization": "Basic am9lOnNlY3JldA=="}
        for fields, status in (({"Origin": ORIGIN, **login}, 200), ({"Origin": ORIGIN}, 401)):
            answer = front.ask("/cors/x", fields=fields)
            self.assertEqual((answer.status, answer.value("access-control-allow-origin")), (status, ORIGIN))
        for origin in ("https://evil.example.com", None):
            fields = {**login, **({"Origin": origin} if origin else {})}
            self.assertEqual(front.ask("/cors/x", fields=fields).value("access-control-allow-origin"), None)

    @every_pair
    def test_a_text_is_compressed_as_the_client_likes(self, front):
        table = [("gzip, br, zstd", "zstd"), ("gzip, br", "br"), ("gzip", "gzip"), ("br;q=0.1, gzip;q=0.9", "gzip")]
        for accept, coding in table:
            answer = front.ask("/compressed/text", fields={"Accept-Encoding": accept})
            self.assertEqual((answer.status, answer.value("content-encoding")), (200, coding))
            self.assertEqual(DECODERS[coding](answer.body), TEXT)
            self.assertLess(len(answer.body), len(TEXT) / 4)
            self.assertEqual((answer.value("etag"), answer.value("vary")), ('W/"v1"', "Accept-Encoding"))
        for accept in ("identity", "gzip;q=0", "deflate"):
            answer = front.ask("/compressed/text", fields={"Accept-Encoding": accept})
            self.assertEqual((answer.value("content-encoding"), answer.body), (None, TEXT))
            self.assertEqual((answer.value("etag"), answer.value("vary")), ('"v1"', "Accept-Encoding"))

    @every_pair
    def test_what_should_stay_as_it_is_is_not_compressed(self, front):
        accept = {"Accept-Encoding": "gzip"}
        table = [("image", TEXT), ("small", b"small"), ("packed", TEXT), ("verbatim", TEXT)]
        for path, body in table:
            answer = front.ask(f"/compressed/{path}", fields=accept)
            packed = path == "packed"
            self.assertEqual(answer.value("content-encoding"), "gzip" if packed else None, path)
            self.assertEqual(gzip.decompress(answer.body) if packed else answer.body, body)
        answer = front.ask("/compressed/text", fields={**accept, "Cache-Control": "no-transform"})
        self.assertEqual(answer.body, TEXT)
        head = front.ask("/compressed/text", method="HEAD", fields=accept)
        said = (head.value("content-encoding"), head.value("content-length"), head.value("etag"))
        self.assertEqual((head.status, head.body, *said), (200, b"", "gzip", None, 'W/"v1"'))
        self.assertEqual(front.ask("/text", fields=accept).body, TEXT, "a route without the filter")

    @every_pair
    def test_conditions_and_ranges_pass_untouched(self, front):
        for prefix in ("", "/compressed"):
            target, accept = f"{prefix}/file", {"Accept-Encoding": "gzip"}
            whole = front.ask(target, fields=accept)
            self.assertEqual(whole.status, 200)
            tag = whole.value("etag")
            self.assertEqual(tag, 'W/"f1"' if prefix else '"f1"')
            answer = front.ask(target, fields={"If-None-Match": tag, **accept})
            self.assertEqual((answer.status, answer.body, answer.value("etag")), (304, b"", '"f1"'))
            part = front.ask(target, fields={"Range": "bytes=5-9", "If-Range": '"f1"', **accept})
            self.assertEqual((part.status, part.body, part.value("content-encoding")), (206, TEXT[5:10], None))
            self.assertEqual(part.value("content-range"), f"bytes 5-9/{len(TEXT)}")

    @every_pair
    def test_a_stream_is_compressed_piece_by_piece_and_events_are_not(self, front):
        for path, accept in (("chunked", "gzip"), ("events", "gzip")):
            self.app.gate.clear()
            fields = [("Accept-Encoding", accept)]
            if front.kind == "h2":
                self.read_h2(front, f"/compressed/{path}", fields, path)
            else:
                self.read_h1(front, f"/compressed/{path}", fields, path)

    def first_piece(self, path, data):
        """Whether the data so far has the first piece, decoded."""
        if path == "events":
            return b"data: one\n\n" in data
        return b"first piece\n" in zlib.decompressobj(31).decompress(data) if data else False

    def read_h1(self, front, target, fields, path):
        tls = front.ca if front.secure else None
        with Client(front.port, tls=tls, name=front.host, timeout=20) as client:
            client.send(request("GET", target, front.host, fields))
            head = client.read_until(b"\r\n\r\n")
            self.assertEqual(b"content-encoding: gzip" in head.lower(), path == "chunked")
            data = b""
            while not self.first_piece(path, data):
                size = int(client.read_until(b"\r\n"), 16)
                data += client.read_exactly(size + 2)[:-2]
            self.app.gate.set()
            while size := int(client.read_until(b"\r\n"), 16):
                data += client.read_exactly(size + 2)[:-2]
        if path == "chunked":
            self.assertEqual(gzip.decompress(data), b"first piece\n" + TEXT)

    def read_h2(self, front, target, fields, path):
        with H2Client(front.port, front.ca, front.host, timeout=20) as client:
            pseudo = [(":method", "GET"), (":scheme", "https"), (":path", target), (":authority", front.host)]
            client.headers(1, pseudo + [(name.lower(), value) for name, value in fields])
            while not (1 in client.answers and self.first_piece(path, client.answers[1].body)):
                self.assertTrue(client.step(), "ended before the first piece")
            self.app.gate.set()
            answer = client.answer(1)
            self.assertTrue(answer.complete)
        if path == "chunked":
            self.assertEqual(gzip.decompress(answer.body), b"first piece\n" + TEXT)


    @every_pair
    def test_browsers_are_shown_pages_of_the_operators_own(self, front):
        browser = {"Accept": "text/html,*/*;q=0.8"}
        answer = front.ask("/paged/dead/x", fields=browser)
        style, rest = answer.body.decode().split("</style>")
        shown, code, cause, request_id, _ = rest.split("|")
        self.assertEqual((answer.status, style, shown), (502, "<style>p{color:red}", "502 Bad Gateway"))
        self.assertEqual((code, cause), ("upstream.refused", "The backend refused the connection."))
        self.assertRegex(request_id, "^[0-9a-f]{16}$")
        self.assertEqual(answer.value("content-type"), "text/html; charset=utf-8")
        self.assertIn("upstream.refused", answer.value("proxy-status"))
        for fields in ({}, {"Accept": "application/json"}, {**browser, "X-Requested-With": "XMLHttpRequest"}):
            self.assertNotIn(b"color:red", front.ask("/paged/dead/x", fields=fields).body)
        head = front.ask("/paged/dead/x", method="HEAD", fields=browser)
        self.assertEqual((head.status, head.body), (502, b""))

    @every_pair
    def test_a_servers_error_is_replaced_only_where_that_is_asked_for(self, front):
        browser = {"Accept": "text/html"}
        for target, part in (("/paged/503", b"<p>busy 503</p>"), ("/paged/500", b"500 Internal Server Error|||")):
            answer = front.ask(target, fields=browser)
            self.assertEqual(answer.status, int(target[-3:]))
            self.assertIn(part, answer.body)
            self.assertEqual((answer.value("set-cookie"), answer.value("retry-after")), ("kept=1", "7"))
            self.assertEqual((answer.value("etag"), answer.value("content-length")), (None, str(len(answer.body))))
            head = front.ask(target, method="HEAD", fields=browser)
            self.assertEqual((head.status, head.body, head.value("etag")), (answer.status, b"", None))
        for target, fields in (("/paged/404", browser), ("/own/500", browser), ("/paged/500", {"Accept": "*/*"})):
            answer = front.ask(target, fields=fields)
            self.assertEqual((answer.status, answer.body), (int(target[-3:]), b"of the application"))
            self.assertEqual(answer.value("etag"), '"e"')


    @every_pair
    def test_a_route_has_limits_of_its_own(self, front):
        for route, length, status in (("narrow", 64, 200), ("narrow", 65, 414), ("wide", 18 << 10, 200)):
            target = f"/{route}/".ljust(length, "x")
            answer = front.ask(target)
            self.assertEqual(answer.status, status, target[:80])
            self.assertEqual("limit.uri_bytes" in (answer.value("proxy-status") or ""), status == 414)
        self.assertEqual(front.ask("/plain/".ljust(17 << 10, "x")).status, 414, "the rest keeps the default")
        for route, size, status in (("narrow", 100, 200), ("narrow", 101, 413), ("wide", 1000, 200)):
            answer = front.ask(f"/{route}/x", method="POST", body=b"x" * size)
            self.assertEqual(answer.status, status, (route, size))
            self.assertEqual("limit.body" in (answer.value("proxy-status") or ""), status == 413)


class PlainDoor(unittest.TestCase):
    def test_only_who_asks_for_it_is_led_to_https(self):
        """`http = "upgrade"` and `Upgrade-Insecure-Requests` (Upgrade Insecure Requests, section 3.2)."""
        app = FunctionServer({"*": lambda h: h.reply(200, b"here", ("Vary", "Cookie"))})
        self.addCleanup(app.close)
        with support.Proxy(f'[sites."{support.HOST}"]\nproxy = "{app.target}"\nhttp = "upgrade"\n') as proxy:
            fronts = {kind: Front(kind, proxy, proxy.ca(), support.HOST) for kind in FRONTS}
            asks, wish = fronts["http"], {"Upgrade-Insecure-Requests": "1"}
            answer = asks.ask("/x?q=1", fields=wish)
            place = f"https://{support.HOST}:{proxy.https}/x?q=1"
            self.assertEqual((answer.status, answer.value("location")), (307, place))
            self.assertIn("Upgrade-Insecure-Requests", answer.value("vary"))
            for fields in ({}, {"Upgrade-Insecure-Requests": "0"}):
                answer = asks.ask("/x", fields=fields)
                self.assertEqual((answer.status, answer.body), (200, b"here"))
                self.assertIn("Upgrade-Insecure-Requests", answer.value("vary"))
            for kind in ("https", "h2"):
                answer = fronts[kind].ask("/x", fields=wish)
                self.assertEqual((answer.status, answer.value("vary")), (200, "Cookie"), kind)


class ErrorPages(unittest.TestCase):
    def test_a_host_and_a_path_that_nobody_serves_have_pages_too(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("host", "path", "route"):
                (pathlib.Path(folder) / f"{name}.html").write_text(f"no such {name}: {{code}}")
            sites = f"""
[sites."app.localhost"]
http = "serve"
error_pages = {{ "404" = "{folder}/path.html" }}
[[sites."app.localhost".routes]]
path = "/there"
respond = {{ body = "there" }}
[[sites."app.localhost".routes]]
path = "/refused"
deny = ["127.0.0.0/8"]
respond = {{ body = "there" }}
error_pages = {{ "4xx" = "{folder}/route.html" }}
[[sites."app.localhost".routes]]
path = "/bare"
deny = ["127.0.0.0/8"]
respond = {{ body = "there" }}
error_pages = "off"
"""
            top = f'[defaults]\nerror_pages = {{ "4xx" = "{folder}/host.html" }}\n'
            with support.Proxy(sites, top) as proxy:
                front = Front("http", proxy, None, "app.localhost")
                table = [
                    ("/there", None, 200, b"there"),
                    ("/elsewhere", None, 404, b"no such path: route.no_route"),
                    ("/there", "other.localhost", 404, b"no such host: route.no_host"),
                    ("/refused", None, 403, b"no such route: access.denied"),
                ]
                for target, host, status, body in table:
                    answer = front.ask(target, fields={"Accept": "text/html"}, host=host)
                    self.assertEqual((answer.status, answer.body), (status, body), target)
                self.assertIn(b"<h1>403", front.ask("/bare", fields={"Accept": "text/html"}).body)
                self.assertIn(b"[route.no_route]", front.ask("/elsewhere").body)


class StartErrors(unittest.TestCase):
    def test_a_file_of_users_that_cannot_be_used_stops_the_start_with_its_line(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "users").write_text("# people\njoe:$apr1$abc$def\n")
            config = folder / "vestibule.toml"
            config.write_text('[sites."a.test"]\nproxy = 1\nbasic_auth = { users_file = "users" }\n')
            environment = {**support.os.environ, "VESTIBULE_STATE_DIR": str(folder / "state")}
            run = support.command([support.BINARY, "check", "--config", config], env=environment)
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn("error[users-file]", run.stderr)
            self.assertIn("line 2: MD5 hashes are broken", run.stderr)
            self.assertIn("htpasswd -B", run.stderr)
            self.assertIn("vestibule.toml:3:", run.stderr)

    def test_an_error_page_that_is_not_there_stops_the_start_once(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "vestibule.toml"
            pages = '[sites."a.test"]\nerror_pages = { "404" = "gone.html" }\nproxy = 1\n'
            config.write_text(pages + '[[sites."a.test".routes]]\npath = "/x"\n')
            environment = {**support.os.environ, "VESTIBULE_STATE_DIR": f"{folder}/state"}
            run = support.command([support.BINARY, "check", "--config", config], env=environment)
            self.assertEqual((run.returncode, run.stderr.count("error[error-page]")), (2, 1), run.stderr)
            self.assertIn("gone.html cannot be used: No such file", run.stderr)
            self.assertIn("vestibule.toml:2:", run.stderr)


if __name__ == "__main__":
    support.main()
