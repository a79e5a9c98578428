"""Which server gets a request, and how servers come, go and move: every policy over every pair of protocols, sticky cookies,
health checks, ejection, names in DNS, and requests that wait for a server."""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
import unittest

import dnslib
import dnslib.server
import grpc
import support
from backends import FunctionServer
from fronts import FRONTS, Front
from h2server import H2Server
from pki import Authority
from rawhttp import Client
from reload import Reloadable

BACKS = ("h1", "h2c", "unix")
GET = f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode()


def upstream(*servers, keys="", host=support.HOST, name="u"):
    """TOML of one site on an upstream; a server is a port, a target, or an inline table."""

    def entry(server):
        if isinstance(server, int):
            return f'"127.0.0.1:{server}"'
        return server if server.startswith("{") else f'"{server}"'

    site = f'[sites."{host}"]\nupstream = "{name}"\nhttp = "serve"\n'
    return f"{site}[upstreams.{name}]\nservers = [{', '.join(map(entry, servers))}]\n{keys}\n"


def ask(port, source="127.0.0.1", fields="", timeout=support.PATIENCE):
    """One GET on a connection of its own."""
    with Client(port, timeout=timeout, source=source) as client:
        client.send(GET[:-2] + fields.encode() + b"\r\n")
        return client.answer()


def named(name, **routes):
    """A server that answers with its name."""
    return FunctionServer({"*": lambda h: h.reply(200, name.encode()), **routes})


def says(proxy, *parts):
    """Wait for a line of the process log with all these parts."""
    return support.wait_until(
        lambda: next((line for line in proxy.stderr if all(part in line for part in parts)), None),
        f"the log says {parts}:\n{proxy.output()}",
    )


def health(proxy):
    """Of the first upstream's servers: their health, as `status` tells it."""
    run = support.command(
        [support.BINARY, "status", "--json", "--config", proxy.config], env={**os.environ, **proxy.environment()}
    )
    if run.returncode != 0:
        raise AssertionError(f"status: {run.stderr}")
    return [server["health"] for server in json.loads(run.stdout)["upstreams"][0]["servers"]]


class Policies(unittest.TestCase):
    """One table: each policy, each protocol in front, each protocol behind."""

    KEYS = {
        "least-requests": "",
        "round-robin": 'balance = "round-robin"',
        "random": 'balance = "random"',
        "first": 'balance = "first"',
        "hash": 'balance = "hash"\nhash_on = "uri"',
        "backup": 'balance = "random"',
        "sticky": 'balance = "random"\nsticky = { cookie = "server" }',
    }

    @classmethod
    def setUpClass(cls):
        stack = cls.stack = contextlib.ExitStack()
        servers = {back: [cls.server(back, name) for name in ("a", "b")] for back in BACKS}
        config = ""
        for back, pair in servers.items():
            for policy, keys in cls.KEYS.items():
                first, second = ((f'"{target}"' for _, target in pair))
                if policy == "round-robin":
                    first = f"{{ address = {first}, weight = 2 }}"
                if policy == "backup":
                    second = f"{{ address = {second}, backup = true }}"
                entries = [f"{{ address = {e} }}" if e.startswith('"') else e for e in (first, second)]
                name = f"{policy}-{back}"
                if back == "h2c":
                    keys += '\nprotocol = "h2c"'
                config += upstream(*entries, keys=keys, host=f"{name}.localhost", name=name)
        cls.proxy = stack.enter_context(support.Proxy(config, "[server]\nworkers = 1\n"))
        cls.ca = cls.proxy.ca()

    @classmethod
    def server(cls, back, name):
        if back == "h2c":

            def answer(stream):
                stream.respond(200, ("content-length", "1"))
                stream.data(name.encode(), end=True)

            server = H2Server(on_end=answer)
            target = f"127.0.0.1:{server.port}"
        else:
            folder = support.tempfile.mkdtemp(prefix="vestibule-test-")
            cls.stack.callback(support.shutil.rmtree, folder, True)
            path = f"{folder}/{name}.sock" if back == "unix" else None
            server = FunctionServer({"*": lambda h: h.reply(200, name.encode())}, path)
            target = server.target
        cls.stack.callback(server.close)
        return server, target

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    def names(self, front, count, target=lambda number: "/", fields=()):
        answers = [front.ask(target(number), fields=fields) for number in range(count)]
        self.assertEqual({answer.status for answer in answers}, {200})
        return [answer.body.decode() for answer in answers]

    def check(self, policy, front):
        if policy in ("least-requests", "random"):
            # Twenty picks of one of two: one server alone would be one in half a million.
            self.assertEqual(set(self.names(front, 20)), {"a", "b"})
        elif policy == "round-robin":
            self.assertEqual(sorted(self.names(front, 6)), ["a"] * 4 + ["b"] * 2)
        elif policy in ("first", "backup"):
            self.assertEqual(self.names(front, 5), ["a"] * 5)
        elif policy == "hash":
            first = self.names(front, 20, lambda number: f"/{number}")
            self.assertEqual(first, self.names(front, 20, lambda number: f"/{number}"))
            self.assertEqual(set(first), {"a", "b"})
        else:
            answer = front.ask()
            cookie = answer.value("set-cookie").partition(";")[0]
            self.assertTrue(cookie.startswith("server="), cookie)
            self.assertEqual("Secure" in answer.value("set-cookie"), front.secure)
            self.assertEqual(self.names(front, 8, fields={"Cookie": f"x=1; {cookie}"}), [answer.body.decode()] * 8)

    def test_every_policy_over_every_pair_of_protocols(self):
        for back in BACKS:
            for policy in self.KEYS:
                for kind in FRONTS:
                    with self.subTest(policy=policy, front=kind, back=back):
                        self.check(policy, Front(kind, self.proxy, self.ca, f"{policy}-{back}.localhost"))


