"""What `explain --json` says is what the running proxy does, for generated requests over generated configs.

Each config is served, and every request is both explained and sent over a real socket. The backends answer with the head
they got, octet by octet. Most questions go to the running proxy over its administration socket, as `explain --live` asks
them; some are asked by the command too, of the file and of the proxy. The seed is printed; EXPLAIN_SEED repeats a run,
EXPLAIN_REQUESTS says how many requests.
"""

import json
import os
import random
import re
import socket
import ssl
import tempfile
import unittest
import urllib.parse

import support
from backends import RawServer
from rawhttp import Client

SEED = int(os.environ.get("EXPLAIN_SEED", random.SystemRandom().randrange(1 << 32)))
REQUESTS = int(os.environ.get("EXPLAIN_REQUESTS", "1000"))
PER_CONFIG = 25
# Of how many requests one is also explained by the command.
BY_COMMAND = 40
# What changes between the question and the request.
MOVES = {"RateLimit", "RateLimit-Policy", "Retry-After"}
# "joe:secret", bcrypt of cost 4.
USERS = "joe:$2y$04$nKRRfAuzjoSp3riQyrTq6Oz0vJT6InCSw/QyHeQ3YnSHnM.Bcy292"
LOGIN = "Basic am9lOnNlY3JldA=="
VIA = re.compile(rb"vestibule-[0-9a-f]{8}")

HOSTS = ["one.localhost", "two.localhost", "www.one.localhost", "a.wild.localhost", "b.a.wild.localhost", "nobody.test"]
PATHS = ["/", "/api", "/api/", "/api/x", "/apix", "/api/v2/y", "/ping", "/old/a/b", "/a//b", "/x/../api/y", "/%61pi/x"]
PATHS += ["/user/joe/1", "/user/joe", "/v12/x/y", "/v1/", "/beta"]
PATHS += ["/api/%2e%2e/ping", "/files/a%2Fb", "/.vestibule/health", "/old", "/deep/er/path", "/ping/"]
QUERIES = ["", "", "", "?a=1", "?a=1&b=%20", "?", "?debug", "?debug=1&debug=2"]


