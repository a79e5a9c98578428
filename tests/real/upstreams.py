"""Several servers, busy servers, servers that fail, and names with several addresses."""

import json
import socket
import struct
import threading
import time
import unittest

import support
from backends import FunctionServer, RawServer, read_message
from h2raw import H2Client
from rawhttp import Client

GET = f"GET /x HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def upstream(*servers, keys=""):
    """TOML of one site on an upstream with these servers."""
    names = ", ".join(f'"{server}"' if isinstance(server, str) else f'"127.0.0.1:{server}"' for server in servers)
    site = f'[sites."{support.HOST}"]\nupstream = "u"\nhttp = "serve"\n'
    return f"{site}[upstreams.u]\nservers = [{names}]\n{keys}\n"


def workers(count):
    return f"[server]\nworkers = {count}\n"


def get(port):
    """One GET on a connection of its own."""
    with Client(port, timeout=support.PATIENCE) as client:
        client.send(GET)
        return client.answer()


def code(answer):
    """The why-code of an answer that the proxy made."""
    status = answer.value("proxy-status") or ""
    return status.partition('details="')[2].rstrip('"') or None


def refusing():
    """A port nobody listens on."""
    return support.free_port()


class Holding:
    """A server that holds every request until it is released, and knows how many it holds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now, self.most, self.targets = 0, 0, []
        self.free = threading.Semaphore(0)
        self.server = RawServer(self.serve)
        self.port = self.server.port

    def serve(self, peer):
        rest = b""
        while found := read_message(peer, rest):
            message, rest = found
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
                self.targets.append(message.target)
            self.free.acquire(timeout=3 * support.PATIENCE)
            with self.lock:
                self.now -= 1
            peer.sendall(OK.replace(b"\r\n", b"\r\nX-Target: %b\r\n" % message.target.encode(), 1))

    def wait_for(self, count):
        support.wait_until(lambda: len(self.targets) >= count, f"{count} requests reach the server")

    def release(self, count):
        self.free.release(count)

    def close(self):
        self.release(10_000)
        self.server.close()


class Queue(unittest.TestCase):
    """`max_requests` and `queue_timeout`."""

    def start(self, servers, keys, count=1):
        holding = [Holding() for _ in range(servers)]
        for server in holding:
            self.addCleanup(server.close)
        proxy = support.Proxy(upstream(*(server.port for server in holding), keys=keys), workers(count))
        self.addCleanup(proxy.close)
        return proxy, holding

    def in_threads(self, count, function):
        results = []
        threads = [threading.Thread(target=lambda: results.append(function())) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads, results

    def test_a_server_never_has_more_than_its_share_whatever_the_number_of_workers(self):
        keys = 'max_requests = 2\nqueue_timeout = "60s"\nbalance = "round-robin"'
        for servers in (1, 2):
            with self.subTest(servers=servers):
                proxy, holding = self.start(servers, keys, count=2)
                threads, answers = self.in_threads(20, lambda: get(proxy.http).status)
                for server in holding:
                    server.wait_for(2)
                for done in range(20 // servers):
                    for server in holding:
                        server.release(1)
                    support.wait_until(
                        lambda: sum(len(server.targets) for server in holding) >= min(20, servers * (done + 3)),
                        "the place is taken by one that waited",
                    )
                for server in holding:
                    server.release(20)
                for thread in threads:
                    thread.join(support.PATIENCE)
                self.assertEqual(answers, [200] * 20)
                self.assertEqual([server.most for server in holding], [2] * servers)

    def test_those_that_wait_are_served_in_the_order_they_came(self):
        proxy, (server,) = self.start(1, 'max_requests = 1\nqueue_timeout = "60s"')
        # The streams of one connection begin in the order of their HEADERS.
        with H2Client(proxy.https, proxy.ca(), support.HOST, timeout=support.PATIENCE) as client:
            streams = range(1, 41, 2)
            for stream in streams:
                fields = (
                    (":method", "GET"), (":scheme", "https"), (":path", f"/{stream}"), (":authority", support.HOST),
                )  # fmt: skip
                client.headers(stream, fields)
            server.release(len(streams))
            answers = [client.answer(stream) for stream in streams]
        targets = [f"/{stream}" for stream in streams]
        self.assertEqual([(answer.status, answer.value("x-target")) for answer in answers], [(200, target) for target in targets])
        self.assertEqual(server.targets, targets)
        self.assertEqual(server.most, 1)

    def test_one_that_waits_too_long_is_told_to_come_again(self):
        for count in (1, 2):
            with self.subTest(workers=count):
                proxy, (server,) = self.start(1, 'max_requests = 1\nqueue_timeout = "300ms"', count)
                threads, answers = self.in_threads(1, lambda: get(proxy.http).status)
                server.wait_for(1)
                began = time.monotonic()
                late = get(proxy.http)
                self.assertGreaterEqual(time.monotonic() - began, 0.29)
                self.assertEqual((late.status, code(late), late.value("retry-after")), (503, "upstream.queue_timeout", "1"))
                server.release(2)
                threads[0].join(support.PATIENCE)
                # The place is free again, and nobody stands in front.
                self.assertEqual((answers, get(proxy.http).status, server.most), ([200], 200, 1))

    def test_a_place_on_another_server_is_taken_before_anybody_waits(self):
        proxy, (one, two) = self.start(2, 'max_requests = 1\nqueue_timeout = "300ms"\nbalance = "first"')
        threads, answers = self.in_threads(2, lambda: get(proxy.http).status)
        one.wait_for(1)
        two.wait_for(1)
        self.assertEqual(get(proxy.http).status, 503)
        one.release(1)
        two.release(1)
        for thread in threads:
            thread.join(support.PATIENCE)
        self.assertEqual(answers, [200, 200])

    def test_a_client_that_breaks_its_connection_leaves_the_queue_and_the_server(self):
        proxy, (server,) = self.start(1, 'max_requests = 1\nqueue_timeout = "60s"')
        reset = struct.pack("ii", 1, 0)
        clients = []
        for path in ("first", "second", "third"):
            client = Client(proxy.http, timeout=support.PATIENCE)
            self.addCleanup(client.socket.close)
            client.send(GET.replace(b"/x", f"/{path}".encode()))
            clients.append(client)
            if path == "first":
                server.wait_for(1)
        # Nobody asks for the second one any more, and then not for the first either: its place is the third one's.
        for gone, path in ((clients[1], "/second"), (clients[0], "/first")):
            gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            gone.socket.close()
            support.wait_until(lambda path=path: any(path in line for line in proxy.stdout), "the proxy has noticed")
        server.wait_for(2)
        server.release(2)
        self.assertEqual(clients[2].answer().status, 200)
        self.assertEqual(server.targets, ["/first", "/third"])

    def test_a_queue_that_is_full_refuses_at_once(self):
        proxy, (server,) = self.start(1, 'max_requests = 1\nqueue_timeout = "1m"')
        clients, streams = [], range(1, 201, 2)
        fields = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", support.HOST))
        for _ in range(11):
            client = H2Client(proxy.https, proxy.ca(), support.HOST, timeout=3 * support.PATIENCE)
            self.addCleanup(client.client.socket.close)
            clients.append(client)
            for stream in streams:
                client.headers(stream, fields)
        server.wait_for(1)
        # One is on the server and 1,024 wait; which ones is the workers' business, that the rest need not wait is not.
        refused = 11 * len(streams) - 1 - 1024
        support.wait_until(lambda: sum("upstream.queue_full" in line for line in list(proxy.stdout)) == refused, "refusals")
        server.release(2000)
        answers = [client.answer(stream) for client in clients for stream in streams]
        told = [(answer.status, code(answer), answer.value("retry-after")) for answer in answers if answer.status != 200]
        self.assertEqual(told, [(503, "upstream.queue_full", "1")] * refused)
        self.assertEqual(server.most, 1)


class Failing(unittest.TestCase):
    """`outlier` and `retries`."""

    def setUp(self):
        self.good = FunctionServer({"/x": lambda handler: handler.reply(200, b"ok\n")})
        self.addCleanup(self.good.close)

    def breaking(self):
        """A server that reads each request and closes."""
        server = RawServer(read_message)
        self.addCleanup(server.close)
        return server

    def start(self, *servers, keys):
        proxy = support.Proxy(upstream(*servers, keys=keys), workers(1))
        self.addCleanup(proxy.close)
        return proxy

    def ask(self, proxy, count):
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            answers = []
            for _ in range(count):
                client.send(GET)
                answers.append(client.answer())
            return answers

    def attempts(self, proxy, count):
        """The attempts of the first `count` requests, from the access log."""

        def records():
            found = [json.loads(line)["attempts"] for line in list(proxy.stdout) if line.startswith("{")]
            return found[:count] if len(found) >= count else None

        return support.wait_until(records, f"{count} records")

    def left_out(self, proxy):
        return [line for line in list(proxy.stderr) if "left out for" in line]

    def test_a_server_that_refuses_is_left_out_and_no_request_fails(self):
        keys = 'balance = "round-robin"\noutlier = { failures = 3, window = "1m", eject = "1h" }'
        proxy = self.start(refusing(), self.good.port, keys=keys)
        self.assertEqual({answer.status for answer in self.ask(proxy, 20)}, {200})
        attempts = self.attempts(proxy, 20)
        self.assertEqual((sum(attempts), attempts[-8:]), (23, [1] * 8))
        self.assertEqual(len(self.left_out(proxy)), 1)
        self.assertIn("failed 3 times within 60s: left out for 3600s", self.left_out(proxy)[0])

    def test_a_server_that_breaks_off_before_its_answer_is_left_out(self):
        keys = 'balance = "round-robin"\nretries = "off"\noutlier = { failures = 4, window = "1m", eject = "1h" }'
        proxy = self.start(self.breaking().port, self.good.port, keys=keys)
        answers = self.ask(proxy, 24)
        self.assertEqual([code(answer) for answer in answers if answer.status != 200], ["upstream.closed"] * 4)

    def test_an_answer_is_no_failure_whatever_it_says(self):
        bad = FunctionServer({"/x": lambda handler: handler.reply(503, b"busy\n")})
        self.addCleanup(bad.close)
        proxy = self.start(bad.port, self.good.port, keys='balance = "round-robin"')
        self.assertEqual([answer.status for answer in self.ask(proxy, 20)].count(503), 10)
        self.assertEqual(self.left_out(proxy), [])

    def test_the_time_out_doubles(self):
        keys = 'balance = "round-robin"\noutlier = { failures = 2, window = "1m", eject = "50ms" }'
        proxy = self.start(refusing(), self.good.port, keys=keys)

        def thrice():
            self.assertEqual({answer.status for answer in self.ask(proxy, 4)}, {200})
            return len(self.left_out(proxy)) >= 3

        support.wait_until(thrice, "the server is left out three times")
        times = [line.rpartition(" ")[2] for line in self.left_out(proxy)[:3]]
        self.assertEqual(times, ["50ms", "100ms", "200ms"])

    def test_no_more_than_a_share_of_the_servers_is_left_out(self):
        for share, out in (("34%", 1), ("67%", 2), ("33%", 0)):
            with self.subTest(share):
                outlier = f'outlier = {{ failures = 1, eject = "1h", max_ejected = "{share}" }}'
                keys = f'balance = "round-robin"\nretries = "off"\n{outlier}'
                proxy = self.start(self.breaking().port, self.breaking().port, self.good.port, keys=keys)
                statuses = [answer.status for answer in self.ask(proxy, 30)]
                self.assertEqual(len(self.left_out(proxy)), out)
                self.assertEqual(statuses[-6:].count(502), {0: 4, 1: 3, 2: 0}[out])

    def test_a_single_server_is_never_left_out(self):
        port = refusing()
        proxy = self.start(port, keys="")
        self.assertEqual({code(answer) for answer in self.ask(proxy, 8)}, {"upstream.refused"})
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()

            def serve():
                peer, _ = listener.accept()
                with peer:
                    read_message(peer)
                    peer.sendall(OK)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            self.assertEqual(self.ask(proxy, 1)[0].status, 200)
            thread.join(support.PATIENCE)

    def test_nothing_is_left_out_where_that_is_off(self):
        keys = 'balance = "round-robin"\nretries = "off"\noutlier = "off"'
        proxy = self.start(self.breaking().port, self.good.port, keys=keys)
        self.assertEqual([answer.status for answer in self.ask(proxy, 20)].count(502), 10)

    def test_a_fresh_connection_that_is_closed_sends_an_idempotent_request_to_another_server_and_no_other(self):
        keys = 'balance = "round-robin"\nretries = { budget = "100%" }\noutlier = "off"'
        proxy = self.start(self.breaking().port, self.good.port, keys=keys)
        self.assertEqual({answer.status for answer in self.ask(proxy, 10)}, {200})
        self.assertEqual(sorted(self.attempts(proxy, 10)), [1] * 5 + [2] * 5)
        post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            answers = []
            for _ in range(10):
                client.send(post)
                answers.append(client.answer())
        self.assertEqual([code(answer) for answer in answers if answer.status != 200], ["upstream.closed"] * 5)
        # Where it is the only server, it is not asked twice.
        alone = self.breaking()
        proxy = self.start(alone.port, keys=keys)
        self.assertEqual([code(answer) for answer in self.ask(proxy, 3)], ["upstream.closed"] * 3)
        self.assertEqual(alone.connections, 3)

    def test_retries_keep_within_their_budget_when_everything_fails(self):
        # Ten are saved up at the start, and each request adds its share of one.
        for retries, least, most in (
            ('{ attempts = 1, budget = "20%" }', 125, 130),
            ('{ attempts = 1, budget = "0%" }', 100, 100),
            ('{ attempts = 1, budget = "100%" }', 200, 200),
            ('"off"', 100, 100),
        ):
            with self.subTest(retries):
                proxy = self.start(refusing(), refusing(), keys=f'retries = {retries}\noutlier = "off"')
                self.assertEqual({answer.status for answer in self.ask(proxy, 100)}, {502})
                attempts = sum(self.attempts(proxy, 100))
                self.assertTrue(least <= attempts <= most, attempts)

    def test_a_retry_that_is_refused_costs_nothing_of_the_budget(self):
        # Of the ten that are saved up at the start, what must not be done twice takes none, however often it fails.
        keys = 'balance = "first"\nretries = { attempts = 1, budget = "1%" }\noutlier = "off"'
        proxy = self.start(self.breaking().port, self.good.port, keys=keys)
        post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            for _ in range(20):
                client.send(post)
                self.assertEqual(code(client.answer()), "upstream.closed")
        self.assertEqual([answer.status for answer in self.ask(proxy, 11)], [200] * 10 + [502])

    def test_attempts_are_as_many_as_allowed_and_each_goes_to_another_server(self):
        for attempts, failed in ((0, 2), (1, 1), (2, 0)):
            with self.subTest(attempts=attempts):
                keys = f'balance = "first"\noutlier = "off"\nretries = {{ attempts = {attempts}, budget = "100%" }}'
                dead = [refusing() for _ in range(failed + 1 if attempts < 2 else 2)]
                proxy = self.start(*dead, self.good.port, keys=keys)
                expected = 200 if len(dead) <= attempts else 502
                self.assertEqual({answer.status for answer in self.ask(proxy, 5)}, {expected})
                self.assertEqual(set(self.attempts(proxy, 5)), {min(attempts, len(dead)) + 1})

    def test_a_pool_of_none_keeps_no_connection(self):
        for keys, connections in (("keepalive = { idle = 0 }", 5), ("", 1)):
            counted = RawServer(lambda peer: self.answer_all(peer))
            self.addCleanup(counted.close)
            with self.subTest(keys):
                proxy = self.start(counted.port, keys=keys)
                self.assertEqual({answer.status for answer in self.ask(proxy, 5)}, {200})
                self.assertEqual(counted.connections, connections)

    @staticmethod
    def answer_all(peer):
        rest = b""
        while found := read_message(peer, rest):
            rest = found[1]
            peer.sendall(OK)


class BlackHole:
    """A socket that listens on `address` and whose backlog is full: the kernel drops what comes."""

    def __init__(self, address, port=0):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fill = []
        for _ in range(3):
            peer = socket.socket(family)
            peer.setblocking(False)
            peer.connect_ex(self.listener.getsockname())
            self.fill.append(peer)

    def close(self):
        for peer in (*self.fill, self.listener):
            peer.close()


class Addresses(unittest.TestCase):
    """Happy Eyeballs: `localhost` has an address of each family."""

    def on_v6(self, port=0):
        """A server on ::1, its port."""
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("::1", port))
        listener.listen()
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    if read_message(peer):
                        peer.sendall(OK)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    def start(self, port, connect="20s"):
        defaults = f'[defaults]\ntimeouts = {{ connect = "{connect}" }}\n'
        proxy = support.Proxy(upstream(f"localhost:{port}"), defaults)
        self.addCleanup(proxy.close)
        return proxy

    def test_a_server_on_the_other_family_only_is_found(self):
        proxy = self.start(self.on_v6())
        self.assertEqual(get(proxy.http).status, 200)

    def test_an_address_that_swallows_everything_does_not_hold_up_the_other(self):
        hole = BlackHole("127.0.0.1")
        self.addCleanup(hole.close)
        proxy = self.start(self.on_v6(hole.port))
        began = time.monotonic()
        self.assertEqual(get(proxy.http).status, 200)
        # A quarter of a second, and far from the whole timeout.
        self.assertTrue(0.24 <= time.monotonic() - began < 10)

    def test_the_connect_timeout_bounds_all_addresses_together(self):
        holes = [BlackHole("127.0.0.1")]
        holes.append(BlackHole("::1", holes[0].port))
        for hole in holes:
            self.addCleanup(hole.close)
        proxy = self.start(holes[0].port, connect="600ms")
        began = time.monotonic()
        answer = get(proxy.http)
        self.assertEqual((answer.status, code(answer)), (504, "upstream.connect_timeout"))
        self.assertGreaterEqual(time.monotonic() - began, 0.59)


if __name__ == "__main__":
    support.main()
