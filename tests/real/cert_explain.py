"""`cert explain`: what is wrong with a certificate, in a browser's words, and what mends it."""

import hashlib
import json
import pathlib
import re
import shutil
import socket
import ssl
import tempfile

import support
from certcase import Case, codes
from chains import Chains
from webdriver import Browser, Refused


class ExplainFile(Case):
    """A root that the system believes, an intermediate below it, and leaves with one thing wrong each."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-chains-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.chains = Chains(cls.folder)

    def look(self, *arguments, roots=None):
        return self.explain(*arguments, roots=roots or self.chains.root)

    def test_a_whole_chain_is_accepted_and_drawn_to_the_root(self):
        code, found = self.look(self.chains.file("good", "leaf", "middle"))
        self.assertEqual((code, codes(found), found["browser"]["errors"]), (0, [], []))
        self.assertEqual([link["signed"] for link in found["chain"]], ["by the next", "by one that is not here"])
        self.assertEqual([link["issuer"] for link in found["chain"]], ["test middle", "test root"])
        self.assertEqual(found["issuer_known_to"], ["the system's roots"])
        self.assertEqual([list["accepts"] for list in found["believed"]], [True, False])
        self.assertEqual((found["key"]["mode"], found["key"]["belongs"]), ("0600", True))

    def test_what_is_wrong_is_named_with_the_browsers_words(self):
        good = self.chains.file("leaf-alone", "leaf")
        table = {
            "wrong order": (self.chains.file("order", "middle", "leaf"), 0, ["cert-order"], []),
            "a double": (self.chains.file("double", "leaf", "leaf", "middle"), 0, ["cert-duplicate"], []),
            "the root is sent": (self.chains.file("with-root", "leaf", "middle", "root"), 0, [], []),
            "a stranger": (self.chains.file("stray", "leaf", "middle", "other"), 0, ["cert-stray"], []),
            "no intermediate": (good, 1, ["cert-chain-incomplete"], ["ERR_CERT_AUTHORITY_INVALID"]),
            "expired": (
                self.chains.file("expired", "expired", "middle"),
                1,
                ["cert-expired"],
                ["ERR_CERT_DATE_INVALID"],
            ),
            "not yet valid": (
                self.chains.file("early", "early", "middle"),
                1,
                ["cert-not-yet-valid"],
                ["ERR_CERT_DATE_INVALID"],
            ),
            "SHA-1": (
                self.chains.file("sha1", "sha1", "middle"),
                1,
                ["cert-weak-signature"],
                ["ERR_CERT_INVALID"],
            ),
            "another's key": (self.chains.file("wrong-key", "leaf", "middle", key="expired"), 1, ["key-mismatch"], []),
            "an old key": (
                self.chains.file("weak", "weak", "middle"),
                1,
                ["cert-weak-key", "key-unsupported"],
                [],
            ),
            "for clients": (self.chains.file("client", "client", "middle"), 1, ["cert-usage"], ["ERR_CERT_INVALID"]),
            "no names": (
                self.chains.file("nameless", "nameless", "middle"),
                1,
                ["cert-name-mismatch"],
                ["ERR_CERT_COMMON_NAME_INVALID"],
            ),
            "a leaf that signs": (
                self.chains.file("below", "below", "leaf", "middle"),
                1,
                ["cert-usage"],
                ["ERR_CERT_INVALID"],
            ),
            "a name for a signature": (
                self.chains.file("forged", "leaf", "forged"),
                1,
                ["cert-chain-broken"],
                ["ERR_CERT_AUTHORITY_INVALID"],
            ),
            "self-signed": (
                self.chains.file("self", "self"),
                1,
                ["cert-issuer-unknown"],
                ["ERR_CERT_AUTHORITY_INVALID"],
            ),
        }
        for name, (path, exit_code, problems, errors) in table.items():
            with self.subTest(name):
                code, found = self.look(path)
                self.assertEqual((code, codes(found), found["browser"]["errors"]), (exit_code, problems, errors))
                for problem in found["problems"]:
                    self.assertTrue(problem["help"] or problem["notes"], "there is a way out, or a reason")

    def test_several_faults_are_told_in_the_order_of_a_browser(self):
        code, found = self.look(self.chains.file("both", "expired"), "--name", "other.test")
        self.assertEqual(code, 1)
        self.assertEqual(
            found["browser"]["errors"],
            ["ERR_CERT_AUTHORITY_INVALID", "ERR_CERT_COMMON_NAME_INVALID", "ERR_CERT_DATE_INVALID"],
        )

    def test_the_command_that_mends_a_missing_intermediate_mends_it(self):
        folder = self.files / "missing"
        folder.mkdir()
        path = self.chains.file("mend", "leaf")
        shutil.copy(path, folder / "site.pem")
        shutil.copy(path.with_suffix(".key"), folder / "site.key")
        shutil.copy(self.chains.folder / "middle.crt", folder / "ca-bundle.pem")
        code, found = self.look(folder / "site.pem")
        self.assertEqual(code, 1)
        (mend,) = [help for problem in found["problems"] for help in problem["help"]]
        self.assertEqual(support.command(["sh", "-c", mend], cwd=folder).returncode, 0)
        self.assertEqual(self.look(folder / "fullchain.pem", "--key", folder / "site.key")[0], 0)

    def test_an_intermediate_that_can_be_fetched_is_named_by_its_address(self):
        code, found = self.look(self.chains.file("aia", "aia"))
        self.assertEqual((code, codes(found)), (1, ["cert-chain-incomplete"]))
        mend = "curl -s http://ca.test/middle.der | openssl x509 -inform DER >>"
        self.assertIn(mend, found["problems"][0]["help"][0])
        code, found = self.look(self.chains.file("evil", "evil"))
        self.assertNotIn("$(", json.dumps(found["problems"]), "what a certificate holds is no command")

    def test_a_private_root_beside_the_file_is_told_from_a_missing_intermediate(self):
        folder = self.files / "private"
        folder.mkdir()
        shutil.copy(self.chains.file("private", "leaf", "middle"), folder / "site.pem")
        shutil.copy(self.chains.root, folder / "root.pem")
        code, found = self.look(folder / "site.pem", roots=self.chains.folder / "other.crt")
        self.assertEqual((code, codes(found)), (1, ["cert-issuer-unknown"]))
        self.assertIn("root.pem has that root", json.dumps(found["problems"]))

    def test_a_key_that_others_read_is_a_warning_and_the_one_beside_is_found_by_what_it_fits(self):
        path = self.chains.file("readable", "leaf", "middle")
        folder = self.files / "keys"
        folder.mkdir()
        shutil.copy(path, folder / "site.crt")
        shutil.copy(path.with_suffix(".key"), folder / "something-else.txt")
        (folder / "something-else.txt").chmod(0o644)
        code, found = self.look(folder / "site.crt")
        self.assertEqual((code, codes(found), found["key"]["mode"]), (0, ["key-readable"], "0644"))
        (folder / "something-else.txt").unlink()
        code, found = self.look(folder / "site.crt")
        self.assertEqual((code, found["key"]["file"], found["key"]["belongs"]), (0, None, None))

    def test_a_development_certificate_is_believed_where_its_root_is(self):
        self.assertEqual(self.cert("new", "app.test").returncode, 0)
        code, found = self.look("app.test.pem", "--name", "app.test")
        self.assertEqual((code, codes(found)), (1, ["cert-issuer-unknown"]))
        self.assertEqual(found["problems"][0]["help"], ["vestibule trust"])
        self.assertEqual({list["list"]: list["accepts"] for list in found["believed"]}["the development root"], True)
        self.assertEqual(self.look("app.test.pem", "--name", "app.test", roots=self.root())[0], 0)
        _, found = self.look("app.test.pem", "--name", "other.test", roots=self.root())
        self.assertEqual(self.cert(*found["problems"][0]["help"][0].split()[2:]).returncode, 0)
        self.assertEqual(self.look("app.test.pem", "--name", "other.test", roots=self.root())[0], 0)
        later = ["faketime", "+100 days", support.BINARY, "cert", "explain", "app.test.pem", "--json"]
        env = {**self.env, "SSL_CERT_FILE": str(self.root())}
        found = json.loads(support.command(later, cwd=self.files, env=env).stdout)
        self.assertEqual((codes(found), found["browser"]["errors"]), (["cert-expired"], ["ERR_CERT_DATE_INVALID"]))
        self.assertTrue(found["problems"][0]["help"][0].startswith("vestibule cert new --force"), found)
        # A root made anew has the same name and another key.
        shutil.rmtree(self.root().parent)
        self.root()
        code, found = self.look("app.test.pem")
        self.assertEqual((code, codes(found)), (1, ["cert-issuer-unknown"]))
        mend = found["problems"][0]["help"][0]
        self.assertTrue(mend.startswith("vestibule cert new --force"), mend)
        self.assertEqual(self.cert(*mend.split()[2:]).returncode, 0)
        self.assertEqual(self.look("app.test.pem", roots=self.root())[0], 0)

    def test_what_is_no_certificate_ends_with_one_and_what_is_not_there_with_two(self):
        (self.files / "empty.pem").write_text("")
        shutil.copy(self.chains.folder / "leaf.key", self.files / "only.key")
        for arguments, code, words in (
            (["empty.pem"], 1, "is empty"),
            (["only.key"], 1, "holds a private key but no certificate"),
            (["nowhere.pem"], 2, "there is no file nowhere.pem"),
            (["./nowhere"], 2, "there is no file ./nowhere"),
            (["https://x.test/"], 2, "write x.test"),
            (["x.test"], 2, "no config file"),
            ([], 2, "required"),
        ):
            with self.subTest(arguments):
                run = self.cert("explain", *arguments)
                self.assertEqual(run.returncode, code, run.stderr)
                self.assertIn(words, run.stderr)


class ExplainHost(Case):
    def setUp(self):
        super().setUp()
        self.chains = Chains(self.work / "chains")
        shop = self.chains.file("shop", "leaf", "middle")
        wild = self.chains.file("wild", "wildcard", "middle")
        self.key = lambda path: path.with_suffix(".key")
        self.write(
            f"""
