"""Browsers by their drivers: Chromium by chromedriver (WebDriver), Firefox by Marionette. Neither is told to accept a
certificate that it would not accept for a person."""

import json
import pathlib
import socket
import tempfile

import support
from webdriver import Refused, Session


class Chromium(Session):
    def __init__(self, home, *arguments):
        self.folder = tempfile.mkdtemp(prefix="chromium-", dir=home)
        super().__init__(home, f"--user-data-dir={self.folder}", *arguments)
        self.insecure = self.capabilities.get("acceptInsecureCerts", False)

    def open(self, url):
        """The text of the page."""
        super().open(url)
        text = self.script("return document.body.innerText")
        if "NET::ERR_" in text:
            raise Refused(text)
        return text


class Firefox:
    PREFERENCES = {
        "marionette.port": 0,
        "browser.shell.checkDefaultBrowser": False,
        "browser.startup.page": 0,
        "datareporting.policy.dataSubmissionEnabled": False,
        "app.update.enabled": False,
        "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False,
        "toolkit.telemetry.enabled": False,
    }

    def __init__(self, home, profile=None, **preferences):
        """A profile is made where a user's would be, so that it is one that `untrust` looks at."""
        folder = pathlib.Path(home) / ".config/mozilla/firefox"
        folder.mkdir(parents=True, exist_ok=True)
        self.profile = pathlib.Path(profile or tempfile.mkdtemp(prefix="test-", dir=folder))
        lines = [
            f'user_pref("{name.replace("__", ".")}", {json.dumps(value)});'
            for name, value in {**self.PREFERENCES, **preferences}.items()
        ]
        (self.profile / "user.js").write_text("\n".join(lines) + "\n")
        active = self.profile / "MarionetteActivePort"
        active.unlink(missing_ok=True)
        command = ["firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", self.profile]
        environment = {"HOME": str(home), "MOZ_CRASHREPORTER_DISABLE": "1"}
        self.process = support.Process(command, env=environment)
        try:
            support.wait_until(lambda: self._started(active), "Firefox says its port", 180)
            self.socket = socket.create_connection(("127.0.0.1", int(active.read_text())), 120)
            self.buffer, self.count = b"", 0
            self._receive()
            capabilities = self.call("WebDriver:NewSession", {})["capabilities"]
            self.insecure = capabilities.get("acceptInsecureCerts", False)
        except BaseException:
            self.process.stop()
            raise

    def _started(self, active):
        if self.process.ended():
            raise AssertionError(f"Firefox ended:\n{self.process.output()}")
        return active.exists() and active.read_text().strip()

    def _receive(self):
        while b":" not in self.buffer:
            self._fill()
        length, _, self.buffer = self.buffer.partition(b":")
        while len(self.buffer) < int(length):
            self._fill()
        message, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        return json.loads(message)

    def _fill(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise Refused("Firefox has gone")
        self.buffer += piece

    def call(self, command, arguments):
        self.count += 1
        text = json.dumps([0, self.count, command, arguments]).encode()
        self.socket.sendall(b"%d:%b" % (len(text), text))
        _, _, error, value = self._receive()
        if error:
            raise Refused(f"{error['error']}: {error['message']}")
        return value

    def open(self, url):
        self.call("WebDriver:Navigate", {"url": url})
        script = {"script": "return document.body.innerText", "args": []}
        return self.call("WebDriver:ExecuteScript", script)["value"]

    def close(self):
        try:
            self.call("Marionette:Quit", {"flags": ["eForceQuit"]})
            self.process.wait(20)
        except Exception:  # it is ended by force then
            pass
        self.socket.close()
        self.process.stop()
