"""Every mistake with certificate files, made for real: what `check` says, what `run` serves beside it, and the mended file.

What `check` says of a mistake is compared with tests/real/certificate_mistakes/NAME.txt; what differs from run to run
(dates, digits of keys, the folder) is replaced by a word first. UPDATE=1 writes the texts anew: read the diff then.
"""

import os
import pathlib
import re
import shutil
import ssl
import tempfile
import time

import support
from mistaken import AUTH, GOOD, MISTAKES, SHOP, Beside, Case, Mistake, moved, sites, written
from rawhttp import Client

TEXTS = pathlib.Path(__file__).resolve().parent / "certificate_mistakes"
# A mended file is served within a second on a quiet machine; a shared one may take longer.
SOON = 5.0


class Mistakes(Case):
    def test_each_mistake_has_its_text_costs_its_own_site_only_and_is_over_when_it_is_mended(self):
        waits = {}
        for mistake in MISTAKES:
            with self.subTest(mistake.name):
                proxy = self.start(mistake)
                text = self.checked(proxy, mistake)
                self.good_is_served(proxy)
                if mistake.served:
                    self.is_served_and_warned_of(proxy, mistake, text)
                else:
                    self.is_refused_and_said(proxy, mistake, text)
                waits[mistake.name] = self.mended(proxy, mistake)
                proxy.close()
        best = min(waits.values())
        print(f"mended files served after {best:.2f} s at best, {max(waits.values()):.2f} s at most ", end="")
        self.assertLess(best, 1.0, waits)

    def checked(self, proxy, mistake):
        """What `check` says; 2 is how it ends."""
        run = proxy.ask("check", "--offline", *mistake.check)
        self.assertEqual(run.returncode, 2, run.stderr)
        said, expected = self.normal(proxy, run.stderr), TEXTS / f"{mistake.name}.txt"
        if os.environ.get("UPDATE"):
            expected.write_text(said)
        self.assertEqual(said, expected.read_text() if expected.exists() else "")
        self.assertIn(f"[{mistake.code}]", said)
        return said

    def is_served_and_warned_of(self, proxy, mistake, text):
        self.assertEqual(self.handshake(proxy, SHOP), (proxy.work / "site.crt").read_text())
        # What fails a check is a warning of a start.
        self.logged(proxy, text.replace("error[", "warning["))
        status = proxy.live()
        self.assertEqual((status["unusable"], status["certificate_errors"]), ([], []))
        self.assertEqual(self.plain(proxy).status, 308)

    def is_refused_and_said(self, proxy, mistake, text):
        self.refused(proxy, self.alice)
        # Nor by a connection for the other site, nor by one that names none.
        with Client(proxy.https, tls=self.certs / "good.crt", name=GOOD) as client:
            client.send(f"GET / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n".encode())
            self.assertEqual(client.answer().status, 421)
        self.logged(proxy, text)
        self.assertIn(f'no usable certificate for "{SHOP}" (alert unrecognized_name sent): {mistake.code}', proxy.output())
        answer = self.plain(proxy)
        self.assertEqual((answer.status, answer.value("location")), (503, None))
        self.assertIn(b"[tls.unusable_certificate]", answer.body)
        status = proxy.live()
        self.assertEqual([row["site"] for row in status["unusable"]], [SHOP])
        self.assertIn(mistake.code, status["unusable"][0]["why"])
        self.assertEqual([row["code"] for row in status["certificate_errors"]], [mistake.code])
        table = proxy.operate("status").stdout
        self.assertIn(f"refused: {SHOP}, {mistake.code}: ", table)
        self.assertIn(f"error[{mistake.code}]: ", table)

    def logged(self, proxy, text):
        """The whole diagnostic is in the log, word by word: the command line names the config file by its whole path."""

        def words(text):
            return " ".join(re.sub(r"[|^]+", " ", text.replace("FOLDER/", "")).split())

        support.wait_until(
            lambda: words(text) in words(self.normal(proxy, proxy.output())),
            f"in the log:\n{text}\nbut there is\n{proxy.output()}",
        )

    def mended(self, proxy, mistake):
        """The seconds until the right files are served."""
        before = proxy.live()["generation"]
        if mistake.nobody:
            for name in ("site.crt", "site.key"):
                (proxy.work / name).chmod(0o600)
        else:
            self.install(proxy.work)
        began, wanted = time.monotonic(), (self.certs / "shop.crt").read_text()

        def served():
            try:
                return self.handshake(proxy, SHOP, self.alice) == wanted
            except (ssl.SSLError, ConnectionError):
                return False

        support.wait_until(served, "the mended files are served", SOON)
        took = time.monotonic() - began
        self.assertEqual(self.plain(proxy).status, 308)
        status = proxy.live()
        self.assertEqual((status["unusable"], status["certificate_errors"]), ([], []))
        self.assertGreater(status["generation"], before)
        self.assertNotIn("reloaded", proxy.output())
        if mistake.tls == AUTH:
            self.assertFalse(self.comes_in(proxy), "without the certificate that is asked for")
        return took


