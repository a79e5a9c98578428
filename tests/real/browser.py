"""Web applications in a real browser, over HTTPS: Django and Flask on a site of their own and below a stripped prefix, and
a development server whose WebSocket reloads the page."""

import hashlib
import os
import pathlib
import sys
import tempfile
import unittest
import urllib.parse

import support
from webdriver import Browser

APPS = support.ROOT / "tests/real/apps"
PLACES = {"site": ("django.localhost", ""), "prefix": ("office.localhost", "/office")}
PASSWORD = "a password of the test"

SITES = """
[sites."django.localhost"]
proxy = "DJANGO"

[sites."office.localhost"]
respond = { body = "nothing of Django is here\\n" }
[[sites."office.localhost".routes]]
path = "/office/*"
strip_prefix = "/office"
proxy = "MOUNTED"

[sites."flask.localhost"]
respond = { body = "nothing of Flask is here\\n" }
[[sites."flask.localhost".routes]]
path = "/shop/*"
strip_prefix = "/shop"
proxy = "FLASK"
"""


def every_place(test):
    """Run a test on the site of its own and below the prefix, a sub-test each."""

    def run(self):
        for place, (host, prefix) in PLACES.items():
            with self.subTest(place=place):
                test(self, f"https://{host}:{self.proxy.https}{prefix}")

    return run


class InTheBrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-browser-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        env = {"DJANGO_DATABASE": str(cls.work / "db.sqlite3"), "PYTHONDONTWRITEBYTECODE": "1"}
        run = support.command([sys.executable, "django_site.py", "prepare"], cwd=APPS, env={**os.environ, **env})
        cls.assertEqual(cls(), run.returncode, 0, run.stderr)
        sites = SITES
        table = [
            ("DJANGO", "django_site:application", env),
            ("MOUNTED", "django_site:application", {**env, "DJANGO_PREFIX": "/office"}),
            ("FLASK", "flask_site:app", env),
        ]
        started = []
        for word, application, variables in table:
            port = support.free_port()
            command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "16"]
            command += ["--forwarded-allow-ips", "127.0.0.1", application]
            server = support.Process(command, cwd=APPS, env=variables)
            cls.addClassCleanup(server.stop)
            started.append((port, server))
            sites = sites.replace(word, f"127.0.0.1:{port}")
        for port, server in started:
            support.wait_for_port(port, server)
        cls.proxy = support.Proxy(sites, '[access_log]\nformat = "json"\n')
        cls.addClassCleanup(cls.proxy.close)
        cls.browser = Browser(cls.proxy.ca(), cls.work)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.console()

    def assert_clean(self):
        """The console has no error: every style, script and image came, and none from another scheme."""
        errors = [line for line in self.browser.console() if "favicon.ico" not in line]
        self.assertEqual(errors, [])

    @every_place
    def test_a_login_to_the_admin_of_django(self, base):
        browser = self.browser
        browser.open(f"{base}/admin/")
        path = urllib.parse.urlsplit(base).path
        self.assertEqual(browser.url(), f"{base}/admin/login/?next={path}/admin/")
        self.assertEqual(browser.protocol(), "h2")
        browser.type("#id_username", "joe")
        browser.type("#id_password", PASSWORD)
        browser.click("input[type=submit]")
        browser.wait_for_text("#user-tools", "JOE")
        self.assertEqual(browser.url(), f"{base}/admin/")
        cookies = {cookie["name"]: cookie["secure"] for cookie in browser.cookies()}
        self.assertEqual(cookies, {"csrftoken": True, "sessionid": True})
        # A second form, with the token of the session, and the redirect after it.
        browser.open(f"{base}/admin/auth/group/add/")
        browser.type("#id_name", f"group of {base}")
        browser.click("input[name=_save]")
        browser.wait_for_text(".messagelist", "was added successfully")
        self.assertEqual(browser.url(), f"{base}/admin/auth/group/")
        self.assert_clean()

    @every_place
    def test_a_file_is_uploaded_from_a_form(self, base):
        file = self.work / "large file.bin"
        file.write_bytes(os.urandom(8 << 20))
        self.browser.open(f"{base}/upload/")
        self.browser.type("#file", file)
        self.browser.click("#send")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        self.browser.wait_for_text("#got", f"large file.bin {digest}")
        self.assert_clean()

    @every_place
    def test_a_chat_over_server_sent_events(self, base):
        browser = self.browser
        browser.open(f"{base}/chat/")
        support.wait_until(lambda: browser.title() == "open", "the stream of events is open")
        for word in ("first", "second"):
            browser.type("#text", word)
            browser.click("#say")
            browser.wait_for_text("#said", word)
        self.assert_clean()

    def test_flask_below_a_prefix(self):
        browser, base = self.browser, f"https://flask.localhost:{self.proxy.https}/shop"
        browser.open(f"{base}/")
        browser.type("#who-field", "ann")
        browser.click("#go")
        browser.wait_for_text("#who", "ann")
        self.assertEqual(browser.url(), f"{base}/")
        ask = "const r = new XMLHttpRequest(); r.open('GET', 'facts', false); r.send(); return JSON.parse(r.response)"
        facts = browser.script(ask)
        self.assertEqual(facts, {"url": f"{base}/facts", "root": f"{base}/", "address": "127.0.0.1", "secure": True})
        self.assert_clean()

    def test_the_plain_door_leads_to_https(self):
        self.browser.open(f"http://django.localhost:{self.proxy.http}/upload/")
        self.assertEqual(self.browser.url(), f"https://django.localhost:{self.proxy.https}/upload/")


if __name__ == "__main__":
    support.main()
