"""The access log: a record of everything, secrets masked, and no output that can stop the traffic."""

import datetime
import json
import os
import pathlib
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import support
from backends import FunctionServer
from h2raw import H2Client, frames
from rawhttp import Client

SECRET = "s3cret"
CROWD, BUSY = 128, 2.0


class Case(unittest.TestCase):
    def setUp(self):
        self.entered, self.release = threading.Event(), threading.Event()
        self.addCleanup(self.release.set)

        def slow(handler):
            self.entered.set()
            self.release.wait(support.PATIENCE)
            handler.reply(200, b"late")

        upload = lambda h: h.reply(200, b"%d" % sum(map(len, h.body_pieces())))
        self.backend = FunctionServer({"*": lambda h: h.reply(200, b"hello"), "/slow": slow, "/upload": upload})
        self.addCleanup(self.backend.close)
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def start(self, log="", sites=None):
        # In the file's folder; the listeners come behind.
        proxy = support.Proxy(sites or support.site(self.backend.target), top=f"[access_log]\n{log}\n")
        self.addCleanup(proxy.close)
        return proxy

    def get(self, proxy, path="/", fields="", host=support.HOST):
        with Client(proxy.http) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
            return client.answer()

    def line(self, proxy, part):
        return support.wait_until(lambda: [line for line in proxy.stdout if part in line], f"a line with {part}")[-1]

    def record(self, proxy, part):
        return json.loads(self.line(proxy, part))

    def status(self, proxy):
        run = support.command(
            [support.BINARY, "status", "--json", "--config", proxy.config], env={**os.environ, **proxy.environment()}
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["access_log"]


class Records(Case):
    def test_a_record_says_where_the_request_went_and_how_long_it_took(self):
        proxy = self.start('format = "json"')
        with Client(proxy.https, tls=proxy.ca(), name=support.HOST) as client:
            client.send(b"POST /upload HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 5\r\nReferer: http://a/\r\n\r\n12345")
            self.assertEqual(client.answer().body, b"5")
        record = self.record(proxy, "/upload")
        wanted = {"method": "POST", "target": "/upload", "host": support.HOST, "protocol": "HTTP/1.1", "status": 200, "bytes": 1, "bytes_in": 5}
        wanted |= {"site": support.HOST, "route": "/*", "server": self.backend.target, "attempts": 1, "client": "127.0.0.1", "referer": "http://a/"}
        self.assertEqual({key: record.get(key) for key in wanted}, wanted)
        tls = record["tls"]
        self.assertEqual((tls["version"], tls["sni"], tls["alpn"], tls["resumed"]), ("TLS 1.3", support.HOST, "http/1.1", False))
        self.assertLessEqual(record["upstream_ms"], record["total_ms"])
        self.assertIn("connect_ms", record)
        self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_refused_and_retried_requests_have_a_record(self):
        gone = support.free_port()
        upstream = f'[upstreams.pair]\nservers = ["127.0.0.1:{gone}", "{self.backend.target}"]\nbalance = "first"\n'
        proxy = self.start('format = "json"', f'{upstream}[sites."app.localhost"]\nupstream = "pair"\nhttp = "serve"\n')
        self.assertEqual(self.get(proxy, "/retried").status, 200)
        record = self.record(proxy, "/retried")
        self.assertEqual((record["attempts"], record["server"]), (2, self.backend.target))
        self.get(proxy, "/nobody", host="nobody.test")
        self.assertEqual(self.record(proxy, "/nobody")["why"], "route.no_host")
        with Client(proxy.http) as client:
            client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
            client.answer()
        record = self.record(proxy, "request.malformed")
        self.assertEqual((record["status"], record["method"], record["client"]), (400, "", "127.0.0.1"))

    def test_a_stream_that_is_reset_before_its_answer_has_a_record(self):
        proxy = self.start('format = "json"')
        with H2Client(proxy.https, proxy.ca(), support.HOST) as client:
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", support.HOST), (":path", "/slow")]
            client.headers(1, fields)
            self.assertTrue(self.entered.wait(support.PATIENCE))
            client.send_frame(frames.RstStreamFrame(1, error_code=8))
            record = self.record(proxy, "/slow")
        self.assertEqual((record["status"], record["why"], record["bytes"]), (499, "client.gone", 0))
        self.assertEqual((record["site"], record["server"]), (support.HOST, self.backend.target))

    def test_a_client_that_breaks_its_connection_has_a_record_before_the_backend_is_ready(self):
        proxy = self.start('format = "json"')
        for tls in (None, proxy.ca()):
            with self.subTest(tls=bool(tls)):
                self.entered.clear()
                client = Client(proxy.https if tls else proxy.http, tls=tls, name=support.HOST)
                path = f"/slow?{bool(tls)}"
                client.send(f"GET {path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n".encode())
                self.assertTrue(self.entered.wait(support.PATIENCE))
                if not tls:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                # Over TLS: no close_notify.
                client.socket.close()
                record = self.record(proxy, path)
                self.assertEqual((record["status"], record["why"], record["bytes"]), (499, "client.gone", 0))

    def test_requests_that_the_stop_cuts_have_a_record(self):
        def half(handler):
            handler.begin_chunked("text/plain")
            handler.chunk(b"first")
            self.release.wait(support.PATIENCE)

        backend = FunctionServer({"/slow": lambda h: (self.entered.set(), self.release.wait(support.PATIENCE)), "/half": half})
        self.addCleanup(backend.close)
        for tls, second in ((False, False), (True, False), (False, True)):
            with self.subTest(tls=tls, second=second):
                self.entered.clear()
                grace = "1h" if second else "300ms"
                proxy = support.Proxy(
                    support.site(backend.target),
                    top=f'server = {{ shutdown_grace = "{grace}" }}\n[access_log]\nformat = "json"\n',
                )
                self.addCleanup(proxy.close)
                clients = []
                for path in ("/half", "/slow"):
                    client = Client(proxy.https if tls else proxy.http, tls=proxy.ca() if tls else None, name=support.HOST)
                    self.addCleanup(client.socket.close)
                    client.send(f"GET {path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n".encode())
                    clients.append(client)
                clients[0].read_until(b"first")
                self.assertTrue(self.entered.wait(support.PATIENCE))
                proxy.term()
                if second:
                    support.wait_until(lambda: not support.accepts(("127.0.0.1", proxy.http)), "it stops")
                    proxy.term()
                self.assertEqual(proxy.wait(), 0, proxy.output())
                records = {record["target"]: record for record in map(json.loads, proxy.stdout)}
                told = {target: (record["status"], record["why"]) for target, record in records.items()}
                self.assertEqual(told, {"/half": (200, "proxy.stopped"), "/slow": (503, "proxy.stopped")})
                answer = clients[1].answer()
                self.assertIn("proxy.stopped", answer.value("proxy-status"))

    def test_the_time_goes_on_in_a_worker_that_never_rests(self):
        site = f'[sites."{support.HOST}"]\nrespond = {{ status = 200, body = "ok" }}\nhttp = "serve"\n'
        proxy = self.start('format = "json"\nsample = "1%"', f"{site}[server]\nworkers = 1\n")
        # More requests than it can answer, on more connections than its runtime looks at in one turn.
        batch = memoryview(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode() * 1000)
        waiting = selectors.DefaultSelector()
        self.addCleanup(waiting.close)
        for _ in range(CROWD):
            client = socket.create_connection(("127.0.0.1", proxy.http), support.PATIENCE)
            self.addCleanup(client.close)
            client.setblocking(False)
            waiting.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE, batch)
        end = time.monotonic() + BUSY
        while time.monotonic() < end:
            for key, ready in waiting.select(1):
                if ready & selectors.EVENT_READ:
                    self.assertTrue(key.fileobj.recv(1 << 20))
                if ready & selectors.EVENT_WRITE:
                    left = key.data[key.fileobj.send(key.data) :]
                    waiting.modify(key.fileobj, key.events, left or batch)
        for key in list(waiting.get_map().values()):
            key.fileobj.close()
        self.get(proxy, host="nobody.test")
        self.line(proxy, "nobody.test")
        times = [datetime.datetime.fromisoformat(json.loads(line)["time"]) for line in proxy.stdout if "{" in line]
        steps = [(after - before).total_seconds() for before, after in zip(times, times[1:])]
        self.assertGreater(len(steps), 100)
        self.assertGreater((times[-1] - times[0]).total_seconds(), BUSY / 2)
        self.assertLess(max(steps), BUSY / 4, "seconds for which it was the same time")

    def test_secrets_reach_no_format(self):
        fields = f"Authorization: Bearer {SECRET}\r\nCookie: id={SECRET}\r\nReferer: http://a/?key={SECRET}\r\nUser-Agent: {SECRET}\r\n"
        for format in ("json", "text", "combined"):
            with self.subTest(format):
                proxy = self.start(f'format = "{format}"\nredact = {{ query = ["key"], headers = ["user-agent", "cookie"] }}')
                self.get(proxy, f"/masked?key={SECRET}&a=1", fields)
                line = self.line(proxy, "/masked?key=***&a=1")
                self.assertNotIn(SECRET, line)

    def test_a_sample_leaves_out_answers_but_no_error(self):
        proxy = self.start('format = "json"\nsample = "0%"')
        for number in range(50):
            self.get(proxy, f"/left-out-{number}")
        self.get(proxy, "/error", host="nobody.test")
        self.line(proxy, "/error")
        self.assertFalse([line for line in proxy.stdout if "left-out" in line])


