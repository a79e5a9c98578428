"""Client certificates: who is let in, what servers hear of them, and that no session or connection crosses policies."""

import base64
import json
import pathlib
import socket
import ssl
import tempfile
import unittest

import pki
import support
from backends import FunctionServer
from h2raw import H2Client
from rawhttp import Client

OPEN, ASKED, MUST, OTHER = "open.test", "asked.test", "must.test", "other.test"
# What an operator may wait for a change to show.
SOON = 5.0


class Door:
    """One connection to `host` with or without a certificate; `get` gives status and what the server saw."""

    def __init__(self, suite, host, pair=None, session=None, context=None, version=None, alpn=()):
        self.context = context or suite.context(pair, version)
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        tcp = socket.create_connection(("127.0.0.1", suite.proxy.https), 10)
        self.host = host
        try:
            self.socket = self.context.wrap_socket(tcp, server_hostname=host, session=session)
        except BaseException:
            tcp.close()
            raise
        suite.addCleanup(self.socket.close)
        self.file = self.socket.makefile("rb")

    def get(self, host=None, *fields):
        lines = ["GET / HTTP/1.1", f"Host: {host or self.host}", *fields]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = self.file.readline()
        if not status:
            raise ConnectionError("closed without an answer")
        length = 0
        while (line := self.file.readline().strip()):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.file.read(length)
        return int(status.split()[1]), body


class Case(unittest.TestCase):
    """The authorities and certificates of the run, and a server that shows what it gets."""

    @classmethod
    def setUpClass(cls):
        def show(handler):
            handler.reply(200, json.dumps([[name.lower(), value] for name, value in handler.headers.items()]).encode())

        cls.backend = FunctionServer({"*": show})
        cls.addClassCleanup(cls.backend.close)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-clients-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.folder, True)
        cls.servers = pki.Authority(cls.folder / "servers", "servers")
        cls.people = pki.Authority(cls.folder / "people", "people")
        cls.strangers = pki.Authority(cls.folder / "strangers", "strangers")
        names = [f"DNS:{name}" for name in (OPEN, ASKED, MUST, OTHER)]
        cls.site_cert, cls.site_key = cls.servers.sign("site", *names)
        cls.alice = cls.people.sign(
            "alice", "email:alice@example.org", "URI:spiffe://example.org/alice", subject="/O=Example, Inc/CN=alice"
        )
        cls.mallory = cls.strangers.sign("mallory", "DNS:mallory.test")
        cls.late = cls.people.sign("late", "DNS:late.test", days=-1)
        cls.server_only = cls.people.sign("robot", "DNS:robot.test", usage="serverAuth")
        cls.revoked = cls.people.sign("revoked", "DNS:revoked.test")
        cls.crl = cls.people.crl(cls.revoked[0])

    @classmethod
    def site(cls, host, mode=None, ca=None, crl=None):
        auth = ""
        if mode:
            lists = f', crl = "{crl}"' if crl else ""
            auth = f', client_auth = {{ mode = "{mode}", ca = "{ca}"{lists} }}'
        words = "subject issuer serial fingerprint san not_after".split()
        rules = ", ".join(f'"X-{word}" = "{{tls.client.{word}}}"' for word in words)
        return f"""
[sites."{host}"]
proxy = "127.0.0.1:{cls.backend.port}"
tls = {{ cert = "{cls.site_cert}", key = "{cls.site_key}"{auth} }}
headers.request.set = {{ {rules} }}
"""

    def context(self, pair=None, version=None):
        context = ssl.create_default_context(cafile=self.servers.root)
        if version:
            context.maximum_version = version
        if pair:
            context.load_cert_chain(*pair)
        return context

    def saw(self, door, *fields):
        status, body = door.get(None, *fields)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def refused(self, host, pair, version=None):
        """The handshake, or with TLS 1.3 the first read after it, ends in an error."""
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            Door(self, host, pair, version=version).get()

    def logged(self, text):
        support.wait_until(lambda: text in self.proxy.output(), f"{text!r} in the log")

    def session(self, host, pair, version):
        """A context, and the session of a first connection that has been used."""
        context = self.context(pair, version)
        door = Door(self, host, context=context)
        self.assertEqual(door.get()[0], 200)
        self.assertFalse(door.socket.session_reused)
        return context, door.socket.session


