"""JupyterLab in a real browser, over HTTPS: on a site of its own and below a prefix, over HTTP/1.1 and HTTP/2. Its checks of
Host, Origin and XSRF tokens are on, and its settings are those of docs/how-to.md."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

import howto
import support
from webdriver import Browser, Refused

TOKEN = "a token of the test"
# The key, as WebDriver names it.
ENTER = "\ue007"
SIZE = 5 << 20
# Seconds for a server and a page to start, and for what takes them one: the machine may have other work.
PATIENT = 60

SITES = """
[sites."jupyter.localhost"]
proxy = "SERVER"

[sites."office.localhost"]
respond = { body = "nothing of Jupyter is here\\n" }
[[sites."office.localhost".routes]]
path = "/jupyter/*"
proxy = "MOUNTED"
"""
NOTEBOOK = {
    "cells": [{"cell_type": "code", "id": "first", "execution_count": None, "metadata": {}, "outputs": [], "source": ""}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
# Nothing is asked of any other host: no news, no newer versions, no catalogue of extensions.
QUIET = """
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.LabApp.expose_app_in_browser = True
"""
# News would be asked of another host.
PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
# The words of a terminal for readers of screens: its picture has no text.
TERMINAL = {"screenReaderMode": True}
# A file from this machine, dropped on the list of files.
CHOOSE = """
const field = document.createElement('input');
field.type = 'file';
field.id = 'chosen';
document.body.append(field);
"""
DROP = """
const field = document.querySelector('#chosen');
const event = new Event('drop', { bubbles: true, cancelable: true });
event.dataTransfer = { files: field.files };
document.querySelector('.jp-DirListing-content').dispatchEvent(event);
"""
# What it is called, where it is, and how Chromium comes there.
PLACES = {
    "site-h2": ("jupyter.localhost", "", "HTTP/2.0", ()),
    "prefix-h2": ("office.localhost", "/jupyter", "HTTP/2.0", ()),
    "site-h1": ("jupyter.localhost", "", "HTTP/1.1", ("--disable-http2",)),
    "prefix-h1": ("office.localhost", "/jupyter", "HTTP/1.1", ("--disable-http2",)),
}


def every_place(test):
    """Run a test at each place, a sub-test each."""

    def run(self):
        for place in PLACES:
            with self.subTest(place):
                test(self, place, self.browsers[place])

    return run


class Jupyter(unittest.TestCase):
    """A server for each prefix behind one proxy, and a browser for each place."""

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-jupyter-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        sites, started = SITES, []
        for word, prefix in (("SERVER", ""), ("MOUNTED", "/jupyter")):
            port = support.free_port()
            started.append((port, cls.start_server(port, prefix)))
            sites = sites.replace(word, f"127.0.0.1:{port}")
        cls.proxy = support.Proxy(sites, '[access_log]\nformat = "json"\n')
        cls.addClassCleanup(cls.proxy.close)
        ca, cls.browsers = cls.proxy.ca(), {}
        for place, (_, _, _, flags) in PLACES.items():
            preferences = {"download.default_directory": str(cls.work / place)}
            cls.browsers[place] = Browser(ca, cls.work, *flags, preferences=preferences)
            cls.addClassCleanup(cls.browsers[place].close)
        for port, server in started:
            listens = lambda: support.accepts(("127.0.0.1", port)) or server.ended()
            support.wait_until(listens, "Jupyter listens", PATIENT)
            if server.ended():
                raise AssertionError(f"Jupyter ended:\n{server.output()}")

    @classmethod
    def start_server(cls, port, prefix):
        """One that the settings of docs/how-to.md are given to, with folders of its own."""
        home = cls.work / f"home{prefix}"
        served = cls.served(prefix)
        for folder, name, content in (
            (home / "settings/@jupyterlab/terminal-extension", "plugin.jupyterlab-settings", TERMINAL),
            (home / "config/labconfig", "page_config.json", PAGE_CONFIG),
            *((served, f"{place}.ipynb", NOTEBOOK) for place in PLACES),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        config = home / "jupyter_server_config.py"
        base = f'c.ServerApp.base_url = "{prefix}/"\n' if prefix else ""
        config.write_text(howto.block("Jupyter", "python") + QUIET + base)
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--config={config}"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", served]
        env = {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
        env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
        server = support.Process(command, cwd=home, env=env)
        cls.addClassCleanup(server.stop)
        return server

    @classmethod
    def served(cls, prefix):
        """The folder that a server shows."""
        return cls.work / f"served{prefix}"

    def base(self, place):
        host, prefix, _, _ = PLACES[place]
        return f"https://{host}:{self.proxy.https}{prefix}"

    def lab(self, place, browser):
        """The page with the notebook of the place open, ready; a browser that is not known there yet logs in."""
        base = self.base(place)
        if not browser.url().startswith(f"{base}/lab/tree/{place}.ipynb"):
            browser.open(f"{base}/lab/tree/{place}.ipynb")
        if browser.url().startswith(f"{base}/login"):
            browser.type("#password_input", TOKEN)
            browser.click("#login_submit")
        restored = "window.jupyterapp?.restored.then(() => (window.restored = true)); return window.restored"
        support.wait_until(lambda: browser.script(restored), "the lab is there", PATIENT)

    @staticmethod
    def focus(browser, selector):
        """Make keys go to an element, as soon as it is there: the page still moves."""
        focus = "document.querySelector(arguments[0])?.focus(); return document.activeElement.matches(arguments[0])"
        support.wait_until(lambda: browser.script(focus, selector), f"{selector} has the focus", PATIENT)

    @staticmethod
    def select(browser, name):
        """Make a file of the list the chosen one. The list is drawn anew while it is read, and a click may go astray."""
        chosen = "return [...document.querySelectorAll('.jp-DirListing-item.jp-mod-selected')].map(item => item.title)"

        def is_chosen():
            try:
                browser.click(f'.jp-DirListing-item[title^="Name: {name}"]')
            except Refused:
                return False
            titles = browser.script(chosen)
            return len(titles) == 1 and titles[0].startswith(f"Name: {name}")

        support.wait_until(is_chosen, f"{name} is chosen", PATIENT)

    def assert_websocket(self, place, word):
        """The WebSocket whose target has `word` was opened over the protocol of the page, and of the place."""
        host, _, protocol, _ = PLACES[place]

        def opened():
            lines = [line for line in map(json.loads, list(self.proxy.stdout)) if line["status"] == 101]
            return [line["protocol"] for line in lines if line["host"].startswith(host) and word in line["target"]]

        support.wait_until(lambda: protocol in opened(), f"the WebSocket to {word} is logged with {protocol}: {opened()}")

    def assert_clean(self, browser):
        """The console has no error: every request was answered, every WebSocket opened."""
        errors = [entry["message"] for entry in browser.log("browser") if entry["level"] == "SEVERE"]
        self.assertEqual(errors, [])

    @every_place
    def test_a_cell_runs_in_a_kernel_and_its_output_is_seen(self, place, browser):
        self.lab(place, browser)
        state = "return window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
        support.wait_until(lambda: browser.script(state) == "idle", "the kernel is ready", PATIENT)
        cell = ".jp-Notebook .jp-CodeCell .cm-content"
        self.focus(browser, cell)
        browser.press("6 * 7 * 1001")
        typed = "return document.querySelector(arguments[0]).textContent"
        support.wait_until(lambda: browser.script(typed, cell) == "6 * 7 * 1001", "the cell has its text", PATIENT)
        browser.script("window.jupyterapp.commands.execute('notebook:run-cell')")
        output = "return document.querySelector('.jp-OutputArea-output')?.textContent"
        support.wait_until(lambda: "42042" in (browser.script(output) or ""), "the output is there", PATIENT)
        self.assert_websocket(place, "/channels?")
        self.assert_clean(browser)

    @every_place
    def test_a_file_of_five_megabytes_goes_up_and_comes_down(self, place, browser):
        self.lab(place, browser)
        data, name = os.urandom(SIZE), f"large file of {place}.bin"
        (self.work / name).write_bytes(data)
        browser.script(CHOOSE)
        browser.type("#chosen", self.work / name)
        browser.script(DROP)
        self.arrives(self.served(PLACES[place][1]) / name, data)
        self.select(browser, name)
        browser.script("window.jupyterapp.commands.execute('filebrowser:download')")
        self.arrives(self.work / place / name, data)
        self.assert_clean(browser)

    def arrives(self, path, data):
        support.wait_until(lambda: path.exists() and path.read_bytes() == data, f"{path} is the file", PATIENT)

    @every_place
    def test_a_terminal_answers(self, place, browser):
        self.lab(place, browser)
        browser.script("window.jupyterapp.commands.execute('terminal:create-new')")
        self.focus(browser, ".xterm-helper-textarea")
        browser.press("echo $((6 * 7))-said" + ENTER)
        screen = "return document.querySelector('.xterm-accessibility-tree')?.textContent"
        support.wait_until(lambda: "42-said" in (browser.script(screen) or ""), "the terminal has answered", PATIENT)
        self.assert_websocket(place, "/terminals/websocket/")
        self.assert_clean(browser)

    @every_place
    def test_the_token_opens_the_server_and_nothing_else_does(self, place, browser):
        base = self.base(place)
        # A page that is open has its cookie renewed all the time.
        browser.open("about:blank")
        browser.devtools("Network.clearBrowserCookies")
        browser.open(f"{base}/lab")
        self.assertTrue(browser.url().startswith(f"{base}/login?next="), browser.url())
        browser.open(f"{base}/login?next={PLACES[place][1]}/api/status")
        for token, selector, words in (("another token", ".message", "Invalid credentials"), (TOKEN, "body", '"kernels"')):
            browser.type("#password_input", token)
            browser.click("#login_submit")
            browser.wait_for_text(selector, words)
        self.assertEqual(browser.url(), f"{base}/api/status")
        self.assertEqual(browser.protocol(), "h2" if PLACES[place][2] == "HTTP/2.0" else "http/1.1")
        secure = [cookie["secure"] for cookie in browser.cookies() if cookie["name"].startswith("username-")]
        self.assertEqual(secure, [True])


if __name__ == "__main__":
    support.main()
