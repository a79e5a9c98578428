"""Sixteen mistakes that people make with proxies, and exactly what is said of each.

The mistakes of a config are checked in a folder of their own, with certificates made for this run; what `check` says is
compared with tests/real/mistakes/NAME.txt. What differs from run to run (ports, dates, digits of keys, the folder) is
replaced by a word first. The mistakes at run time are made over real sockets. UPDATE=1 writes the texts anew: read the
diff then.
"""

import os
import pathlib
import re
import shutil
import socket
import ssl
import tempfile
import unittest

import support
from rawhttp import Client

TEXTS = pathlib.Path(__file__).resolve().parent / "mistakes"
LISTENERS = '[listeners]\nhttp = "127.0.0.1:0"\nhttps = "127.0.0.1:0"\n'


def openssl(*arguments):
    run = support.command(["openssl", *arguments])
    if run.returncode != 0:
        raise AssertionError(f"openssl {' '.join(map(str, arguments))}: {run.stderr}")


def certificate(folder, name, host, days=30):
    """A self-signed P-256 certificate NAME.crt with NAME.key; `days` may lie in the past."""
    key, request, cert = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
    key.chmod(0o600)
    openssl("req", "-new", "-key", key, "-subj", f"/CN={host}", "-out", request)
    extension = folder / "san"
    extension.write_text(f"subjectAltName=DNS:{host}\n")
    openssl("x509", "-req", "-in", request, "-signkey", key, "-days", str(days), "-extfile", extension, "-out", cert)
    request.unlink()
    extension.unlink()


def site(cert, key, host="shop.example.com"):
    return f'[sites."{host}"]\nproxy = "builtin:show"\ntls = {{ cert = "{cert}", key = "{key}" }}\n'


