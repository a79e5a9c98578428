"""gRPC with real grpcio on both ends: every kind of call, through both doors, to servers in clear and over TLS."""

import itertools
import pathlib
import shutil
import sys
import tempfile
import unittest

import grpc
import grpc_service
import support
from pki import Authority

MESSAGE = bytes(range(256)) * (12 << 10)
TIMEOUT = support.PATIENCE
H2C, H2 = "server in clear", "server with TLS"
DOORS = ("plain door", "TLS door")


def channel(proxy, door):
    options = (("grpc.default_authority", support.HOST), ("grpc.use_local_subchannel_pool", 1), *grpc_service.LIMITS)
    if door == "plain door":
        return grpc.insecure_channel(f"127.0.0.1:{proxy.http}", options)
    credentials = grpc.ssl_channel_credentials(pathlib.Path(proxy.ca()).read_bytes())
    override = ("grpc.ssl_target_name_override", support.HOST)
    return grpc.secure_channel(f"127.0.0.1:{proxy.https}", credentials, (*options, override))


class Grpc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-grpc-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        authority = Authority(cls.folder)
        cert, key = authority.sign("backend", "DNS:api.internal")
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
        cls.servers = {H2C: grpc_service.Server(), H2: grpc_service.Server(credentials)}
        cls.proxies = {}
        for kind, server in cls.servers.items():
            cls.addClassCleanup(server.stop)
            upstream = f'[upstreams.app]\nservers = ["127.0.0.1:{server.port}"]\n'
            if kind == H2:
                upstream += f'protocol = "h2"\ntls = {{ ca = "{authority.root}", server_name = "api.internal" }}\n'
            else:
                upstream += 'protocol = "h2c"\n'
            cls.proxies[kind] = support.Proxy(f'[sites."{support.HOST}"]\nupstream = "app"\nhttp = "serve"\n{upstream}')
            cls.addClassCleanup(cls.proxies[kind].close)
        cls.clients = {}
        for kind, door in itertools.product(cls.servers, DOORS):
            client = cls.clients[kind, door] = grpc_service.Client(channel(cls.proxies[kind], door))
            cls.addClassCleanup(client.close)

    def each(self):
        """The calls under each pair of door and server, in a sub-test."""
        for (kind, door), client in self.clients.items():
            with self.subTest(door=door, server=kind):
                yield client, self.servers[kind].calls

    def test_unary_with_metadata_both_ways(self):
        for client, calls in self.each():
            metadata = (("x-call", "1"), ("x-call", "2"), ("x-data-bin", b"\x00\x01\xff"))
            answer, call = client.unary.with_call(b"hello", metadata=metadata, timeout=TIMEOUT)
            self.assertEqual(answer, b"olleh")
            self.assertEqual(dict(call.initial_metadata())["x-initial"], "first")
            trailing = dict(call.trailing_metadata())
            self.assertEqual((trailing["x-trailing"], trailing["x-bytes-bin"]), ("last", b"\x00\xff"))
            seen = calls.metadata[-1]
            self.assertEqual(seen["x-data-bin"], b"\x00\x01\xff")
            self.assertEqual(seen["x-forwarded-for"], "127.0.0.1")

    def test_messages_of_three_mebibytes(self):
        for client, _ in self.each():
            self.assertEqual(client.unary(MESSAGE, timeout=TIMEOUT), MESSAGE[::-1])

    def test_server_streaming(self):
        for client, _ in self.each():
            answers = list(client.count(b"1000", timeout=TIMEOUT))
            self.assertEqual(answers, [b"%d" % number for number in range(1000)])

    def test_client_streaming(self):
        for client, _ in self.each():
            self.assertEqual(client.total(iter([b"x" * 1000] * 1000), timeout=TIMEOUT), b"1000000")

    def test_both_directions_answer_each_other(self):
        for client, _ in self.each():
            sent, going = [], []

            def ping_pong(sent=sent, going=going):
                for number in range(100):
                    # The next message goes only after the answer to the last one.
                    if number:
                        support.wait_until(lambda: len(going) >= number, "an answer")
                    sent.append(b"%d" % number)
                    yield sent[-1]

            for answer in client.echo(ping_pong(), timeout=TIMEOUT):
                going.append(answer)
            self.assertEqual(going, sent)
            self.assertEqual(len(going), 100)

    def test_large_messages_both_ways_at_once(self):
        for client, _ in self.each():
            answers = list(client.echo(iter([MESSAGE] * 3), timeout=TIMEOUT * 2))
            self.assertEqual(answers, [MESSAGE] * 3)

    def test_a_status_without_a_message_comes_with_its_details(self):
        for client, _ in self.each():
            with self.assertRaises(grpc.RpcError) as caught:
                client.fail(b"1234", timeout=TIMEOUT)
            error = caught.exception
            self.assertEqual((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "no: ä % 4"))
            self.assertEqual(dict(error.trailing_metadata())["x-trailing"], "failed")

    def test_a_status_behind_messages_comes_after_them(self):
        for client, _ in self.each():
            answers = client.fail_late(b"", timeout=TIMEOUT)
            self.assertEqual([next(answers), next(answers)], [b"one", b"two"])
            with self.assertRaises(grpc.RpcError) as caught:
                next(answers)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.DATA_LOSS)

    def test_a_method_that_is_not_there_is_unimplemented(self):
        for client, _ in self.each():
            with self.assertRaises(grpc.RpcError) as caught:
                client.missing(b"", timeout=TIMEOUT)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_a_cancelled_call_is_cancelled_at_the_server(self):
        for client, calls in self.each():
            for name in ("wait", "stream"):
                calls.cancelled.clear()
                calls.begun.clear()
                if name == "wait":
                    call = client.wait.future(b"", timeout=TIMEOUT * 2)
                else:
                    call = client.stream(b"", timeout=TIMEOUT * 2)
                    self.assertEqual(next(call), b"first")
                support.wait_until(calls.begun.is_set, "the server has the call")
                call.cancel()
                support.wait_until(calls.cancelled.is_set, f"the server sees that {name} was cancelled")

    def test_a_deadline_of_the_client_ends_the_call_at_the_server(self):
        for client, calls in self.each():
            calls.cancelled.clear()
            with self.assertRaises(grpc.RpcError) as caught:
                client.wait(b"", timeout=0.5)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            support.wait_until(calls.cancelled.is_set, "the server sees the end")

    def test_fifty_calls_at_once_share_few_connections(self):
        for client, _ in self.each():
            calls = [client.unary.future(b"%d" % number, timeout=TIMEOUT * 2) for number in range(200)]
            for number, call in enumerate(calls):
                self.assertEqual(call.result(), (b"%d" % number)[::-1])


