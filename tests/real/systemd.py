"""What a service manager is told and gives: readiness, reloads, the watchdog, the upgrade's new process, and sockets."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import support
from backends import FunctionServer
from rawhttp import Client
from upgrade import Upgradable

UNITS = support.ROOT / "contrib/systemd"


class Manager:
    """The socket of a service manager: every message with the process that sent it."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self.socket.settimeout(support.PATIENCE)
        self.heard = []

    def next(self, skip=("WATCHDOG",)):
        """The next message as a table; `pid` is the sender. Messages with a key of `skip` are passed over."""
        while True:
            data, ancillary, *_ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
            message = dict(line.split("=", 1) for line in data.decode().split("\n"))
            message["pid"] = int.from_bytes(ancillary[0][2][:4], "little")
            self.heard.append(message)
            if not any(key in message for key in skip):
                return message

    def close(self):
        self.socket.close()


class Served(Upgradable):
    """A proxy whose environment is a service's."""

    def __init__(self, manager, sites, extra=None, **options):
        self.extra = {"NOTIFY_SOCKET": manager.path, **(extra or {})}
        super().__init__(sites, **options)

    def environment(self):
        return {**super().environment(), **self.extra}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.backend = FunctionServer({"/": lambda h: h.reply(200, b"one")})
        self.addCleanup(self.backend.close)

    def manager(self, path=None):
        manager = Manager(path or str(self.folder / "notify"))
        self.addCleanup(manager.close)
        return manager

    def start(self, manager, **options):
        proxy = Served(manager, support.site(f"127.0.0.1:{self.backend.port}"), **options)
        self.addCleanup(proxy.close)
        return proxy