[tls]
certificates = [
  {{ cert = "{shop}", key = "{self.key(shop)}" }},
  {{ cert = "{wild}", key = "{self.key(wild)}" }},
]
[sites]
"shop.example.com" = 1
"*.eu.example.com" = 1
"app.localhost" = 1
[sites."old.example.com"]
proxy = 1
tls = {{ cert = "{shop}", key = "{self.key(shop)}" }}
"""
        )

    def write(self, text):
        (self.files / "vestibule.toml").write_text(text)

    def look(self, host, roots=None):
        return self.explain(host, roots=roots or self.chains.root)

    def test_the_certificate_is_the_one_a_handshake_gets_and_the_reason_is_said(self):
        table = {
            "shop.example.com": (0, "exactly this name (vestibule.toml:", "shop.pem"),
            "SHOP.example.com.": (0, "exactly this name (vestibule.toml:", "shop.pem"),
            "any.eu.example.com": (0, "the site `*.eu.example.com` covers it", "wild.pem"),
            "a.b.eu.example.com": (1, "no certificate is for it", None),
            "old.example.com": (1, "its `tls` names these files", "shop.pem"),
            "nobody.example.com": (1, "no site has this name", None),
            "127.0.0.1": (1, "sends no server name; the first of tls.certificates", "shop.pem"),
        }
        with support.Proxy((self.files / "vestibule.toml").read_text()) as proxy:
            for host, (code, why, file) in table.items():
                with self.subTest(host):
                    exit_code, found = self.look(host)
                    self.assertEqual(exit_code, code, found)
                    self.assertIn(why, found["chosen"])
                    self.assertEqual(found["file"] and pathlib.Path(found["file"]).name, file)
                    shown = handshake(proxy.https, None if host[0].isdigit() else host)
                    self.assertEqual(found["chain"][0]["sha256"] if file else None, shown)

    def test_a_host_beside_its_certificate_is_told_the_browsers_word(self):
        _, found = self.look("old.example.com")
        self.assertEqual(found["browser"]["errors"], ["ERR_CERT_COMMON_NAME_INVALID"])
        _, found = self.look("nobody.example.com")
        self.assertIn("ERR_SSL_UNRECOGNIZED_NAME_ALERT", found["browser"]["says"])

    def test_a_local_name_has_a_leaf_of_the_development_root_whether_or_not_it_is_there_yet(self):
        code, found = self.look("app.localhost")
        self.assertEqual((code, codes(found), found["from"]), (1, ["cert-issuer-unknown"], "development CA"))
        self.assertEqual(found["problems"][0]["help"], ["vestibule trust"])
        self.assertFalse((self.work / "state").exists(), "nothing is made")
        code, found = self.look("app.localhost", roots=self.root())
        self.assertEqual((code, codes(found)), (0, []))

    def test_a_config_that_does_not_load_ends_with_two(self):
        self.write('[sites]\n"a.test" = true\n')
        run = self.cert("explain", "a.test")
        self.assertEqual(run.returncode, 2)
        self.assertIn("error[wrong-type]", run.stderr)
        # A file can be looked at all the same.
        path = self.chains.file("shop", "leaf", "middle")
        self.assertEqual(self.cert("explain", path, roots=self.chains.root).returncode, 0)


class Chromium(Case):
    """The words of `explain` beside those of the real browser, which believes the same root."""

    def serve(self, path):
        """The file as it stands, by a server that does not look at it: its port."""
        port = support.free_port()
        server = support.Process(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", path, "-cert_chain", path]
            + ["-key", path.with_suffix(".key"), "-cipher", "DEFAULT:@SECLEVEL=0", "-www", "-quiet"]
        )
        self.addCleanup(server.stop)
        support.wait_for_port(port, server)
        return port

    def test_the_browser_shows_the_error_that_is_told_first(self):
        chains = Chains(self.work / "chains")
        files = [chains.file("good", "leaf", "middle"), chains.file("self", "self")]
        wrong = ("expired", "early", "sha1", "weak", "client", "nameless", "wildcard")
        wrong += ("expired-sha1", "expired-client", "elsewhere-client")
        files += [chains.file(label, label, "middle") for label in wrong]
        files += [chains.file(f"{label}-alone", label) for label in ("leaf", "expired", "sha1", "client")]
        files += [chains.file("forged", "leaf", "forged"), chains.file("below", "below", "leaf", "middle")]
        home = self.work / "home"
        home.mkdir()
        browser = Browser(chains.root, home, "--host-resolver-rules=MAP * 127.0.0.1")
        self.addCleanup(browser.close)
        for path in files:
            with self.subTest(path.stem):
                _, found = self.explain(path, "--name", "shop.example.com", roots=chains.root)
                try:
                    browser.open(f"https://shop.example.com:{self.serve(path)}/")
                    shown = browser.script("return document.body.innerText")
                except Refused as refused:
                    shown = str(refused)
                words = re.findall(r"ERR_(?:CERT|SSL)_[A-Z0-9_]+", shown)
                self.assertEqual(words[:1], found["browser"]["errors"][:1], shown[:300])


def handshake(port, name):
    """The SHA-256 of the leaf that a handshake gets; `None` after an alert."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as tcp:
            with context.wrap_socket(tcp, server_hostname=name) as tls:
                return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
    except ssl.SSLError:
        return None


if __name__ == "__main__":
    support.main()
