"""Vite's development server in a real browser, over HTTPS: pages, and hot updates over the WebSocket of the page, on a site
of its own and below a prefix, over HTTP/1.1 and HTTP/2; and `dev -- CMD`, which starts the server itself."""

import itertools
import json
import pathlib
import re
import socket
import tempfile
import unittest

import howto
import support
from webdriver import Browser

APP = support.ROOT / "tests/real/apps/vite"
MODULES = support.ROOT / "target/npm/node_modules"
# Seconds for a server to start, and for a browser and a server to do what takes them one: the machine may have other work.
PATIENT = 60

SITES = """
[sites."vite.localhost"]
proxy = SERVER

[sites."vite.test"]
proxy = SERVER

[sites."office.localhost"]
respond = { body = "nothing of Vite is here\\n" }
[[sites."office.localhost".routes]]
path = "/page/*"
proxy = MOUNTED
"""
# Where it is, and how Chromium comes there.
PLACES = {
    "site, HTTP/2": ("vite.localhost", "", "HTTP/2.0"),
    "site, HTTP/1.1": ("vite.localhost", "", "HTTP/1.1"),
    "prefix, HTTP/2": ("office.localhost", "/page", "HTTP/2.0"),
    "prefix, HTTP/1.1": ("office.localhost", "/page", "HTTP/1.1"),
}


def make_app(folder, config=None):
    """The app as a user has it: its files, and what `npm ci` has installed. The cache in `node_modules` is its own."""
    support.shutil.copytree(APP, folder)
    (folder / "node_modules").mkdir()
    for name in ("vite", ".bin"):
        (folder / "node_modules" / name).symlink_to(MODULES / name)
    if config:
        (folder / "vite.config.js").write_text(config)
    return folder


def start(folder, port, *options):
    """The server alone; the port is what it is told."""
    vite = MODULES / "vite/bin/vite.js"
    command = ["node", vite, "--port", port, "--strictPort", "--clearScreen", "false", *options]
    server = support.Process(command, cwd=folder, env={"NO_COLOR": "1"})
    try:
        # Its port is no sign: Vite listens there for a moment to see whether it is free.
        ready = lambda: any("ready in" in line for line in server.stdout)
        support.wait_until(lambda: ready() or server.ended(), "Vite is ready", PATIENT)
        if server.ended():
            raise AssertionError(f"Vite ended:\n{server.output()}")
    except AssertionError:
        server.stop()
        raise
    return server


def listens(port):
    """Vite takes the first address of `localhost`, whichever it is."""
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), 1).close()
            return True
        except OSError:
            continue
    return False


def every_place(test):
    """Run a test at each place, a sub-test each."""

    def run(self):
        for place in PLACES:
            with self.subTest(place):
                test(self, place)

    return run


