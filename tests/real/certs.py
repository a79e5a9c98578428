"""`cert new` and `cert plan`: files that OpenSSL, curl and Python accept, and what is ordered and renewed when."""

import datetime
import json
import re
import shutil
import socket
import ssl
import stat
import tomllib

import support
from backends import FunctionServer
from certcase import Case, codes
from chains import Chains
from rawhttp import Client

DAY = 86_400


class New(Case):
    def new(self, *arguments):
        run = self.cert("new", *arguments)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run

    def backend(self):
        backend = FunctionServer({"/": lambda handler: handler.reply(200, b"whole\n")})
        self.addCleanup(backend.close)
        return backend

    def test_the_files_have_mkcerts_names_and_openssl_accepts_them_for_every_name_and_no_other(self):
        run = self.new("app.test", "*.app.test", "127.0.0.1", "::1")
        cert, key = self.files / "app.test+3.pem", self.files / "app.test+3-key.pem"
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertEqual({path.name for path in self.files.iterdir()}, {cert.name, key.name})
        verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", self.root()]
        for option, name, fits in (
            ("-verify_hostname", "app.test", True),
            ("-verify_hostname", "any.app.test", True),
            ("-verify_ip", "127.0.0.1", True),
            ("-verify_ip", "::1", True),
            ("-verify_hostname", "other.test", False),
            ("-verify_ip", "127.0.0.2", False),
        ):
            with self.subTest(name):
                run_openssl = support.command([*verify, option, name, cert])
                self.assertEqual(run_openssl.returncode == 0, fits, run_openssl.stderr)
        self.assertIn("valid until", run.stderr)
        until = datetime.date.fromisoformat(re.search(r"valid until +(\S+)", run.stderr)[1])
        self.assertIn((until - datetime.date.today()).days, range(88, 92))
        lines = tomllib.loads(run.stdout)["tls"]["certificates"][0]
        self.assertEqual(lines, {"cert": str(cert), "key": str(key)})

    def test_other_clients_reach_a_proxy_that_serves_the_files(self):
        backend = self.backend()
        printed = self.new("shop.test", "*.shop.test").stdout
        sites = "".join(support.site(f"127.0.0.1:{backend.port}", host) for host in ("shop.test", "*.shop.test"))
        with support.Proxy(printed + sites) as proxy:
            for host in ("shop.test", "eu.shop.test"):
                with self.subTest(host):
                    resolve = ["--resolve", f"{host}:{proxy.https}:127.0.0.1", "--cacert", self.root()]
                    run = support.command(["curl", "-sS", *resolve, f"https://{host}:{proxy.https}/"])
                    self.assertEqual((run.returncode, run.stdout), (0, "whole\n"), run.stderr)
                    # Python's ssl checks root, constraints and name.
                    Client(proxy.https, tls=str(self.root()), name=host).socket.close()
            with self.assertRaises(ssl.SSLError):
                context = ssl.create_default_context()
                with socket.create_connection(("127.0.0.1", proxy.https)) as tcp:
                    context.wrap_socket(tcp, server_hostname="shop.test").close()

    def test_a_clients_certificate_opens_a_site_that_asks_for_one(self):
        printed = self.new("--client", "me.test").stdout
        cert, key = self.files / "me.test-client.pem", self.files / "me.test-client-key.pem"
        site = f'[sites."in.localhost"]\nproxy = "127.0.0.1:{self.backend().port}"\n{printed}'
        with support.Proxy(site) as proxy:
            url = f"https://in.localhost:{proxy.https}/"
            resolve = ["--resolve", f"in.localhost:{proxy.https}:127.0.0.1"]
            common = ["curl", "-sS", *resolve, "--cacert", proxy.ca(), url]
            run = support.command([*common, "--cert", cert, "--key", key])
            self.assertEqual((run.returncode, run.stdout), (0, "whole\n"), run.stderr)
            self.assertNotEqual(support.command(common).returncode, 0)

    def test_a_name_that_nobody_would_believe_is_refused_with_what_to_do_and_nothing_is_written(self):
        for name, cause, remedy in (
            ("shop.example.com", "dev-name-not-local", 'extra_domains = ["shop.example.com"]'),
            ("*.example.com", "dev-name-not-local", 'extra_domains = ["example.com"]'),
            ("8.8.8.8", "dev-name-not-local", "private addresses"),
            ("http://x.test", "has a scheme", "write x.test"),
            ("x.test:8443", "has a port", "write x.test"),
            ("*.localhost", "covers nothing", "*.app.localhost"),
            ("a*.test", "in another place", "wildcards are"),
            ("bücher.test", "not ASCII", "xn--"),
        ):
            with self.subTest(name):
                run = self.cert("new", "fine.test", name)
                self.assertEqual(run.returncode, 2, run.stderr)
                self.assertIn(cause, run.stderr)
                self.assertIn(remedy, run.stderr)
                self.assertEqual(run.stdout, "")
                self.assertEqual(list(self.files.iterdir()), [])

    def test_what_the_config_widens_the_root_by_is_allowed(self):
        text = '[dev_ca]\nextra_domains = ["corp.example.com"]\n[sites]\n"a.test" = 1\n'
        (self.files / "vestibule.toml").write_text(text)
        self.new("git.corp.example.com")
        verify = ["openssl", "verify", "-CAfile", self.root(), "-verify_hostname", "git.corp.example.com"]
        run = support.command([*verify, self.files / "git.corp.example.com.pem"])
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_a_file_that_is_there_stays_unless_force_replaces_both(self):
        for taken in ("app.test.pem", "app.test-key.pem"):
            with self.subTest(taken):
                (self.files / taken).write_text("mine")
                run = self.cert("new", "app.test")
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"{taken} is there already", run.stderr)
                self.assertIn("--force", run.stderr)
                self.assertEqual([path.name for path in self.files.iterdir()], [taken])
                self.assertEqual((self.files / taken).read_text(), "mine")
                (self.files / taken).unlink()
        self.new("app.test")
        before = (self.files / "app.test.pem").read_text()
        self.new("--force", "app.test")
        self.assertNotEqual((self.files / "app.test.pem").read_text(), before)
        self.assertEqual(self.explain("app.test.pem", roots=self.root())[0], 0)

    def test_named_files_and_one_file_for_both(self):
        self.new("--cert-file", "one.pem", "--key-file", "one.pem", "db.internal")
        self.assertEqual(stat.S_IMODE((self.files / "one.pem").stat().st_mode), 0o600)
        self.assertEqual(self.explain("one.pem", roots=self.root())[0], 0)
        run = self.cert("new", "--cert-file", "nowhere/one.pem", "--key-file", "two.key", "db.internal")
        self.assertEqual(run.returncode, 1)
        self.assertIn("nowhere/one.pem cannot be written", run.stderr)
        self.assertFalse((self.files / "two.key").exists(), "no key without its certificate")