class Case(unittest.TestCase):
    def server(self, name, **routes):
        server = named(name, **routes)
        self.addCleanup(server.close)
        return server

    def proxy(self, sites, kind=support.Proxy, **options):
        proxy = kind(sites, **options)
        self.addCleanup(proxy.close)
        return proxy


class Sticky(Case):
    def test_a_cookie_says_nothing_and_cannot_be_made_up(self):
        servers = [self.server(name) for name in "ab"]
        proxy = self.proxy(upstream(*(server.port for server in servers), keys="sticky = {}"))
        answer = ask(proxy.http)
        name, _, rest = answer.value("set-cookie").partition("=")
        value, *attributes = rest.split("; ")
        self.assertEqual((name, attributes), ("vestibule", ["Path=/", "Max-Age=86400", "HttpOnly", "SameSite=Lax"]))
        self.assertRegex(value, r"^[A-Za-z0-9_-]{59}$")
        for text in ("127", *(str(server.port) for server in servers)):
            self.assertNotIn(text.encode(), base64.urlsafe_b64decode(value + "="))
        # Two clients of one server have different cookies.
        other = next(a for a in iter(lambda: ask(proxy.http), None) if a.body == answer.body)
        self.assertNotEqual(other.value("set-cookie"), answer.value("set-cookie"))
        self.assertIsNone(ask(proxy.http, fields=f"Cookie: vestibule={value}\r\n").value("set-cookie"))
        bent = value[:-1] + ("A" if value[-1] != "A" else "B")
        for wrong in (bent, "x" * 59, "", "é"):
            fresh = ask(proxy.http, fields=f"Cookie: vestibule={wrong}\r\n")
            self.assertEqual((fresh.status, bool(fresh.value("set-cookie"))), (200, True), wrong)

    def test_a_client_whose_server_is_gone_gets_another_and_keeps_that_over_a_restart(self):
        servers = {name: Backend(name) for name in "ab"}
        for server in servers.values():
            self.addCleanup(server.stop)
        sites = upstream(*(server.port for server in servers.values()), keys="sticky = {}")
        proxy = self.proxy(sites, Reloadable)

        def cookie(answer):
            return "Cookie: " + answer.value("set-cookie").partition(";")[0] + "\r\n"

        first = ask(proxy.http)
        stays = cookie(first)
        gone = first.body.decode()
        servers[gone].kill()
        second = ask(proxy.http, fields=stays)
        self.assertEqual((second.status, second.body.decode() != gone), (200, True))
        stays = cookie(second)
        proxy.reload()
        self.assertEqual(ask(proxy.http, fields=stays).body, second.body)
        # The key is in the state folder: another process reads it.
        state = proxy.work / "state"
        other = Again(sites, state)
        self.addCleanup(other.close)
        answer = ask(other.http, fields=stays)
        self.assertEqual((answer.body, answer.value("set-cookie")), (second.body, None))
        (key,) = (state / "sticky").iterdir()
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)


