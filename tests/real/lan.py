"""`dev --lan` between two machines: a laptop that serves an app, and a phone that has nothing but the cable to it.

Each is a network namespace; the suite itself lives on the laptop, so that ports 80 and 443 are free there.
"""

import os
import pathlib
import plistlib
import re
import ssl
import tempfile
import unittest

import namespace
import support
import zxingcpp
from backends import FunctionServer
from netns import Space
from webdriver import complaints, window

LAPTOP, PHONE, SECOND, PUBLIC = "192.168.77.20", "192.168.77.30", "10.77.0.20", "203.0.113.7"
NAME = "laptop.local"
ROOT_PATH = "/.vestibule/ca"
APP = b"the app on the laptop\n"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile Safari/604.1"
ANDROID = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36"
SHOTS = support.ROOT / "target/screenshots"
# This process's machine has this name for whom it starts in here.
NAMED = ["unshare", "--uts", "sh", "-c", 'echo laptop > /proc/sys/kernel/hostname && exec "$@"', "sh"]


def cable(near, far, other, space):
    """A cable from this machine to a namespace, with an address at each end."""
    name = f"cable{near.split('.')[0]}"
    for command in (
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "wlan0", "netns", str(space.holder.pid)],
        ["ip", "addr", "add", near, "dev", name],
        ["ip", "link", "set", name, "up"],
        space.inside("ip", "addr", "add", far, "dev", "wlan0"),
        space.inside("ip", "link", "set", "wlan0", "up"),
        *other,
    ):
        run = support.command(command)
        if run.returncode != 0:
            raise OSError(f"{command}: {run.stderr}")


class Dev(support.Process):
    """`vestibule dev` on the laptop, ready when the constructor returns, with a state folder that may be there already."""

    def __init__(self, *arguments, work, before=NAMED):
        self.work = pathlib.Path(work)
        super().__init__([*before, support.BINARY, "dev", *arguments], cwd=self.work, env=environment(self.work))
        try:
            ready = lambda: any(line.startswith("ready in ") for line in self.stderr)
            support.wait_until(lambda: ready() or self.ended(), "vestibule says that it is ready")
            if self.ended():
                raise AssertionError(f"ended instead of listening:\n{self.output()}")
        except AssertionError:
            self.stop()
            raise

    def said(self):
        return "\n".join(self.stderr)

    def root(self):
        """The development root, as the program tells it."""
        run = support.command([support.BINARY, "ca", "print"], cwd=self.work, env=environment(self.work))
        return run.stdout


def environment(work):
    return {**os.environ, "HOME": str(work), "VESTIBULE_STATE_DIR": str(work / "state")}


def curl(space, url, *arguments):
    """curl on a device: `(exit code, status, Location, Content-Type, body)`."""
    with tempfile.NamedTemporaryFile() as file:
        form = "%{http_code}\n%header{location}\n%{content_type}"
        line = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--output", file.name]
        run = support.command(space.inside(*line, "--write-out", form, *arguments, url))
        status, location, kind = run.stdout.split("\n")
        return run.returncode, int(status), location, kind, pathlib.Path(file.name).read_bytes()