def echo(peer):
    """Answer with the head as it came."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = peer.recv(65536)
        if not data:
            return
        head += data
    head = head.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(head) + head)


def rules(draw):
    """Header rules of a site, as TOML."""
    text = ""
    if draw.random() < 0.5:
        text += 'headers.request = { set = { "X-Who" = "{client_ip} {scheme} {host}" }, add = { "X-More" = "1" }, '
        text += 'remove = ["X-Gone"] }\n'
    if draw.random() < 0.5:
        text += 'headers.response = { set = { "X-Answer" = "{host}" }, add = { "X-Scheme" = "{scheme}" } }\n'
    return text


def action(draw, ports):
    kind = draw.randrange(8)
    if kind == 0:
        return f'redirect = {{ to = "/new/{{path}}", status = {draw.choice([301, 302, 303, 307, 308])} }}\n'
    if kind == 1:
        return 'redirect = "https://{host}/moved"\n'
    if kind == 2:
        return f'respond = {{ status = {draw.choice([200, 404, 410])}, body = "gone" }}\n'
    if kind == 3:
        return 'upstream = "pair"\n'
    return f"proxy = {draw.choice(ports)}\n"


def filters(draw, secure):
    """Filters of a site or a route, as TOML."""
    text = ""
    if draw.random() < 0.15:
        text += draw.choice(['allow = ["127.0.0.1", "1.2.3.0/24"]\n', 'deny = ["127.0.0.2", "198.51.100.0/24"]\n'])
    if draw.random() < 0.15:
        origins = draw.choice(['["https://page.test"]', '["https://other.test"]', '["*"]'])
        text += f'cors = {{ origins = {origins}, methods = ["GET", "PUT"] }}\n'
    if draw.random() < 0.1:
        text += 'basic_auth = { realm = "in", users_file = "USERS_FILE" }\n'
    if draw.random() < 0.1:
        text += f'rate_limit = {{ rate = "1/h", burst = {draw.choice([1, 3])} }}\n'
    if draw.random() < 0.2:
        text += "compress = true\n"
    if secure and draw.random() < 0.2:
        text += 'hsts = { max_age = "1d" }\n'
    return text


def conditions(draw, count):
    """`count` conditions of a route, as TOML."""
    all_of_them = [
        'methods = ["POST", "DELETE"]\n',
        'headers = { "X-Kept" = "*" }\n',
        'query = { "debug" = "*" }\n',
        'client_ip = ["127.0.0.2", "1.2.3.4"]\n',
    ]
    return "".join(draw.sample(all_of_them, count))


def routes(draw, host, ports, secure):
    text = ""
    for pattern in draw.sample(["/user/([a-z]+)/([0-9]+)", "/v[0-9]+/.*", "/.*eta"], draw.randrange(3)):
        text += f'[[sites."{host}".routes]]\npath_regex = "{pattern}"\n'
        kind = draw.randrange(3)
        if kind == 0 and "user" in pattern:
            text += f'rewrite = "/of/{{2}}/{{1}}"\nproxy = {draw.choice(ports)}\n'
        elif kind == 1 and "user" in pattern:
            text += 'redirect = "/by/{1}/{2}"\n'
        else:
            text += action(draw, ports)
    if draw.random() < 0.4:
        # Beside the site's own action, with conditions alone.
        text += f'[[sites."{host}".routes]]\n' + conditions(draw, 1) + action(draw, ports)
    for path in draw.sample(["/api/*", "/api/v2/*", "/ping", "/old/*", "/api", "/deep/er/*", "/files/*"], draw.randrange(5)):
        if draw.random() < 0.4:
            text += f'[[sites."{host}".routes]]\npath = "{path}"\n'
            text += conditions(draw, draw.choice([1, 1, 2])) + action(draw, ports)
        text += f'[[sites."{host}".routes]]\npath = "{path}"\n' + filters(draw, secure)
        if path.endswith("/*") and draw.random() < 0.5:
            text += draw.choice([f'strip_prefix = "{path[:-2]}"\n', 'rewrite = "/re/{path}"\n'])
        if draw.random() < 0.2:
            text += 'limits = { body = "1KiB" }\n'
        text += action(draw, ports)
    return text


def config(draw, ports):
    """A config of a few sites, as TOML."""
    text = "[defaults]\n"
    text += f'http = "{draw.choice(["redirect", "serve", "serve", "upgrade", "off"])}"\n'
    text += f'forwarded = "{draw.choice(["x-forwarded", "rfc7239", "both", "off"])}"\n'
    if draw.random() < 0.5:
        text += 'trusted_proxies = ["127.0.0.2"]\n'
    text += f'[upstreams.pair]\nservers = [{ports[0]}, {{ address = "127.0.0.1:{ports[1]}", backup = true }}]\n'
    text += f'balance = "first"\nhost_header = "{draw.choice(["preserve", "upstream", "named.test"])}"\n'
    text += '[sites."uses.localhost"]\nupstream = "pair"\n'
    for host in ["one.localhost", "two.localhost", "*.wild.localhost"]:
        if draw.random() < 0.1:
            continue
        text += f'[sites."{host}"]\n'
        if host == "one.localhost" and draw.random() < 0.7:
            text += f'aliases = ["www.one.localhost"]\naliases_redirect = {draw.choice(["true", "false"])}\n'
        tls = draw.choice(["auto", "auto", "dev", "off"])
        text += f'tls = "{tls}"\n'
        if tls != "off" and draw.random() < 0.4:
            text += f'http = "{draw.choice(["redirect", "serve", "upgrade"])}"\n'
        secure = tls != "off"
        text += filters(draw, secure) + rules(draw) + action(draw, ports) + routes(draw, host, ports, secure)
    return text


def question(draw):
    """A request: method, scheme, host, target, fields, source address."""
    fields = []
    choices = [
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-For", "198.51.100.7, 127.0.0.2"),
        ("X-Forwarded-Proto", draw.choice(["https", "http"])),
        ("X_Forwarded_Host", "evil.test"),
        ("Forwarded", "for=1.2.3.4"),
        ("Client-Cert", "x"),
        ("Connection", "X-Gone, keep-alive"),
        ("X-Gone", "1"),
        ("X-Kept", "a b"),
        ("Upgrade-Insecure-Requests", "1"),
        ("Content-Length", draw.choice(["0", "2000"])),
        ("Accept", "text/html"),
        ("Accept-Encoding", "br"),
        ("Origin", draw.choice(["https://page.test", "https://no.test"])),
        ("Access-Control-Request-Method", "PUT"),
        ("Authorization", draw.choice([LOGIN, LOGIN, "Bearer x"])),
    ]
    for field in draw.sample(choices, draw.randrange(6)):
        if field[0] not in [name for name, _ in fields]:
            fields.append(field)
    if draw.random() < 0.05:
        fields.append(("Transfer-Encoding", "gzip"))
    host = draw.choice(HOSTS + HOSTS[:4] * 2)
    if draw.random() < 0.2:
        host = host.upper() if draw.random() < 0.5 else host + "."
    method = draw.choice(["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS"])
    return method, draw.choice(["http", "https"]), host, draw.choice(PATHS) + draw.choice(QUERIES), fields


def mask(said):
    """An explanation without the name that each process has for itself."""
    return json.loads(re.sub(r"vestibule-[0-9a-f]{8}", "via", json.dumps(said)))


def asked_at(proxy):
    """The path of the administration socket: it takes connections when the program says that it is ready."""
    (path,) = (proxy.work / "state").glob("admin-*.sock")
    return str(path)


class From(Client):
    """A client with a source address of its own that believes every certificate."""

    def __init__(self, source, port, name):
        self.socket = support.socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
        self.buffer, self.ended = b"", None
        if name is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname=name)


class Explain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}")
        cls.users = tempfile.NamedTemporaryFile("w", suffix=".users")
        cls.users.write(USERS + "\n")
        cls.users.flush()
        cls.backends = [RawServer(echo), RawServer(echo)]

    @classmethod
    def tearDownClass(cls):
        for backend in cls.backends:
            backend.close()
        cls.users.close()

    def command(self, proxy, source, method, url, fields, *arguments):
        """The explanation that the command prints."""
        headers = [part for name, value in fields for part in ("-H", f"{name}: {value}")]
        run = support.command(
            [support.BINARY, "explain", method, url, "--from", source, "--json", "--config", proxy.config]
            + [*arguments, *headers],
            env={**os.environ, **proxy.environment()},
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def live(self, proxy, source, method, url, fields):
        """The explanation of the running proxy."""
        query = [("method", method), ("url", url), ("from", source), ("json", "")]
        query += [("header", f"{name}: {value}") for name, value in fields]
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(20)
            admin.connect(proxy.admin)
            target = "/explain?" + urllib.parse.urlencode(query)
            admin.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: admin.recv(65536), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        self.assertEqual(head.split(b" ")[1], b"200", body)
        return json.loads(body)

    def send(self, proxy, source, method, scheme, authority, target, fields):
        """The proxy's answer; None where the handshake fails."""
        port = proxy.https if scheme == "https" else proxy.http
        name = authority.rsplit(":", 1)[0].rstrip(".").lower() if scheme == "https" else None
        head = f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\n"
        head += "".join(f"{key}: {value}\r\n" for key, value in fields) + "\r\n"
        try:
            client = From(source, port, name)
        except ssl.SSLError:
            return None
        with client:
            length = dict(fields).get("Content-Length", "0")
            client.send(head.encode() + b"x" * int(length))
            return client.answer(method)

    def compare(self, said, answer, method):
        expected = said["answer"]
        if expected["kind"] == "alert":
            self.assertIsNone(answer)
            return
        self.assertIsNotNone(answer, "the handshake failed")
        if expected["kind"] == "refused":
            self.assertEqual(answer.status, expected["status"])
            self.assertIn(f'"{expected["why"]}"', answer.value("Proxy-Status") or "")
            self.fields(expected, answer)
            return
        if expected["kind"] == "forward":
            self.assertEqual(answer.status, 200)
            if method != "HEAD":
                head = VIA.sub(b"via", answer.body)
                self.assertEqual(head.decode(), VIA.sub(b"via", expected["head"].encode()).decode())
        else:
            self.assertEqual(answer.status, expected["status"])
            self.assertIsNone(answer.value("Proxy-Status"))
        self.fields(expected, answer)

    def fields(self, expected, answer):
        for name, value in expected["fields"]:
            if name not in MOVES:
                self.assertIn(value, ", ".join(v for n, v in answer.fields if n.lower() == name.lower()), name)

    def test_bounds_of_a_route_have_their_place_in_the_file_and_in_the_proxy(self):
        sites = (
            '[defaults]\ntimeouts = { connect = "3s" }\n'
            f'[sites."one.localhost"]\nproxy = {self.backends[0].port}\nlimits = {{ uri_bytes = "2KiB" }}\n'
            '[[sites."one.localhost".routes]]\npath = "/small"\nlimits = { body = "1KiB" }\n'
            f"proxy = {self.backends[0].port}\n"
        )
        with support.Proxy(sites) as proxy:
            proxy.admin = asked_at(proxy)
            url = f"https://one.localhost:{proxy.https}/small"
            said = self.live(proxy, "127.0.0.1", "POST", url, [])
            self.assertEqual(mask(self.command(proxy, "127.0.0.1", "POST", url, [])), mask(said))
            bounds = {bound["key"]: (bound["value"], bound["line"] is not None) for bound in said["bounds"]}
            self.assertEqual(bounds["limits.body"], ('"1KiB"', True))
            self.assertEqual(bounds["limits.uri_bytes"], ('"2KiB"', True))
            self.assertEqual(bounds["timeouts.connect"], ('"3s"', True))
            self.assertEqual(bounds["timeouts.response_header"][1], False)

    def test_generated_requests_over_generated_configs(self):
        draw = random.Random(SEED)
        ports = [backend.port for backend in self.backends]
        kinds = {}
        for number in range(0, REQUESTS, PER_CONFIG):
            sites = config(draw, ports).replace("USERS_FILE", self.users.name)
            with support.Proxy(sites) as proxy:
                proxy.admin = asked_at(proxy)
                for count in range(PER_CONFIG):
                    method, scheme, host, target, fields = question(draw)
                    source = draw.choice(["127.0.0.1", "127.0.0.2"])
                    authority = f"{host}:{proxy.https if scheme == 'https' else proxy.http}"
                    url = f"{scheme}://{authority}{target}"
                    with self.subTest(f"{number + count}: {method} {url} from {source} {fields}"):
                        said = self.live(proxy, source, method, url, fields)
                        if (number + count) % BY_COMMAND == 0:
                            self.assertEqual(self.command(proxy, source, method, url, fields, "--live"), said)
                            by_file = self.command(proxy, source, method, url, fields)
                            if "rate_limit" not in sites:
                                self.assertEqual(mask(by_file), mask(said))
                        answer = self.send(proxy, source, method, scheme, authority, target, fields)
                        try:
                            self.compare(said, answer, method)
                        except AssertionError as error:
                            raise AssertionError(f"{error}\n{answer}\n{json.dumps(said, indent=1)}\n{sites}") from None
                        kinds[said["answer"]["kind"]] = kinds.get(said["answer"]["kind"], 0) + 1
        print(f"compared: {kinds}")
        if REQUESTS >= 300:
            self.assertGreaterEqual(len(kinds), 6, kinds)


if __name__ == "__main__":
    support.main()
