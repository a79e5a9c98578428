"""What the proxy says when something is wrong: a dead backend, the wrong door, a bad config, a port it cannot have."""

import json
import os
import pathlib
import re
import socket
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client

UNPRIVILEGED = 65534


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = FunctionServer({"/": lambda handler: handler.reply(200, b"whole\n")})
        cls.addClassCleanup(cls.backend.close)
        dead = support.site(f"127.0.0.1:{support.free_port()}", "dead.localhost")
        redirecting = f'[sites."plain.localhost"]\nproxy = "127.0.0.1:{cls.backend.port}"\n'
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{cls.backend.port}") + dead + redirecting)
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    def ask(self, host, fields="", secure=False, method="GET", path="/"):
        with Client(
            self.proxy.https if secure else self.proxy.http, tls=self.ca if secure else None, name=host
        ) as client:
            client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
            return client.answer(method)

    def test_a_dead_backend_is_502_at_once_with_its_why_code(self):
        for secure in (False, True):
            with self.subTest(door="https" if secure else "http"):
                took = []
                for _ in range(5):
                    with Client(
                        self.proxy.https if secure else self.proxy.http,
                        tls=self.ca if secure else None,
                        name="dead.localhost",
                    ) as client:
                        start = time.monotonic()
                        client.send(b"GET / HTTP/1.1\r\nHost: dead.localhost\r\n\r\n")
                        answer = client.answer()
                        took.append(time.monotonic() - start)
                    self.assertEqual(answer.status, 502)
                    self.assertIn("upstream.refused", answer.body.decode())
                    self.assertIn("upstream.refused", answer.value("proxy-status"))
                # The best of five: the machine is shared.
                self.assertLess(min(took), 0.05)

    def test_the_form_of_an_error_follows_the_client(self):
        forms = {
            "a browser": ("Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n", "text/html"),
            "an API client": ("Accept: application/json\r\n", "application/problem+json"),
            "a script of a page": ("Accept: */*\r\nX-Requested-With: XMLHttpRequest\r\n", "application/problem+json"),
            "curl": ("Accept: */*\r\n", "text/plain"),
            "nobody in particular": ("", "text/plain"),
        }
        for name, (fields, form) in forms.items():
            with self.subTest(name):
                answer = self.ask("dead.localhost", fields)
                self.assertEqual(answer.status, 502)
                self.assertTrue(answer.value("content-type").startswith(form), answer.value("content-type"))
                self.assertIn("upstream.refused", answer.body.decode())
                if form.endswith("json"):
                    self.assertEqual(json.loads(answer.body)["status"], 502)
                if form == "text/plain":
                    self.assertEqual(answer.body.count(b"\n"), 1, "one line")

    def test_an_error_page_does_not_run_what_the_client_sent(self):
        path = "/<script>alert(1)</script>"
        answer = self.ask(
            "dead.localhost", "Accept: text/html\r\nX: <script>\r\n", path=path.replace("<", "%3C").replace(">", "%3E")
        )
        self.assertNotIn(b"<script>alert", answer.body)

    def test_head_of_an_error_has_no_body(self):
        answer = self.ask("dead.localhost", "Connection: close\r\n", method="HEAD")
        self.assertEqual((answer.status, answer.body), (502, b""))

    def test_a_host_without_a_site_is_404_or_421(self):
        answer = self.ask("nobody.test")
        self.assertIn(answer.status, (404, 421))
        self.assertIn("route.no_host", answer.body.decode())

    def test_a_host_without_a_site_is_refused_after_a_handshake_for_another(self):
        with Client(self.proxy.https, tls=self.ca, name=support.HOST) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
            answer = client.answer()
        self.assertIn(answer.status, (404, 421))

    def test_the_plain_door_redirects_to_the_same_place_and_keeps_the_method(self):
        for method, statuses in (("GET", (301, 302, 307, 308)), ("POST", (307, 308))):
            with self.subTest(method):
                answer = self.ask("plain.localhost", "Content-Length: 0\r\n", method=method, path="/a//b?c=%20")
                self.assertIn(answer.status, statuses)
                self.assertEqual(answer.value("location"), f"https://plain.localhost:{self.proxy.https}/a//b?c=%20")

    def test_plain_http_on_the_tls_door_is_told_so(self):
        get = f"GET /x?y HTTP/1.1\r\nHost: {support.HOST}:{self.proxy.https}\r\n\r\n"
        with Client(self.proxy.https) as client:
            client.send(get.encode())
            answer = client.answer()
        self.assertIn(answer.status, (301, 302, 307, 308))
        self.assertEqual(answer.value("location"), f"https://{support.HOST}:{self.proxy.https}/x?y")
        with Client(self.proxy.https) as client:
            client.send(get.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n").encode())
            answer = client.answer()
        self.assertEqual(answer.status, 400)
        self.assertIn(b"https", answer.body.lower())

    def test_tls_on_the_plain_door_gets_an_alert_and_a_log_line(self):
        before = len(self.proxy.stderr)
        run = support.command(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.proxy.http}", "-servername", support.HOST], input=""
        )
        self.assertIn("alert", (run.stdout + run.stderr).lower())
        line = support.wait_until(
            lambda: [line for line in self.proxy.stderr[before:] if "tls" in line.lower()], "a log line"
        )
        self.assertIn("127.0.0.1", line[0])

    def test_each_answer_has_one_log_record_with_the_why_code(self):
        self.ask("dead.localhost", path="/logged-once")
        lines = support.wait_until(
            lambda: [line for line in self.proxy.stdout if "/logged-once" in line], "an access-log record"
        )
        self.assertEqual(len(lines), 1)
        self.assertIn("upstream.refused", lines[0])


