"""A node server behind both doors, over TCP and a unix socket: raw targets, bodies, streams and trailers."""

import hashlib
import json
import os
import unittest

import support
from rawhttp import Client

# Says what it got, as JSON.
SERVER = """
const http = require('http'), crypto = require('crypto');
const server = http.createServer((req, res) => {
  const hash = crypto.createHash('sha256'); let length = 0;
  req.on('data', (part) => { hash.update(part); length += part.length; });
  req.on('end', () => {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({ url: req.url, method: req.method, headers: req.headers, raw: req.rawHeaders,
      trailers: req.trailers, length, sha256: hash.digest('hex') }));
  });
});
server.listen(process.argv[2].startsWith('/') ? process.argv[2] : { host: '127.0.0.1', port: Number(process.argv[2]) });
"""


def every_door(test):
    """Run a test for each door with each transport, a sub-test each."""

    def run(self):
        for kind, proxy in self.proxies.items():
            for door, origin in proxy.doors():
                with self.subTest(door=door, transport=kind):
                    test(self, proxy, door, origin)

    return run


class Node(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = support.pathlib.Path(support.tempfile.mkdtemp(prefix="vestibule-node-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.folder, True)
        script, port, path = cls.folder / "server.js", support.free_port(), str(cls.folder / "app.sock")
        script.write_text(SERVER)
        for listen, address in ((port, ("127.0.0.1", port)), (path, path)):
            server = support.Process(["node", script, listen])
            cls.addClassCleanup(server.stop)
            support.wait_for_address(address, server)
        cls.proxies = {}
        for kind, target in (("tcp", f"127.0.0.1:{port}"), ("unix", f"unix:{path}")):
            cls.proxies[kind] = support.Proxy(support.site(target))
            cls.addClassCleanup(cls.proxies[kind].close)

    @every_door
    def test_the_request_is_the_clients(self, proxy, door, origin):
        seen = json.loads(
            support.curl(
                proxy, "--path-as-is", "-H", "X-Twice: 1", "-H", "X-Twice: 2", f"{origin}/a//b/%2F;c=d/.x?q=1&r=%20#f"
            )
        )
        self.assertEqual(seen["url"], "/a//b/%2F;c=d/.x?q=1&r=%20")
        self.assertEqual(seen["headers"]["host"], origin.partition("//")[2])
        self.assertEqual(seen["headers"]["x-forwarded-proto"], door)
        self.assertEqual(seen["headers"]["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(seen["headers"]["x-twice"], "1, 2")
        self.assertEqual([name.lower() for name in seen["raw"][::2]].count("host"), 1)

    @every_door
    def test_bodies_of_every_framing_arrive_whole(self, proxy, _door, origin):
        for length in (0, 1, 70_000, 3_000_000):
            body = os.urandom(length)
            path = self.folder / "body"
            path.write_bytes(body)
            for extra in ([], ["-H", "Transfer-Encoding: chunked"]):
                for version in ("--http1.1", "--http2"):
                    seen = json.loads(
                        support.curl(proxy, version, "-H", "Expect:", "--data-binary", f"@{path}", *extra, f"{origin}/")
                    )
                    self.assertEqual(
                        (seen["length"], seen["sha256"]), (length, hashlib.sha256(body).hexdigest()), version
                    )

    @every_door
    def test_a_hundred_requests_share_a_connection(self, proxy, door, _origin):
        secure = door == "https"
        with Client(
            proxy.https if secure else proxy.http, tls=proxy.ca() if secure else None, name=support.HOST
        ) as client:
            for number in range(100):
                client.send(f"GET /{number} HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
                answer = client.answer()
                self.assertTrue(answer and answer.complete, f"request {number} got no whole answer")
                self.assertEqual(json.loads(answer.body)["url"], f"/{number}")


if __name__ == "__main__":
    support.main()