class Broken(unittest.TestCase):
    """Servers that are not there, or vanish."""

    def spawn(self):
        server = support.Process([sys.executable, "-B", grpc_service.__file__])
        self.addCleanup(server.stop)
        support.wait_until(lambda: server.stdout or server.ended(), "the server names its port")
        return server, int(server.stdout[0])

    def proxy(self, port, extra=""):
        proxy = support.Proxy(support.site(f"h2c://127.0.0.1:{port}", extra=extra))
        self.addCleanup(proxy.close)
        return proxy

    def client(self, proxy, door):
        client = grpc_service.Client(channel(proxy, door))
        self.addCleanup(client.close)
        return client

    def test_a_server_that_is_killed_never_looks_like_success(self):
        for door in DOORS:
            for name in ("wait", "stream"):
                with self.subTest(door, call=name):
                    server, port = self.spawn()
                    client = self.client(self.proxy(port), door)
                    if name == "wait":
                        call = client.wait.future(b"", timeout=TIMEOUT * 2)
                        self.assertEqual(client.unary(b"ab", timeout=TIMEOUT), b"ba")
                    else:
                        call = client.stream(b"", timeout=TIMEOUT * 2)
                        self.assertEqual(next(call), b"first")
                    server.child.kill()
                    with self.assertRaises(grpc.RpcError) as caught:
                        call.result() if name == "wait" else list(call)
                    wrong = (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
                    self.assertNotIn(caught.exception.code(), wrong)

    def test_a_server_that_is_not_there_is_unavailable(self):
        for door in DOORS:
            with self.subTest(door):
                client = self.client(self.proxy(support.free_port()), door)
                with self.assertRaises(grpc.RpcError) as caught:
                    client.unary(b"", timeout=TIMEOUT)
                self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_a_stream_lives_while_bytes_move_in_one_direction(self):
        server = grpc_service.Server()
        self.addCleanup(server.stop)
        short = 'timeouts = { request_body_idle = "700ms", response_body_idle = "700ms", response_header = "700ms" }\n'
        for door in DOORS:
            with self.subTest(door):
                client = self.client(self.proxy(server.port, short), door)
                call = client.stream(b"", timeout=TIMEOUT * 2)
                # The server sends every 50 ms; the client has said all it will.
                answers = [answer for answer, _ in zip(call, range(60))]
                self.assertEqual(len(answers), 60)
                call.cancel()


if __name__ == "__main__":
    support.main()
