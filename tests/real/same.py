"""The same rate limit, compression and redirects in vestibule, nginx and HAProxy give the same answers to 200 requests.

Where they differ, the difference stands in DIFFERENCES with its reason; one that is not listed fails the test, and so does
one that is listed and does not occur.
"""

import gzip
import itertools
import pathlib
import tempfile
import unittest

import support
from backends import FunctionServer
from fronts import request
from rawhttp import Client

TEXT = b"".join(b"line %d of a page that is worth compressing\n" % n for n in range(200))
BURST = 5

# What differs from whom, which requests and parts of the answer that is, and why.
DIFFERENCES = [
    ("nginx", {"location"}, lambda path, accept: any(part in path for part in ("//", "%20", "%2F")),
     "the path is decoded and its slashes joined: the client is sent to another path, with a space in the field"),
    ("nginx", {"coding", "tag"}, lambda path, accept: accept == "*",
     "`Accept-Encoding: *` is not read, though it accepts every coding (RFC 9110 section 12.5.3)"),
    ("haproxy", {"coding", "tag"}, lambda path, accept: accept == "gzip;q=0, *",
     "`*` is taken for gzip, which the client refuses by name (RFC 9110 section 12.5.3)"),
    ("haproxy", {"coding", "vary"}, lambda path, accept: path == "/other",
     "bodies of a few octets are encoded too, which makes them longer"),
    ("nginx", {"coding", "vary"}, lambda path, accept: path == "/broken",
     "only 200, 403 and 404 are encoded; a long error page is as long as another"),
    ("haproxy", {"coding", "vary"}, lambda path, accept: path in ("/broken", "/missing"),
     "only 200 to 203 are encoded; a long error page is as long as another"),
    ("nginx", {"coding", "vary"}, lambda path, accept: path == "/verbatim",
     "`Cache-Control: no-transform` is not obeyed (RFC 9110 section 7.7)"),
    ("haproxy", {"vary"}, lambda path, accept: accept not in ("gzip", "gzip, deflate, br", "gzip;q=0.5", "*", "GZIP"),
     "an answer that was not encoded says no `Vary`: a cache would give it to those who accept gzip too"),
    ("haproxy", {"coding", "vary", "tag"}, lambda path, accept: accept == "HEAD",
     "HEAD does not say what GET would (RFC 9110 section 9.3.2)"),
]  # fmt: skip

VESTIBULE = """
[sites."same.test"]
proxy = "TARGET"
http = "serve"
compress = ["gzip"]
[[sites."same.test".routes]]
path = "/limited/*"
rate_limit = { rate = "1/h", burst = 5, key = "header:X-Key" }
[[sites."same.test".routes]]
path = "/old/*"
redirect = "/new/{path}"
[[sites."same.test".routes]]
path_regex = "/blog/([0-9]+)/([a-z]+)"
redirect = { to = "/posts/{2}/{1}", status = 301 }
"""

NGINX = """
daemon off;
pid WORK/nginx.pid;
error_log WORK/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path WORK/body;
    proxy_temp_path WORK/proxy;
    fastcgi_temp_path WORK/fastcgi;
    uwsgi_temp_path WORK/uwsgi;
    scgi_temp_path WORK/scgi;
    limit_req_zone $http_x_key zone=keys:1m rate=1r/m;
    limit_req_status 429;
    absolute_redirect off;
    gzip on;
    gzip_proxied any;
    gzip_types text/plain application/json;
    gzip_min_length 1024;
    gzip_vary on;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    server {
        listen 127.0.0.1:PORT;
        location / { proxy_pass http://TARGET; }
        location /limited/ { limit_req zone=keys burst=4 nodelay; proxy_pass http://TARGET; }
        location ~ ^/old/(.*)$ { return 308 /new/$1$is_args$args; }
        location ~ ^/blog/([0-9]+)/([a-z]+)$ { return 301 /posts/$2/$1$is_args$args; }
    }
}
"""

HAPROXY = """
global
    log stderr local0 err
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend door
    bind 127.0.0.1:PORT
    stick-table type string len 64 size 1k expire 1h store http_req_rate(1h)
    acl old path_beg /old/
    acl blog path_reg ^/blog/[0-9]+/[a-z]+$
    acl asked query -m found
    http-request redirect code 308 location "/new/%[path,regsub(^/old/,)]?%[query]" if old asked
    http-request redirect code 308 location "/new/%[path,regsub(^/old/,)]" if old
    http-request redirect code 301 location "/posts/%[path,field(4,/)]/%[path,field(3,/)]?%[query]" if blog asked
    http-request redirect code 301 location "/posts/%[path,field(4,/)]/%[path,field(3,/)]" if blog
    http-request track-sc0 req.hdr(x-key) if { path_beg /limited/ }
    http-request deny deny_status 429 if { path_beg /limited/ } { sc_http_req_rate(0) gt 5 }
    filter compression
    compression algo gzip
    compression type text/plain application/json
    default_backend app
backend app
    server one TARGET
"""


def file(handler):
    tag = '"f1"'
    if tag in handler.headers.get("If-None-Match", ""):
        handler.send_response(304)
        handler.send_header("ETag", tag)
        handler.end_headers()
    elif handler.headers.get("Range"):
        handler.reply(206, TEXT[5:10], ("Content-Range", f"bytes 5-9/{len(TEXT)}"), ("Content-Type", "text/plain"))
    else:
        handler.reply(200, TEXT, ("ETag", tag), ("Content-Type", "text/plain"))


def chunked(handler):
    handler.begin_chunked("text/plain")
    handler.chunk(TEXT)
    handler.chunk(b"")