class Outputs(Case):
    def test_a_moved_file_is_opened_again_by_usr1_and_nothing_is_lost(self):
        proxy = self.start(f'format = "json"\noutput = "{self.folder}/access.log"')
        log, moved = self.folder / "access.log", self.folder / "access.log.1"
        lines = lambda path: path.read_text().splitlines() if path.exists() else []
        for round in range(3):
            self.get(proxy, f"/before-{round}")
            # A record comes when the answer is over, which its client may see first.
            support.wait_until(lambda: any(f"/before-{round}" in line for line in lines(log)), "the line is written")
            os.replace(log, moved)
            proxy.child.send_signal(signal.SIGUSR1)
            support.wait_until(log.exists, "the file is opened again")
            self.get(proxy, f"/after-{round}")
            support.wait_until(lambda: any(f"/after-{round}" in line for line in lines(log)), "the line is in the new file")
        self.assertEqual(self.status(proxy)["lost"], 0)

    def test_logrotate_moves_the_file_with_the_config_that_ships(self):
        text = (support.ROOT / "contrib/logrotate/vestibule").read_text()
        proxy = self.start(f'format = "json"\noutput = "{self.folder}/access.log"')
        config, state = self.folder / "rotate.conf", self.folder / "state"
        inside = text[text.index("{") :]
        line = [line for line in inside.splitlines() if "USR1" in line]
        self.assertEqual(len(line), 1)
        inside = inside.replace(line[0], f"kill -USR1 {proxy.pid}")
        config.write_text(f"{self.folder}/access.log {inside}")
        os.chmod(config, 0o644)
        self.get(proxy, "/before")
        log = self.folder / "access.log"
        support.wait_until(lambda: "/before" in log.read_text(), "the first line")
        run = support.command(["/usr/sbin/logrotate", "--force", "--state", state, config])
        self.assertEqual(run.returncode, 0, run.stderr)
        support.wait_until(log.exists, "the file is opened again")
        self.get(proxy, "/after")
        support.wait_until(lambda: "/after" in log.read_text(), "the new file is written to")
        self.assertIn("/before", (self.folder / "access.log.1").read_text())

    @unittest.skipUnless(os.geteuid() == 0, "needs root to mount")
    def test_a_full_file_system_loses_lines_and_no_request(self):
        disk = self.folder / "disk"
        disk.mkdir()
        mounted = support.command(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk])
        if mounted.returncode != 0:
            self.skipTest(f"no mount: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", disk], check=True)
        proxy = self.start(f'format = "json"\noutput = "{disk}/access.log"')
        with Client(proxy.http) as client:
            for number in range(1_000):
                client.send(f"GET /full-{number} HTTP/1.1\r\nHost: app.localhost\r\n\r\n".encode())
                self.assertEqual(client.answer().status, 200)

        def settled():
            counts = self.status(proxy)
            return counts if (counts["lines"], counts["waiting_bytes"]) == (1_000, 0) else None

        counts = support.wait_until(settled, "the log is quiet")
        whole = len((disk / "access.log").read_bytes().split(b"\n")) - 1
        self.assertEqual(counts["lost"], 1_000 - whole)
        self.assertGreater(counts["lost"], 500)
        self.assertTrue(any("lines lost" in line for line in proxy.stderr))
        # Room again: lines go on, and the torn one harms none.
        (disk / "access.log").write_bytes(b"")
        self.get(proxy, "/room-again")
        text = lambda: (disk / "access.log").read_text()
        support.wait_until(lambda: "/room-again" in text(), "lines are written again")
        self.assertEqual(json.loads(text().strip("\0\n"))["target"], "/room-again")

    def test_a_pipe_that_nobody_reads_loses_lines_and_no_request(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        sites = '[sites."app.localhost"]\nhttp = "serve"\nrespond = { status = 204 }\n'
        proxy = self.start(f'format = "json"\noutput = "{pipe}"', sites)
        path = "/" + "x" * 4_000
        with Client(proxy.http) as client:
            for _ in range(3_000):
                client.send(f"GET {path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n".encode())
                self.assertEqual(client.answer().status, 204)
        counts = self.status(proxy)
        self.assertEqual(counts["lines"], 3_000)
        self.assertGreater(counts["lost"], 0)
        self.assertGreater(counts["waiting_bytes"], 0)
        # The reader comes back: what waited is there.
        data = b""
        while b"\n" not in data:
            data += os.read(reader, 65536)
        self.assertEqual(json.loads(data.split(b"\n")[0])["status"], 204)
        proxy.term()
        self.assertEqual(proxy.wait(), 0)

    def test_the_last_lines_are_written_when_the_proxy_stops(self):
        proxy = self.start('format = "json"')
        with Client(proxy.http) as client:
            for number in range(200):
                client.send(f"GET /last-{number} HTTP/1.1\r\nHost: app.localhost\r\n\r\n".encode())
                client.answer()
        proxy.term()
        self.assertEqual(proxy.wait(), 0)
        self.assertEqual(sum("/last-" in line for line in proxy.stdout), 200)


if __name__ == "__main__":
    support.main()