class Lan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.asked = []

        def answer(handler):
            cls.asked.append(handler.path)
            handler.reply(200, APP)

        cls.backend = FunctionServer({"*": answer})
        cls.addClassCleanup(cls.backend.close)
        cls.phone, cls.far = Space(), Space()
        cls.addClassCleanup(cls.phone.close)
        cls.addClassCleanup(cls.far.close)
        default = ["ip", "route", "add", "default", "via", PHONE]
        cable(f"{SECOND}/16", "10.77.0.30/16", [], cls.far)
        cable(f"{LAPTOP}/24", f"{PHONE}/24", [default], cls.phone)
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-lan-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, True)
        cls.proxy = Dev(str(cls.backend.port), "--lan", work=cls.work)
        cls.addClassCleanup(cls.proxy.stop)

    def fetch_root(self, *arguments):
        """What the phone gets from the plain door, as a file."""
        code, status, _, kind, body = curl(self.phone, f"http://{LAPTOP}{ROOT_PATH}", *arguments)
        self.assertEqual((code, status), (0, 200))
        path = self.work / "fetched.crt"
        path.write_bytes(body)
        return path, kind

    def test_the_phone_takes_the_root_and_then_reaches_the_app_by_address_and_by_name(self):
        resolve = ["--resolve", f"{NAME}:443:{LAPTOP}", "--resolve", f"{NAME}:80:{LAPTOP}"]
        for host in (LAPTOP, NAME):
            with self.subTest(f"{host} without the root"):
                code, *_ = curl(self.phone, f"https://{host}/", *resolve)
                self.assertEqual(code, 60, "curl: the issuer is not known")
        root, kind = self.fetch_root()
        self.assertEqual(kind, "application/x-x509-ca-cert")
        for host in (LAPTOP, NAME):
            with self.subTest(host):
                code, status, _, _, body = curl(self.phone, f"https://{host}/", "--cacert", root, *resolve)
                self.assertEqual((code, status, body), (0, 200, APP))
                code, status, _, _, body = curl(self.phone, f"http://{host}/a?b", "--cacert", root, "-L", *resolve)
                self.assertEqual((code, status, body), (0, 200, APP), "by way of the redirect")

    def test_the_plain_door_has_the_redirect_and_the_root_and_nothing_else(self):
        before = len(self.asked)
        paths = [
            "/", "/index.html", "/.vestibule", "/.vestibule/", "/.vestibule/health", f"{ROOT_PATH}/", f"{ROOT_PATH}/root.key",
            f"{ROOT_PATH}.key", "/.vestibule/../.vestibule/ca", "//.vestibule/ca", "/.well-known/acme-challenge/x", "/.env",
        ]  # fmt: skip
        for host in (LAPTOP, NAME):
            for path in paths:
                with self.subTest(f"{host}{path}"):
                    arguments = ["--path-as-is", "--resolve", f"{NAME}:80:{LAPTOP}"]
                    _, status, location, _, body = curl(self.phone, f"http://{host}{path}", *arguments)
                    self.assertEqual((status, body), (307, b""))
                    self.assertEqual(location, f"https://{host}{path}")
        for arguments in (["-X", "POST", "-d", "x"], ["-X", "DELETE"], ["-X", "OPTIONS"], ["--http2-prior-knowledge"]):
            with self.subTest(" ".join(arguments)):
                path = "/" if "--http2-prior-knowledge" in arguments else ROOT_PATH
                self.assertEqual(curl(self.phone, f"http://{LAPTOP}{path}", *arguments)[1], 307)
        with self.subTest("a host that nobody serves"):
            self.assertEqual(curl(self.phone, f"http://{LAPTOP}/", "-H", "Host: evil.example.com")[1], 404)
        with self.subTest("the app has no request of these"):
            self.assertEqual(self.asked[before:], [])

    def test_each_device_gets_its_form_of_the_same_root_and_never_a_key(self):
        own = ssl.PEM_cert_to_DER_cert(self.proxy.root())
        path, _ = self.fetch_root("-A", ANDROID)
        self.assertEqual(ssl.PEM_cert_to_DER_cert(path.read_text()), own)
        path, kind = self.fetch_root("-A", IPHONE)
        self.assertEqual(kind, "application/x-apple-aspen-config")
        profile = plistlib.loads(path.read_bytes())
        self.assertEqual((profile["PayloadType"], profile["PayloadVersion"]), ("Configuration", 1))
        (payload,) = profile["PayloadContent"]
        self.assertEqual(payload["PayloadType"], "com.apple.security.root")
        self.assertEqual(payload["PayloadContent"], own)
        self.assertNotEqual(payload["PayloadUUID"], profile["PayloadUUID"])
        self.assertEqual(plistlib.loads(self.fetch_root("-A", IPHONE)[0].read_bytes()), profile, "it replaces itself")
        for query, agent in (("?crt", IPHONE), ("?mobileconfig", ANDROID)):
            _, status, _, kind, body = curl(self.phone, f"http://{LAPTOP}{ROOT_PATH}{query}", "-A", agent)
            self.assertEqual((status, "aspen" in kind), (200, query == "?mobileconfig"))
            self.assertNotIn(b"PRIVATE", body)
        run = support.command(["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=self.proxy.root())
        self.assertIn(run.stdout.strip().partition("=")[2], self.proxy.said(), "the terminal has the fingerprint")

    def test_the_root_vouches_for_no_public_name_or_address(self):
        run = support.command(["openssl", "x509", "-noout", "-text"], input=self.proxy.root())
        constraints = run.stdout.partition("Name Constraints: critical")[2].partition("Signature")[0]
        permitted = re.findall(r"(?:DNS|IP):(\S+)", constraints)
        self.assertEqual(
            [name for name in permitted if "/" not in name], ["localhost", "test", "internal", "home.arpa", "local"]
        )
        self.assertIn("192.168.0.0/255.255.0.0", permitted)
        self.assertNotIn("Excluded", constraints)

    def test_nothing_but_the_two_doors_listens_beyond_loopback(self):
        run = support.command(["ss", "--listening", "--tcp", "--numeric", "--no-header"])
        listening = {line.split()[3] for line in run.stdout.splitlines()}
        beyond = {place for place in listening if not place.startswith(("127.", "[::1]"))}
        self.assertEqual(beyond, {f"{LAPTOP}:80", f"{LAPTOP}:443"})
        inspector = re.search(r"inspector   http://127\.0\.0\.1:(\d+)/", self.proxy.said())
        self.assertEqual(curl(self.phone, f"http://{LAPTOP}:{inspector[1]}/")[0], 7, "curl: connection refused")
        with self.subTest("the other network reaches none of it"):
            self.assertEqual(curl(self.far, f"http://{SECOND}/")[0], 7)

    def test_the_terminal_says_who_can_reach_it_and_how_a_device_begins(self):
        said = self.proxy.said()
        for part in (
            f"lan   https://{LAPTOP} ", f"https://{NAME}\n", "everybody in 192.168.77.0/24 (cable192) can open the app",
            f"another address: --lan={SECOND} (cable10)", f"on each device once: http://{LAPTOP}{ROOT_PATH} ",
        ):  # fmt: skip
            self.assertIn(part, said)

    def test_the_codes_in_the_terminal_lead_to_the_root_and_to_the_app(self):
        lines = [line[2:] for line in self.proxy.stderr if set("█▀▄") & set(line)]
        wide = max(map(len, lines))
        self.assertLessEqual(wide, 78)
        rows = [[halves[half] for halves in map(DRAWN.get, line.ljust(wide))] for line in lines for half in (0, 1)]
        # Light modules are drawn; each becomes three by three pixels.
        pixels = bytes(255 * drawn for row in rows for _ in range(3) for drawn in row for _ in range(3))
        image = memoryview(pixels).cast("B", (len(rows) * 3, wide * 3))
        found = [code.text for code in zxingcpp.read_barcodes(image)]
        self.assertEqual(sorted(found), sorted([f"http://{LAPTOP}{ROOT_PATH}", f"https://{LAPTOP}"]))

    def test_the_page_fits_a_phone_loads_nothing_and_speaks_two_languages(self):
        for language, tag, words in (("en-US,en", "en", "Install anyway"), ("zh-CN,zh", "zh", "仍然安装")):
            with self.subTest(tag), window(False, 360, 780, language) as browser:
                browser.devtools("Emulation.setUserAgentOverride", userAgent=ANDROID, acceptLanguage=language)
                browser.open(f"http://{LAPTOP}{ROOT_PATH}")
                # Scripts of the page are off, the driver's are not.
                self.assertEqual(browser.script("return document.documentElement.lang"), tag)
                self.assertIn(words, browser.text("html"))
                for shot in ("phone", "phone-dark"):
                    browser.size(360, 780, dark=shot.endswith("dark"))
                    wide = browser.devtools("Page.getLayoutMetrics")["cssContentSize"]["width"]
                    self.assertLessEqual(wide, 360)
                    browser.screenshot(SHOTS / f"{shot}-{tag}.png")
                self.assertEqual(complaints(browser), [])
                # What the browser shows before it has been anywhere is its own.
                asked = {url.partition("?")[0] for url in browser.asked() if url.startswith("http")}
                self.assertEqual(asked - {f"http://{LAPTOP}/favicon.ico"}, {f"http://{LAPTOP}{ROOT_PATH}"})
                link = browser.script("return document.querySelector('details[open] a').href")
                self.assertEqual(link, f"http://{LAPTOP}{ROOT_PATH}?crt")


# The upper and the lower half of a character.
DRAWN = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}


class Addresses(unittest.TestCase):
    """Which address is taken. Each machine is a namespace of its own."""

    def setUp(self):
        self.machine, self.other = Space(), Space()
        self.addCleanup(self.machine.close)
        self.addCleanup(self.other.close)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-lan-"))
        self.addCleanup(support.shutil.rmtree, self.work, True)
        self.count = 0

    def give(self, address):
        """A further interface of the machine."""
        self.count += 1
        name, far = f"net{self.count}", f"far{self.count}"
        peer = ["peer", "name", far, "netns", str(self.other.holder.pid)]
        self.machine.run("ip", "link", "add", name, "type", "veth", *peer)
        self.machine.run("ip", "addr", "add", address, "dev", name)
        self.machine.run("ip", "link", "set", name, "up")
        self.other.run("ip", "link", "set", far, "up")

    def dev(self, *arguments, name="laptop"):
        """One that starts."""
        named = [part.replace("laptop", name) for part in NAMED]
        proxy = Dev("3000", *arguments, work=self.work, before=[*self.machine.inside(), *named])
        self.addCleanup(proxy.stop)
        return proxy

    def refused(self, *arguments, name="laptop"):
        """What is said by one that does not."""
        named = [part.replace("laptop", name) for part in NAMED]
        line = [*self.machine.inside(), *named, support.BINARY, "dev", *arguments]
        run = support.command(line, cwd=self.work, env=environment(self.work), timeout=20)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertNotIn("panicked", run.stderr)
        return run.stderr

    def test_without_a_network_it_says_so(self):
        self.assertIn("no address but loopback: join a network", self.refused("3000", "--lan"))

    def test_an_address_that_is_not_here_is_refused_with_those_that_are(self):
        self.give(f"{LAPTOP}/24")
        self.assertIn(f"it has --lan={LAPTOP} (net1)", self.refused("3000", "--lan=192.168.77.99"))

    def test_the_address_that_is_named_is_taken(self):
        self.give(f"{LAPTOP}/24")
        self.give(f"{SECOND}/16")
        said = self.dev(f"--lan={SECOND}").said()
        self.assertIn(f"lan   https://{SECOND} ", said)
        self.assertIn(f"another address: --lan={LAPTOP} (net1)", said)

    def test_a_public_address_has_to_be_named_and_is_served_by_name_alone(self):
        self.give(f"{PUBLIC}/24")
        said = self.refused("3000", "--lan")
        self.assertIn(f"no private address; another one is served only where it is named: --lan={PUBLIC} (net1)", said)
        said = self.refused("3000", f"--lan={PUBLIC}", name="localhost")
        self.assertIn("the development root may not vouch for it", said)
        proxy = self.dev(f"--lan={PUBLIC}")
        self.assertIn(f"lan   https://{NAME}\n", proxy.said())
        self.assertIn(f"everybody who reaches {PUBLIC}, which is no private address, can open the app", proxy.said())
        self.assertEqual(curl(self.machine, f"http://{PUBLIC}{ROOT_PATH}")[1], 200)

    def test_several_targets_are_refused(self):
        self.give(f"{LAPTOP}/24")
        self.assertIn("--lan serves one target", self.refused("app=3000", "api=4000", "--lan"))

    def test_a_root_from_before_names_under_local_serves_the_address_and_says_so(self):
        self.give(f"{LAPTOP}/24")
        folder = self.work / "state/ca"
        folder.mkdir(parents=True)
        (self.work / "root.cnf").write_text(
            "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE,pathlen:0\n"
            "keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nnameConstraints=critical,permitted;DNS:localhost,"
            "permitted;IP:192.168.0.0/255.255.0.0,permitted;IP:127.0.0.0/255.0.0.0\n"
        )
        run = support.command(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9"]
            + ["-config", self.work / "root.cnf", "-subj", "/CN=vestibule development CA"]
            + ["-keyout", folder / "root.key", "-out", folder / "root.crt"]
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        (folder / "root.key").chmod(0o600)
        proxy = self.dev("--lan")
        self.assertIn(f"lan   https://{LAPTOP}\n", proxy.said())
        self.assertIn("the root is older than such names (vestibule untrust --delete-root", proxy.said())


if __name__ == "__main__":
    namespace.enter()
    support.main()
