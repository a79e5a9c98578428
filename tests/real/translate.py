"""Configs of nginx and Caddy, translated by `vestibule init --from`, pass `check` and route as the originals do.

Each fixture of tests/init is served by the real program and then, translated, by vestibule; both get the same requests,
and status, Location and what which backend was asked for must be the same. Addresses, ports and files of the fixtures are
replaced by ones of this run first, in the original: the translation sees what the program sees. Requests are for what is
translated; what is not is listed by `init`. One difference is allowed: a redirect to https has 301 in those nginx files,
and here a status that keeps the method.
"""

import http.server
import json
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import tempfile
import threading
import tomllib
import unittest
import urllib.parse

import support
from rawhttp import Client

FIXTURES = support.ROOT / "tests/init"
ADDRESS = re.compile(r"(?<![\w.])(?:10\.0\.0\.\d+|127\.0\.0\.1|localhost)(?::\d+)?(?![\w.])|(?<=reverse_proxy ):3000")
SOCKET = re.compile(r"/run/(?!php)\w+\.sock")
LISTEN = re.compile(r"(listen\s+(?:[\d.]+:|\[::\]:)?)(\d+)")
TO_HTTPS = {301, 307, 308}

# Of each fixture: the servers that are one pool, and the requests: scheme, host, target.
TABLE = {
    "balance.conf": (
        {"10.0.0.11:8080", "10.0.0.12", "10.0.0.13:8080"},
        [("http", "app.test", target) for target in ("/", "/x?y=1", "/other/a?b", "/other/", "/others")],
    ),
    "both.conf": (
        set(),
        [("https", "both.test", "/a"), ("http", "both.test", "/a?b"), ("http", "gone.test", "/x")],
    ),
    "files.conf": (set(), [("http", "files.test", "/app/x?y"), ("http", "sub.wild.test", "/app/")]),
    "headers.conf": (set(), [("http", "any.test", target) for target in ("/", "/a/b", "/x/a?b", "/xy")]),
    "paths.conf": (
        set(),
        [
            ("http", "paths.test", target)
            for target in ("/", "/ping", "/ping/x", "/api/x?q=1", "/api/", "/apix", "/raw/y%2Fz", "/v1/z?q", "/old/a")
            + ("/loose/x", "/other")
        ],
    ),
    "plain.conf": (
        set(),
        [("http", "shop.test", "/a?b=1"), ("http", "www.shop.test", "/"), ("https", "shop.test", "/a?b=1")]
        + [("https", "www.shop.test", "/c")],
    ),
    "balance.caddy": (
        {"10.0.0.1:80", "10.0.0.2:80", "/run/app.sock"},
        [("https", "api.test", "/x?y"), ("http", "api.test", "/x?y"), ("http", "plain.test", "/z")],
    ),
    "paths.caddy": (
        set(),
        [
            ("https", "shop.test", target)
            for target in ("/", "/api/x?q=1", "/apix", "/raw/y", "/ping", "/old/a/b?q=1", "/other%2F?x")
        ]
        + [("https", "www.shop.test", "/api/"), ("http", "shop.test", "/a?b")],
    ),
    "public.caddy": (
        set(),
        [("https", "example.com", "/app/x?y"), ("https", "www.example.com", "/a?b=1"), ("http", "any.test", "/")]
        + [("https", "files.example.com", "/x")],
    ),
    "short.caddy": (
        set(),
        [("https", "app.localhost", "/"), ("https", "app.localhost", "/a?b"), ("http", "app.localhost", "/a?b")],
    ),
}


