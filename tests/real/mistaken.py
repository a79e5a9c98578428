"""A site whose certificate files are wrong beside a good one: the ways to be wrong, and the proxy that serves both.

The files are made with openssl for this run.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import tempfile
import unittest

import pki
import support
from mistakes import certificate, openssl
from rawhttp import Client

GOOD, SHOP = "good.example.com", "shop.example.com"
NOBODY = 65534


@dataclasses.dataclass
class Mistake:
    """`make` puts the wrong files into a folder that has the right ones as site.crt, site.key, clients.pem and clients.crl."""

    name: str
    code: str
    make: object
    # The site is served all the same.
    served: bool = False
    # What `check` needs to fail for it.
    check: tuple = ()
    tls: str = 'cert = "site.crt", key = "site.key"'
    nobody: bool = False


def moved(name):
    return lambda folder, certs: (folder / name).rename(folder / f"{name}.away")


def replaced(name, by):
    return lambda folder, certs: shutil.copy(certs / by, folder / name)


def written(name, text):
    return lambda folder, certs: (folder / name).write_text(text)


def swapped(folder, _):
    cert, key = (folder / "site.crt").read_bytes(), (folder / "site.key").read_bytes()
    (folder / "site.crt").write_bytes(key)
    (folder / "site.key").write_bytes(cert)


def halved(name):
    def make(folder, _):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return make


def unreadable(name):
    return lambda folder, certs: (folder / name).chmod(0)


def both(first, second):
    return lambda folder, certs: (replaced("site.crt", first)(folder, certs), replaced("site.key", second)(folder, certs))


AUTH = 'cert = "site.crt", key = "site.key", client_auth = { mode = "require", ca = "clients.pem", crl = "clients.crl" }'
MISTAKES = [
    Mistake("cert-missing", "cert-not-found", moved("site.crt")),
    Mistake("key-missing", "key-not-found", moved("site.key")),
    Mistake("key-mismatch", "key-mismatch", replaced("site.key", "other.key")),
    Mistake("expired", "cert-expired", both("old.crt", "old.key"), served=True),
    Mistake("other-name", "cert-name-mismatch", both("other.crt", "other.key"), served=True, check=("--deny-warnings",)),
    Mistake("der", "not-pem", replaced("site.crt", "shop.der")),
    Mistake("empty", "not-pem", written("site.crt", "")),
    Mistake("half-written", "not-pem", halved("site.crt")),
    Mistake("swapped", "not-pem", swapped),
    Mistake("encrypted", "not-pem", replaced("site.key", "encrypted.key")),
    Mistake("weak-key", "key-unsupported", replaced("site.key", "weak.key")),
    Mistake("cert-unreadable", "cert-unreadable", unreadable("site.crt"), nobody=True),
    Mistake("key-unreadable", "key-unreadable", unreadable("site.key"), nobody=True),
    Mistake("client-ca-missing", "cert-not-found", moved("clients.pem"), tls=AUTH),
    Mistake("client-ca-empty", "not-pem", written("clients.pem", ""), tls=AUTH),
    Mistake("client-crl-missing", "bad-crl", moved("clients.crl"), tls=AUTH),
    Mistake("client-crl-damaged", "bad-crl", halved("clients.crl"), tls=AUTH),
    Mistake("client-crl-der", "bad-crl", replaced("clients.crl", "crl.der"), tls=AUTH),
]


def sites(tls, mode="redirect"):
    return (
        f'[sites."{GOOD}"]\nproxy = "builtin:show"\ntls = {{ cert = "good.crt", key = "good.key" }}\n'
        f'[sites."{SHOP}"]\nproxy = "builtin:show"\nhttp = "{mode}"\ntls = {{ {tls} }}\n'
    )


class Beside(support.Proxy):
    """vestibule with the site of a mistake beside a good one; `prepare` fills its folder before it starts."""

    def __init__(self, text, prepare, nobody=False, **options):
        self.prepare, self.nobody = prepare, nobody
        super().__init__(text, **options)

    def program(self):
        self.prepare(self.work)
        if not self.nobody:
            return support.BINARY
        # A user who owns nothing here, and may write the folder.
        self.work.chmod(0o777)
        self.tmpdir.chmod(0o777)
        script, copy = self.work / "as-nobody", self.work / "vestibule"
        shutil.copy(support.BINARY, copy)
        drop = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all"
        script.write_text(f'#!/bin/sh\nexec {drop} {copy} "$@"\n')
        script.chmod(0o755)
        return script

    def ask(self, *words):
        """Runs another command with the same config, as the same user, in its folder."""
        program = self.work / "as-nobody" if self.nobody else support.BINARY
        environment = {**os.environ, **self.environment()}
        return support.command([program, *words, "--config", "vestibule.toml"], cwd=self.work, env=environment)

    def operate(self, *words):
        """Talks to the running process."""
        environment = {**os.environ, **self.environment()}
        return support.command([support.BINARY, *words, "--config", self.config], env=environment)

    def live(self):
        run = self.operate("status", "--json")
        if run.returncode != 0:
            raise AssertionError(run.stderr)
        return json.loads(run.stdout)


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.certs = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.certs)
        for name, host, days in (("good", GOOD, 30), ("shop", SHOP, 30), ("other", "other.example.com", 30), ("old", SHOP, -1)):
            certificate(cls.certs, name, host, days)
        openssl("x509", "-in", cls.certs / "shop.crt", "-outform", "DER", "-out", cls.certs / "shop.der")
        openssl("pkcs8", "-topk8", "-in", cls.certs / "shop.key", "-passout", "pass:x", "-out", cls.certs / "encrypted.key")
        openssl("genrsa", "-out", cls.certs / "weak.key", "1024")
        cls.people = pki.Authority(cls.certs / "people", "people")
        cls.alice = cls.people.sign("alice", "email:alice@example.org")
        cls.crl = cls.people.crl()
        openssl("crl", "-in", cls.crl, "-outform", "DER", "-out", cls.certs / "crl.der")
        for key in cls.certs.glob("*.key"):
            key.chmod(0o600)

    def install(self, folder, nobody=False):
        """The right files of both sites, each by a rename, as a tool that renews them does it."""
        files = {"good.crt": "good.crt", "good.key": "good.key", "site.crt": "shop.crt", "site.key": "shop.key"}
        for name, source in {**files, "clients.pem": self.people.root, "clients.crl": self.crl}.items():
            fresh = folder / "fresh.tmp"
            shutil.copy(self.certs / source, fresh)
            if nobody:
                os.chown(fresh, NOBODY, NOBODY)
            os.replace(fresh, folder / name)

    def start(self, mistake, mode="redirect", **options):
        def prepare(folder):
            self.install(folder, mistake.nobody)
            mistake.make(folder, self.certs)

        if mistake.nobody and os.geteuid() != 0:
            self.skipTest("only root can become another user")
        proxy = Beside(sites(mistake.tls, mode), prepare, mistake.nobody, **options)
        self.addCleanup(proxy.close)
        return proxy

    def normal(self, proxy, text):
        for pattern, word in [
            (re.escape(str(proxy.work)) + "/vestibule.toml", "vestibule.toml"),
            (re.escape(str(proxy.work)), "FOLDER"),
            (r"\d{4}-\d\d-\d\d", "DATE"),
            (r"ends in [0-9a-f]+", "ends in KEY"),
            (r"\d+ days ago", "N days ago"),
        ]:
            text = re.sub(pattern, word, text)
        return text

    def handshake(self, proxy, host, pair=None, version=None):
        """The certificate that `host` gets, as PEM."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version:
            context.maximum_version = version
        if pair:
            context.load_cert_chain(*pair)
        with socket.create_connection(("127.0.0.1", proxy.https), 20) as tcp:
            with context.wrap_socket(tcp, server_hostname=host) as tls:
                tls.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                status = tls.recv(65536).split(b" ")[1:2]
                if status != [b"200"]:
                    raise ConnectionError(status)
                return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))

    def comes_in(self, proxy, host=SHOP, pair=None):
        try:
            return bool(self.handshake(proxy, host, pair))
        except (ssl.SSLError, ConnectionError):
            return False

    def refused(self, proxy, pair=None):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.assertRaisesRegex(ssl.SSLError, "UNRECOGNIZED_NAME"):
                self.handshake(proxy, SHOP, pair, version)

    def good_is_served(self, proxy):
        self.assertEqual(self.handshake(proxy, GOOD), (self.certs / "good.crt").read_text())

    def plain(self, proxy, host=SHOP, fields=""):
        with Client(proxy.http) as client:
            client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
            return client.answer()