class Notifications(Case):
    def test_a_life_is_told_in_order(self):
        for path in (None, f"@vestibule-test-{os.getpid()}"):
            with self.subTest("abstract" if path else "path"):
                manager = self.manager(path)
                proxy = self.start(manager)
                ready = manager.next()
                self.assertEqual((ready["READY"], ready["pid"]), ("1", proxy.pid))
                before = time.monotonic_ns() // 1000
                proxy.child.send_signal(signal.SIGHUP)
                reloading = manager.next()
                self.assertEqual(reloading["RELOADING"], "1")
                self.assertGreaterEqual(int(reloading["MONOTONIC_USEC"]), before)
                self.assertLessEqual(int(reloading["MONOTONIC_USEC"]), time.monotonic_ns() // 1000)
                self.assertEqual(manager.next()["STATUS"], "generation 2 is served")
                proxy.config.write_text("[sites\n")
                proxy.child.send_signal(signal.SIGHUP)
                self.assertEqual(manager.next()["RELOADING"], "1")
                failed = manager.next()
                self.assertEqual(failed["READY"], "1")
                self.assertIn("generation 2 is served, the last reload failed: error[syntax]", failed["STATUS"])
                proxy.term()
                self.assertEqual(manager.next()["STOPPING"], "1")
                self.assertEqual(proxy.wait(), 0)

    def test_the_watchdog_hears_of_living_workers(self):
        manager = self.manager()
        proxy = self.start(manager, extra={"WATCHDOG_USEC": "400000"})
        self.assertEqual(manager.next()["READY"], "1")
        for _ in range(3):
            self.assertEqual(manager.next(skip=())["WATCHDOG"], "1")
        # A process that hangs says nothing.
        os.kill(proxy.pid, signal.SIGSTOP)
        manager.socket.settimeout(0.01)
        with self.assertRaises(TimeoutError):
            while True:
                manager.next(skip=())
        manager.socket.settimeout(1.0)
        with self.assertRaises(TimeoutError):
            manager.next(skip=())
        os.kill(proxy.pid, signal.SIGCONT)

    def test_another_process_with_the_same_environment_has_no_watchdog(self):
        manager = self.manager()
        self.start(manager, extra={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        self.assertEqual(manager.next()["READY"], "1")
        manager.socket.settimeout(0.6)
        with self.assertRaises(TimeoutError):
            manager.next(skip=())

    def test_an_upgrade_names_the_new_process_and_its_watchdog_goes_on(self):
        manager = self.manager()
        proxy = self.start(manager, extra={"WATCHDOG_USEC": "400000"})
        self.assertEqual(manager.next()["READY"], "1")
        proxy.child.send_signal(signal.SIGUSR2)
        while "MAINPID" not in (message := manager.next()):
            pass
        self.assertEqual((message["pid"], message["READY"]), (proxy.pid, "1"))
        new = int(message["MAINPID"])
        proxy.others.add(new)
        support.wait_until(lambda: manager.next(skip=())["pid"] == new, "the new process speaks")
        while "WATCHDOG" not in (message := manager.next(skip=())) or message["pid"] != new:
            pass


class Activation(Case):
    """LISTEN_FDS: descriptors from 3 on, as sd_listen_fds(3) has it."""

    def run_with(self, sockets, config):
        path = self.folder / "vestibule.toml"
        path.write_text(config)
        # The shell is what knows its own process id before it becomes the program.
        line = 'export LISTEN_PID=$$; exec "$0" run --config "$1"'
        moved = "".join(f" {number}<&{sock.fileno()}" for number, sock in enumerate(sockets, 3))
        process = subprocess.Popen(
            ["bash", "-c", f'exec bash -c \'{line}\' "$0" "$1"{moved}', support.BINARY, path],
            pass_fds=[sock.fileno() for sock in sockets],
            env={**os.environ, "LISTEN_FDS": str(len(sockets)), "VESTIBULE_STATE_DIR": str(self.folder / "state")},
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    @staticmethod
    def listening():
        sock = socket.create_server(("127.0.0.1", 0))
        # High numbers, so that 3 and on are free for the program.
        import fcntl
        high = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
        sock.close()
        return socket.socket(fileno=high)

    def get(self, port):
        with Client(port) as client:
            client.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
            return client.answer().body

    def test_sockets_of_the_service_manager_are_served_and_connections_wait_in_them(self):
        plain, unused = self.listening(), self.listening()
        port = plain.getsockname()[1]
        config = f"""server.workers = 2
[listeners]
http = "127.0.0.1:{port}"
https = "off"
{support.site(f"127.0.0.1:{self.backend.port}")}"""
        # Before there is a process: the kernel keeps it.
        early = Client(port)
        self.addCleanup(early.socket.close)
        process = self.run_with([plain, unused], config)
        early.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        self.assertEqual(early.answer().body, b"one")
        said = []
        support.wait_until(lambda: said.append(process.stderr.readline()) or "ready in" in said[-1], "it is ready")
        self.assertEqual([self.get(port) for _ in range(8)], [b"one"] * 8)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(support.PATIENCE), 0)
        # The socket is the manager's: it is open, and the next process gets what waits in it.
        late = Client(port)
        self.addCleanup(late.socket.close)
        self.run_with([plain], config)
        late.send(f"GET / HTTP/1.1\r\nHost: {support.HOST}\r\n\r\n".encode())
        self.assertEqual(late.answer().body, b"one")
        for sock in (plain, unused):
            sock.close()

    def test_without_the_sockets_of_another_process(self):
        port = support.free_port()
        config = f'[listeners]\nhttp = "127.0.0.1:{port}"\nhttps = "off"\n' + support.site(f"127.0.0.1:{self.backend.port}")
        path = self.folder / "vestibule.toml"
        path.write_text(config)
        environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "VESTIBULE_STATE_DIR": str(self.folder / "state")}
        proxy = support.Process([support.BINARY, "run", "--config", path], env=environment)
        self.addCleanup(proxy.stop)
        support.wait_for_port(port, proxy)
        self.assertEqual(self.get(port), b"one")


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Units(unittest.TestCase):
    def test_the_exposure_of_the_service_is_under_2(self):
        run = support.command(["systemd-analyze", "security", "--offline=true", UNITS / "vestibule.service"])
        exposure = re.search(r"Overall exposure level for vestibule.service: ([0-9.]+)", run.stdout)
        self.assertIsNotNone(exposure, run.stdout + run.stderr)
        self.assertLess(float(exposure[1]), 2.0)

    def test_the_units_are_well_formed(self):
        with tempfile.TemporaryDirectory() as folder:
            for unit in UNITS.glob("vestibule.*"):
                text = unit.read_text().replace("/usr/bin/vestibule", str(support.BINARY))
                (pathlib.Path(folder) / unit.name).write_text(re.sub("^Documentation=.*$", "", text, flags=re.M))
            files = sorted(pathlib.Path(folder).iterdir())
            self.assertEqual(len(files), 2)
            run = support.command(["systemd-analyze", "verify", "--man=no", *files])
            said = [line for line in run.stderr.splitlines() if "vestibule" in line]
            self.assertEqual(said, [])


if __name__ == "__main__":
    support.main()
