"""The development root in real stores: fresh browsers open local sites after `trust` without a warning, nobody accepts it
outside its names, and after `untrust` nothing is left.

It runs in namespaces of its own (`namespace.py`): the machine's stores stay as they are.
"""

import os
import pathlib
import ssl
import tempfile
import unittest

import namespace
import support
from backends import FunctionServer
from drivers import Chromium, Firefox, Refused

NAMES = ("localhost", "app.project.localhost")
OUTSIDE = "evil.example.com"
PAGE = "opened without a warning"


class Browsers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = FunctionServer(
            {"*": lambda h: h.reply(200, f"<p>{PAGE}</p>".encode(), ("Content-Type", "text/html"))}
        )
        cls.addClassCleanup(cls.backend.close)
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "VESTIBULE_STATE_DIR", "STATE_DIRECTORY", "SUDO_USER"):
            os.environ.pop(name, None)

    def setUp(self):
        """A home that nobody has lived in, and a proxy in it, which has made its root."""
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-home-"))
        self.addCleanup(support.shutil.rmtree, self.home, True)
        os.environ["HOME"] = str(self.home)
        self.config = self.home / "vestibule.toml"
        sites = "".join(f'"{name}" = "127.0.0.1:{self.backend.port}"\n' for name in NAMES)
        self.config.write_text(f'[listeners]\nhttp = "127.0.0.1:80"\nhttps = "127.0.0.1:443"\n[sites]\n{sites}')
        self.proxy = support.Process([support.BINARY, "run", "--config", self.config], cwd=self.home)
        self.addCleanup(self.proxy.stop)
        self.trusted = False
        self.addCleanup(lambda: self.trusted and self.untrust())
        ready = lambda: any(line.startswith("ready in ") for line in self.proxy.stderr)
        support.wait_until(lambda: ready() or self.proxy.ended(), "vestibule says that it is ready")
        self.root = self.home / ".local/share/vestibule/ca/root.crt"

    def run_program(self, *words):
        return support.command([support.BINARY, *words], cwd=self.home)

    def trust(self):
        self.trusted = True
        run = self.run_program("trust", "--yes")
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stderr

    def untrust(self, *words):
        self.trusted = False
        run = self.run_program("untrust", "--yes", *words)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stderr

    def browser(self, kind, *arguments, **options):
        browser = kind(self.home, *arguments, **options)
        self.addCleanup(browser.close)
        self.assertFalse(browser.insecure)
        return browser

    def outside(self):
        """A server with a certificate that our root signed for a public name: its port."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="outside-", dir=self.home))
        cert, key, request, extensions = (folder / name for name in ("c.pem", "c.key", "c.csr", "c.cnf"))
        extensions.write_text(f"subjectAltName=DNS:{OUTSIDE}\nbasicConstraints=CA:FALSE\n")
        for command in (
            ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-keyout", key, "-out", request, "-subj", f"/CN={OUTSIDE}"],
            ["openssl", "x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self.root.with_suffix(".key")]
            + ["-set_serial", "77", "-days", "30", "-extfile", extensions, "-out", cert],
        ):
            run = support.command(command)
            self.assertEqual(run.returncode, 0, run.stderr)
        port = support.free_port()
        server = support.Process(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", cert, "-key", key, "-www", "-quiet"]
        )
        self.addCleanup(server.stop)
        support.wait_for_port(port, server)
        return port, cert

    def test_fresh_browsers_open_local_sites_after_trust_and_refuse_after_untrust(self):
        said = self.trust()
        for words in ("system store", "update-ca-certificates", "Chromium, Chrome", "Firefox", "Undo: vestibule untrust"):
            self.assertIn(words, said)
        for kind in (Chromium, Firefox):
            browser = self.browser(kind)
            for name in NAMES:
                with self.subTest(f"{kind.__name__} {name}"):
                    self.assertIn(PAGE, browser.open(f"https://{name}/"))
            browser.close()
        for name in NAMES:
            run = support.command(["curl", "--silent", "--show-error", "--noproxy", "*", f"https://{name}/"])
            self.assertIn(PAGE, run.stdout, run.stderr)
        self.untrust()
        for kind in (Chromium, Firefox):
            browser = self.browser(kind)
            for name in NAMES:
                with self.subTest(f"{kind.__name__} {name} after untrust"):
                    with self.assertRaisesRegex(Refused, "(?i)ERR_CERT_AUTHORITY_INVALID|insecure certificate"):
                        browser.open(f"https://{name}/")
            browser.close()

    def test_the_same_profile_of_firefox_refuses_after_untrust(self):
        self.trust()
        browser = self.browser(Firefox)
        browser.open(f"https://{NAMES[0]}/")
        browser.close()
        self.untrust()
        browser = self.browser(Firefox, profile=browser.profile)
        with self.assertRaisesRegex(Refused, "(?i)insecure certificate"):
            browser.open(f"https://{NAMES[0]}/")

    def test_nobody_accepts_the_root_outside_its_names(self):
        self.trust()
        port, cert = self.outside()
        run = support.command(["openssl", "verify", "-CAfile", self.root, cert])
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("permitted subtree violation", run.stderr + run.stdout)
        run = support.command(
            ["curl", "--silent", "--show-error", "--noproxy", "*", "--resolve", f"{OUTSIDE}:{port}:127.0.0.1"]
            + [f"https://{OUTSIDE}:{port}/"]
        )
        self.assertEqual(run.returncode, 60, run.stderr)
        self.assertIn("permitted subtree violation", run.stderr)
        chromium = self.browser(Chromium, f"--host-resolver-rules=MAP {OUTSIDE} 127.0.0.1")
        # The same door with a name inside: the rule is about names, not about the port.
        self.assertIn(PAGE, chromium.open(f"https://{NAMES[0]}/"))
        with self.assertRaisesRegex(Refused, "ERR_CERT_"):
            chromium.open(f"https://{OUTSIDE}:{port}/")
        firefox = self.browser(Firefox, network__dns__localDomains=OUTSIDE)
        with self.assertRaisesRegex(Refused, "(?i)insecure certificate"):
            firefox.open(f"https://{OUTSIDE}:{port}/")

    def test_trust_and_untrust_leave_no_trace(self):
        stores = ("/etc", "/usr/local", str(self.home))
        # The system's own command tidies up what others have left there; that is not ours.
        support.command(["update-ca-certificates", "--fresh"])
        before = namespace.tree(*stores)
        self.trust()
        changed = {path for path, what in namespace.tree(*stores).items() if before.get(path) != what}
        self.assertIn("/usr/local/share/ca-certificates/vestibule-dev-ca.crt", changed)
        self.assertIn("/etc/firefox/policies/policies.json", changed)
        self.assertIn(str(self.home / ".local/share/pki/nssdb/cert9.db"), changed)
        self.assertIn("nothing to do", self.trust())
        self.run_program("ca", "env")
        self.untrust()
        after = namespace.tree(*stores)
        self.assertEqual({path for path in before.keys() ^ after.keys()}, set())
        # Java's store is written anew by the system's own command, with the time of day in it.
        changed = [path for path in before if before[path] != after[path] and not path.endswith("java/cacerts")]
        self.assertEqual(changed, [])
        self.proxy.stop()
        self.assertIn("no store here has the root", self.untrust("--delete-root"))
        self.assertEqual([path for path in namespace.tree(*stores) if "vestibule" in path.rpartition("/")[2]
                          and path != str(self.config)], [])

    def test_files_of_others_keep_what_they_have(self):
        policies = pathlib.Path("/etc/firefox/policies/policies.json")
        policies.parent.mkdir(parents=True, exist_ok=True)
        theirs = '{ "policies": {"DisableTelemetry": true,\n "Certificates": {"Install": ["/their.crt"]}} }'
        policies.write_text(theirs)
        self.addCleanup(support.shutil.rmtree, policies.parents[1])
        self.trust()
        self.assertIn("/their.crt", policies.read_text())
        self.assertIn(str(self.root), policies.read_text())
        self.untrust()
        self.assertEqual(policies.read_text(), theirs)
        self.trust()
        policies.write_text(policies.read_text().replace("/their.crt", "/other.crt"))
        self.untrust()
        self.assertIn("/other.crt", policies.read_text())
        self.assertNotIn(str(self.root), policies.read_text())

    def test_without_certutil_chromium_gets_a_policy(self):
        hidden = pathlib.Path(tempfile.mkdtemp(prefix="path-", dir=self.home))
        for folder in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            for program in pathlib.Path(folder).glob("*"):
                if program.name != "certutil" and not (hidden / program.name).exists():
                    (hidden / program.name).symlink_to(program)
        path = os.environ["PATH"]
        self.addCleanup(os.environ.update, PATH=path)
        os.environ["PATH"] = str(hidden)
        said = self.trust()
        self.assertIn("/etc/chromium/policies/managed/vestibule-dev-ca.json", said)
        chromium = self.browser(Chromium)
        self.assertIn(PAGE, chromium.open(f"https://{NAMES[1]}/"))
        chromium.close()
        self.untrust()
        self.assertFalse(os.path.exists("/etc/chromium/policies/managed/vestibule-dev-ca.json"))

    def test_trust_asks_and_changes_nothing_without_an_answer(self):
        before = namespace.tree("/etc", "/usr/local")
        run = support.command([support.BINARY, "trust"], cwd=self.home, stdin=support.subprocess.DEVNULL)
        self.assertEqual(run.returncode, 1)
        self.assertIn("--yes says that you agree", run.stderr)
        self.assertEqual(namespace.tree("/etc", "/usr/local"), before)

    def test_doctor_names_what_is_wrong_and_its_cure(self):
        run = self.run_program("doctor")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stdout, r"wrong   system store \(.*\): does not have the root\n        vestibule trust")
        self.trust()
        run = self.run_program("doctor")
        self.assertNotIn("does not have the root", run.stdout)
        self.assertIn("ok      Firefox (/etc/firefox/policies/policies.json): trusts the root", run.stdout)

    def test_ca_env_makes_node_and_python_trust_without_any_store(self):
        lines = self.run_program("ca", "env").stdout
        script = f"""{lines}
node -e 'fetch("https://localhost/").then(r => r.text()).then(t => console.log("node", t))
  .catch(e => console.log("node", e.cause))'
python3 -c 'import urllib.request as u; print("python", u.urlopen("https://localhost/").read().decode())'
"""
        environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
        run = support.command(["sh", "-c", script], env=environment, cwd=self.home)
        self.assertIn(f"node <p>{PAGE}</p>", run.stdout, run.stderr)
        self.assertIn(f"python <p>{PAGE}</p>", run.stdout, run.stderr)
        bundle = self.home / ".local/share/vestibule/ca/bundle.pem"
        self.assertGreater(bundle.read_text().count("BEGIN CERTIFICATE"), 100, "the system's roots are in it too")
        self.assertNotIn("PRIVATE KEY", bundle.read_text())
        ssl.create_default_context(cafile=bundle)
        docker = self.run_program("ca", "env", "--docker").stdout
        self.assertIn(f"--volume={bundle}:/etc/vestibule-ca.pem:ro", docker)
        self.assertIn("--env=NODE_EXTRA_CA_CERTS=/etc/vestibule-ca.pem", docker)


if __name__ == "__main__":
    namespace.enter("/etc", "/usr/local")
    support.main()