class Vite(unittest.TestCase):
    # Whatever is written into a file for the first time.
    numbers = itertools.count(1)

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-vite-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        cls.apps = {"": make_app(cls.work / "app"), "/page": make_app(cls.work / "mounted")}
        cls.ports = {prefix: support.free_port() for prefix in cls.apps}
        cls.servers = {}
        cls.addClassCleanup(lambda: [server.stop() for server in cls.servers.values()])
        for prefix in cls.apps:
            cls.serve(prefix)
        sites = SITES.replace("SERVER", str(cls.ports[""])).replace("MOUNTED", str(cls.ports["/page"]))
        cls.proxy = support.Proxy(sites, '[access_log]\nformat = "json"\n')
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()
        cls.browsers = {}
        for protocol, flags in (("HTTP/2.0", ()), ("HTTP/1.1", ("--disable-http2",))):
            cls.browsers[protocol] = Browser(cls.ca, cls.work, *flags)
            cls.addClassCleanup(cls.browsers[protocol].close)

    @classmethod
    def serve(cls, prefix):
        options = ["--base", f"{prefix}/"] if prefix else []
        cls.servers[prefix] = start(cls.apps[prefix], cls.ports[prefix], *options)

    def open(self, place):
        """The page at a place, with its hot updates connected, over the protocol of the page and not by a way round it."""
        host, prefix, protocol = PLACES[place]
        browser = self.browsers[protocol]
        browser.console()
        browser.open(f"https://{host}:{self.proxy.https}{prefix}/")
        said = []

        def connected():
            said.extend(browser.console())
            return any("[vite] connected." in line for line in said)

        support.wait_until(connected, "the page is connected", PATIENT)
        # Vite may tell of an earlier save once more.
        usual = ("[vite] connect", "hot updated: /")
        self.assertEqual([line for line in said if not any(words in line for words in usual)], [])

        def websockets():
            lines = [line for line in map(json.loads, list(self.proxy.stdout)) if line["status"] == 101]
            return [line["protocol"] for line in lines if line["host"].startswith(host)]

        support.wait_until(lambda: protocol in websockets(), f"a WebSocket over {protocol} is logged", PATIENT)
        browser.script("window.kept = 'kept'")
        return browser

    def save(self, place, name, text):
        """Put a file in place whole, as editors do."""
        fresh = self.work / name
        fresh.write_text(text)
        fresh.replace(self.apps[PLACES[place][1]] / name)

    def update(self, place, name, text):
        """Save a file until the server has noticed: Vite may miss a change shortly after another."""
        lines = self.servers[PLACES[place][1]].stdout
        known = len(lines)

        def noticed():
            return any("hmr update" in line for line in lines[known:])

        for _ in range(PATIENT // 5):
            self.save(place, name, text)
            try:
                return support.wait_until(noticed, f"Vite has noticed {name}", 5)
            except AssertionError as missed:
                last = missed
        raise last

    def greet(self, place, save):
        """A greeting that the page has not had, and whether a page shows it."""
        greeting = f"greeting {next(self.numbers)}"
        save(place, "greeting.js", f"export const greeting = '{greeting}'\n")
        return lambda browser: browser.script("return document.querySelector('#greeting')?.textContent") == greeting

    @every_place
    def test_a_changed_file_changes_the_page_without_a_reload(self, place):
        browser = self.open(place)
        greeted = self.greet(place, self.update)
        support.wait_until(lambda: greeted(browser), "the greeting is new", PATIENT)
        color = f"rgb({next(self.numbers)}, 2, 3)"
        self.update(place, "style.css", f"#greeting {{ color: {color} }}\n")
        seen = "return getComputedStyle(document.querySelector('#greeting')).color"
        support.wait_until(lambda: browser.script(seen) == color, f"the text is {color}", PATIENT)
        self.assertEqual(browser.script("return window.kept"), "kept")
        self.assertEqual([line for line in browser.console() if "hot updated: /" not in line], [])

    @every_place
    def test_a_page_comes_back_by_itself_when_the_server_was_started_again(self, place):
        browser = self.open(place)
        prefix = PLACES[place][1]
        self.servers[prefix].stop()
        said = []

        def noticed():
            said.extend(browser.console())
            return any("server connection lost" in line for line in said)

        support.wait_until(noticed, "the page has noticed", PATIENT)
        greeted = self.greet(place, self.save)
        self.serve(prefix)
        support.wait_until(lambda: greeted(browser), "the page is new", PATIENT)
        self.assertIsNone(browser.script("return window.kept"))

    def test_a_name_outside_localhost_has_to_be_allowed(self):
        app = make_app(self.work / "named", howto.block("Vite, and other development servers", "js"))
        self.assertEqual(self.ask("vite.test"), "403")
        self.servers[""].stop()
        server = start(app, self.ports[""])
        try:
            self.assertEqual(self.ask("vite.test"), "200")
        finally:
            server.stop()
            self.serve("")

    def ask(self, host):
        port = self.proxy.https
        run = support.command(
            ["curl", "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", self.ca]
            + ["--resolve", f"{host}:{port}:127.0.0.1", f"https://{host}:{port}/"]
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout


class Dev(unittest.TestCase):
    """`vestibule dev -- npm run dev`, as the script of package.json has it."""

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-vite-dev-"))
        self.addCleanup(support.shutil.rmtree, self.work, True)
        self.app = make_app(self.work / "app")
        self.http, self.https = support.free_port(), support.free_port()

    def dev(self, *words):
        environment = {"HOME": str(self.work), "XDG_DATA_HOME": str(self.work / "data"), "NO_COLOR": "1"}
        doors = ["--http", self.http, "--https", self.https]
        process = support.Process([support.BINARY, "dev", *doors, *words], cwd=self.app, env=environment)
        self.addCleanup(process.stop)
        return process

    def ready(self, process):
        said = lambda: any(line.startswith("ready in ") for line in process.stderr)
        support.wait_until(lambda: said() or process.ended(), "vestibule says that it is ready")
        self.assertFalse(process.ended(), process.output())

    def page(self):
        ca = next(self.work.glob("data/vestibule/ca/root.crt"))
        url = f"https://localhost:{self.https}/"
        return support.command(["curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", ca, url]).stdout

    def test_the_server_is_started_on_a_free_port_and_ends_with_the_proxy(self):
        process = self.dev("--", "npm", "run", "dev")
        self.ready(process)
        # A request waits for the server; one that meets its look whether the port is free gets a 502.
        support.wait_until(lambda: "/@vite/client" in self.page(), "the page is there", PATIENT)
        port = int(re.search(r"->  (\d+) ", process.output())[1])
        self.assertTrue(listens(port))
        process.term()
        self.assertEqual(process.wait(), 0, process.output())
        support.wait_until(lambda: not listens(port), "Vite has ended too")

    def test_the_end_of_the_command_is_the_end_of_the_proxy_with_its_exit_code(self):
        process = self.dev("3000", "--", "sh", "-c", "echo port $PORT host $HOST; exit 7")
        self.assertEqual(process.wait(), 7, process.output())
        self.assertIn("port 3000 host 127.0.0.1", process.stdout)

    def test_a_command_that_is_not_there_is_named(self):
        process = self.dev("--", "no-such-program")
        self.assertEqual(process.wait(), 1)
        self.assertIn("`no-such-program`, the command behind `--`, cannot be started", process.output())


if __name__ == "__main__":
    support.main()
