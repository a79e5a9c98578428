"""Real clients through both doors, each verifying against the development root of `vestibule ca path`."""

import pathlib
import socket
import ssl
import unittest

import support
from backends import FunctionServer

NODE = """
const https = require('https'), fs = require('fs');
const [port, ca, host] = process.argv.slice(1);
const options = { host: '127.0.0.1', port, servername: host, headers: { Host: host }, ca: fs.readFileSync(ca) };
https.get(options, (res) => {
  res.on('data', (data) => process.stdout.write(`${res.statusCode} ${res.socket.authorized} ${data}`));
}).on('error', (error) => { console.error(error.message); process.exit(1); });
"""
PYTHON = """
import socket, ssl, sys
port, ca, host = sys.argv[1:]
with socket.create_connection(("127.0.0.1", int(port))) as tcp:
    with ssl.create_default_context(cafile=ca).wrap_socket(tcp, server_hostname=host) as tls:
        tls.sendall(f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        print(tls.version(), tls.makefile("rb").read().decode().partition("\\r\\n\\r\\n")[2], end="")
"""


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = FunctionServer({"/": lambda handler: handler.reply(200, b"whole\n")})
        cls.addClassCleanup(cls.backend.close)
        cls.folder = pathlib.Path(support.tempfile.mkdtemp(prefix="vestibule-clients-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.folder, True)
        cls.cert, key = support.make_certificate(cls.folder, "filed.test")
        filed = f'tls = {{ cert = "{cls.cert}", key = "{key}" }}'
        target = f"127.0.0.1:{cls.backend.port}"
        cls.proxy = support.Proxy(support.site(target) + support.site(target, "filed.test", filed))
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()
        cls.plain, cls.secure = (origin + "/" for _, origin in cls.proxy.doors())

    def curl_facts(self, url, *arguments):
        facts = "%{http_version} %{ssl_verify_result} %{http_code}"
        return support.curl(self.proxy, "-o", "/dev/null", "-w", facts, *arguments, url)

    def test_the_root_is_a_certificate_and_holds_no_key(self):
        text = pathlib.Path(self.ca).read_text()
        self.assertIn("BEGIN CERTIFICATE", text)
        self.assertNotIn("PRIVATE KEY", text)

    def test_private_keys_are_readable_by_their_owner_only(self):
        for path in self.proxy.work.rglob("*"):
            if path.is_file() and "PRIVATE KEY" in path.read_text(errors="replace"):
                self.assertEqual(path.stat().st_mode & 0o077, 0, path.name)

    def test_curl_speaks_every_version(self):
        self.assertEqual(self.curl_facts(self.plain), "1.1 0 200")
        self.assertEqual(self.curl_facts(self.plain, "--http1.0"), "1.1 0 200")
        self.assertEqual(self.curl_facts(self.secure, "--http1.1"), "1.1 0 200")
        self.assertEqual(self.curl_facts(self.secure, "--http2"), "2 0 200")
        self.assertEqual(self.curl_facts(self.secure, "--tlsv1.3"), "2 0 200")
        self.assertEqual(self.curl_facts(self.secure, "--tls-max", "1.2"), "2 0 200")

    def test_curl_refuses_without_the_root(self):
        port = self.proxy.https
        run = support.command(["curl", "-sS", "--resolve", f"{support.HOST}:{port}:127.0.0.1", self.secure])
        self.assertEqual(run.returncode, 60, run.stderr)

    def test_two_hundred_requests_over_one_http_2_connection(self):
        out = support.curl(self.proxy, "--http2", "--parallel", "-w", "%{num_connects}\n", *([self.secure] * 200))
        self.assertEqual(out.count("whole\n"), 200)

    def s_client(self, *arguments, send="", name=support.HOST):
        run = support.command(
            [
                "openssl",
                "s_client",
                "-connect",
                f"127.0.0.1:{self.proxy.https}",
                "-servername",
                name,
                "-verify_return_error",
                "-CAfile",
                self.ca,
                *arguments,
            ],
            input=send,
        )
        return run.stdout + run.stderr

    def test_openssl_verifies_both_versions(self):
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            with self.subTest(version):
                said = self.s_client(option, "-verify_hostname", support.HOST)
                self.assertIn("Verify return code: 0 (ok)", said)
                self.assertIn(version, said)

    def test_openssl_is_offered_nothing_old(self):
        weak = {"TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
                "CBC": ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"],
                "RSA key exchange": ["-tls1_2", "-cipher", "AES128-GCM-SHA256"]}  # fmt: skip
        for name, arguments in weak.items():
            with self.subTest(name):
                self.assertIn("Cipher is (NONE)", self.s_client(*arguments))

    def test_openssl_resumes_a_session_in_both_versions(self):
        head = f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\nConnection: close\r\n\r\n"
        for option in ("-tls1_2", "-tls1_3"):
            with self.subTest(option):
                saved = self.folder / f"session{option}"
                self.s_client(option, "-ign_eof", "-sess_out", saved, send=head)
                said = self.s_client(option, "-ign_eof", "-sess_in", saved, send=head)
                self.assertIn("Reused, TLSv1", said)
                self.assertIn("whole", said)

    def test_alpn_is_h2_then_http_1_1_and_nothing_else(self):
        for offered, chosen in (
            (["h2", "http/1.1"], "h2"),
            (["http/1.1", "h2"], "h2"),
            (["http/1.1"], "http/1.1"),
            ([], None),
        ):
            with self.subTest(offered):
                context = ssl.create_default_context(cafile=self.ca)
                if offered:
                    context.set_alpn_protocols(offered)
                with socket.create_connection(("127.0.0.1", self.proxy.https)) as tcp:
                    with context.wrap_socket(tcp, server_hostname=support.HOST) as tls:
                        self.assertEqual(tls.selected_alpn_protocol(), chosen)
        self.assertIn("no application protocol", self.s_client("-alpn", "foo").lower())

    def test_a_name_nobody_serves_gets_an_alert(self):
        self.assertIn("unrecognized name", self.s_client(name="nobody.test").lower())

    def test_a_configured_certificate_is_chosen_by_its_name(self):
        port = self.proxy.https
        run = support.command(
            [
                "curl",
                "-sS",
                "--cacert",
                self.cert,
                "--resolve",
                f"filed.test:{port}:127.0.0.1",
                f"https://filed.test:{port}/",
            ]
        )
        self.assertEqual((run.returncode, run.stdout), (0, "whole\n"), run.stderr)

    def test_the_leaf_is_short_lived_and_for_exact_names(self):
        path = self.folder / "leaf.pem"
        path.write_text(self.leaf())
        text = support.command(["openssl", "x509", "-in", path, "-noout", "-text"]).stdout
        self.assertIn(f"DNS:{support.HOST}", text)
        self.assertIn("TLS Web Server Authentication", text)
        self.assertEqual(
            support.command(["openssl", "x509", "-in", path, "-noout", "-checkend", str(91 * 86400)]).returncode, 1
        )

    def leaf(self):
        context = ssl.create_default_context(cafile=self.ca)
        with socket.create_connection(("127.0.0.1", self.proxy.https)) as tcp:
            with context.wrap_socket(tcp, server_hostname=support.HOST) as tls:
                return ssl.DER_cert_to_PEM_cert(tls.getpeercert(True))

    def test_python_verifies(self):
        run = support.command([support.sys.executable, "-c", PYTHON, self.proxy.https, self.ca, support.HOST])
        self.assertEqual((run.returncode, run.stdout), (0, "TLSv1.3 whole\n"), run.stderr)

    def test_node_verifies(self):
        run = support.command(["node", "-e", NODE, self.proxy.https, self.ca, support.HOST])
        self.assertEqual((run.returncode, run.stdout), (0, "200 true whole\n"), run.stderr)


if __name__ == "__main__":
    support.main()
