"""TLS to backends: who is verified against what, what is said when it fails, SNI, ALPN, client certificates, reuse."""

import pathlib
import re
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import unittest

import support
from h2server import H2Server
from pki import Authority
from rawhttp import Client, read_request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class TlsServer:
    """An HTTP/1.1 server over TLS. It answers with the number of its connection, or with the body it got.

    `names` has the SNI of each handshake, `alpn` what was agreed on, `peers` the certificate of each client,
    `resumed` whether its session was, `failures` what broke.
    """

    def __init__(self, cert, key, ca=None, alpn=(), close_after=None, tls12=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        if tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        self.names, self.alpn, self.peers, self.resumed, self.failures = [], [], [], [], []
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self.context, self.close_after = context, close_after
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        number = 0
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._serve, args=(peer, number), daemon=True).start()

    def _serve(self, peer, number):
        try:
            peer.settimeout(support.PATIENCE)
            with self.context.wrap_socket(peer, server_side=True) as tls:
                self.alpn.append(tls.selected_alpn_protocol())
                self.peers.append(tls.getpeercert())
                self.resumed.append(tls.session_reused)
                answered = 0
                while found := read_whole(tls):
                    message, _ = read_request(found)
                    body = message.body or b"%d" % number
                    tls.sendall(ANSWER % (len(body), body))
                    answered += 1
                    if answered == self.close_after:
                        return
        except (OSError, ValueError) as failure:
            self.failures.append(failure)

    def close(self):
        self.listener.close()