class Plan(Case):
    """A state folder as the thread of ACME leaves it; the server is a socket that nobody may connect to."""

    def setUp(self):
        super().setUp()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        port = self.server.getsockname()[1]
        self.folder = self.work / f"state/acme/127.0.0.1-{port}-dir"
        self.folder.mkdir(parents=True)
        self.chains = Chains(self.work / "chains")
        self.names = [f"{label}.example.com" for label in ("shop", "late", "new", "grown", "broken")]
        self.write(port)
        self.port = port

    def write(self, port, terms="true"):
        sites = "".join(f'[sites."{name}"]\nproxy = 1\n' for name in self.names).replace(
            '"grown.example.com"]\n', '"grown.example.com"]\naliases = ["www.grown.example.com"]\n'
        )
        self.files.joinpath("vestibule.toml").write_text(
            f'acme = {{ directory = "https://127.0.0.1:{port}/dir", accept_terms = {terms} }}\n{sites}'
        )

    def store(self, name, days=9, **notes):
        """A certificate that begins now and lasts `days`, with notes."""
        self.chains.sign("stored", f"DNS:{name}", days=days, clock="now")
        text = (self.chains.folder / "stored.key").read_text() + (self.chains.folder / "stored.crt").read_text()
        path = self.folder / f"{name}.pem"
        path.write_text(text + (self.chains.folder / "middle.crt").read_text())
        path.chmod(0o600)
        if notes:
            (self.folder / f"{name}.json").write_text(json.dumps(notes))

    def plan(self):
        run = self.cert("plan", "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        text = self.cert("plan").stdout
        rows = {row["names"][0]: row for row in json.loads(run.stdout)}
        for row in rows.values():
            self.assertIn(row["plan"], text)
        return rows

    def test_each_certificate_has_what_when_and_why_and_nothing_is_contacted(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        due = int(now.timestamp()) + 3 * DAY
        self.store("shop.example.com")
        self.store("late.example.com", renew_at=due, window_at=due - DAY)
        self.store("grown.example.com")
        (self.folder / "broken.example.com.json").write_text(
            json.dumps({"failures": 2, "retry_at": due, "last_error": "no door", "challenge": "tls-alpn-01"})
        )
        rows = self.plan()
        said = {name: (row["action"], row["why"], row["due_now"]) for name, row in rows.items()}
        self.assertEqual(
            said,
            {
                "shop.example.com": ("renewal", "ratio", False),
                "late.example.com": ("renewal", "window", False),
                "new.example.com": ("order", "missing", True),
                "grown.example.com": ("renewal", "names", True),
                "broken.example.com": ("order", "failed", False),
            },
        )
        at = datetime.datetime.fromisoformat(rows["late.example.com"]["due"])
        self.assertEqual(int(at.timestamp()), due)
        ratio = (datetime.datetime.fromisoformat(rows["shop.example.com"]["due"]) - now) / datetime.timedelta(days=1)
        self.assertAlmostEqual(ratio, 6, delta=0.1, msg="a third of nine days is left then")
        broken = rows["broken.example.com"]
        self.assertEqual((broken["failures"], broken["last_error"]), (2, "no door"))
        self.assertEqual(set(broken["challenges"]), {"http-01", "tls-alpn-01"})
        listed = {line.split()[0]: line for line in self.cert("list").stdout.splitlines()}
        for name in self.names:
            self.assertIn(rows[name]["plan"], listed[name])
        self.server.settimeout(0)
        with self.assertRaises(BlockingIOError):
            self.server.accept()

    def test_without_the_terms_nothing_is_ordered_and_that_is_said(self):
        self.write(self.port, terms="false")
        rows = self.plan()
        self.assertIn("accept_terms", rows["new.example.com"]["forbidden"])
        self.assertFalse(rows["new.example.com"]["due_now"])

    def test_a_stored_certificate_is_explained_with_its_window(self):
        due = int(datetime.datetime.now().timestamp()) + 3 * DAY
        self.store("late.example.com", renew_at=due, window_at=due - DAY)
        code, found = self.explain("late.example.com", roots=self.chains.root)
        self.assertEqual((code, codes(found), found["from"]), (0, [], "ACME"))
        self.assertIn("[acme] is there", found["chosen"])
        self.assertEqual((found["plan"]["why"], found["key"]["belongs"]), ("window", True))
        code, found = self.explain("new.example.com", roots=self.chains.root)
        self.assertEqual((code, found["plan"]["why"]), (1, "missing"))
        self.assertIn("not there yet", found["browser"]["says"])


if __name__ == "__main__":
    support.main()
