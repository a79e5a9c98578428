"""What began before a reload: it goes on where nothing has changed for it, and ends after a grace where something has."""

import json
import socket
import threading
import unittest

import websockets.exceptions
import websockets.sync.client

import support
from backends import FunctionServer, websocket_echo
from h2raw import H2Client
from rawhttp import Client
from reload import Reloadable

GRACE = 'server = { generation_grace = "1s" }'
CANCEL = 8


class Case(unittest.TestCase):
    """Two servers that stream till the end of the test, and one route to each."""

    def setUp(self):
        self.stop = threading.Event()
        self.entered = 0
        self.one, self.two = (FunctionServer({"*": self.endless, "/wait": self.wait}) for _ in range(2))
        for server in (self.one, self.two):
            self.addCleanup(server.close)
        self.addCleanup(self.stop.set)
        self.top = GRACE

    def endless(self, handler):
        handler.begin_chunked("text/plain")
        handler.chunk(b"first\n")
        while not self.stop.wait(0.02):
            handler.chunk(b"more\n")
        handler.chunk(b"last\n")
        handler.chunk(b"")

    def wait(self, handler):
        self.entered += 1
        self.stop.wait(support.PATIENCE)
        handler.reply(200, b"late")

    def sites(self, changes="", stays="", more=""):
        """`/changes` has these filters; `/stays` and what is behind it is beside it."""
        site = support.site(self.one.target, extra=stays)
        route = f'[[sites."{support.HOST}".routes]]\npath = "/changes/*"\nproxy = "{self.one.target}"\n{changes}\n'
        return f"{site}{route}{more}"

    def start(self, sites=None, **options):
        proxy = Reloadable(sites or self.sites(), top=f"{self.top}\n[access_log]\nformat = \"json\"", **options)
        self.addCleanup(proxy.close)
        return proxy

    def reload(self, proxy, sites, **options):
        proxy.rewrite(sites, top=f"{self.top}\n[access_log]\nformat = \"json\"", **options)
        self.assertIn("reloaded in", proxy.reload())

    def begin(self, proxy, path, tls=False, port=None):
        """A download that has begun."""
        client = Client(
            port or (proxy.https if tls else proxy.http),
            tls=proxy.ca() if tls else None, name=support.HOST, timeout=support.PATIENCE,
        )
        self.addCleanup(client.socket.close)
        self.ask(client, path)
        client.read_until(b"first\n")
        return client

    @staticmethod
    def ask(client, path):
        client.send(f"GET {path} HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())

    def begin_h2(self, proxy, path):
        client = H2Client(proxy.https, proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(client.client.socket.close)
        self.stream(client, 1, path)
        self.step_until(client, lambda: 1 in client.answers and b"first" in client.answers[1].body, "the download begins")
        return client

    def step_until(self, client, condition, what):
        support.wait_until(lambda: self.step(client) and condition(), what)

    def step(self, client):
        self.assertTrue(client.step(), "the connection has ended")
        return True

    @staticmethod
    def stream(client, number, path):
        fields = ((":method", "GET"), (":scheme", "https"), (":path", path), (":authority", support.HOST))
        client.headers(number, fields)

    def assert_cut(self, client):
        """It ends, and never as a whole answer does."""
        support.wait_until(lambda: not client.fill(), "the download ends")
        self.assertIn(client.ended, ("closed", "reset"))
        self.assertNotIn(b"last\n", client.buffer)
        self.assertFalse(client.buffer.endswith(b"0\r\n\r\n"))

    def assert_goes_on(self, client):
        client.buffer = b""
        client.read_until(b"more\n")
        self.assertIsNone(client.ended)

    def records(self, proxy, path):
        lines = [json.loads(line) for line in proxy.stdout if f'"{path}' in line]
        return [(line["status"], line.get("why")) for line in lines]

    def assert_ended(self, proxy, count):
        """The log says that so many requests were ended, and no more."""

        def ended():
            lines = [line for line in proxy.stderr if "that began before a reload" in line]
            return sum(int(line.partition("ended ")[2].split()[0]) for line in lines)

        support.wait_until(lambda: ended() >= count, f"the log counts {count}")
        self.assertEqual(ended(), count)


class Routes(Case):
    def test_downloads_on_a_changed_route_are_cut_after_the_grace_and_others_go_on(self):
        proxy = self.start()
        changes = [self.begin(proxy, "/changes/1"), self.begin(proxy, "/changes/2", tls=True)]
        stays = [self.begin(proxy, "/stays/1"), self.begin(proxy, "/stays/2", tls=True)]
        h2 = self.begin_h2(proxy, "/changes/3")
        self.stream(h2, 3, "/stays/3")
        self.reload(proxy, self.sites('deny = ["10.0.0.0/8"]'))
        for client in changes:
            self.assert_cut(client)
        self.step_until(h2, lambda: 1 in h2.ended, "the stream ends")
        self.assertEqual(h2.ended[1], f"reset {CANCEL}")
        for client in stays:
            self.assert_goes_on(client)
        # The connection serves on, the other stream among it.
        before = len(h2.answers[3].body)
        self.step_until(h2, lambda: len(h2.answers[3].body) > before, "the other stream goes on")
        self.assertNotIn(3, h2.ended)
        self.assert_ended(proxy, 3)
        for number in (1, 2, 3):
            support.wait_until(lambda number=number: self.records(proxy, f"/changes/{number}"), "a record")
            self.assertEqual(self.records(proxy, f"/changes/{number}"), [(200, "proxy.reloaded")])
            self.assertEqual(self.records(proxy, f"/stays/{number}"), [])

    def test_a_request_without_an_answer_yet_gets_one_that_says_why(self):
        proxy = self.start(self.sites(more=f'[[sites."{support.HOST}".routes]]\npath = "/wait"\nproxy = "{self.one.target}"\n'))
        client = Client(proxy.http, timeout=support.PATIENCE)
        self.addCleanup(client.socket.close)
        self.ask(client, "/wait")
        h2 = H2Client(proxy.https, proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(h2.client.socket.close)
        self.stream(h2, 1, "/wait")
        support.wait_until(lambda: self.entered == 2, "both are at the server")
        # The route is gone; the site's own answers now.
        self.reload(proxy, self.sites())
        for answer in (client.answer(), h2.answer(1)):
            self.assertEqual(answer.status, 503)
            self.assertIn("proxy.reloaded", answer.value("proxy-status"))
        # Neither connection has suffered.
        self.ask(client, "/stays")
        self.assertIsNotNone(client.read_until(b"first\n"))
        self.stream(h2, 3, "/stays")
        self.step_until(h2, lambda: 3 in h2.answers and b"first" in h2.answers[3].body, "the connection serves on")

    def test_what_is_as_it_was_in_time_goes_on(self):
        proxy = self.start()
        comes_back, changes = self.begin(proxy, "/stays/1"), self.begin(proxy, "/changes/1")
        other = self.sites('deny = ["10.0.0.0/8"]').replace(f'proxy = "{self.one.target}"\nhttp', f'proxy = "{self.two.target}"\nhttp')
        self.reload(proxy, other)
        self.reload(proxy, self.sites('deny = ["10.0.0.0/8"]'))
        self.assert_cut(changes)
        self.assert_goes_on(comes_back)
        self.assert_ended(proxy, 1)

    def test_without_a_change_nothing_ends(self):
        proxy = self.start()
        clients = [self.begin(proxy, "/stays/1"), self.begin(proxy, "/changes/1", tls=True)]
        doomed = self.begin(proxy, "/changes/2")
        lines = "# another line\n" + self.sites(more='[sites."new.localhost"]\nrespond = { status = 200 }\n')
        for _ in range(3):
            self.reload(proxy, lines)
        # One more reload ends something: by then the others would have ended.
        self.reload(proxy, lines.replace('path = "/changes/*"', 'path = "/changes/1"'))
        self.assert_cut(doomed)
        self.assert_goes_on(clients[0])
        self.assert_ended(proxy, 2)


class Servers(Case):
    def pool(self, *servers):
        names = ", ".join(f'"{server.target}"' for server in servers)
        return (
            f'[sites."{support.HOST}"]\nupstream = "pool"\nhttp = "serve"\n'
            f'[upstreams.pool]\nservers = [{names}]\nbalance = "round-robin"\n'
        )

    def test_a_server_that_leaves_its_upstream_takes_its_requests_with_it_and_no_others(self):
        # Each worker has turns of its own.
        self.top = GRACE.replace(" }", ", workers = 1 }")
        proxy = self.start(self.pool(self.one, self.two))
        clients = {}
        for number in range(2):
            client = self.begin(proxy, f"/{number}")
            clients[self.server_of(proxy, client)] = client
        self.assertEqual(set(clients), {self.one.target, self.two.target})
        third = FunctionServer({"*": self.endless})
        self.addCleanup(third.close)
        self.reload(proxy, self.pool(self.one, third).replace("round-robin", "random"))
        self.assert_cut(clients[self.two.target])
        self.assert_goes_on(clients[self.one.target])
        self.assert_ended(proxy, 1)

    def server_of(self, proxy, client):
        """Where the proxy's side of the youngest exchange goes."""
        run = support.command(
            [support.BINARY, "status", "--json", "--config", proxy.config],
            env={**support.os.environ, **proxy.environment()},
        )
        servers = [server for upstream in json.loads(run.stdout)["upstreams"] for server in upstream["servers"]]
        now = {server["address"]: server["in_flight"] for server in servers}
        before, self.seen = getattr(self, "seen", {}), now
        return next(address for address, count in now.items() if count > before.get(address, 0))


class Tunnels(Case):
    def setUp(self):
        super().setUp()

        self.echo, self.echo_port = websocket_echo()
        self.addCleanup(self.echo.shutdown)

    def routes(self, changes=""):
        port = self.echo_port
        route = lambda path, extra: f'[[sites."{support.HOST}".routes]]\npath = "{path}"\nproxy = "127.0.0.1:{port}"\n{extra}\n'
        return support.site(self.one.target) + route("/stays", "") + route("/changes", changes)

    def test_a_websocket_on_a_changed_route_is_closed_and_another_is_not(self):
        proxy = self.start(self.routes())
        tunnels = {}
        for path in ("/stays", "/changes"):
            sock = socket.create_connection(("127.0.0.1", proxy.http))
            tunnels[path] = websockets.sync.client.connect(f"ws://{support.HOST}{path}", sock=sock)
            self.addCleanup(tunnels[path].close)
        self.reload(proxy, self.routes('deny = ["10.0.0.0/8"]'))
        with self.assertRaises(websockets.exceptions.ConnectionClosedError) as closed:
            tunnels["/changes"].recv(support.PATIENCE)
        self.assertIsNone(closed.exception.rcvd)
        tunnels["/stays"].send("here")
        self.assertEqual(tunnels["/stays"].recv(support.PATIENCE), "here")
        self.assert_ended(proxy, 1)

    def test_a_websocket_over_http_2_is_reset(self):
        proxy = self.start(self.routes())
        client = H2Client(proxy.https, proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(client.client.socket.close)
        fields = (
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/changes"),
            (":authority", support.HOST), ("sec-websocket-version", "13"),
        )
        client.headers(1, fields, end=False)
        self.step_until(client, lambda: 1 in client.answers, "the head arrives")
        self.assertEqual(client.answers[1].status, 200)
        self.reload(proxy, self.routes('deny = ["10.0.0.0/8"]'))
        self.step_until(client, lambda: 1 in client.ended, "the tunnel ends")
        self.assertEqual(client.ended[1], f"reset {CANCEL}")


class Listeners(Case):
    def test_who_came_in_by_a_listener_that_is_gone_leaves_after_the_grace(self):
        proxy = self.start()
        port = support.free_port()
        self.reload(proxy, self.sites(), listeners=f'more = "127.0.0.1:{port}"')
        busy, stays = self.begin(proxy, "/stays/1", port=port), self.begin(proxy, "/stays/2")
        idle = Client(port, timeout=support.PATIENCE)
        self.addCleanup(idle.socket.close)
        idle.send(b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        self.assertEqual(idle.answer().status, 404)
        self.reload(proxy, self.sites())
        # It is served till then.
        idle.send(b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
        self.assertEqual(idle.answer().status, 404)
        self.assert_cut(busy)
        self.assertTrue(idle.at_end())
        self.assert_goes_on(stays)

    def test_an_http_2_connection_of_a_gone_listener_is_told_to_go(self):
        proxy = self.start()
        port = support.free_port()
        more = f'more = {{ address = "127.0.0.1:{port}", tls = true }}'
        self.reload(proxy, self.sites(), listeners=more)
        client = H2Client(port, proxy.ca(), support.HOST, timeout=support.PATIENCE)
        self.addCleanup(client.client.socket.close)
        self.stream(client, 1, "/stays")
        self.step_until(client, lambda: 1 in client.answers, "the head arrives")
        self.reload(proxy, self.sites())
        support.wait_until(lambda: not client.step(), "the connection ends")
        self.assertEqual((client.ended.get(1), client.goaway), (f"reset {CANCEL}", 0))


if __name__ == "__main__":
    support.main()