def read_whole(tls):
    """The octets of one request with a length or without a body; each piece is looked at once."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        if not (data := tls.recv(65536)):
            return None
        octets += data
    head, _, body = octets.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
    pieces, left = [octets], int(length[1]) - len(body) if length else 0
    while left > 0 and (data := tls.recv(65536)):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)


def ask(proxy, body=b"", method=None, path="/"):
    """The answer to one request on the plain door."""
    with Client(proxy.http, timeout=support.PATIENCE) as client:
        client.send(request(body, method, path))
        return client.answer()


def request(body=b"", method=None, path="/"):
    method = method or ("POST" if body else "GET")
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {support.HOST}\r\n{length}\r\n".encode() + body


class UpstreamTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-pki-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.ours, cls.other = Authority(cls.folder / "ours"), Authority(cls.folder / "other", "other root")
        cls.good = cls.ours.sign("backend", "DNS:api.internal", "DNS:localhost")
        cls.by_ip = cls.ours.sign("by-ip", "IP:127.0.0.1")
        cls.expired = cls.ours.sign("expired", "DNS:api.internal", days=-1)
        cls.us = cls.ours.sign("us", "DNS:proxy.internal")

    def server(self, pair, **options):
        server = TlsServer(*pair, **options)
        self.addCleanup(server.close)
        return server

    def proxy(self, port, tls="", host="127.0.0.1", extra="", environment=None):
        upstream = f'[upstreams.app]\nservers = ["https://{host}:{port}"]\n{extra}\n'
        if tls:
            upstream += f"tls = {{ {tls} }}\n"
        kind = type("Proxy", (support.Proxy,), {})
        if environment:
            kind.environment = lambda self: {**support.Proxy.environment(self), **environment}
        proxy = kind(f'[sites."{support.HOST}"]\nupstream = "app"\nhttp = "serve"\n{upstream}')
        self.addCleanup(proxy.close)
        return proxy

    def expect_refused(self, proxy, why, *words):
        answer = ask(proxy)
        self.assertEqual(answer.status, 502)
        self.assertIn(why, answer.value("proxy-status"))
        for word in words:
            support.wait_until(lambda: word in proxy.output(), f"the log says {word!r}:\n{proxy.output()}")

    @property
    def trust(self):
        return f'ca = "{self.ours.root}", server_name = "api.internal"'

    def test_a_verified_server_answers_and_sees_the_server_name_in_sni(self):
        server = self.server(self.good)
        proxy = self.proxy(server.port, self.trust)
        self.assertEqual(ask(proxy).status, 200)
        self.assertEqual((server.names, server.alpn), (["api.internal"], [None]))

    def test_the_name_expected_is_the_host_of_the_address(self):
        server = self.server(self.good)
        proxy = self.proxy(server.port, f'ca = "{self.ours.root}"', host="localhost")
        self.assertEqual(ask(proxy).status, 200)
        self.assertEqual(server.names, ["localhost"])

    def test_an_address_is_verified_as_an_address_and_sends_no_sni(self):
        server = self.server(self.by_ip)
        proxy = self.proxy(server.port, f'ca = "{self.ours.root}"')
        self.assertEqual(ask(proxy).status, 200)
        self.assertEqual(server.names, [None])

    def test_a_certificate_for_another_name_is_refused_and_the_log_says_both(self):
        server = self.server(self.good)
        proxy = self.proxy(server.port, f'ca = "{self.ours.root}", server_name = "shop.internal"')
        self.expect_refused(proxy, "upstream.tls_certificate", "shop.internal", "api.internal, localhost")

    def test_an_expired_certificate_is_refused(self):
        proxy = self.proxy(self.server(self.expired).port, self.trust)
        self.expect_refused(proxy, "upstream.tls_certificate", "it has expired")

    def test_an_unknown_root_is_refused(self):
        proxy = self.proxy(self.server(self.good).port, f'ca = "{self.other.root}", server_name = "api.internal"')
        self.expect_refused(proxy, "upstream.tls_certificate", "its issuer is not trusted", "test root")

    def test_without_ca_the_roots_of_the_system_decide(self):
        server = self.server(self.good)
        proxy = self.proxy(server.port, host="localhost")
        self.expect_refused(proxy, "upstream.tls_certificate", "its issuer is not trusted")
        proxy = self.proxy(server.port, host="localhost", environment={"SSL_CERT_FILE": str(self.ours.root)})
        self.assertEqual(ask(proxy).status, 200)

    def test_a_system_without_roots_falls_back_to_the_built_in_ones(self):
        empty = self.folder / "no-roots"
        empty.mkdir(exist_ok=True)
        nowhere = {"SSL_CERT_DIR": str(empty), "SSL_CERT_FILE": str(empty / "none.pem")}
        proxy = self.proxy(self.server(self.good).port, host="localhost", environment=nowhere)
        self.expect_refused(proxy, "upstream.tls_certificate", "its issuer is not trusted")
        self.assertIn("built-in", proxy.output())

    def test_verify_false_takes_any_certificate_and_warns(self):
        server = self.server(self.expired)
        proxy = self.proxy(server.port, "verify = false")
        self.assertEqual(ask(proxy).status, 200)
        self.assertIn("certificates of this upstream are not verified", proxy.output())

    def test_a_server_that_asks_for_a_certificate_gets_ours(self):
        server = self.server(self.good, ca=self.ours.root)
        ours = f'{self.trust}, client_cert = "{self.us[0]}", client_key = "{self.us[1]}"'
        self.assertEqual(ask(self.proxy(server.port, ours)).status, 200)
        self.assertIn((("commonName", "us"),), server.peers[0]["subject"])

    def test_a_server_that_gets_no_certificate_from_us_is_a_tls_failure(self):
        for tls12 in (False, True):
            with self.subTest("TLS 1.2" if tls12 else "TLS 1.3"):
                server = self.server(self.good, ca=self.ours.root, tls12=tls12)
                self.expect_refused(self.proxy(server.port, self.trust), "upstream.tls_handshake", "WARN upstream")

    def test_a_server_of_h2_that_gets_no_certificate_from_us_is_a_tls_failure(self):
        server = self.server(self.good, ca=self.ours.root, alpn=("h2",))
        proxy = self.proxy(server.port, self.trust, extra='protocol = "h2"')
        self.expect_refused(proxy, "upstream.tls_handshake", "tls.client_cert")

    def test_a_port_without_tls_is_a_tls_failure(self):
        def talk(listener):
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=talk, args=(listener,), daemon=True).start()
            proxy = self.proxy(listener.getsockname()[1], self.trust)
            self.expect_refused(proxy, "upstream.tls_handshake", "TLS handshake with api.internal failed")

    def test_a_handshake_that_stalls_ends_with_the_connect_timeout(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            proxy = support.Proxy(
                f'[sites."{support.HOST}"]\nproxy = "https://127.0.0.1:{port}"\nhttp = "serve"\n'
                'timeouts = { connect = "300ms" }\n'
            )
            self.addCleanup(proxy.close)
            answer = ask(proxy)
            self.assertEqual(answer.status, 504)
            self.assertIn("upstream.connect_timeout", answer.value("proxy-status"))

    def test_http_1_1_is_what_alpn_offers_by_default(self):
        server = self.server(self.good, alpn=("h2", "http/1.1"))
        self.assertEqual(ask(self.proxy(server.port, self.trust)).status, 200)
        self.assertEqual(server.alpn, ["http/1.1"])

    def test_h2_that_a_server_does_not_agree_to_is_told_apart(self):
        for alpn in ((), ("http/1.1",)):
            with self.subTest(alpn=alpn):
                server = self.server(self.good, alpn=alpn)
                proxy = self.proxy(server.port, self.trust, extra='protocol = "h2"')
                self.expect_refused(proxy, "upstream.tls_alpn")

    def test_h2_by_alpn(self):
        server = H2Server(tls=self.good)
        self.addCleanup(server.close)
        proxy = self.proxy(server.port, self.trust, extra='protocol = "h2"')
        answers = [ask(proxy, b"x" * 1000) for _ in range(20)]
        self.assertEqual([(answer.status, answer.body) for answer in answers], [(200, b"x" * 1000)] * 20)
        self.assertEqual({fields[":scheme"] for fields in server.heads}, {"https"})
        self.assertLessEqual(server.connections, 8)

    def test_a_websocket_gets_a_connection_of_http_1_1_from_an_h2_upstream(self):
        server = self.server(self.good, alpn=("h2", "http/1.1"))
        proxy = self.proxy(server.port, self.trust, extra='protocol = "h2"')
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            client.send(request()[:-2] + fields.encode() + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
            self.assertEqual(client.answer().status, 200)
        self.assertEqual(server.alpn, ["http/1.1"])

    def test_a_hundred_requests_use_one_connection(self):
        server = self.server(self.good)
        proxy = self.proxy(server.port, self.trust)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            answers = set()
            for number in range(100):
                client.send(request(method="GET" if number % 2 else "DELETE"))
                answers.add(client.answer().body)
        self.assertEqual(answers, {b"1"})

    def test_sessions_are_resumed(self):
        for tls12 in (False, True):
            with self.subTest("TLS 1.2" if tls12 else "TLS 1.3"):
                server = self.server(self.good, close_after=1, tls12=tls12)
                proxy = self.proxy(server.port, self.trust)
                with Client(proxy.http, timeout=support.PATIENCE) as client:
                    for _ in range(10):
                        client.send(request())
                        self.assertEqual(client.answer().status, 200)
                self.assertIn(True, server.resumed)

    def test_no_post_is_lost_to_a_server_that_closes_between_requests(self):
        server = self.server(self.good, close_after=3)
        proxy = self.proxy(server.port, self.trust)
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            statuses = []
            for _ in range(60):
                client.send(request(b"body"))
                statuses.append(client.answer().status)
        # The end of a connection that comes while a request is on its way is the server's fault, and seldom.
        self.assertGreaterEqual(statuses.count(200), 55)

    def test_large_bodies_arrive_whole_both_ways(self):
        body = bytes(range(256)) * 20480
        proxy = self.proxy(self.server(self.good).port, self.trust)
        answer = ask(proxy, body)
        self.assertEqual(answer.body, body)

    def test_a_root_that_is_replaced_counts_without_a_restart(self):
        root = self.folder / "changing.pem"
        root.write_bytes(self.other.root.read_bytes())
        server = self.server(self.good)
        proxy = self.proxy(server.port, f'ca = "{root}", server_name = "api.internal"')
        self.assertEqual(ask(proxy).status, 502)
        new = self.folder / "new.pem"
        new.write_bytes(self.ours.root.read_bytes())
        new.rename(root)
        support.wait_until(lambda: ask(proxy).status == 200, f"the new root counts:\n{proxy.output()}")

    def test_a_reload_changes_the_name_that_is_expected_and_ends_old_connections(self):
        proxy = self.proxy(self.server(self.good).port, self.trust)
        self.assertEqual(ask(proxy).status, 200)
        proxy.config.write_text(proxy.config.read_text().replace("api.internal", "other.internal"))
        proxy.child.send_signal(signal.SIGHUP)
        support.wait_until(lambda: "reloaded in" in proxy.output(), "the reload ends")
        support.wait_until(lambda: ask(proxy).status == 502, "the new name counts")

    def test_files_that_are_wrong_are_told_before_the_start(self):
        cases = {
            'ca = "missing.pem"': "cert-not-found",
            f'ca = "{self.us[1]}"': "not-pem",
            f'client_cert = "{self.us[0]}", client_key = "{self.good[1]}"': "key-mismatch",
        }
        for tls, code in cases.items():
            with self.subTest(code):
                config = self.folder / "bad.toml"
                config.write_text(
                    '[listeners]\nhttps = "off"\n[sites]\n"a.localhost" = { upstream = "app", http = "serve" }\n'
                    f'[upstreams.app]\nservers = ["https://127.0.0.1:1"]\ntls = {{ {tls} }}\n'
                )
                run = support.command([support.BINARY, "check", "--config", config])
                self.assertNotEqual(run.returncode, 0)
                self.assertIn(f"error[{code}]", run.stderr)


if __name__ == "__main__":
    support.main()