class Starts(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(support.tempfile.mkdtemp(prefix="vestibule-errors-"))
        self.addCleanup(support.shutil.rmtree, self.folder, True)
        self.config = self.folder / "vestibule.toml"

    def run_config(self, text, *before):
        """Run until it ends by itself: `(exit code, stderr)`."""
        self.config.write_text(f'{text}\n[dev_ca]\ndir = "{self.folder}/ca"\n')
        run = support.command([*before, support.BINARY, "run", "--config", self.config], timeout=20, cwd=self.folder)
        return run.returncode, run.stderr

    def listeners(self, http='"off"', https='"off"'):
        return f"[listeners]\nhttp = {http}\nhttps = {https}\n"

    def test_a_missing_certificate_names_the_file_the_key_and_the_line(self):
        sites = '[sites."shop.test"]\nproxy = 3000\ntls = { cert = "nowhere.pem", key = "nowhere.key" }'
        text = self.listeners(https=f'"127.0.0.1:{support.free_port()}"') + sites
        code, said = self.run_config(text)
        self.assertEqual(code, 2, said)
        self.assertIn("nowhere.pem", said)
        self.assertIn("nowhere.key", said)
        line = text.splitlines().index('tls = { cert = "nowhere.pem", key = "nowhere.key" }') + 1
        self.assertRegex(said, rf"vestibule\.toml:{line}:\d+")
        self.assertNotIn("panicked", said)

    def test_an_unknown_key_is_told_with_the_nearest_one(self):
        code, said = self.run_config(self.listeners() + '[sites."a.localhost"]\nproxxy = 3000')
        self.assertEqual(code, 2, said)
        self.assertIn("proxxy", said)
        self.assertRegex(said, r"did you mean `?proxy")

    def test_a_port_in_use_is_named(self):
        for share in (False, True):
            with self.subTest("the holder shares the port" if share else "the holder does not share the port"):
                with socket.socket() as holder:
                    if share:
                        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    holder.bind(("127.0.0.1", 0))
                    holder.listen()
                    port = holder.getsockname()[1]
                    code, said = self.run_config(
                        self.listeners(f'"127.0.0.1:{port}"') + '[sites."a.localhost"]\nproxy = 3000'
                    )
                self.assertEqual(code, 1, said)
                self.assertIn(str(port), said)
                self.assertRegex(said.lower(), r"in use|already")

    def test_two_instances_do_not_share_a_port(self):
        with support.Proxy(support.site("127.0.0.1:9")) as first:
            code, said = self.run_config(
                self.listeners(f'"127.0.0.1:{first.http}"') + '[sites."a.localhost"]\nproxy = 3000'
            )
            self.assertEqual(code, 1, said)
            self.assertIn(str(first.http), said)

    def test_a_port_without_privilege_names_the_three_cures(self):
        before = []
        if os.geteuid() == 0:
            self.folder.chmod(0o777)
            before = [
                "setpriv",
                f"--reuid={UNPRIVILEGED}",
                f"--regid={UNPRIVILEGED}",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ]
        # A name space of its own: ports below 1024 need privilege there, whatever the machine allows, and 80 is free.
        inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        program = self.folder / "vestibule"
        support.shutil.copy(support.BINARY, program)
        program.chmod(0o755)
        self.config.write_text(
            self.listeners('"127.0.0.1:80"')
            + f'[sites."a.localhost"]\nproxy = 3000\n[dev_ca]\ndir = "{self.folder}/ca"\n'
        )
        run = support.command([*inside, *before, program, "run", "--config", self.config], timeout=20, cwd=self.folder)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("ip_unprivileged_port_start", run.stderr)
        self.assertIn("cap_net_bind_service", run.stderr.lower())
        self.assertTrue(re.search(r"\b(8080|1024|1023)\b", run.stderr), run.stderr)

    def test_run_without_a_config_file_fails(self):
        run = support.command([support.BINARY, "run", "--config", self.folder / "none.toml"], timeout=20)
        self.assertIn(run.returncode, (1, 2))
        self.assertIn("none.toml", run.stderr)


if __name__ == "__main__":
    support.main()
