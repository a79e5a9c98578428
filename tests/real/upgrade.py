"""Another process takes over on the same sockets: under load, with streams open, and not at all when it cannot start."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import unittest

import websockets.sync.client

import support
from backends import held_server, websocket_echo
from h2raw import H2Client
from rawhttp import Client

CLIENTS = 24


class Upgradable(support.Proxy):
    """A proxy from a copy of the program that can be replaced; `close` ends whichever process serves."""

    def __init__(self, sites, top="", **options):
        self.others = set()
        super().__init__(sites, top, **options)

    def program(self):
        self.binary = self.work / "vestibule"
        shutil.copy(support.BINARY, self.binary)
        return self.binary

    def ask(self, *words):
        environment = {**os.environ, **self.environment()}
        return support.command([support.BINARY, *words, "--config", self.config], env=environment)

    def serving(self):
        """The process that answers on the administration socket."""
        run = self.ask("status", "--json")
        if run.returncode != 0:
            return None
        pid = json.loads(run.stdout)["pid"]
        if pid != self.pid:
            self.others.add(pid)
        return pid

    def upgrade(self):
        """Upgrade and return the new process."""
        run = self.ask("upgrade")
        if run.returncode != 0:
            raise AssertionError(f"{run.stderr}\n{self.output()}")
        pid = int(run.stdout.split()[1])
        self.others.add(pid)
        support.wait_until(lambda: self.serving() == pid, "the new process answers")
        return pid

    def close(self):
        for pid in self.others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        super().close()


class Case(unittest.TestCase):
    def setUp(self):
        self.release = threading.Event()
        self.backend = held_server(self.release)
        self.addCleanup(self.backend.close)
        self.addCleanup(self.release.set)

    def start(self, top="", **options):
        proxy = Upgradable(support.site(f"127.0.0.1:{self.backend.port}"), top, **options)
        self.addCleanup(proxy.close)
        return proxy

    def connect(self, proxy, tls=False):
        client = Client(proxy.https if tls else proxy.http, tls=proxy.ca() if tls else None, name=support.HOST)
        self.addCleanup(client.socket.close)
        return client


def get(client, path="/"):
    client.send(f"GET {path} HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
    return client.answer()


class Upgrades(Case):
    def test_no_request_fails_while_processes_take_over_from_each_other(self):
        proxy = self.start("server.workers = 2")
        ca, stop, failures, counts = proxy.ca(), threading.Event(), [], [0] * CLIENTS

        def load_h2(number):
            kept = None
            while not stop.is_set():
                try:
                    if kept is None:
                        kept, stream = H2Client(proxy.https, ca, support.HOST, support.PATIENCE), 1
                    fields = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", support.HOST))
                    kept.headers(stream, fields)
                    answer = kept.answer(stream)
                    if answer is None or answer.body != b"one":
                        failures.append((number, "h2", answer))
                    counts[number] += 1
                    stream += 2
                    if answer is None or kept.goaway is not None:
                        kept.client.socket.close()
                        kept = None
                except Exception as error:  # every kind counts
                    failures.append((number, "h2", error))
                    kept = None

        def load(number):
            if number % 4 == 2:
                return load_h2(number)
            kept, secure = None, number % 3 == 0
            while not stop.is_set():
                try:
                    if kept is None:
                        kept = Client(proxy.https if secure else proxy.http, tls=ca if secure else None, name=support.HOST)
                    answer = get(kept)
                    if answer is None or answer.body != b"one":
                        failures.append((number, answer))
                        kept = None
                        continue
                    counts[number] += 1
                    # A new connection each time for every other client; the rest keep theirs until they are told to close.
                    if number % 2 or answer.value("connection") == "close":
                        kept.socket.close()
                        kept = None
                except Exception as error:  # every kind counts
                    failures.append((number, error))
                    kept = None

        threads = [threading.Thread(target=load, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        pids = [proxy.pid]
        # One socket a worker: they are more, then fewer, than those who get them.
        for workers in (1, 4, 2):
            before = sum(counts)
            text = proxy.config.read_text()
            proxy.config.write_text(re.sub("server.workers = [0-9]+", f"server.workers = {workers}", text))
            pids.append(proxy.upgrade())
            support.wait_until(lambda: sum(counts) > before + CLIENTS, "requests go on")
        stop.set()
        for thread in threads:
            thread.join(support.PATIENCE)
        self.assertEqual(failures, [])
        self.assertGreater(min(counts), 0)
        self.assertEqual(len(set(pids)), 4)
        print(f"\n3 upgrades, {CLIENTS} clients, {sum(counts)} requests, {len(failures)} failed")
        # The first one has ended by itself.
        self.assertEqual(proxy.child.wait(support.PATIENCE), 0, proxy.output())

    def test_streams_of_before_end_as_they_began(self):
        proxy = self.start()
        client, sender, idle = self.connect(proxy, tls=True), self.connect(proxy), self.connect(proxy)
        self.assertEqual(get(idle).body, b"one")
        client.send(f"GET /slow HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        client.read_until(b"first")
        sender.send(f"POST /upload HTTP/1.1\r\nHost: {support.HOST}\r\nContent-Length: 200000\r\n\r\n".encode())
        sender.send(b"x" * 100000)
        with H2Client(proxy.https, proxy.ca(), support.HOST) as stream:
            fields = ((":method", "GET"), (":scheme", "https"), (":path", "/slow"), (":authority", support.HOST))
            stream.headers(1, fields)
            while 1 not in stream.answers or b"first" not in stream.answers[1].body:
                self.assertTrue(stream.step())
            proxy.child.send_signal(signal.SIGUSR2)
            support.wait_until(lambda: proxy.serving() not in (None, proxy.pid), "another process serves")
            self.assertEqual(get(self.connect(proxy, tls=True)).body, b"one")
            # An idle connection of the old process is answered once more, and told to close.
            answer = get(idle)
            self.assertEqual((answer.body, answer.value("connection")), (b"one", "close"))
            self.assertFalse(proxy.ended())
            self.release.set()
            sender.send(b"x" * 100000)
            self.assertEqual(sender.answer().body, b"200000")
            self.assertEqual(stream.answer(1).body, b"firstlast")
        while b"0\r\n\r\n" not in client.buffer:
            self.assertTrue(client.fill())
        self.assertIn(b"last", client.buffer)
        # Its head said keep-alive before there was another process: it may ask once more, or go.
        client.socket.close()
        self.assertEqual(proxy.child.wait(support.PATIENCE), 0, proxy.output())

    def test_a_websocket_of_before_lives_on_and_the_old_process_ends_after_it(self):
        server, port = websocket_echo()
        self.addCleanup(server.shutdown)
        proxy = Upgradable(support.site(f"127.0.0.1:{port}"))
        self.addCleanup(proxy.close)
        sock = socket.create_connection(("127.0.0.1", proxy.http))
        with websockets.sync.client.connect(f"ws://{support.HOST}/", sock=sock) as client:
            for _ in range(2):
                client.send("one")
                self.assertEqual(client.recv(support.PATIENCE), "one")
                proxy.upgrade()
            client.send("two")
            self.assertEqual(client.recv(support.PATIENCE), "two")
            self.assertFalse(proxy.ended())
        self.assertEqual(proxy.child.wait(support.PATIENCE), 0, proxy.output())

    def test_what_cannot_start_changes_nothing_and_says_why(self):
        proxy = self.start()
        good = proxy.config.read_text()
        with self.subTest("a config with an error"):
            proxy.config.write_text(good + "hots = 1\n")
            run = proxy.ask("upgrade")
            self.assertEqual(run.returncode, 2, run.stderr)
            self.assertIn("`hots`", run.stderr)
            proxy.config.write_text(good)
        with self.subTest("a port that another program has"):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                proxy.config.write_text(good.replace("[listeners]", f'[listeners]\nmore = "127.0.0.1:{port}"'))
                run = proxy.ask("upgrade")
                self.assertEqual(run.returncode, 2)
                self.assertIn(f"cannot listen on 127.0.0.1:{port}", run.stderr)
            proxy.config.write_text(good)
        with self.subTest("another program"):
            self.replace(proxy, "#!/bin/sh\nexit 3\n")
            run = proxy.ask("upgrade")
            self.assertEqual(run.returncode, 2)
            self.assertIn("exit status: 3", run.stderr)
        self.assertEqual(proxy.serving(), proxy.pid)
        self.assertEqual(get(self.connect(proxy)).body, b"one")
        proxy.term()
        self.assertEqual(proxy.wait(), 0)

    @staticmethod
    def replace(proxy, text):
        fresh = proxy.binary.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o755)
        os.replace(fresh, proxy.binary)

    def test_term_while_the_old_process_waits_for_a_stream_ends_both(self):
        proxy = self.start('server.shutdown_grace = "1s"')
        client = self.connect(proxy)
        client.send(f"GET /slow HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        client.read_until(b"first")
        other = proxy.upgrade()
        self.assertFalse(proxy.ended())
        proxy.term()
        self.assertEqual(proxy.child.wait(support.PATIENCE), 0)
        (path,) = (proxy.work / "state").glob("admin-*.sock")
        os.kill(other, signal.SIGTERM)
        support.wait_until(lambda: not support.accepts(("127.0.0.1", proxy.http)), "the new one stops accepting")
        support.wait_until(lambda: not path.exists(), "the socket goes with the last process")


if __name__ == "__main__":
    support.main()
