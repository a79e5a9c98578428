"""A browser without a window: Chromium, driven over the WebDriver protocol (W3C)."""

import base64
import json
import pathlib
import tempfile
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

    def __init__(self, home, *arguments, environment=(), capabilities=(), preferences=()):
        self.session = None
        port = support.free_port()
        self.driver = support.Process(["chromedriver", f"--port={port}"], env={"HOME": str(home), **dict(environment)})
        try:
            support.wait_for_port(port, self.driver)
            self.base = f"http://127.0.0.1:{port}/session"
            options = {"args": [*FLAGS, *arguments], "prefs": dict(preferences)}
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

    def devtools(self, command, **parameters):
        """One command of the DevTools protocol, for what WebDriver has no word for."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "")
            except (Refused, OSError):
                pass
        self.driver.stop()


class Browser(Session):
    """One with a profile of its own, which lies in the empty folder `home` and trusts the development root `ca`, where one
    is given. `logs` are kept besides the console's."""

    def __init__(self, ca, home, *arguments, preferences=(), logs=()):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="chromium-", dir=home))
        if ca:
            self.trust(ca)
        super().__init__(
            self.home,
            f"--user-data-dir={self.home}/profile",
            *arguments,
            environment={"XDG_CONFIG_HOME": str(self.home), "XDG_CACHE_HOME": str(self.home)},
            capabilities={"goog:loggingPrefs": dict.fromkeys(("browser", *logs), "ALL")},
            preferences=preferences,
        )
        self.call("POST", "/timeouts", {"script": 30000, "pageLoad": 60000, "implicit": 0})

    def trust(self, ca):
        store = self.home / ".pki/nssdb"
        store.mkdir(parents=True)
        for words in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "development root", "-i", ca]):
            run = support.command(["certutil", "-d", f"sql:{store}", *words])
            if run.returncode != 0:
                raise AssertionError(f"certutil: {run.stdout}{run.stderr}")

    def url(self):
        return self.call("GET", "/url")

    def title(self):
        return self.call("GET", "/title")

    def find(self, selector):
        """The first element of a CSS selector, as soon as it is there; an element is itself."""
        if isinstance(selector, dict):
            return selector

        def found():
            elements = self.call("POST", "/elements", {"using": "css selector", "value": selector})
            return elements and elements[0]

        return support.wait_until(found, f"{selector} on {self.url()}")

    def of(self, selector, what):
        """The path of `what` about an element."""
        return f"/element/{self.find(selector)[ELEMENT]}/{what}"

    def type(self, selector, text):
        """Keys into a field; into one for a file, the path of a file."""
        self.call("POST", self.of(selector, "value"), {"text": str(text)})

    def press(self, keys):
        """Keys to whatever has the focus."""
        pairs = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": pairs}]})

    def click(self, selector):
        self.call("POST", self.of(selector, "click"))

    def text(self, selector):
        return self.call("GET", self.of(selector, "text"))

    def displayed(self, selector):
        return self.call("GET", self.of(selector, "displayed"))

    def wait_for_text(self, selector, part):
        support.wait_until(lambda: part in self.text(selector), f"{part!r} in {selector} on {self.url()}")

    def protocol(self):
        """What the page came over: "h2" or "http/1.1"."""
        return self.script("return performance.getEntriesByType('navigation')[0].nextHopProtocol")

    def log(self, kind):
        """The entries of a log since the last look."""
        return self.call("POST", "/se/log", {"type": kind})

    def console(self):
        """What was said on the console since the last look."""
        return [entry["message"] for entry in self.log("browser")]

    def asked(self):
        """The addresses that pages have asked for since the last look; the log `performance` has them."""
        events = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]

    def cookies(self):
        return self.call("GET", "/cookie")

    def size(self, width, height, dark=False):
        """The page as a window of this size shows it, in light or dark colours."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        """The whole page as a picture."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        super().close()
        support.shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def window(script=True, width=1280, height=900, language="en-US,en"):
    """A browser that speaks `language` and logs what it asks for; `script=False` turns scripts of pages off."""
    preferences = {"intl.accept_languages": language}
    if not script:
        preferences["profile.managed_default_content_settings.javascript"] = 2
    flags = ["--hide-scrollbars", f"--window-size={width},{height}"]
    browser = Browser(None, None, *flags, preferences=preferences, logs=("performance",))
    browser.size(width, height)
    return browser


def complaints(browser):
    """What the console says: errors and warnings."""
    return [entry for entry in browser.log("browser") if entry["level"] in ("SEVERE", "WARNING")]
