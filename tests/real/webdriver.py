"""A browser without a window: Chromium, driven over the WebDriver protocol (W3C)."""

import json
import urllib.error
import urllib.request

import support

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# Nothing is asked of any other host, and HTTP/3 is not tried.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-default-apps",
)  # fmt: skip


class Refused(AssertionError):
    """The browser did not do it; the text is what it said."""


class Session:
    """One Chromium. `home` is the folder its user has; `arguments` come after the usual ones."""

    def __init__(self, home, *arguments, environment=(), capabilities=()):
        self.session = None
        port = support.free_port()
        self.driver = support.Process(["chromedriver", f"--port={port}"], env={"HOME": str(home), **dict(environment)})
        try:
            support.wait_for_port(port, self.driver)
            self.base = f"http://127.0.0.1:{port}/session"
            options = {"args": [*FLAGS, *arguments]}
            asked = {"browserName": "chrome", "goog:chromeOptions": options, **dict(capabilities)}
            made = self.call("POST", "", {"capabilities": {"alwaysMatch": asked}})
            self.session, self.capabilities = made["sessionId"], made["capabilities"]
        except BaseException:
            self.close()
            raise

    def call(self, method, path, body=None):
        """One command of the protocol; its error is the failure."""
        url = self.base + (f"/{self.session}" if self.session else "") + path
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        # Loopback only: no proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as failure:
            value = json.load(failure)["value"]
            raise Refused(f"{value['error']}: {value['message'][:500]}") from None

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def script(self, text, *arguments):
        return self.call("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "")
            except (Refused, OSError):
                pass
        self.driver.stop()


class Browser(Session):
    """One that trusts the development root `ca`. `home` is an empty folder: profile and trust store lie there."""

    def __init__(self, ca, home, *arguments):
        store = home / ".pki/nssdb"
        store.mkdir(parents=True)
        for words in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "development root", "-i", ca]):
            run = support.command(["certutil", "-d", f"sql:{store}", *words])
            if run.returncode != 0:
                raise AssertionError(f"certutil: {run.stdout}{run.stderr}")
        super().__init__(
            home,
            f"--user-data-dir={home}/profile",
            *arguments,
            environment={"XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)},
            capabilities={"goog:loggingPrefs": {"browser": "ALL"}},
        )
        self.call("POST", "/timeouts", {"script": 30000, "pageLoad": 60000, "implicit": 0})

    def url(self):
        return self.call("GET", "/url")

    def title(self):
        return self.call("GET", "/title")

    def find(self, selector):
        """The first element of a CSS selector, as soon as it is there."""

        def found():
            elements = self.call("POST", "/elements", {"using": "css selector", "value": selector})
            return elements and elements[0][ELEMENT]

        return support.wait_until(found, f"{selector} on {self.url()}")

    def type(self, selector, text):
        """Keys into a field; into one for a file, the path of a file."""
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": str(text)})

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click")

    def text(self, selector):
        return self.call("GET", f"/element/{self.find(selector)}/text")

    def wait_for_text(self, selector, part):
        support.wait_until(lambda: part in self.text(selector), f"{part!r} in {selector} on {self.url()}")

    def protocol(self):
        """What the page came over: "h2" or "http/1.1"."""
        return self.script("return performance.getEntriesByType('navigation')[0].nextHopProtocol")

    def console(self):
        """What was said on the console since the last look."""
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def cookies(self):
        return self.call("GET", "/cookie")
