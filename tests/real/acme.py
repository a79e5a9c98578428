"""Certificates from an ACME server: ordered, proven, kept, renewed, and never waited for."""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import tempfile
import time
import unittest

import support
from ari import Ari
from backends import FunctionServer
from pebble import EAB_KEY, EAB_KEY_ID, Pebble, dns01_hook
from rawhttp import Client

NAME, ALIAS = "shop.example.com", "www.shop.example.com"

# A token that is not live: the path is the backend's.
TOKEN = "/.well-known/acme-challenge/abc"
PATHS = ("/x", "/y", "/old", TOKEN)


class Proxy(support.Proxy):
    """vestibule on two given ports, with a folder that outlives it."""

    def __init__(self, work, ports, text):
        self.work, self.tmpdir = work, work / "tmp"
        self.tmpdir.mkdir(exist_ok=True)
        self.http, self.https = ports
        self.config = work / "vestibule.toml"
        self.write(text)
        support.Process.__init__(
            self, [support.BINARY, "run", "--config", self.config], cwd=work, env=self.environment()
        )
        try:
            support.wait_until(self.says_ready, "vestibule says that it is ready")
        except AssertionError:
            self.close()
            raise

    def write(self, text):
        self.config.write_text(
            f"""
{text}
[listeners]
http = "127.0.0.1:{self.http}"
https = "127.0.0.1:{self.https}"
[dev_ca]
dir = "{self.work}/ca"
"""
        )

    def close(self):
        self.stop()

    def served(self, name=NAME):
        """The certificate that a handshake for a name gets, decoded by OpenSSL; `None` where it gets an alert."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", self.https), 10) as tcp:
                with context.wrap_socket(tcp, server_hostname=name) as tls:
                    return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True))
        except ssl.SSLError:
            return None

    def wait_for_certificate(self, name=NAME, other_than=None, timeout=support.PATIENCE):
        def fresh():
            if self.ended():
                raise AssertionError(f"ended:\n{self.output()}")
            pem = self.served(name)
            return pem if pem and pem != other_than else None

        try:
            return support.wait_until(fresh, f"a certificate for {name}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None

    def says(self, words):
        return support.wait_until(
            lambda: next((line for line in self.stderr if re.search(words, line)), None), f"the log says {words}"
        )


class Case(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.backend = FunctionServer({path: lambda h: h.reply(200, b"backend " + h.path.encode()) for path in PATHS})
        self.addCleanup(self.backend.close)
        self.ports = support.free_port(), support.free_port()

    def pebble(self, **options):
        server = Pebble(*self.ports, **options)
        self.addCleanup(server.close)
        return server.start()

    def text(self, pebble, sites=None, **settings):
        """The config: `[acme]` at this pebble, and the sites, one with an alias by default."""
        table = {"directory": pebble.directory, "ca_root": str(pebble.root), "accept_terms": True, **settings}
        acme = ", ".join(f"{key} = {toml(value)}" for key, value in table.items())
        target = f'proxy = "127.0.0.1:{self.backend.port}"'
        sites = sites or f'[sites."{NAME}"]\n{target}\naliases = ["{ALIAS}"]\n'
        return f"acme = {{ {acme} }}\n{sites.replace('TARGET', target)}"

    def start(self, text):
        proxy = Proxy(self.work, self.ports, text)
        self.addCleanup(proxy.close)
        return proxy

    def state(self):
        """The folder of the one server in the state folder."""
        (folder,) = (self.work / "state/acme").iterdir()
        return folder

    def notes(self, name=NAME):
        return json.loads((self.state() / f"{name}.json").read_text())

    def run_cert(self, *arguments):
        env = {**os.environ, "VESTIBULE_STATE_DIR": str(self.work / "state")}
        config = ["--config", self.work / "vestibule.toml"]
        return support.command([support.BINARY, "cert", *arguments, *config], env=env)

    def cert(self, *arguments):
        run = self.run_cert(*arguments)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


class Orders(Case):
    def test_http_01_gives_a_trusted_certificate_for_host_and_aliases_within_five_seconds(self):
        pebble = self.pebble()
        began = time.monotonic()
        proxy = self.start(self.text(pebble, challenges=["http-01"]))
        proxy.wait_for_certificate()
        taken = time.monotonic() - began
        # Trust and names are checked by OpenSSL here.
        with Client(proxy.https, tls=pebble.issuer(), name=NAME) as client:
            client.send(f"GET /x HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            self.assertEqual(client.answer().body, b"backend /x")
        Client(proxy.https, tls=pebble.issuer(), name=ALIAS).socket.close()
        self.assertEqual(self.notes()["challenge"], "http-01")
        self.assertEqual(pebble.orders(), 1, "one order for both names")
        self.assertLess(taken, 5.0)

    def test_tls_alpn_01(self):
        pebble = self.pebble()
        proxy = self.start(self.text(pebble, challenges=["tls-alpn-01"]))
        proxy.wait_for_certificate()
        self.assertEqual(self.notes()["challenge"], "tls-alpn-01")
        Client(proxy.https, tls=pebble.issuer(), name=NAME).socket.close()

    def test_a_challenge_that_fails_is_followed_by_the_next_one(self):
        # Both checks come to the wrong port first: nothing answers there.
        pebble = Pebble(support.free_port(), self.ports[1])
        self.addCleanup(pebble.close)
        pebble.start()
        proxy = self.start(self.text(pebble, challenges=["http-01", "tls-alpn-01"]))
        proxy.says(f"the last order failed.* {NAME} by http-01: .*connection refused")
        notes = support.wait_until(lambda: self.notes() if (self.state() / f"{NAME}.json").exists() else None, "notes")
        self.assertEqual(notes["failures"], 1)
        self.assertGreater(notes["retry_at"], time.time() + 40)
        # The wait is over when somebody who has mended something says so.
        notes["retry_at"] = 0
        proxy.close()
        (self.state() / f"{NAME}.json").write_text(json.dumps(notes))
        proxy = self.start(self.text(pebble, challenges=["http-01", "tls-alpn-01"]))
        proxy.wait_for_certificate()
        self.assertEqual(self.notes()["challenge"], "tls-alpn-01")

    def test_external_account_binding(self):
        pebble = self.pebble(eab=True)
        proxy = self.start(self.text(pebble, eab={"key_id": EAB_KEY_ID, "hmac_key": EAB_KEY}))
        proxy.wait_for_certificate()

    def test_without_the_binding_the_servers_reason_is_said(self):
        proxy = self.start(self.text(self.pebble(eab=True)))
        proxy.says("externalAccountRequired")

    def test_refused_nonces_delay_an_order_and_do_not_end_it(self):
        pebble = self.pebble(reject_nonces=20)
        self.start(self.text(pebble)).wait_for_certificate(timeout=60)

    def test_dns_01_by_a_hook_gives_a_wildcard(self):
        pebble = self.pebble()
        hook, log = dns01_hook(self.work, pebble)
        sites = '[sites."*.shop.example.com"]\nTARGET\n'
        proxy = self.start(self.text(pebble, sites, dns01_hook=[str(hook)]))
        proxy.wait_for_certificate("any.shop.example.com")
        Client(proxy.https, tls=pebble.issuer(), name="any.shop.example.com").socket.close()
        record = "_acme-challenge.shop.example.com"
        self.assertEqual(log.read_text().splitlines(), [f"present {record}", f"cleanup {record}"])

    def test_a_new_alias_is_ordered_at_a_reload_and_the_old_certificate_serves_meanwhile(self):
        pebble = self.pebble()
        site = f'[sites."{NAME}"]\nTARGET\n'
        proxy = self.start(self.text(pebble, site))
        first = proxy.wait_for_certificate()
        proxy.write(self.text(pebble, site + f'aliases = ["{ALIAS}"]\n'))
        os.kill(proxy.pid, 1)
        self.assertIsNotNone(proxy.served())
        proxy.wait_for_certificate(ALIAS, other_than=first)
        Client(proxy.https, tls=pebble.issuer(), name=ALIAS).socket.close()
        self.assertEqual(pebble.orders(), 2)


class Serving(Case):
    def test_nothing_waits_for_a_server_that_is_down_and_a_certificate_comes_when_it_is_up(self):
        pebble = Pebble(*self.ports)
        self.addCleanup(pebble.close)
        other = '[sites."app.localhost"]\nTARGET\nhttp = "serve"\n'
        proxy = self.start(self.text(pebble, f'[sites."{NAME}"]\nTARGET\n{other}'))
        proxy.says("no certificate for shop.example.com: the last order failed")
        for client in (Client(proxy.http), Client(proxy.https, tls=proxy.ca(), name="app.localhost")):
            client.send(b"GET /y HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
            self.assertEqual(client.answer().body, b"backend /y")
            client.socket.close()
        with self.assertRaisesRegex(ssl.SSLError, "INTERNAL_ERROR"):
            Client(proxy.https, tls=proxy.ca(), name=NAME)
        proxy.says(f'no certificate for "{NAME}" yet .alert internal_error sent.: the last order failed')
        with self.assertRaisesRegex(ssl.SSLError, "UNRECOGNIZED_NAME"):
            Client(proxy.https, tls=proxy.ca(), name="nobody.example.com")
        pebble.start()
        proxy.wait_for_certificate(timeout=60)

    def test_only_live_tokens_are_answered_and_all_else_is_the_backends(self):
        pebble = self.pebble()
        proxy = self.start(self.text(pebble, f'[sites."{NAME}"]\nTARGET\nhttp = "serve"\n'))
        proxy.wait_for_certificate()
        with Client(proxy.http) as client:
            client.send(f"GET {TOKEN} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            self.assertEqual(client.answer().body, f"backend {TOKEN}".encode())

    def test_without_accepted_terms_nothing_is_ordered_and_the_log_explains(self):
        pebble = self.pebble()
        proxy = self.start(self.text(pebble, accept_terms=False))
        proxy.says("accept_terms is not true")
        self.assertIsNone(proxy.served())
        self.assertEqual(pebble.orders(), 0)


class Keeping(Case):
    def test_a_restart_serves_the_stored_certificate_without_an_order(self):
        pebble = self.pebble()
        text = self.text(pebble)
        proxy = self.start(text)
        first = proxy.wait_for_certificate()
        proxy.close()
        pebble.close()
        # The server is gone: what is served at once can only be what was stored.
        proxy = self.start(text)
        self.assertEqual(proxy.served(), first)
        self.assertNotIn("the last order failed", proxy.output())
        for path in self.state().iterdir():
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)

    def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(self):
        lifetime = 24
        pebble = self.pebble(lifetime=lifetime)
        proxy = self.start(self.text(pebble))
        began = time.monotonic()
        first = proxy.wait_for_certificate()
        with Client(proxy.https, tls=pebble.issuer(), name=NAME) as client:
            for _ in range(2):
                client.send(f"GET /old HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
                self.assertEqual(client.answer().body, b"backend /old", "an open connection lives on")
                proxy.wait_for_certificate(other_than=first, timeout=60)
        taken = time.monotonic() - began
        self.assertGreater(taken, lifetime * 2 / 3 - 3)
        self.assertLess(taken, lifetime * 0.9, "the new one is there before the old one is over")
        self.assertEqual(pebble.orders(), 2)

    def test_an_account_that_the_server_has_forgotten_is_opened_anew(self):
        pebble = self.pebble()
        proxy = self.start(self.text(pebble))
        first = proxy.wait_for_certificate()
        proxy.close()
        # pebble keeps everything in memory.
        pebble.server.stop()
        pebble.start()
        (self.state() / f"{NAME}.pem").unlink()
        proxy = self.start(self.text(pebble))
        proxy.wait_for_certificate(other_than=first)

    def test_two_processes_on_one_folder_place_one_order(self):
        pebble = self.pebble()
        hook, _ = dns01_hook(self.work, pebble, gate="go")
        text = self.text(pebble, dns01_hook=[str(hook)], challenges=["dns-01"])
        proxy = self.start(text)
        support.wait_until(lambda: pebble.orders(), "the first one orders")
        self.ports = support.free_port(), support.free_port()
        second = self.start(text)

        def waits():
            second.served()
            return any("another process is ordering it" in line for line in second.stderr)

        support.wait_until(waits, "the second one sees the first")
        (self.work / "go").touch()
        self.assertEqual(second.wait_for_certificate(), proxy.wait_for_certificate())
        self.assertEqual(pebble.orders(), 1)

    def test_a_damaged_file_is_said_and_ordered_anew(self):
        pebble = self.pebble()
        proxy = self.start(self.text(pebble))
        first = proxy.wait_for_certificate()
        proxy.close()
        path = self.state() / f"{NAME}.pem"
        path.write_text(path.read_text()[:700])
        proxy = self.start(self.text(pebble))
        proxy.wait_for_certificate(other_than=first)
        proxy.says(f"{NAME}.pem: ")

    def test_a_window_that_the_server_moves_brings_the_renewal_forward(self):
        pebble = self.pebble()
        front = Ari(pebble)
        self.addCleanup(front.close)
        text = self.text(pebble, directory=front.directory)
        proxy = self.start(text)
        first = proxy.wait_for_certificate()
        support.wait_until(lambda: front.asked and self.notes()["renew_at"], "the server is asked for its window")
        self.assertGreater(self.notes()["renew_at"], time.time() + 80_000)
        self.assertIn("in the server's window", self.cert("list"))
        proxy.close()
        # The server wants it renewed now; what it says is asked for again when that is due, here at once.
        front.window = (-3600, -1)
        notes = self.notes()
        notes["window_at"] = 0
        (self.state() / f"{NAME}.json").write_text(json.dumps(notes))
        proxy = self.start(text)
        self.assertEqual(proxy.served() is None, False)
        proxy.wait_for_certificate(other_than=first)
        support.wait_until(lambda: len(set(front.asked)) == 2 and self.notes()["renew_at"], "the new one's window")
        # The window of the new one is over too, which must not make an order after the other.
        self.assertGreater(self.notes()["renew_at"], time.time() + 3000)
        self.assertEqual(front.replaced, [front.asked[0]], "the new order names the one it replaces")


class Commands(Case):
    def test_cert_list_and_show_tell_where_certificates_are_from_and_what_is_planned(self):
        pebble = self.pebble()
        sites = f'[sites."{NAME}"]\nTARGET\naliases = ["{ALIAS}"]\n[sites."app.localhost"]\nTARGET\n'
        text = self.text(pebble, sites)
        proxy = self.start(text.replace(NAME, "other.example.com"))
        proxy.wait_for_certificate("other.example.com")
        proxy.write(text)
        rows = {line.split()[0]: line for line in self.cert("list").splitlines()}
        for host in (NAME, ALIAS):
            self.assertRegex(rows[host], r"- +- +ACME +order now .there is none yet.")
        self.assertRegex(rows["app.localhost"], "- +- +development CA +made at the handshake")
        os.kill(proxy.pid, 1)
        pem = proxy.wait_for_certificate(NAME)
        rows = {line.split()[0]: line for line in self.cert("list").splitlines()}
        self.assertRegex(rows[ALIAS], r"\d+ +Pebble Intermediate.* +ACME +renewal after \d{4}-.*a third of its life")
        shown = self.cert("show", NAME)
        self.assertEqual(set(shown.split("\n")[0].split(":")[1].replace(",", "").split()), {NAME, ALIAS})
        self.assertIn("days left)", shown)
        path = self.work / "shown.pem"
        path.write_text(pem)
        self.assertIn(shown.split("SHA-256:")[1].split()[0], self.cert("show", path))
        failed = self.run_cert("show", "nobody.example.com")
        self.assertEqual(failed.returncode, 1)
        self.assertIn("no site of this config serves", failed.stderr)

    def test_check_names_what_cannot_be_ordered(self):
        pebble = self.pebble()
        sites = '[sites."app.localhost"]\nTARGET\ntls = "acme"\n[sites."*.example.com"]\nTARGET\n'
        config = self.work / "vestibule.toml"
        config.write_text(self.text(pebble, sites))
        run = support.command([support.BINARY, "check", "--config", config])
        self.assertEqual(run.returncode, 2)
        self.assertIn("error[acme-local-name]: no ACME server vouches for `app.localhost`", run.stderr)
        self.assertIn("error[no-certificate]: no certificate for `*.example.com`", run.stderr)
        self.assertIn("a wildcard needs dns-01", run.stderr)


if __name__ == "__main__":
    support.main()
