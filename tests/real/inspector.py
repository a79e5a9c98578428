"""The inspector page in a real browser: what it shows, whom it lets in, and what it keeps."""

import http.client
import pathlib
import socket
import tempfile
import threading
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client
from webdriver import complaints, window

SHOTS = support.ROOT / "target/screenshots"
SECRETS = ("s3cret-cookie", "s3cret-bearer", "s3cret-token", "s3cret-set")
# The ring (4 MiB), the queue and their pages, with what an allocator keeps.
MEMORY = 24
SECTIONS = ("wires", "ladder", "cost", "identity", "requests", "map", "posture")
# Keys as WebDriver names them.
ENTER, LEFT = "\ue007", "\ue012"


def inspected(sites, inspector='{ listen = "127.0.0.1:0" }', top=""):
    """A proxy with the inspector on, and the address that it printed."""
    proxy = support.Proxy(sites, top=f"{top}\n[admin]\ninspector = {inspector}\n")
    line = next((line for line in proxy.stderr if "inspector" in line and "token=" in line), None)
    if line is None:
        proxy.close()
        raise AssertionError(f"no address printed:\n{proxy.output()}")
    return proxy, line.split()[-1]


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Set-Cookie", f"id={SECRETS[3]}; Path=/; HttpOnly")
            handler.send_header("Content-Type", "text/plain")
            handler.send_header("Content-Length", "6")
            handler.end_headers()
            handler.wfile.write(b"hello\n")

        cls.backend = FunctionServer({"*": answer})
        cls.addClassCleanup(cls.backend.close)
        plain = support.site(f"127.0.0.1:{cls.backend.port}")
        demonstration = support.site("builtin:show", "demo.localhost")
        cls.proxy, cls.url = inspected(demonstration + plain)
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()
        cls.origin = cls.url.partition("/?")[0]
        cls.token = cls.url.partition("token=")[2]
        cls.browser = window()
        cls.addClassCleanup(cls.browser.close)

    def ask(self, path="/", fields="", secure=False, method="GET", host=support.HOST):
        port = self.proxy.https if secure else self.proxy.http
        with Client(port, tls=self.ca if secure else None, name=host) as client:
            client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
            return client.answer(method)

    def page(self, path="/"):
        """The page as a program gets it."""
        client = http.client.HTTPConnection(self.origin.partition("//")[2], timeout=30)
        client.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        return answer, text

    def open(self, browser=None, path="/"):
        browser = browser or self.browser
        browser.open(self.url)
        support.wait_until(
            lambda: browser.url() == f"{self.origin}/" and browser.script("return !!document.querySelector('#requests')"),
            "the printed address leads to the page",
        )
        if path != "/":
            browser.open(self.origin + path)

    @staticmethod
    def summary(browser, path):
        """The line of the request to `path` in the list."""
        line = (
            "return [...document.querySelectorAll('#list > li')].find(row => row.textContent.includes(arguments[0]))"
            "?.querySelector('summary')"
        )
        return support.wait_until(lambda: browser.script(line, path), f"{path} is in the list")

    def live(self, browser=None):
        browser = browser or self.browser
        support.wait_until(lambda: browser.script("return document.querySelector('#live').className === 'on'"), "the page is live")

    def test_it_loads_without_a_complaint_or_a_request_elsewhere(self):
        self.browser.asked(), complaints(self.browser)
        self.open()
        self.live()
        self.assertEqual(complaints(self.browser), [])
        elsewhere = [url for url in self.browser.asked() if not url.startswith((self.origin + "/", "data:"))]
        self.assertEqual(elsewhere, [])
        for name in SECTIONS:
            self.assertTrue(self.browser.script("return document.getElementById(arguments[0]).innerText.length > 40", name), name)
        # The token is not in the address any more.
        self.assertNotIn("token", self.browser.url())
        answer, text = self.page()
        self.assertLess(len(text), 100 << 10)
        policy = answer.getheader("Content-Security-Policy")
        self.assertIn("default-src 'none'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe-inline", policy)

    def test_a_request_is_on_the_page_within_a_second(self):
        self.open()
        self.live()
        took = []
        for attempt in range(5):
            path = f"/live-{attempt}-{time.monotonic_ns()}"
            began = time.monotonic()
            self.ask(path)
            found = "return document.querySelector('#list > li').innerText.includes(arguments[0])"
            support.wait_until(lambda: self.browser.script(found, path), "the request is on the page")
            took.append(time.monotonic() - began)
        # The best of five: the machine is shared.
        self.assertLess(min(took), 1.0, took)

    def test_the_two_wires_show_what_can_be_read_on_each(self):
        self.open(path="/?site=demo.localhost&again=1")
        clear, sealed, behind = (
            self.browser.text(f"#wires .{name}") for name in ("clear", "sealed", "behind")
        )
        for secret in ("my-secret-search", "my-secret-session", "my-secret-password"):
            self.assertIn(secret, clear)
            self.assertNotIn(secret, sealed)
            self.assertIn(secret, behind)
        self.assertIn("demo.localhost", sealed)
        self.assertIn("X-Forwarded-Proto: https", behind)
        ladder = self.browser.text("#ladder")
        for step in ("SYN, ACK", "ClientHello", "ServerHello", "CertificateVerify", "Finished", "FIN"):
            self.assertIn(step, ladder)
        trips = self.browser.script("return [...document.querySelectorAll('.bars li')].map(row => row.dataset.trips)")
        self.assertEqual(trips, ["2", "3", "3", "4", "3"])

    def test_the_slider_moves_the_bars(self):
        self.open()
        set_to = (
            "const s = document.getElementById('rtt'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));"
            "return [...document.querySelectorAll('.bars li')].map(r => [Number(r.querySelector('rect').getAttribute('width')),"
            " parseFloat(r.querySelector('.value').textContent)])"
        )
        near, far = self.browser.script(set_to, 1), self.browser.script(set_to, 200)
        for (near_width, near_time), (far_width, far_time), trips in zip(near, far, (2, 3, 3, 4, 3)):
            self.assertLess(near_width, far_width)
            self.assertAlmostEqual(far_time - near_time, 199 * trips, delta=1.5)
        self.assertEqual(self.browser.text("#rtt-now"), "200 ms")
        # By the keyboard too.
        self.browser.type("#rtt", LEFT)
        self.assertEqual(self.browser.text("#rtt-now"), "199 ms")

    def test_a_request_opens_into_a_diff_by_the_keyboard(self):
        path = f"/diff-{time.monotonic_ns()}"
        self.ask(path, "Connection: x-hop\r\nX-Hop: 1\r\nX-Kept: yes\r\nX-Forwarded-For: 6.6.6.6\r\n", secure=True)
        self.open()
        summary = self.summary(self.browser, path)
        self.browser.script("arguments[0].focus()", summary)
        self.browser.type(summary, ENTER)
        table = (
            "return [...arguments[0].parentElement.querySelector('table').tBodies[0].rows].map(row =>"
            " [row.querySelector('th').firstChild?.textContent.trim(), [row.className, row.innerText]])"
        )
        rows = dict(self.browser.script(table, summary))
        self.assertEqual(rows["X-Forwarded-Proto"][0], "added")
        self.assertIn("https", rows["X-Forwarded-Proto"][1])
        self.assertEqual(rows["X-Hop"][0], "removed")
        self.assertEqual(rows["Connection"][0], "removed")
        self.assertEqual(rows["X-Forwarded-For"][0], "changed")
        self.assertEqual(rows["X-Kept"][0], "")

    def test_it_is_usable_without_script(self):
        path = f"/still-{time.monotonic_ns()}"
        self.ask(path)
        with window(script=False) as browser:
            self.open(browser)
            for name in SECTIONS:
                self.assertGreater(len(browser.text(f"#{name}")), 40, name)
            self.assertFalse(browser.displayed("#rtt"))
            costs = browser.text("#cost table")
            for distance in ("1 ms", "20 ms", "100 ms", "200 ms"):
                self.assertIn(distance, costs)
            summary = self.summary(browser, path)
            browser.devtools("DOM.enable")
            browser.type(summary, ENTER)
            self.assertIn("X-Forwarded-Proto", browser.script("return arguments[0].parentElement.innerText", summary))
            browser.screenshot(SHOTS / "no-script.png")

    def test_nothing_scrolls_sideways_on_a_phone_and_every_shot_is_kept(self):
        self.ask("/a/very/long/" + "path" * 60, "X-Long: " + "x" * 300 + "\r\n")
        self.ask("/missing?page=2", "Referer: https://app.localhost/from\r\n", secure=True, host="demo.localhost")
        for language, tag in (("en-US,en", "en"), ("zh-CN,zh", "zh")):
            with window(language=language, width=360, height=780) as browser:
                self.open(browser)
                self.live(browser)
                self.assertEqual(browser.script("return document.documentElement.lang"), tag)
                browser.script("document.querySelectorAll('#list details').forEach((one, index) => one.open = index < 3)")
                for width in (360, 768, 1280):
                    browser.size(width, 900)
                    wide = browser.script("return document.documentElement.scrollWidth")
                    self.assertLessEqual(wide, width, f"{tag} at {width}")
                    browser.screenshot(SHOTS / f"{tag}-{width}.png")
                browser.size(1280, 900, dark=True)
                browser.screenshot(SHOTS / f"{tag}-dark.png")
                self.assertEqual(complaints(browser), [])
        self.assertIn("两条线路", self.page("/?lang=zh")[1])

    def test_secrets_never_reach_the_page(self):
        path = f"/mask-{time.monotonic_ns()}?token={SECRETS[2]}&a=1"
        self.ask(path, f"Cookie: id={SECRETS[0]}\r\nAuthorization: Bearer {SECRETS[1]}\r\nReferer: https://x/?token={SECRETS[2]}\r\n")
        support.wait_until(lambda: path.partition("?")[0] in self.page()[1], "the request is on the page")
        for lang in ("en", "zh"):
            text = self.page(f"/?site={support.HOST}&lang={lang}&again=1")[1]
            for secret in SECRETS:
                self.assertNotIn(secret, text)
        self.assertIn("&#39;" if "&#39;" in text else "\u2022\u2022\u2022", text)

    def test_what_a_client_sends_cannot_become_markup(self):
        self.ask("/x?%3Cscript%3E", "X-Evil: <img src=x onerror=alert(1)>\r\nUser-Agent: \"><script>alert(1)</script>\r\n")
        support.wait_until(lambda: "X-Evil" in self.page()[1], "the request is on the page")
        text = self.page()[1]
        self.assertNotIn("<img src=x", text)
        self.assertNotIn("<script>alert", text)

    def test_names_origins_methods_and_tokens_that_are_not_ours_are_refused(self):
        port = int(self.origin.rpartition(":")[2])
        cookie = f"vestibule_inspector={self.token}"

        def ask(host=f"127.0.0.1:{port}", method="GET", path="/", **fields):
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
            with Client(port) as client:
                client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())
                return client.answer(method)

        self.assertEqual(ask(Cookie=cookie).status, 200)
        table = [
            ({}, 401),
            ({"Cookie": cookie[:-1]}, 401),
            ({"path": "/events"}, 401),
            ({"path": "/?token=" + "0" * 32}, 401),
            ({"host": f"evil.test:{port}", "Cookie": cookie}, 403),
            ({"host": "rebound.127.0.0.1.nip.test", "Cookie": cookie}, 403),
            ({"host": f"evil.test:{port}", "path": f"/?token={self.token}"}, 403),
            ({"Cookie": cookie, "Origin": "http://127.0.0.1:3000"}, 403),
            ({"Cookie": cookie, "Origin": "null"}, 403),
            ({"Cookie": cookie, "Sec_Fetch_Site": "cross-site"}, 403),
            ({"Cookie": cookie, "Sec_Fetch_Site": "same-site"}, 403),
            ({"Cookie": cookie, "Via": "1.1 other"}, 403),
            ({"method": "POST", "Cookie": cookie, "Content_Length": "0"}, 405),
            ({"method": "DELETE", "Cookie": cookie}, 405),
            ({"method": "OPTIONS", "Cookie": cookie}, 405),
        ]
        for arguments, status in table:
            with self.subTest(arguments):
                answer = ask(**arguments)
                self.assertEqual(answer.status, status)
                self.assertNotIn(b"ladder", answer.body)
                self.assertIsNone(answer.value("access-control-allow-origin"))
                self.assertIsNone(answer.value("set-cookie"))

    def test_another_page_on_this_machine_gets_nothing_even_with_the_cookie(self):
        self.open()
        html = (
            b"<!doctype html><title>evil</title><script>window.got = [];"
            b"const to = location.hash.slice(1);"
            b"fetch(to, {credentials: 'include'}).then(r => r.text()).then(t => got.push('fetch:' + t.length), () => got.push('no'));"
            b"fetch(to, {credentials: 'include', mode: 'no-cors'}).then(r => got.push('opaque:' + r.type), () => got.push('no'));"
            b"const s = document.createElement('script'); s.src = to; s.onload = () => got.push('script'); s.onerror = () => got.push('no');"
            b"document.head.append(s);"
            b"const i = document.createElement('img'); i.src = to; i.onload = () => got.push('img'); i.onerror = () => got.push('no');"
            b"const f = document.createElement('iframe'); f.src = to; f.onload = () => { try { got.push('frame:' + f.contentDocument.body.innerText.length) }"
            b" catch { got.push('no') } }; document.documentElement.append(f);</script>"
        )

        def evil(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/html")
            handler.send_header("Content-Length", str(len(html)))
            handler.end_headers()
            handler.wfile.write(html)

        server = FunctionServer({"/": evil})
        try:
            self.browser.open(f"http://127.0.0.1:{server.port}/#{self.origin}/")
            got = support.wait_until(lambda: (lambda g: g if len(g) >= 5 else None)(self.browser.script("return window.got")), "all five attempts have ended")
            self.assertEqual([one for one in got if one != "no"], [])
        finally:
            server.close()
            complaints(self.browser)

    def test_the_proxy_does_not_lead_to_the_page(self):
        port = self.origin.rpartition(":")[2]
        target = support.site(f"127.0.0.1:{port}", "localhost")
        with support.Proxy(target) as proxy:
            for path in ("/", f"/?token={self.token}"):
                with Client(proxy.http, name="localhost") as client:
                    client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    self.assertEqual(client.answer("GET").status, 403)

    def test_server_timing_is_there_for_development_sites(self):
        for secure in (False, True):
            timing = self.ask("/timing", secure=secure).value("server-timing")
            names = [part.split(";")[0].strip() for part in timing.split(",")]
            self.assertEqual(names, (["tls"] if secure else []) + ["route", "connect", "first-byte"])
            for part in timing.split(","):
                self.assertRegex(part.strip(), r"^[a-z-]+;dur=\d+\.\d+$")


class Bounds(unittest.TestCase):
    def test_memory_stays_under_its_bound_during_a_hundred_thousand_requests(self):
        site = '[sites."localhost"]\nrespond = { status = 200, body = "ok\\n" }\nhttp = "serve"\n'
        proxy, url = inspected(site, top='access_log = "off"')
        self.addCleanup(proxy.close)
        load = ["h2load", "--h1", "-t1", "-c16", "-n", None, f"http://localhost:{proxy.http}/"]
        load += ["--header=x-long: " + "x" * 900, "--header=cookie: id=1"]

        def run(number):
            load[5] = str(number)
            # A debug build on a busy machine takes minutes; a release build seconds.
            out = support.command(load, timeout=900)
            self.assertIn(f"{number} succeeded", out.stdout, out.stdout + out.stderr)

        before, peak, done = proxy.status("VmRSS"), [0.0], threading.Event()

        def watch():
            while not done.wait(0.05):
                peak[0] = max(peak[0], proxy.status("VmRSS"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            run(100_000)
        finally:
            done.set()
            watcher.join()
        print(f"memory before {before:.1f} MiB, peak {peak[0]:.1f} MiB", flush=True)
        self.assertLess(peak[0] - before, MEMORY)
        # It was on: the page shows some of them, and counts what it did not.
        host, _, token = url.partition("//")[2].partition("/?token=")
        client = http.client.HTTPConnection(host, timeout=30)
        client.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
        text = client.getresponse().read().decode()
        client.close()
        self.assertIn("h2load", text)

    def test_without_the_key_there_is_no_page_and_no_time_in_answers(self):
        with support.Proxy(support.site("builtin:show")) as proxy:
            self.assertNotIn("inspector", proxy.output())
            with Client(proxy.http, name=support.HOST) as client:
                client.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
                self.assertIsNone(client.answer("GET").value("server-timing"))

    def test_an_address_that_is_taken_is_an_error_and_starts_nothing(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with tempfile.TemporaryDirectory(prefix="vestibule-inspector-") as folder:
                config = pathlib.Path(folder) / "vestibule.toml"
                doors = "".join(f'{name} = "127.0.0.1:{support.free_port()}"\n' for name in ("http", "https"))
                config.write_text(
                    f'[listeners]\n{doors}[dev_ca]\ndir = "{folder}/ca"\n'
                    f'[admin]\nsocket = "off"\ninspector = {{ listen = "127.0.0.1:{port}" }}\n{support.site("builtin:show")}'
                )
                run = support.command([support.BINARY, "run", "--config", config])
        self.assertEqual(run.returncode, 1)
        self.assertIn(f"the inspector on 127.0.0.1:{port}", run.stderr)
        self.assertIn("nothing was started", run.stderr)


if __name__ == "__main__":
    support.main()