class Again(support.Proxy):
    """A proxy on the state folder of another one."""

    def __init__(self, sites, state):
        self.state = state
        super().__init__(sites)

    def environment(self):
        return {**super().environment(), "VESTIBULE_STATE_DIR": str(self.state)}


CHECK = 'interval = "200ms", timeout = "5s"'


class Checks(Case):
    """`health_check`: servers that are asked."""

    def test_a_server_that_fails_its_checks_gets_no_requests_until_it_passes_them(self):
        ill, asked = threading.Event(), []

        def healthz(handler):
            asked.append((handler.command, handler.path, handler.headers["Host"], handler.headers["User-Agent"]))
            handler.reply(503 if ill.is_set() else 204, b"")

        servers = [self.server("a", **{"/healthz": healthz}), self.server("b", **{"/healthz": lambda h: h.reply(200, b"")})]
        keys = f'health_check = {{ path = "/healthz?full", method = "HEAD", host = "check.test", {CHECK} }}\nslow_start = "1s"'
        proxy = self.proxy(upstream(*(server.port for server in servers), keys=keys), Reloadable)
        support.wait_until(lambda: len(asked) > 2, "the server is asked")
        self.assertEqual(asked[0][:3], ("HEAD", "/healthz?full", "check.test"))
        self.assertTrue(asked[0][3].startswith("vestibule-health/"))
        self.assertEqual(health(proxy), ["up", "up"])
        ill.set()
        says(proxy, f"127.0.0.1:{servers[0].port} is down: 3 checks failed, the last one: status 503")
        self.assertEqual(health(proxy), ["down", "up"])
        self.assertEqual({ask(proxy.http).body for _ in range(20)}, {b"b"})
        # A reload knows it at once.
        proxy.reload()
        self.assertEqual({ask(proxy.http).body for _ in range(20)}, {b"b"})
        self.assertEqual(health(proxy), ["down", "up"])
        ill.clear()
        says(proxy, f"127.0.0.1:{servers[0].port} is up: 2 checks passed, its share grows over 1s")
        self.assertIn(health(proxy)[0], ("starting", "up"))
        support.wait_until(lambda: health(proxy) == ["up", "up"], "the slow start is over")
        support.wait_until(lambda: ask(proxy.http).body == b"a", "the server gets requests again")

    def test_when_no_server_is_well_all_of_them_are_tried(self):
        servers = [self.server(name) for name in "ab"]
        keys = f'health_check = {{ expect = "500", {CHECK} }}'
        proxy = self.proxy(upstream(*(server.port for server in servers), keys=keys))
        for server in servers:
            says(proxy, f"{server.port} is down")
        self.assertEqual({ask(proxy.http).body for _ in range(20)}, {b"a", b"b"})
        says(proxy, "no server is well, so requests go to all of them")

    def test_checks_of_every_type_over_every_protocol(self):
        """A check that passes says nothing: so each is seen to fail first, and to pass after that."""
        serving = threading.Event()
        authority = Authority(self.folder())
        cert, key = authority.sign("backend", "DNS:backend.test")

        def status(request, context):
            return b"\x08\x01" if serving.is_set() and request == b"\x0a\x04shop" else b"\x08\x02"

        handler = grpc.unary_unary_rpc_method_handler(status)
        handlers = [grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})]
        plain = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=handlers)
        self.addCleanup(lambda: plain.stop(None).wait())
        grpc_port = plain.add_insecure_port("127.0.0.1:0")
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
        grpc_tls = plain.add_secure_port("127.0.0.1:0", credentials)
        plain.start()

        def answer(stream):
            stream.respond(200 if serving.is_set() else 500, end=True)

        h2c, h2 = H2Server(on_end=answer), H2Server(on_end=answer, tls=(cert, key))
        for server in (h2c, h2):
            self.addCleanup(server.close)
        tcp_port = support.free_port()
        http = self.server("a", **{"/": lambda h: h.reply(200 if serving.is_set() else 500, b"")})
        tls = f'tls = {{ ca = "{authority.root}", server_name = "backend.test" }}'
        rows = {
            "http": (http.port, "", 'type = "http"'),
            "proxied": (self.proxied(serving), 'proxy_protocol = "v2"', 'type = "http"'),
            "tcp": (tcp_port, "", 'type = "tcp"'),
            "http over h2c": (h2c.port, 'protocol = "h2c"', 'type = "http"'),
            "http over h2": (h2.port, f'protocol = "h2"\n{tls}', 'type = "http"'),
            "grpc": (grpc_port, 'protocol = "h2c"', 'type = "grpc", service = "shop"'),
            "grpc over tls": (grpc_tls, f'protocol = "h2"\n{tls}', 'type = "grpc", service = "shop"'),
        }
        config = "".join(
            upstream(port, keys=f"{keys}\nhealth_check = {{ {check}, {CHECK} }}", host=f"{n}.test", name=f"u{n}")
            for n, (port, keys, check) in enumerate(rows.values())
        )
        proxy = self.proxy(config)
        for name, (port, *_) in rows.items():
            with self.subTest(check=name):
                says(proxy, f"127.0.0.1:{port} is down: 3 checks failed")
        serving.set()
        listener = socket.create_server(("127.0.0.1", tcp_port))
        self.addCleanup(listener.close)
        for name, (port, *_) in rows.items():
            with self.subTest(check=name, passes=True):
                says(proxy, f"127.0.0.1:{port} is up: 2 checks passed")

    def folder(self):
        folder = support.tempfile.mkdtemp(prefix="vestibule-test-")
        self.addCleanup(support.shutil.rmtree, folder, True)
        return folder

    def proxied(self, serving):
        """A server behind the PROXY protocol: version 2, LOCAL, no addresses."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    octets = b""
                    while b"\r\n\r\n" not in octets[16:] and (data := peer.recv(4096)):
                        octets += data
                    good = octets.startswith(b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET / HTTP/1.1\r\n")
                    status = b"200 OK" if good and serving.is_set() else b"500 Ill"
                    peer.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]


class Backend(support.Process):
    """A server in a process of its own, to be killed: it answers with its name."""

    def __init__(self, name, host="127.0.0.1", port=0):
        super().__init__([sys.executable, "-B", __file__, "--backend", name, host, port])
        support.wait_until(lambda: self.stdout or self.ended(), "the backend listens")
        self.port = int(self.stdout[0])

    def kill(self):
        os.killpg(self.pid, signal.SIGKILL)
        self.child.wait()
        self.stop()


def serve_as_backend(name, host, port):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def do_GET(self):
            # Long enough that a kill meets requests in flight.
            time.sleep(0.003)
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())
            self.wfile.flush()

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128

    server = Server((host, int(port)), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


class Load:
    """Clients that ask without a pause over kept connections, and what they got."""

    def __init__(self, port, clients=6):
        self.lock, self.over = threading.Lock(), threading.Event()
        self.counts, self.failures, self.port = {}, [], port
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        client = Client(self.port, timeout=3 * support.PATIENCE)
        try:
            while not self.over.is_set():
                client.send(GET)
                answer = client.answer()
                with self.lock:
                    if answer.status == 200:
                        name = answer.body.decode()
                        self.counts[name] = self.counts.get(name, 0) + 1
                    else:
                        self.failures.append((answer.status, answer.value("proxy-status")))
        except Exception as failure:  # what the test is about
            self.failures.append(failure)
        finally:
            client.__exit__()

    def more(self, name, count=30):
        """Wait until the server called `name` has answered this many more."""
        before = self.counts.get(name, 0)
        support.wait_until(lambda: self.counts.get(name, 0) >= before + count, f"{name} answers: {self.counts} {self.failures}")

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(3 * support.PATIENCE)
        return self.failures


OUTLIER = 'outlier = { failures = 3, window = "10s", eject = "1s" }\nslow_start = "1s"'


class UnderLoad(Case):
    def backend(self, *arguments, **options):
        backend = Backend(*arguments, **options)
        self.addCleanup(backend.stop)
        return backend

    def load(self, proxy):
        load = Load(proxy.http)
        self.addCleanup(load.end)
        return load

    def test_servers_are_killed_and_come_back_and_no_request_fails(self):
        a, b = self.backend("a"), self.backend("b")
        proxy = self.proxy(upstream(a.port, b.port, keys=OUTLIER))
        load = self.load(proxy)
        load.more("a")
        load.more("b")
        servers = {"a": a, "b": b}
        for name, other in (("a", "b"), ("b", "a")) * 2:
            port = servers[name].port
            servers[name].kill()
            load.more(other, 100)
            says(proxy, f"127.0.0.1:{port} failed 3 times within 10s: left out for ")
            servers[name] = self.backend(name, port=port)
            load.more(name)
        self.assertEqual(load.end(), [])
        for server in (a, b):
            says(proxy, f"127.0.0.1:{server.port} answers again: its share grows over 1s")

    def test_a_server_that_moves_behind_its_name_is_followed_and_no_request_fails(self):
        dns = Dns(self)
        a, b = self.backend("a"), self.backend("b")
        dns.set("a.test", "127.0.0.1")
        keys = f"{OUTLIER}\nresolve = {{ max_ttl = '1s', servers = ['127.0.0.1:{dns.port}'] }}"
        proxy = self.proxy(upstream(f"a.test:{a.port}", b.port, keys=keys))
        load = self.load(proxy)
        load.more("a")
        # The new one is there, then the record changes, then the old one goes.
        moved = self.backend("a2", host="127.0.0.2", port=a.port)
        dns.set("a.test", "127.0.0.2")
        says(proxy, f"a.test:{a.port}: moved from 127.0.0.1:{a.port} to 127.0.0.2:{a.port}")
        load.more("a2")
        # What was in flight at the old one ends, and nothing new comes: it drains.
        support.wait_until(lambda: drained(a.pid), "no connection to the old server is left")
        a.kill()
        load.more("a2", 100)
        # The old one dies first, and the record changes after that.
        moved.kill()
        again = self.backend("a3", host="127.0.0.3", port=a.port)
        dns.set("a.test", "127.0.0.3")
        load.more("a3")
        # The name server is gone: the last good answer stays.
        dns.close()
        says(proxy, f"a.test:{a.port}: the name cannot be looked up, and the last answer stays")
        load.more("a3", 100)
        self.assertEqual(again.ended(), False)
        self.assertEqual(load.end(), [])


def drained(pid):
    """No established connection of a process is left; its listening socket is."""
    run = support.command(["ss", "-Htnp", "state", "established"])
    return f"pid={pid}," not in run.stdout


class Dns:
    """A name server on loopback, over UDP and TCP; no record is used longer than a second."""

    def __init__(self, case, ttl=1):
        self.records, self.asked, self.ttl = {}, [], ttl
        self.port = support.free_port()
        quiet = dnslib.server.DNSLogger(logf=lambda _: None)
        self.servers = [
            dnslib.server.DNSServer(self, address="127.0.0.1", port=self.port, tcp=tcp, logger=quiet)
            for tcp in (False, True)
        ]
        for server in self.servers:
            server.start_thread()
        self.open = True
        case.addCleanup(self.close)

    def close(self):
        if self.open:
            self.open = False
            for server in self.servers:
                server.stop()
                server.server.server_close()

    def set(self, name, *values):
        """Values are addresses, or `(priority, weight, port, target)` of SRV records."""
        self.records[name] = values

    def resolve(self, request, handler):
        reply = request.reply()
        name, kind = str(request.q.qname).rstrip(".").lower(), dnslib.QTYPE[request.q.qtype]
        self.asked.append((name, kind))
        values = self.records.get(name)
        if values is None:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
            return reply
        for value in values:
            data = dnslib.SRV(*value) if isinstance(value, tuple) else (dnslib.AAAA if ":" in value else dnslib.A)(value)
            if kind == type(data).__name__:
                reply.add_answer(dnslib.RR(request.q.qname, request.q.qtype, rdata=data, ttl=self.ttl))
        return reply


class Names(Case):
    def keys(self, dns, more=""):
        return f"resolve = {{ max_ttl = '1s', servers = ['127.0.0.1:{dns.port}'] }}\n{more}"

    def test_a_name_that_is_not_there_stops_nothing_and_is_found_when_it_comes(self):
        dns, server = Dns(self), self.server("a")
        proxy = self.proxy(upstream(f"late.test:{server.port}", keys=self.keys(dns)))
        answer = ask(proxy.http)
        self.assertEqual(answer.status, 502)
        self.assertIn("upstream.dns", answer.value("proxy-status"))
        says(proxy, f"late.test:{server.port}: the name cannot be looked up")
        dns.set("late.test", "127.0.0.1")
        support.wait_until(lambda: ask(proxy.http).status == 200, "the name is found")

    def test_both_families_are_asked_for_and_tried(self):
        dns = Dns(self)
        dns.set("both.test", "127.0.0.1", "::1")
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            port = listener.getsockname()[1]
            proxy = self.proxy(upstream(f"both.test:{port}", keys=self.keys(dns)))
            answers = []
            thread = threading.Thread(target=lambda: answers.append(ask(proxy.http)))
            thread.start()
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nv6")
            thread.join(support.PATIENCE)
        self.assertEqual([answer.body for answer in answers], [b"v6"])
        self.assertLessEqual({("both.test", "A"), ("both.test", "AAAA")}, set(dns.asked))

    def test_the_servers_of_an_srv_record_are_tried_by_priority(self):
        dns, first, backup = Dns(self), Backend("first"), Backend("backup")
        self.addCleanup(first.stop)
        self.addCleanup(backup.stop)
        dns.set("one.test", "127.0.0.1")
        dns.set("_http._tcp.shop.test", (20, 1, backup.port, "one.test"), (10, 1, first.port, "one.test"))
        proxy = self.proxy(upstream("srv:_http._tcp.shop.test", keys=self.keys(dns, 'host_header = "upstream"')))
        self.assertEqual({ask(proxy.http).body for _ in range(10)}, {b"first"})
        first.kill()
        support.wait_until(lambda: ask(proxy.http).body == b"backup", "the next priority serves")
        dns.set("_http._tcp.shop.test", (5, 1, backup.port, "one.test"))
        says(proxy, "srv:_http._tcp.shop.test: moved from")
        self.assertEqual(ask(proxy.http).body, b"backup")


class Hold(Case):
    def test_a_request_waits_for_its_server_to_come(self):
        port = support.free_port()
        proxy = self.proxy(upstream(port, keys='hold = "60s"'))
        answers = []
        body = b"POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 4\r\n\r\nbody"

        def post():
            with Client(proxy.http, timeout=3 * support.PATIENCE) as client:
                client.send(body)
                answers.append(client.answer())

        threads = [threading.Thread(target=post) for _ in range(5)]
        for thread in threads:
            thread.start()
        # Every one of them has met the closed port.
        time.sleep(0.3)
        self.assertEqual(answers, [])
        backend = self.late(port)
        for thread in threads:
            thread.join(support.PATIENCE)
        self.assertEqual([answer.body for answer in answers], [b"4"] * 5)
        backend.shutdown()

    def late(self, port):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(length)))
                self.end_headers()
                self.wfile.write(length)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def test_a_wait_ends_with_its_time_and_the_cause(self):
        proxy = self.proxy(upstream(support.free_port(), keys='hold = "600ms"'))
        began = time.monotonic()
        answer = ask(proxy.http)
        self.assertGreaterEqual(time.monotonic() - began, 0.59)
        self.assertEqual(answer.status, 502)
        self.assertIn("upstream.refused", answer.value("proxy-status"))

    def test_a_reload_that_names_another_server_ends_the_wait(self):
        server = self.server("there")
        proxy = self.proxy(upstream(support.free_port(), keys='hold = "60s"'), Reloadable)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ask(proxy.http, timeout=3 * support.PATIENCE)))
        thread.start()
        time.sleep(0.3)
        proxy.rewrite(upstream(server.port, keys='hold = "60s"'))
        proxy.reload()
        thread.join(2 * support.PATIENCE)
        self.assertEqual([answer.body for answer in answers], [b"there"])


class Reloads(Case):
    def test_a_rate_limit_goes_on_counting_over_a_reload_and_not_over_a_change(self):
        server = self.server("a")

        def sites(rate):
            return support.site(server.target, extra=f'rate_limit = {{ rate = "{rate}", burst = 2 }}')

        proxy = self.proxy(sites("1/h"), Reloadable)
        self.assertEqual([ask(proxy.http).status for _ in range(3)], [200, 200, 429])
        proxy.reload()
        self.assertEqual(ask(proxy.http).status, 429)
        proxy.rewrite(sites("2/h"))
        proxy.reload()
        self.assertEqual([ask(proxy.http).status for _ in range(3)], [200, 200, 429])

    def test_an_ejected_server_stays_out_over_a_reload_for_all_workers(self):
        good, port = self.server("a"), support.free_port()
        keys = 'balance = "round-robin"\noutlier = { failures = 2, eject = "60s" }'
        proxy = self.proxy(upstream(good.port, port, keys=keys), Reloadable, top="[server]\nworkers = 3\n")

        def out():
            self.assertEqual(ask(proxy.http).status, 200)
            return any("left out for" in line for line in proxy.stderr)

        support.wait_until(out, "the server is left out")
        self.assertEqual(health(proxy), ["up", "ejected"])
        proxy.reload()
        self.assertEqual(health(proxy), ["up", "ejected"])
        self.assertEqual(sum("left out for" in line for line in proxy.stderr), 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--backend"]:
        serve_as_backend(*sys.argv[2:])
    else:
        support.main()
