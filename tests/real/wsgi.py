"""WSGI servers behind both doors, over TCP and unix sockets: what the application sees is the client's world."""

import hashlib
import json
import os
import sys
import time
import unittest

import support
from rawhttp import Client

APP = support.ROOT / "examples/wsgi"
TOOLS = os.path.dirname(sys.executable)
# The client has an address of its own, so that it cannot be mistaken for the proxy's.
CLIENT = "127.0.0.2"
HEADERS = "x-forwarded-for x-forwarded-proto x-forwarded-host"


def every_door(test):
    """Run a test for each door with each transport, a sub-test each."""

    def run(self):
        for door, origin in self.proxy.doors():
            for kind in self.targets:
                with self.subTest(door=door, transport=kind):
                    test(self, door, origin, f"/{kind}")

    return run


class WsgiServer:
    """The facts every WSGI server has to give; subclasses say how it starts."""

    # Keys of the routes to the server.
    keys = ""

    @classmethod
    def setUpClass(cls):
        cls.proxy = None
        port = support.free_port()
        cls.servers = []
        cls.addClassCleanup(cls.stop)
        cls.folder = support.pathlib.Path(support.tempfile.mkdtemp(prefix="vestibule-wsgi-"))
        path = str(cls.folder / "app.sock")
        cls.targets = {"tcp": f"127.0.0.1:{port}", "unix": f"unix:{path}"}
        for kind, address in (("tcp", ("127.0.0.1", port)), ("unix", path)):
            server = support.Process(
                cls.command(kind, cls.targets[kind], path), cwd=APP, env={"PYTHONDONTWRITEBYTECODE": "1"}
            )
            cls.servers.append(server)
            support.wait_for_address(address, server)
        routes = "".join(cls.mount(kind) for kind in cls.targets)
        cls.proxy = support.Proxy(support.site(cls.targets["tcp"], extra=routes))
        cls.ca = cls.proxy.ca()

    @classmethod
    def stop(cls):
        for process in cls.servers:
            process.stop()
        if cls.proxy:
            cls.proxy.close()
        support.shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def mount(cls, kind):
        """`/tcp/*` and `/unix/*` lead to the same application, below a prefix."""
        table = f'[[sites."{support.HOST}".routes]]\n'
        return f'{table}path = "/{kind}/*"\nstrip_prefix = "/{kind}"\nproxy = "{cls.targets[kind]}"\n{cls.keys}'

    def facts(self, url, *arguments):
        return json.loads(support.curl(self.proxy, "--fail", "--interface", CLIENT, *arguments, url))

    @every_door
    def test_scheme_host_and_address_are_the_clients(self, door, origin, prefix):
        seen = self.facts(f"{origin}{prefix}/facts?q=a%20b")
        self.assertEqual(seen["wsgi.url_scheme"], door)
        self.assertEqual(seen["HTTP_HOST"], origin.partition("//")[2])
        self.assertEqual(seen["REMOTE_ADDR"], CLIENT)
        self.assertEqual(seen["QUERY_STRING"], "q=a%20b")
        self.assertEqual((seen["SCRIPT_NAME"], seen["PATH_INFO"]), (prefix, "/facts"))
        self.assertEqual(seen["url"], f"{origin}{prefix}/facts?q=a b".replace(" ", "%20"))

    @every_door
    def test_a_client_cannot_lie_about_itself(self, door, origin, prefix):
        lies = [
            "X-Forwarded-Proto: gopher", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Host: evil.test",
            "X-Forwarded-Prefix: /evil", "X_Forwarded_Proto: gopher", "X_Forwarded_For: 9.9.9.9",
            "Forwarded: for=9.9.9.9;proto=gopher", "Proxy: http://evil.test",
        ]  # fmt: skip
        seen = self.facts(f"{origin}{prefix}/facts", *(part for lie in lies for part in ("-H", lie)))
        self.assertEqual((seen["wsgi.url_scheme"], seen["REMOTE_ADDR"]), (door, CLIENT))
        self.assertEqual(seen["HTTP_HOST"], origin.partition("//")[2])
        self.assertEqual(seen["SCRIPT_NAME"], prefix)
        self.assertNotIn("HTTP_PROXY", seen)
        self.assertNotIn("HTTP_FORWARDED", seen)

    @every_door
    def test_bodies_arrive_whole(self, _door, origin, prefix):
        for length in (0, 1, 70_000, 3_000_000):
            body = os.urandom(length)
            for framing in ("length", "chunked"):
                extra = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
                seen = self.upload(f"{origin}{prefix}/digest", body, "--http1.1", *extra)
                self.assertEqual(seen, {"length": length, "sha256": hashlib.sha256(body).hexdigest()}, framing)

    def upload(self, url, body, *arguments):
        path = self.folder / "body"
        path.write_bytes(body)
        return json.loads(
            support.curl(self.proxy, "--fail", "-H", "Expect:", "--data-binary", f"@{path}", *arguments, url)
        )

    @every_door
    def test_expect_100_continue_is_answered_in_a_second(self, door, _origin, prefix):
        secure = door == "https"
        port = self.proxy.https if secure else self.proxy.http
        with Client(port, tls=self.ca if secure else None, name=support.HOST) as client:
            start = time.monotonic()
            client.send(
                f"POST {prefix}/digest HTTP/1.1\r\nHost: {support.HOST}\r\n".encode()
                + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            self.assertTrue(client.fill(), "no answer")
            self.assertTrue(client.buffer.startswith(b"HTTP/1.1 100"), client.buffer)
            self.assertLess(time.monotonic() - start, 1)
            client.send(b"hello")
            answer = client.answer("POST")
            self.assertEqual((answer.status, json.loads(answer.body)["length"]), (200, 5))
            self.assertLessEqual([status for status, _ in answer.interim].count(100), 1)

    @every_door
    def test_redirects_and_cookies_pass_untouched(self, _door, origin, prefix):
        head = support.curl(self.proxy, "--head", "-X", "GET", f"{origin}{prefix}/login").lower().splitlines()
        self.assertIn(f"location: {origin}{prefix}/facts", head)
        cookies = [line.partition(";")[0] for line in head if line.startswith("set-cookie:")]
        self.assertEqual(cookies, ["set-cookie: first=1", "set-cookie: second=2"])

    @every_door
    def test_statuses_and_methods_pass_untouched(self, _door, origin, prefix):
        code = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
        self.assertEqual(support.curl(self.proxy, *code, f"{origin}{prefix}/empty"), "204 0")
        self.assertTrue(support.curl(self.proxy, *code, f"{origin}{prefix}/broken").startswith("500 "))
        for method in ("OPTIONS", "PATCH", "DELETE"):
            self.assertEqual(self.facts(f"{origin}{prefix}/facts", "-X", method)["REQUEST_METHOD"], method)
        self.assertIn("content-length:", support.curl(self.proxy, "--head", f"{origin}{prefix}/facts").lower())

    @every_door
    def test_a_generator_streams_to_its_end(self, _door, origin, prefix):
        self.assertEqual(support.curl(self.proxy, f"{origin}{prefix}/stream"), "".join(f"line {n}\n" for n in range(5)))


class Gunicorn(WsgiServer, unittest.TestCase):
    @staticmethod
    def command(kind, target, path):
        return [
            f"{TOOLS}/gunicorn",
            "--bind",
            target,
            "--threads",
            "4",
            "--forwarded-allow-ips",
            "127.0.0.1",
            "--worker-tmp-dir",
            "/dev/shm",
            "app:app",
        ]


class Waitress(WsgiServer, unittest.TestCase):
    @staticmethod
    def command(kind, target, path):
        listen = f"--listen={target}" if kind == "tcp" else f"--unix-socket={path}"
        trusted = "127.0.0.1" if kind == "tcp" else "*"
        return [
            f"{TOOLS}/waitress-serve",
            listen,
            f"--trusted-proxy={trusted}",
            "--trusted-proxy-count=1",
            f"--trusted-proxy-headers={HEADERS}",
            "app:app",
        ]


class Uwsgi(WsgiServer, unittest.TestCase):
    # Its http-socket does not decode chunked bodies.
    keys = "buffer_request = true\n"

    @staticmethod
    def command(kind, target, path):
        where = target if kind == "tcp" else path
        return [
            "uwsgi", "--plugin", "python3", "--http-socket", where, "--virtualenv", sys.prefix, "--wsgi-file",
            "app.py", "--callable", "app",
        ] + [  # fmt: skip
            "--need-app", "--master", "--processes", "2", "--die-on-term", "--chmod-socket=666"]  # fmt: skip


if __name__ == "__main__":
    support.main()
