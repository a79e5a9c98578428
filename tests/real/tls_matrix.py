"""What is agreed on with OpenSSL's client, one parameter at a time, and what testssl.sh finds."""

import json
import pathlib
import re
import tempfile
import threading
import unittest

import pki
import support
from backends import FunctionServer

ECDSA, RSA, MUTUAL = "ecdsa.test", "rsa.test", "mutual.test"
# What testssl.sh says of any private authority: it has no address for its revocation lists.
OF_A_PRIVATE_CA = {"cert_revocation", "cert_chain_of_trust", "cert_trust"}


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-matrix-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.folder, True)
        cls.servers = pki.Authority(cls.folder / "servers", "servers")
        cls.people = pki.Authority(cls.folder / "people", "people")
        ecdsa = cls.servers.sign("ecdsa", f"DNS:{ECDSA}", f"DNS:{MUTUAL}", days=90)
        rsa = cls.servers.sign("rsa", f"DNS:{RSA}", kind=("rsa:2048",))
        cls.alice = cls.people.sign("alice", "DNS:alice.test")
        cls.mallory = cls.servers.sign("mallory", "DNS:mallory.test")
        cls.backend = FunctionServer({"*": lambda handler: handler.reply(200, b"hello\n")})
        cls.addClassCleanup(cls.backend.close)

        def site(host, pair, auth=""):
            return (
                f'[sites."{host}"]\nproxy = "127.0.0.1:{cls.backend.port}"\n'
                f'tls = {{ cert = "{pair[0]}", key = "{pair[1]}"{auth} }}\n'
            )

        auth = f', client_auth = {{ mode = "require", ca = "{cls.people.root}" }}'
        cls.proxy = support.Proxy(site(ECDSA, ecdsa) + site(RSA, rsa) + site(MUTUAL, ecdsa, auth))
        cls.addClassCleanup(cls.proxy.close)
        cls.report = cls.folder / "testssl.json"
        cls.testssl = threading.Thread(target=cls.run_testssl, daemon=True)
        cls.testssl.start()

    @classmethod
    def run_testssl(cls):
        arguments = "--quiet --color 0 --warnings off --nodns none --ip 127.0.0.1 -p -s -f -P -S -U".split()
        cls.testssl_run = support.command(
            ["testssl", *arguments, "--add-ca", cls.servers.root, "--jsonfile", cls.report]
            + [f"https://{ECDSA}:{cls.proxy.https}"],
            timeout=600,
        )

    def client(self, host, *arguments, request=None, typed="Q\n"):
        """Exit code and everything `openssl s_client` prints; it closes after what is typed, or after an answer."""
        where = ["-connect", f"127.0.0.1:{self.proxy.https}", "-CAfile", self.servers.root]
        name = ["-noservername"] if host is None else ["-servername", host]
        run = support.command(
            ["openssl", "s_client", *where, *name, *(["-ign_eof"] if request else []), *arguments],
            input=request or typed,
        )
        return run.returncode, run.stdout + run.stderr

    def get(self, host):
        return f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

    def agreed(self, host, *arguments):
        code, text = self.client(host, "-verify_return_error", *arguments)
        self.assertEqual(code, 0, text)
        return text

    def refused(self, host, *arguments, alert=None):
        code, text = self.client(host, *arguments)
        self.assertNotEqual(code, 0, text)
        if alert:
            self.assertIn(alert, text)

    def test_versions(self):
        for version, spoken in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            with self.subTest(spoken):
                self.assertRegex(self.agreed(ECDSA, version), rf"New, {spoken}, Cipher is")
        for version in ("-tls1", "-tls1_1"):
            with self.subTest(version):
                self.refused(ECDSA, version, "-cipher", "ALL:@SECLEVEL=0", alert="alert handshake failure")

    def test_suites(self):
        for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
            with self.subTest(suite):
                self.assertIn(f"Cipher is {suite}", self.agreed(ECDSA, "-tls1_3", "-ciphersuites", suite))
        for host, kind in ((ECDSA, "ECDSA"), (RSA, "RSA")):
            for aead in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"):
                suite = f"ECDHE-{kind}-{aead}"
                with self.subTest(suite):
                    self.assertIn(f"Cipher is {suite}", self.agreed(host, "-tls1_2", "-cipher", suite))
            for weak in (f"ECDHE-{kind}-AES128-SHA256", f"ECDHE-{kind}-AES256-SHA", "AES128-GCM-SHA256", "AES128-SHA"):
                with self.subTest(f"{host} {weak}"):
                    cipher = ("-cipher", f"{weak}:@SECLEVEL=0")
                    self.refused(host, "-tls1_2", *cipher, alert="alert handshake failure")

    def test_groups(self):
        for group, said in (("X25519", "X25519, 253 bits"), ("P-256", "ECDH, prime256v1"), ("P-384", "ECDH, secp384r1")):
            for version in ("-tls1_2", "-tls1_3"):
                # With TLS 1.2 the curve of the certificate has to be among them.
                offered = group if version == "-tls1_3" or group == "P-256" else f"{group}:P-256"
                with self.subTest(f"{group} {version}"):
                    self.assertIn(f"Server Temp Key: {said}", self.agreed(ECDSA, version, "-groups", offered))
        for group in ("P-521", "X448", "ffdhe2048"):
            with self.subTest(group):
                self.refused(ECDSA, "-tls1_3", "-groups", group, alert="alert handshake failure")

    def test_signatures(self):
        table = [
            (ECDSA, "ecdsa_secp256r1_sha256", "ECDSA"),
            (RSA, "rsa_pss_rsae_sha256", "RSA-PSS"),
            (RSA, "rsa_pss_rsae_sha512", "RSA-PSS"),
        ]
        for host, scheme, said in table:
            with self.subTest(scheme):
                text = self.agreed(host, "-tls1_3", "-sigalgs", scheme)
                self.assertIn(f"Peer signature type: {said}", text)
        for host, scheme in ((ECDSA, "ecdsa_sha1"), (RSA, "rsa_pkcs1_sha1")):
            with self.subTest(scheme):
                self.refused(host, "-tls1_2", "-sigalgs", scheme, "-cipher", "ALL:@SECLEVEL=0")

    def test_server_names(self):
        for host in (ECDSA, RSA):
            with self.subTest(host):
                self.assertIn("Verify return code: 0", self.agreed(host, "-verify_hostname", host))
        self.assertIn("Verify return code: 0", self.agreed(ECDSA.upper(), "-verify_hostname", ECDSA))
        self.refused("nobody.test", alert="unrecognized name")
        self.assertIn("subject=CN = ecdsa", self.client(None)[1])

    def test_alpn(self):
        table = [("h2", "h2"), ("http/1.1", "http/1.1"), ("http/1.1,h2", "h2"), ("h3,http/1.1", "http/1.1")]
        for version in ("-tls1_2", "-tls1_3"):
            for offered, chosen in table:
                with self.subTest(f"{version} {offered}"):
                    self.assertIn(f"ALPN protocol: {chosen}", self.agreed(ECDSA, version, "-alpn", offered))
            self.assertIn("No ALPN negotiated", self.agreed(ECDSA, version))
            self.refused(ECDSA, version, "-alpn", "spdy/3", alert="alert number 120")

    def test_sessions(self):
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                path = self.folder / f"session{version}"
                # Tickets of TLS 1.3 come after the handshake: an answer is waited for.
                code, text = self.client(ECDSA, version, "-sess_out", path, request=self.get(ECDSA))
                self.assertIn("200 OK", text)
                text = self.client(ECDSA, version, "-sess_in", path, request=self.get(ECDSA))[1]
                self.assertRegex(text, r"\nReused, ")
                self.assertIn("200 OK", text)
                # The session is of one name.
                self.assertNotRegex(self.client(RSA, version, "-sess_in", path)[1], r"\nReused, ")

    def test_client_certificates(self):
        show = lambda pair: ("-cert", pair[0], "-key", pair[1])
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                text = self.client(MUTUAL, version, *show(self.alice), request=self.get(MUTUAL))[1]
                self.assertIn("200 OK", text)
                self.assertIn("Acceptable client certificate CA names\nCN = people", text)
                for who, pair in (("nobody", ()), ("a stranger", show(self.mallory))):
                    with self.subTest(f"{version} {who}"):
                        text = self.client(MUTUAL, version, *pair, request=self.get(MUTUAL))[1]
                        self.assertNotIn("200 OK", text)
                        self.assertRegex(text, "alert (certificate required|handshake failure|unknown ca)")
                self.assertIn("No client certificate CA names sent", self.agreed(ECDSA, version))

    def test_what_nobody_needs_is_not_there(self):
        text = self.agreed(ECDSA, "-tls1_2")
        self.assertIn("Secure Renegotiation IS supported", text)
        self.assertIn("Compression: NONE", text)
        self.assertIn("Extended master secret: yes", text)
        text = self.client(ECDSA, "-tls1_2", typed="R\n")[1]
        self.assertRegex(text, "RENEGOTIATING(.|\n)*:error:")
        self.assertNotIn("Early data was accepted", self.agreed(ECDSA, "-tls1_3"))

    def test_z_testssl_finds_nothing_high_or_medium(self):
        self.testssl.join(600)
        found = json.loads(self.report.read_text())
        self.assertGreater(len(found), 60, self.testssl_run.stdout)
        bad = [row for row in found if row["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
        self.assertEqual([row for row in bad if row["id"] not in OF_A_PRIVATE_CA], [])
        said = {row["id"]: row["finding"] for row in found}
        self.assertIn("offered", said["TLS1_3"])
        for old in ("SSLv2", "SSLv3", "TLS1", "TLS1_1"):
            self.assertRegex(said[old], "not offered")
        self.assertTrue(re.search("not vulnerable", said["heartbleed"]))


if __name__ == "__main__":
    support.main()
