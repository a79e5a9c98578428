"""More clients than descriptors: the process lives, rests, answers whom it has, and serves again at once. A wall clock that
jumps ends nothing."""

import email.utils
import os
import pathlib
import resource
import socket
import threading
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client

DESCRIPTORS, CLIENTS = 128, 300
WATCHED = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


class Starved(support.Proxy):
    """A proxy with few descriptors."""

    def program(self):
        program = self.work / "starved"
        program.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec "{support.BINARY}" "$@"\n')
        program.chmod(0o755)
        return program

    def cpu(self):
        """Seconds of processor time so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Starvation(unittest.TestCase):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 1024:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        self.backend = FunctionServer({"/": lambda h: h.reply(200, b"one")})
        self.addCleanup(self.backend.close)

    def start(self, top):
        proxy = Starved(support.site(f"127.0.0.1:{self.backend.port}"), top)
        self.addCleanup(proxy.close)
        return proxy

    @staticmethod
    def ask(client):
        client.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        return client.answer().body

    def crowd(self, proxy):
        clients = [socket.create_connection(("127.0.0.1", proxy.http), support.PATIENCE) for _ in range(CLIENTS)]
        self.addCleanup(lambda: [client.close() for client in clients])
        return clients

    def rests_and_recovers(self, proxy, clients):
        began, before = time.monotonic(), proxy.cpu()
        # What is measured is what a while of starving costs, so this waits.
        time.sleep(WATCHED)
        share = (proxy.cpu() - before) / (time.monotonic() - began)
        self.assertFalse(proxy.ended(), proxy.output())
        self.assertLess(share, 0.1, "share of a processor while starved")
        self.assertLessEqual(proxy.descriptors(), DESCRIPTORS)
        for client in clients:
            client.close()
        began = time.monotonic()
        with Client(proxy.http, timeout=support.PATIENCE) as client:
            self.assertEqual(self.ask(client), b"one")
        took = time.monotonic() - began
        print(f"\n{CLIENTS} clients on {DESCRIPTORS} descriptors: {share:.1%} CPU starved, an answer {took:.3f} s after")
        self.assertLess(took, 2.0)

    def test_a_bound_made_of_the_limit_leaves_room_to_answer_whom_it_has(self):
        proxy = self.start("server.workers = 2")
        first = Client(proxy.http, timeout=support.PATIENCE)
        self.addCleanup(first.socket.close)
        self.assertEqual(self.ask(first), b"one")
        clients = self.crowd(proxy)
        support.wait_until(lambda: "new ones wait" in proxy.output(), "the bound is said")
        self.assertEqual(self.ask(first), b"one")
        self.rests_and_recovers(proxy, clients)

    def test_running_out_of_descriptors_is_said_once_and_rests(self):
        proxy = self.start("server = { workers = 2, max_connections = 10000 }")
        clients = self.crowd(proxy)
        support.wait_until(lambda: "cannot accept" in proxy.output(), "the shortage is said")
        self.rests_and_recovers(proxy, clients)
        said = [line for line in proxy.stderr if "cannot accept" in line]
        # Once a worker and door at most, not at every try.
        self.assertLess(len(said), 20, said)


LIBRARY = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class Stepped(support.Proxy):
    """A proxy whose wall clock is what a file says; the monotonic clock is the machine's."""

    def step(self, offset):
        self.clock.write_text(f"{offset}\n")

    def program(self):
        self.clock = self.work / "clock"
        self.step("+0")
        return super().program()

    def environment(self):
        return {
            **super().environment(),
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.work / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@unittest.skipUnless(LIBRARY, "faketime is not installed")
class Clock(unittest.TestCase):
    def test_steps_of_the_wall_clock_end_no_connection_and_no_wait(self):
        gate = threading.Event()

        def slow(handler):
            handler.begin_chunked("text/plain")
            handler.chunk(b"first")
            gate.wait(support.PATIENCE)
            handler.chunk(b"last")
            handler.chunk(b"")

        backend = FunctionServer({"/": lambda h: h.reply(200, b"one"), "/slow": slow})
        self.addCleanup(backend.close)
        self.addCleanup(gate.set)
        proxy = Stepped(support.site(f"127.0.0.1:{backend.port}"))
        self.addCleanup(proxy.close)
        ask = Starvation.ask
        kept, stream = Client(proxy.http, timeout=support.PATIENCE), Client(proxy.http, timeout=support.PATIENCE)
        self.addCleanup(kept.socket.close)
        self.addCleanup(stream.socket.close)
        self.assertEqual(ask(kept), b"one")
        stream.send(f"GET /slow HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        stream.read_until(b"first")
        for offset in ("+2d", "-2d", "+0"):
            proxy.step(offset)
            kept.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
            answer = kept.answer()
            self.assertEqual(answer.body, b"one")
            # What has a date has the new one. The backend's own passes, so this is an answer of the proxy's.
            kept.send(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")
            stamp = email.utils.parsedate_to_datetime(kept.answer().value("date")).timestamp()
            days = round((stamp - time.time()) / 86400)
            self.assertEqual(days, {"+2d": 2, "-2d": -2, "+0": 0}[offset])
        gate.set()
        while b"0\r\n\r\n" not in stream.buffer:
            self.assertTrue(stream.fill())
        proxy.term()
        self.assertEqual(proxy.wait(), 0, proxy.output())


if __name__ == "__main__":
    support.main()