class Mistakes(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.certs = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        certificate(cls.certs, "shop", "shop.example.com")
        certificate(cls.certs, "other", "other.example.com")
        certificate(cls.certs, "old", "shop.example.com", -1)
        openssl("x509", "-in", cls.certs / "shop.crt", "-outform", "DER", "-out", cls.certs / "shop.der")
        (cls.certs / "empty.crt").touch()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.certs)

    def check(self, name, text, *certs, env=None, arguments=(), words=(), code=2):
        """Check `text` in a folder with the files `certs`, and compare what is said with NAME.txt."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.addCleanup(shutil.rmtree, work)
        for cert in certs:
            shutil.copy(self.certs / cert, work / cert)
        (work / "vestibule.toml").write_text(text)
        full = {**os.environ, "VESTIBULE_STATE_DIR": str(work / "state"), **(env or {})}
        run = support.command([support.BINARY, "check", *arguments], cwd=work, env=full)
        said = run.stderr.replace(str(work), "FOLDER")
        for pattern, word in [
            (r"\d{4}-\d\d-\d\d", "DATE"),
            (r"ends in [0-9a-f]+", "ends in KEY"),
            (r"\d+ days ago", "N days ago"),
            *words,
        ]:
            said = re.sub(pattern, word, said)
        self.same(name, said)
        self.assertEqual(run.returncode, code, run.stderr)

    def same(self, name, said):
        expected = TEXTS / f"{name}.txt"
        if os.environ.get("UPDATE"):
            expected.write_text(said)
        self.assertEqual(said, expected.read_text() if expected.exists() else "")

    def test_a_typo_in_a_key(self):
        self.check("typo", LISTENERS + '[sites."app.localhost"]\nproxxy = "builtin:show"\n')

    def test_a_value_of_the_wrong_type(self):
        text = LISTENERS + '[defaults.timeouts]\nconnect = 30\n[sites]\n"app.localhost" = "builtin:show"\n'
        self.check("type", text)

    def test_a_bracket_that_is_missing(self):
        text = '[listeners\nhttp = ":8080"\n\n[sites."app.localhost"]\nproxy = 3000\naliases = ["a.localhost"\n'
        self.check("bracket", text)

    def test_a_certificate_file_that_is_not_there(self):
        self.check("cert-missing", LISTENERS + site("nope.crt", "shop.key"), "shop.crt", "shop.key")

    def test_a_key_of_another_certificate(self):
        files = ("shop.crt", "shop.key", "other.key")
        self.check("key-mismatch", LISTENERS + site("shop.crt", "other.key"), *files)

    def test_a_certificate_that_has_expired(self):
        self.check("cert-expired", LISTENERS + site("old.crt", "old.key"), "old.crt", "old.key")

    def test_a_certificate_for_another_name(self):
        text = LISTENERS + site("other.crt", "other.key")
        self.check("cert-name", text, "other.crt", "other.key", arguments=["--deny-warnings"])

    def test_a_certificate_that_is_not_pem_or_empty_or_swapped_with_its_key(self):
        text = LISTENERS + site("shop.der", "shop.key", "a.example.com") + site("empty.crt", "shop.key", "b.example.com")
        text += site("shop.key", "shop.crt", "c.example.com")
        self.check("not-pem", text, "shop.der", "shop.crt", "shop.key", "empty.crt")

    def test_a_port_that_is_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            text = f'[listeners]\nhttp = "127.0.0.1:{port}"\nhttps = "off"\n'
            text += '[sites."app.localhost"]\nproxy = "builtin:show"\nhttp = "serve"\n'
            words = [(str(port + 1), "NEXT"), (str(port), "PORT"), (r"\S+ \(pid \d+\)", "NAME (pid N)")]
            self.check("port-in-use", text, words=[*words, (r"\^+", "^")])

    def test_a_port_without_the_privilege(self):
        text = '[listeners]\nhttp = "127.0.0.1:80"\nhttps = "off"\n'
        text += '[sites."app.localhost"]\nproxy = "builtin:show"\nhttp = "serve"\n'
        work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.addCleanup(shutil.rmtree, work)
        (work / "vestibule.toml").write_text(text)
        work.chmod(0o755)
        program = work / "vestibule"
        shutil.copy(support.BINARY, program)
        # A network of its own, where ports below 1024 are privileged whatever this machine says, and a user of none.
        script = "echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start; ip link set lo up; "
        script += f"cd {work} && exec setpriv --reuid=65532 --regid=65532 --clear-groups --inh-caps=-all "
        script += f"--bounding-set=-all {program} check"
        command = ["unshare", "--net", "--mount-proc", "--pid", "--fork", "bash", "-c", script]
        if support.command(["unshare", "--net", "--mount-proc", "--pid", "--fork", "true"]).returncode != 0:
            self.skipTest("this user may not make a network of its own")
        run = support.command(command)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.same("port-privilege", run.stderr)

    def test_a_server_whose_name_does_not_resolve(self):
        text = LISTENERS + '[sites]\n"app.localhost" = "backend.invalid:8000"\n'
        words = [(r"(\^+) .*", r"\1 WHY")]
        self.check("upstream-unresolved", text, arguments=["--deny-warnings"], words=words)

    def test_a_server_given_as_a_url_with_a_path(self):
        self.check("target-url", LISTENERS + '[sites]\n"app.localhost" = "http://127.0.0.1:3000/app"\n')

    def test_the_same_site_twice(self):
        text = LISTENERS + '[sites."app.localhost"]\nproxy = 3000\n\n[sites."App.LocalHost"]\nproxy = 3001\n'
        self.check("site-twice", text)

    def test_an_environment_variable_that_is_not_set(self):
        self.check("env", LISTENERS + '[sites]\n"app.localhost" = "${env:VESTIBULE_TEST_BACKEND}"\n')

    def test_all_that_can_stand_together_are_said_in_one_run(self):
        text = '[listeners]\nhttp = "127.0.0.1:0"\nhtps = 443\n[defaults.timeouts]\nconnect = 30\n'
        text += '[sites."a.localhost"]\nproxxy = 1\n[sites."b.localhost"]\nproxy = "http://b:1/x"\n'
        text += '[sites."c.localhost"]\nproxy = "${env:VESTIBULE_TEST_BACKEND}"\n'
        text += site("nope.crt", "shop.key") + '[sites."d.localhost"]\nupstream = "nobody"\n[sites."D.localhost"]\nproxy = 3\n'
        self.check("together", text, "shop.crt", "shop.key")

    def test_all_problems_of_certificates_are_said_in_one_run(self):
        text = LISTENERS + site("nope.crt", "shop.key", "a.example.com") + site("shop.crt", "other.key", "b.example.com")
        text += site("old.crt", "old.key") + site("shop.crt", "shop.key", "d.example.com")
        text += '[sites."e.example.com"]\nproxy = "builtin:show"\n'
        self.check("certs-together", text, "shop.crt", "shop.key", "other.key", "old.crt", "old.key")


class AtRunTime(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{support.free_port()}"))

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()

    def test_a_server_that_is_down_is_a_502_with_its_code(self):
        with Client(self.proxy.http) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
            answer = client.answer()
        self.assertEqual(answer.status, 502)
        said = re.sub(r"request [0-9a-f]+", "request ID", answer.body.decode())
        self.assertEqual(said, "502 Bad Gateway: The backend refused the connection. [upstream.refused] request ID\n")

    def test_plain_http_on_the_tls_port_is_sent_to_https(self):
        with Client(self.proxy.https) as client:
            client.send(f"GET /x HTTP/1.1\r\nHost: app.localhost:{self.proxy.https}\r\n\r\n".encode())
            answer = client.answer()
        self.assertEqual(answer.status, 307)
        self.assertEqual(answer.value("Location"), f"https://app.localhost:{self.proxy.https}/x")

    def test_a_name_nobody_serves_gets_the_alert_that_says_so(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.proxy.https), 20) as plain:
            with self.assertRaisesRegex(ssl.SSLError, "UNRECOGNIZED_NAME"):
                context.wrap_socket(plain, server_hostname="nobody.example.com")
        support.wait_until(
            lambda: any("nobody.example.com" in line for line in self.proxy.stderr), "the log names the host"
        )


if __name__ == "__main__":
    support.main()