class ClientAuth(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy = support.Proxy(
            cls.site(OPEN)
            + cls.site(ASKED, "request", cls.people.root)
            + cls.site(MUST, "require", cls.people.root, cls.crl)
            + cls.site(OTHER, "require", cls.strangers.root)
        )
        cls.addClassCleanup(cls.proxy.close)

    def test_a_required_certificate_lets_in_and_nothing_else_does(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version.name):
                self.assertEqual(Door(self, MUST, self.alice, version=version).get()[0], 200)
                for who, pair in (
                    ("nobody", None),
                    ("a stranger", self.mallory),
                    ("an expired one", self.late),
                    ("a server", self.server_only),
                    ("a revoked one", self.revoked),
                ):
                    with self.subTest(who):
                        self.refused(MUST, pair, version)
        self.logged("the client shows no certificate, and the site requires one (alert certificate_required sent)")
        self.logged("the client's certificate is not accepted: none of client_auth.ca has signed it")
        self.logged("the client's certificate is not accepted: it has expired")
        self.logged("the client's certificate is not accepted: it is not for clients (extended key usage)")
        self.logged("the client's certificate is not accepted: it is revoked (client_auth.crl)")

    def test_the_alert_arrives_where_the_request_was_sent_along(self):
        """With TLS 1.3 a client may send before it hears whether it is let in: nothing of it may reset the connection."""
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context().wrap_bio(coming, going, server_hostname=MUST)
        with socket.create_connection(("127.0.0.1", self.proxy.https), 10) as tcp:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    tcp.sendall(going.read())
                    coming.write(tcp.recv(65536))
            tls.write(f"POST / HTTP/1.1\r\nHost: {MUST}\r\nContent-Length: 50000\r\n\r\n".encode() + bytes(50_000))
            tcp.sendall(going.read())
            while data := tcp.recv(65536):
                coming.write(data)
        with self.assertRaisesRegex(ssl.SSLError, "certificate required"):
            tls.read()

    def test_a_requested_certificate_may_be_missing_but_not_wrong(self):
        fields = dict(self.saw(Door(self, ASKED)))
        self.assertNotIn("client-cert", fields)
        self.assertEqual(fields["x-subject"], "")
        self.assertIn("client-cert", dict(self.saw(Door(self, ASKED, self.alice))))
        self.refused(ASKED, self.mallory)

    def test_a_server_hears_who_came_and_nobody_else_can_say_it(self):
        forged = ("Client-Cert: :Zm9yZ2Vk:", "Client-Cert-Chain: :Zm9yZ2Vk:", "Client_Cert: x", "X-Subject: CN=root")
        der = ssl.PEM_cert_to_DER_cert(pathlib.Path(self.alice[0]).read_text())
        run = support.command(["openssl", "x509", "-in", self.alice[0], "-noout", "-serial", "-fingerprint", "-sha256"])
        serial, fingerprint = (line.partition("=")[2] for line in run.stdout.splitlines())
        fields = self.saw(Door(self, MUST, self.alice), *forged)
        self.assertEqual(
            [value for name, value in fields if "client" in name and name != "x-forwarded-client-cert"],
            [":" + base64.b64encode(der).decode() + ":"],
        )
        fields = dict(fields)
        self.assertEqual(fields["x-subject"], "CN=alice,O=Example\\, Inc")
        self.assertEqual(fields["x-issuer"], "CN=people")
        self.assertEqual(fields["x-serial"].lstrip("0"), serial.lstrip("0"))
        self.assertEqual(fields["x-fingerprint"], fingerprint.replace(":", "").lower())
        self.assertEqual(fields["x-san"], "email:alice@example.org, URI:spiffe://example.org/alice")
        self.assertRegex(fields["x-not_after"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        names = [name for name, _ in self.saw(Door(self, OPEN), *forged)]
        self.assertNotIn("client-cert", names)
        self.assertNotIn("client-cert-chain", names)

    def test_the_certificates_between_go_on_as_client_cert_chain(self):
        chain = self.folder / "chain.pem"
        chain.write_bytes(pathlib.Path(self.alice[0]).read_bytes() + self.people.root.read_bytes())
        fields = dict(self.saw(Door(self, MUST, (chain, self.alice[1]))))
        root = ssl.PEM_cert_to_DER_cert(self.people.root.read_text())
        self.assertEqual(fields["client-cert-chain"], ":" + base64.b64encode(root).decode() + ":")

    def test_a_connection_of_one_policy_carries_no_request_of_another(self):
        table = [
            (OPEN, None, MUST, 421),
            (OPEN, None, ASKED, 421),
            (ASKED, self.alice, MUST, 421),
            (MUST, self.alice, OPEN, 421),
            (MUST, self.alice, OTHER, 421),
            (MUST, self.alice, MUST, 200),
            (OPEN, None, OPEN, 200),
        ]
        for sni, pair, host, expected in table:
            with self.subTest(f"{sni} then {host}"):
                self.assertEqual(Door(self, sni, pair).get(host)[0], expected)

    def test_nor_over_http_2(self):
        fields = lambda host: ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host))
        with H2Client(self.proxy.https, self.servers.root, OPEN) as client:
            client.headers(1, fields(MUST))
            self.assertEqual(client.answer(1).status, 421)
            client.headers(3, fields(OPEN))
            self.assertEqual(client.answer(3).status, 200)

    def test_a_client_without_sni_gets_nowhere_that_asks(self):
        context = self.context(self.alice)
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", self.proxy.https), 10) as tcp:
            with context.wrap_socket(tcp) as tls:
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {MUST}\r\nConnection: close\r\n\r\n".encode())
                self.assertIn(b" 421 ", tls.makefile("rb").readline())

    def test_a_ticket_of_one_policy_is_none_of_another(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context, session = self.session(ASKED, self.alice, version)
            again = Door(self, ASKED, context=context, session=session)
            self.assertTrue(again.socket.session_reused, version.name)
            self.assertIn("client-cert", dict(self.saw(again)), "a resumed session is still alice's")
            for host, pair in ((OPEN, self.alice), (MUST, self.alice), (OTHER, self.mallory)):
                with self.subTest(f"{version.name} {host}"):
                    context, session = self.session(ASKED, pair if host != OTHER else None, version)
                    if host == OTHER:
                        # The same context, with the certificate that this one wants.
                        context.load_cert_chain(*self.mallory)
                    other = Door(self, host, context=context, session=session)
                    self.assertFalse(other.socket.session_reused)

    def test_an_open_session_resumes_nothing_that_asks(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version.name):
                context, session = self.session(OPEN, None, version)
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    Door(self, MUST, context=context, session=session).get()

    def test_the_plain_door_only_redirects(self):
        client = Client(self.proxy.http)
        self.addCleanup(client.socket.close)
        client.send(f"GET / HTTP/1.1\r\nHost: {MUST}\r\n\r\n".encode())
        self.assertEqual(client.answer().status, 308)


class Changes(Case):
    """A proxy with lists and roots that are replaced while it runs."""

    def setUp(self):
        self.list = self.people.crl(self.revoked[0], path=self.folder / f"{self.id()}.crl")
        self.live = self.folder / f"{self.id()}.pem"
        self.live.write_bytes(self.people.root.read_bytes())
        self.proxy = support.Proxy(self.site(MUST, "require", self.live, self.list))
        self.addCleanup(self.proxy.close)
        self.bob = self.people.sign("bob", "DNS:bob.test")

    def generation(self, number):
        support.wait_until(lambda: f"generation {number}" in self.proxy.output(), f"generation {number}", SOON)

    def test_who_is_revoked_stays_out_from_then_on_and_cannot_resume(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version.name):
                self.people.crl(self.revoked[0], path=self.list)
                support.wait_until(lambda: self.comes_in(self.bob), "bob comes in", SOON)
                context, session = self.session(MUST, self.bob, version)
                self.people.crl(self.revoked[0], self.bob[0], path=self.list)
                support.wait_until(lambda: not self.comes_in(self.bob), "the new list holds", SOON)
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    Door(self, MUST, context=context, session=session).get()

    def comes_in(self, pair):
        try:
            return Door(self, MUST, pair).get()[0] == 200
        except (ssl.SSLError, ConnectionError):
            return False

    def test_a_connection_of_replaced_roots_carries_no_further_request(self):
        door = Door(self, MUST, self.alice)
        self.assertEqual(door.get()[0], 200)
        fresh = self.live.with_suffix(".new")
        fresh.write_bytes(self.strangers.root.read_bytes())
        # Its list goes with the roots: strangers have none, so nobody could come in.
        fresh.replace(self.live)
        self.generation(2)
        self.assertEqual(door.get()[0], 421)

    def test_a_half_written_list_changes_nothing(self):
        whole = self.list.read_bytes()
        self.list.write_bytes(whole[: len(whole) // 2])
        support.wait_until(lambda: "the last good ones stay" in self.proxy.output(), "the problem is said", SOON)
        self.assertIn("` is damaged or still being written", self.proxy.output())
        self.assertTrue(self.comes_in(self.alice))
        self.assertFalse(self.comes_in(self.revoked))


if __name__ == "__main__":
    support.main()