class Together(Case):
    def test_where_nothing_is_left_to_serve_nothing_is_started(self):
        work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.addCleanup(shutil.rmtree, work)
        text = '[listeners]\nhttp = "127.0.0.1:0"\nhttps = "127.0.0.1:0"\n' + sites('cert = "nope.crt", key = "nope.key"')
        (work / "vestibule.toml").write_text(text)
        environment = {**os.environ, "VESTIBULE_STATE_DIR": str(work / "state")}
        run = support.command([support.BINARY, "run"], timeout=20, cwd=work, env=environment)
        self.assertEqual((run.returncode, run.stderr.count("error[")), (2, 4), run.stderr)
        self.assertNotIn("ready", run.stderr)

    def test_a_plain_door_with_content_is_enough_to_start(self):
        proxy = self.start(MISTAKES[0], mode="serve")
        self.assertEqual(self.plain(proxy).status, 200)
        self.refused(proxy)
        asked = Mistake("none", "", moved("clients.pem"), tls=AUTH.replace("require", "request"))
        proxy = self.start(asked, mode="serve")
        self.assertEqual(self.plain(proxy).status, 200)
        self.refused(proxy)
        self.refused(proxy, self.alice)

    def test_with_upgrade_nobody_is_sent_to_a_door_that_refuses_them(self):
        proxy = self.start(MISTAKES[0], mode="upgrade")
        answer = self.plain(proxy, fields="Upgrade-Insecure-Requests: 1\r\n")
        self.assertEqual((answer.status, answer.value("vary")), (200, "Upgrade-Insecure-Requests"))

    def test_a_client_that_names_no_server_gets_nothing_in_place_of_the_default(self):
        def prepare(folder):
            self.install(folder)
            (folder / "site.crt").unlink()

        one = '[sites."{}"]\nproxy = "builtin:show"\ntls = {{ cert = "{}.crt", key = "{}.key" }}\n'
        first = one.format(SHOP, "site", "site") + one.format(GOOD, "good", "good")
        proxy = Beside(first, prepare)
        self.addCleanup(proxy.close)
        self.good_is_served(proxy)
        with self.assertRaises(ssl.SSLError):
            self.handshake(proxy, None)

    def test_a_listed_certificate_that_cannot_be_read_costs_the_hosts_that_no_other_covers(self):
        def prepare(folder):
            self.install(folder)
            moved("site.crt")(folder, self.certs)

        listed = '[tls]\ncertificates = [{ cert = "good.crt", key = "good.key" }, { cert = "site.crt", key = "site.key" }]\n'
        hosts = "".join(f'[sites."{host}"]\nproxy = "builtin:show"\n' for host in (GOOD, SHOP, support.HOST))
        proxy = Beside(listed + hosts, prepare)
        self.addCleanup(proxy.close)
        self.good_is_served(proxy)
        self.assertTrue(self.comes_in(proxy, support.HOST), "a local name has its own leaf")
        self.refused(proxy)
        moved_back = proxy.work / "site.crt.away"
        moved_back.rename(proxy.work / "site.crt")
        support.wait_until(lambda: self.comes_in(proxy), "the listed certificate is served", SOON)

    def test_two_broken_sites_are_mended_one_by_one(self):
        def prepare(folder):
            self.install(folder)
            for name in ("site.crt", "late.crt"):
                (folder / name).unlink(missing_ok=True)

        late = '[sites."late.example.com"]\nproxy = "builtin:show"\ntls = { cert = "late.crt", key = "site.key" }\n'
        proxy = Beside(sites('cert = "site.crt", key = "site.key"') + late, prepare)
        self.addCleanup(proxy.close)
        self.assertEqual(len(proxy.live()["unusable"]), 2)
        self.install(proxy.work)
        support.wait_until(lambda: self.comes_in(proxy), "the first is served", SOON)
        self.assertFalse(self.comes_in(proxy, "late.example.com"))
        shutil.copy(self.certs / "shop.crt", proxy.work / "late.crt")
        support.wait_until(lambda: self.comes_in(proxy, "late.example.com"), "the second is served", SOON)

    def test_a_bad_renewal_is_shown_and_costs_nothing_and_the_metrics_count_it(self):
        port = support.free_port()
        proxy = self.start(
            Mistake("none", "", lambda folder, certs: None), top=f'[metrics]\nlisten = "127.0.0.1:{port}"\n'
        )
        self.assertIn("vestibule_certificate_errors 0", self.scrape(port))
        written("site.crt", "")(proxy.work, self.certs)
        support.wait_until(lambda: "vestibule_certificate_errors 1" in self.scrape(port), "the metric", SOON)
        self.assertIn("the last good ones stay", proxy.output())
        self.assertTrue(self.comes_in(proxy))
        status = proxy.live()
        self.assertEqual((status["unusable"], status["certificate_errors"][0]["code"]), ([], "not-pem"))
        self.assertNotIn("vestibule_site_unusable{", self.scrape(port))
        proxy.stop()
        again = self.start(MISTAKES[0], top=f'[metrics]\nlisten = "127.0.0.1:{port}"\n')
        self.refused(again)
        text = self.scrape(port)
        self.assertIn(f'vestibule_site_unusable{{site="{SHOP}"}} 1', text)
        self.assertIn('vestibule_tls_handshake_failures_total{reason="unusable_certificate"} 2', text)

    def scrape(self, port):
        with Client(port) as client:
            client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return client.answer().body.decode()

    def test_a_reload_refuses_a_new_mistake_and_not_one_that_is_there_already(self):
        proxy = self.start(MISTAKES[0])
        more = proxy.config.read_text() + '[sites."more.localhost"]\nproxy = "builtin:show"\n'
        proxy.config.write_text(more)
        run = proxy.operate("reload")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(self.comes_in(proxy, "more.localhost"))
        self.refused(proxy)
        proxy.config.write_text(more.replace('cert = "good.crt"', 'cert = "away.crt"'))
        for words in (("reload", "--dry-run"), ("reload",)):
            run = proxy.operate(*words)
            self.assertEqual(run.returncode, 2, run.stdout)
            self.assertIn("away.crt", run.stderr)
        self.assertEqual(proxy.live()["generation"], 2)
        self.good_is_served(proxy)

    def test_the_way_back_has_the_certificates_of_its_time(self):
        proxy = self.start(Mistake("none", "", lambda folder, certs: None))
        text = proxy.config.read_text()
        proxy.config.write_text(text.replace(f'[sites."{SHOP}"]', '[sites."new.example.com"]'))
        self.assertEqual(proxy.operate("reload").returncode, 0)
        self.assertFalse(self.comes_in(proxy))
        (proxy.work / "site.crt").unlink()
        support.wait_until(lambda: "the last good ones stay" in proxy.output(), "the loss is said", SOON)
        run = proxy.operate("rollback")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(self.comes_in(proxy))

    def test_an_upgrade_that_would_lose_a_site_is_refused(self):
        proxy = self.start(Mistake("none", "", lambda folder, certs: None))
        (proxy.work / "site.crt").unlink()
        run = proxy.operate("upgrade")
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("error[cert-not-found]", run.stderr)
        self.assertTrue(self.comes_in(proxy))


if __name__ == "__main__":
    support.main()