class Echo(http.server.BaseHTTPRequestHandler):
    """Says which backend this is, and what it was asked for."""

    def do_GET(self):
        body = json.dumps([self.server.label, self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "a client"

    def log_message(self, *_):
        pass


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)


class Translate(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.work.chmod(0o755)
        self.http, self.https, self.backends = support.free_port(), support.free_port(), {}

    def backend(self, name, label):
        """The address of a backend that stands for `name`."""
        if name not in self.backends:
            if name.startswith("/"):
                place = str(self.work / pathlib.Path(name).name)
                server = UnixServer(place, Echo)
            else:
                server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
                place = f"127.0.0.1:{server.server_address[1]}"
            server.label = label
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
            if name.startswith("/"):
                pathlib.Path(place).chmod(0o666)
            self.backends[name] = place
        return self.backends[name]

    def local(self, text, pool):
        """The fixture with backends, ports and files of this run."""

        def address(match):
            name = match.group()
            return self.backend(name, "the pool" if name in pool else name)

        lines = []
        for line in text.splitlines():
            if "listen" in line:
                at = lambda match: match.group(1) + str(self.https if match.group(2) == "443" else self.http)
                line = LISTEN.sub(at, line)
            # What is behind `listen` on the same line is a backend all the same.
            head, sep, tail = line.partition("proxy_pass") if "listen" in line else ("", "", line)
            line = head + sep + SOCKET.sub(address, ADDRESS.sub(address, tail))
            line = line.replace(":8080 {", f":{self.http} {{")
            lines.append(re.sub(r"(?<=[ =])/etc/ssl/\w+\.(pem|key)|(?<= )both\.(pem|key)", self.file, line))
        return "\n".join(lines) + "\n"

    def file(self, match):
        return str(self.work / ("site.key" if match.group().endswith("key") else "site.pem"))

    def shakes_hands(self, context, host):
        """There is a certificate for the name: Caddy makes its own after it has said that it serves."""
        try:
            with socket.create_connection(("127.0.0.1", self.https), 20) as plain:
                context.wrap_socket(plain, server_hostname=host).close()
            return True
        except OSError:
            return False

    def ask(self, requests):
        """What each request comes to: status, Location, and what the backend says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for name in {host for scheme, host, _ in requests if scheme == "https"}:
            support.wait_until(lambda: self.shakes_hands(context, name), f"a certificate for {name}")
        out = {}
        for scheme, host, target in requests:
            tls = scheme == "https"
            port = self.https if tls else self.http
            with socket.create_connection(("127.0.0.1", port), 20) as plain:
                with context.wrap_socket(plain, server_hostname=host) if tls else plain as wire:
                    client = Client.__new__(Client)
                    client.socket, client.buffer, client.ended = wire, b"", None
                    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                    answer = client.answer()
            location = answer.value("Location")
            if location is not None:
                url = urllib.parse.urlsplit(urllib.parse.urljoin(f"{scheme}://{host}:{port}{target}", location))
                location = f"{url.scheme}://{url.hostname}{url._replace(scheme='', netloc='').geturl()}"
            status = answer.status
            if status in TO_HTTPS and scheme == "http" and location == f"https://{host}{target}":
                status = "to https"
            asked = answer.body.decode() if answer.body.startswith(b'["') else None
            out[f"{scheme}://{host}{target}"] = (status, location, asked)
        return out

    def original(self, name, text):
        """The program the fixture is for, serving it."""
        if name.endswith(".conf"):
            (self.work / "mime.types").write_text("types { text/plain txt; }\n")
            if "events" not in text:
                text = text if "http {" in text else f"http {{\naccess_log off;\n{text}}}\n"
                text = "events {}\n" + text
            (self.work / "nginx.conf").write_text(text)
            options = f"daemon off; pid {self.work}/nginx.pid; error_log stderr;"
            return ["nginx", "-p", self.work, "-c", self.work / "nginx.conf", "-g", options]
        options = f"http_port {self.spare}\nhttps_port {self.https}\nadmin off\nlocal_certs\nskip_install_trust\n"
        text = text.replace("{\n", "{\n" + options, 1) if text.startswith("{") else f"{{\n{options}}}\n{text}"
        (self.work / "Caddyfile.run").write_text(text)
        return ["caddy", "run", "--adapter", "caddyfile", "--config", self.work / "Caddyfile.run"]

    def translated(self, name, text):
        """The config that `init` makes of it, ready to be served on the ports of this run."""
        source = self.work / name
        source.write_text(text)
        run = support.command([support.BINARY, "init", "--from", source])
        self.assertEqual(run.returncode, 0, run.stderr)
        # Certificates of public names cannot be ordered here: the files of this run serve them.
        config = re.sub(r"^acme = .*$", "", run.stdout, flags=re.M)
        doors = tomllib.loads(config).get("listeners", {})
        lines = [f'http = "127.0.0.1:{self.http}"'] if "http" not in doors else []
        lines += [f'https = "127.0.0.1:{self.https}"'] if "https" not in doors else []
        if "[listeners]" in config:
            config = config.replace("[listeners]\n", "[listeners]\n" + "\n".join(lines) + "\n", 1)
        else:
            config += "\n[listeners]\n" + "\n".join(lines) + "\n"
        pair = f'{{ cert = "{self.work}/site.pem", key = "{self.work}/site.key" }}'
        config += f'[tls]\ncertificates = [{pair}]\n[dev_ca]\ndir = "{self.work}/ca"\n[admin]\nsocket = "off"\n'
        path = self.work / "vestibule.toml"
        path.write_text(config)
        return path, run.stdout

    def serve(self, command, requests):
        """Start a program, wait for its doors, ask, and end it."""
        environment = {"XDG_DATA_HOME": str(self.work / "data"), "HOME": str(self.work), "PATH": "/usr/sbin:/usr/bin"}
        environment |= {"XDG_CONFIG_HOME": str(self.work / "config"), "VESTIBULE_STATE_DIR": str(self.work / "state")}
        process = support.Process(command, cwd=self.work, env=environment)
        try:
            for scheme in {scheme for scheme, *_ in requests}:
                support.wait_for_port(self.https if scheme == "https" else self.http, process)
            return self.ask(requests)
        except (OSError, AssertionError) as error:
            raise AssertionError(f"{command}: {error}\n{process.output()[-3000:]}") from None
        finally:
            process.stop()

    def one(self, name):
        pool, requests = TABLE[name]
        text = (FIXTURES / name).read_text()
        hosts = sorted({host for _, host, _ in requests} | {"example.com"})
        support.make_certificate(self.work, *hosts)
        (self.work / "site.key").chmod(0o600)
        # Caddy has a port of its own for redirects; it is the one asked unless the fixture opens another.
        self.spare = support.free_port() if ":8080 {" in text else self.http
        local = self.local(text, pool)
        path, said = self.translated(name, local)
        run = support.command([support.BINARY, "check", "--offline", "--config", path])
        self.assertEqual(run.returncode, 0, f"{run.stderr}\n{said}")
        theirs = self.serve(self.original(name, local), requests)
        ours = self.serve([support.BINARY, "run", "--config", path], requests)
        self.assertEqual(ours, theirs, said)
        return len(requests)


def test_of(name):
    def test(self):
        self.one(name)

    return test


for fixture in TABLE:
    setattr(Translate, f"test_{fixture.replace('.', '_of_')}_routes_as_the_original", test_of(fixture))


class Complete(unittest.TestCase):
    def test_every_fixture_is_served(self):
        there = {path.name for end in ("conf", "caddy") for path in FIXTURES.glob(f"*.{end}")}
        self.assertEqual(there, set(TABLE))
        self.assertGreaterEqual(len(there), 10)


if __name__ == "__main__":
    support.main()