PLAIN = ("Content-Type", "text/plain")
APPLICATION = {
    "*": lambda h: h.reply(200, b"here\n", ("Content-Type", "text/plain")),
    "/text": lambda h: h.reply(200, TEXT, PLAIN, ("ETag", '"v1"')),
    "/json": lambda h: h.reply(200, b"[1]" + b" " * 4000, ("Content-Type", "application/json; charset=utf-8")),
    "/image": lambda h: h.reply(200, TEXT, ("Content-Type", "image/png")),
    "/packed": lambda h: h.reply(200, gzip.compress(TEXT), PLAIN, ("Content-Encoding", "gzip")),
    "/verbatim": lambda h: h.reply(200, TEXT, PLAIN, ("Cache-Control", "no-transform")),
    "/missing": lambda h: h.reply(404, TEXT, PLAIN),
    "/broken": lambda h: h.reply(500, TEXT, PLAIN),
    "/chunked": chunked,
    "/file": file,
}
ACCEPTS = [None, "gzip", "gzip, deflate, br", "identity", "gzip;q=0", "gzip;q=0.5", "*", "br", "GZIP", "gzip;q=0, *"]


def requests():
    """200 requests: `(method, target, fields)`."""
    listed = []
    for key in range(6):
        listed += [("GET", f"/limited/{n}", {"X-Key": f"key {key}"}) for n in range(8)]
    paths = ["a", "", "a/b", "a//b", "a%20b", "a%2Fb", "a;b", "a.html", "~a", "a+b", "ä".encode().hex()]
    for path, query in itertools.product(paths, ["", "?x=1", "?x=%2F&y"]):
        listed.append(("GET" if query else "POST", f"/old/{path}{query}", {}))
    for target in ("/blog/2024/title", "/blog/2024/title?x=1", "/blog/x/title", "/blog/2024/Title", "/blog/2024/title/"):
        listed.append(("GET", target, {}))
    for path in sorted(APPLICATION):
        path = "/other" if path == "*" else path
        for accept in ACCEPTS:
            listed.append(("GET", path, {"Accept-Encoding": accept} if accept else {}))
    for path in ("/text", "/json", "/image", "/other", "/chunked", "/file"):
        listed.append(("HEAD", path, {"Accept-Encoding": "gzip"}))
    for fields in ({"If-None-Match": '"f1"'}, {"If-None-Match": 'W/"f1"'}, {"Range": "bytes=5-9"}, {"If-None-Match": '"x"'}):
        listed.append(("GET", "/file", {"Accept-Encoding": "gzip", **fields}))
    while len(listed) < 200:
        listed.append(("GET", f"/plain/{len(listed)}//x/../y", {}))
    return listed


def parts(answer, method):
    """What is compared of an answer: each part under its name."""
    coding = answer.value("content-encoding")
    body = gzip.decompress(answer.body) if coding == "gzip" and method != "HEAD" else answer.body
    own = answer.status in (301, 308, 429)
    return {
        "status": answer.status,
        "location": answer.value("location"),
        # What a proxy says itself is in its own words.
        "body": None if own else body,
        "coding": coding,
        "tag": answer.value("etag"),
        "vary": "accept-encoding" in (answer.value("vary") or "").lower(),
        "range": answer.value("content-range"),
    }


class Same(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-same-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        cls.backend = FunctionServer(APPLICATION)
        cls.addClassCleanup(cls.backend.close)
        cls.proxy = support.Proxy(VESTIBULE.replace("TARGET", cls.backend.target))
        cls.addClassCleanup(cls.proxy.close)
        cls.ports = {"vestibule": cls.proxy.http}
        cls.start("nginx", NGINX, ["nginx", "-e", cls.work / "nginx.log", "-c"])
        cls.start("haproxy", HAPROXY, ["haproxy", "-db", "-f"])

    @classmethod
    def start(cls, name, text, command):
        port = support.free_port()
        config = cls.work / f"{name}.conf"
        text = text.replace("WORK", str(cls.work)).replace("PORT", str(port)).replace("TARGET", cls.backend.target)
        config.write_text(text)
        process = support.Process([*command, config])
        cls.addClassCleanup(process.stop)
        support.wait_for_port(port, process)
        cls.ports[name] = port

    def ask(self, name, method, target, fields):
        with Client(self.ports[name], timeout=30) as client:
            client.send(request(method, target, "same.test", fields.items()))
            return parts(client.answer(method), method)

    def test_two_hundred_requests_have_the_same_answers(self):
        listed = requests()
        self.assertEqual(len(listed), 200)
        new, occurred = [], {}
        for method, target, fields in listed:
            ours = self.ask("vestibule", method, target, fields)
            for rival in ("nginx", "haproxy"):
                theirs = self.ask(rival, method, target, fields)
                for part, value in ours.items():
                    if theirs[part] != value:
                        what = f"{rival} {method} {target} {fields} {part}: ours {value!r:.60}, theirs {theirs[part]!r:.60}"
                        accept = "HEAD" if method == "HEAD" else fields.get("Accept-Encoding")
                        listed_as = self.listed(rival, part, target, accept)
                        if listed_as is None:
                            new.append(what)
                        else:
                            occurred.setdefault(listed_as, set()).add((method, target, str(fields)))
        self.assertEqual(new, [], "\n".join(new))
        for number, (rival, parts, _, reason) in enumerate(DIFFERENCES):
            self.assertIn(number, occurred, f"listed, and no longer there: {reason}")
            print(f"   {rival}, {len(occurred[number])} of 200, {', '.join(sorted(parts))}: {reason}")

    @staticmethod
    def listed(rival, part, path, accept):
        for number, (name, parts, fits, _) in enumerate(DIFFERENCES):
            if name == rival and part in parts and fits(path, accept):
                return number
        return None


if __name__ == "__main__":
    support.main()
