"""What every suite shares: the proxy under test, other processes, waiting for a condition, and the runner.

A suite is a file of `unittest` cases that ends in `support.main()`; its last line is `N passed, N failed`. The program
is the release binary, or the one named by VESTIBULE_BIN.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("VESTIBULE_BIN", str(ROOT / "target/release/vestibule"))
HOST = "app.localhost"
# Where a slow, shared machine may still be: a limit for "it never comes", never a measure.
PATIENCE = 20.0


def wait_until(condition, what, timeout=PATIENCE):
    """Poll `condition` until it is true and return its value; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.01)
    return value


HELD_PORTS = []


def free_port():
    """A port the kernel says is free on every address, and gives to nobody who does not ask for it by number.

    A socket that is bound and does not listen keeps it until this process ends: no connection and no other listener is
    given this port by chance, and a server that sets SO_REUSEADDR, as all of ours do, can bind it.
    """
    holder = socket.socket(socket.AF_INET6)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    holder.bind(("::", 0))
    HELD_PORTS.append(holder)
    return holder.getsockname()[1]


def accepts(address):
    """Whether something accepts connections at `("host", port)` or at the path of a unix socket."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def wait_for_port(port, process=None):
    """Wait until 127.0.0.1:`port` accepts; fail at once with the output of a `process` that ends instead."""
    wait_for_address(("127.0.0.1", port), process)


def wait_for_address(address, process=None):
    def ready():
        if process is not None and process.ended():
            raise AssertionError(f"ended instead of listening:\n{process.output()}")
        return accepts(address)

    wait_until(ready, f"something listens on {address}")


class Process:
    """A child in its own process group, with its output kept line by line."""

    # Those that run: a suite that is ended from outside ends them first.
    alive = set()

    def __init__(self, command, cwd=None, env=None):
        self.command = [str(part) for part in command]
        self.child = subprocess.Popen(
            self.command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        Process.alive.add(self)
        self.stdout, self.stderr = [], []
        self.readers = [
            threading.Thread(target=self._collect, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.child.stdout, self.stdout), (self.child.stderr, self.stderr))
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _collect(pipe, lines):
        for line in pipe:
            lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def pid(self):
        return self.child.pid

    def ended(self):
        return self.child.poll() is not None

    def output(self):
        return "\n".join(self.stdout + self.stderr)

    def wait(self, timeout=PATIENCE):
        """The exit code; the output is complete then."""
        code = self.child.wait(timeout)
        for reader in self.readers:
            reader.join(timeout)
        return code

    def term(self):
        self.child.send_signal(signal.SIGTERM)

    def stop(self):
        """End the child and what it started, whatever state it is in."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, number)
                self.child.wait(PATIENCE / 2)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.child.wait()
        Process.alive.discard(self)
        for reader in self.readers:
            reader.join(PATIENCE)
        self.child.stdout.close()
        self.child.stderr.close()


class Proxy(Process):
    """vestibule with a config on two free ports of 127.0.0.1, ready when the constructor returns.

    `sites` is the TOML text behind the listeners. The folder `work` holds the config, the development CA and the
    private TMPDIR, which has to stay empty.
    """

    def __init__(self, sites, top=""):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-test-"))
        self.tmpdir = self.work / "tmp"
        self.tmpdir.mkdir()
        self.http, self.https = free_port(), free_port()
        self.config = self.work / "vestibule.toml"
        self.config.write_text(
            f"""{top}
[listeners]
http = "127.0.0.1:{self.http}"
https = "127.0.0.1:{self.https}"
[dev_ca]
dir = "{self.work}/ca"
{sites}
"""
        )
        super().__init__([self.program(), "run", "--config", self.config], cwd=self.work, env=self.environment())
        try:
            wait_until(self.says_ready, "vestibule says that it is ready")
        except AssertionError:
            self.close()
            raise

    def program(self):
        """The program that is started."""
        return BINARY

    def says_ready(self):
        if self.ended():
            raise AssertionError(f"ended instead of listening:\n{self.output()}")
        return any(line.startswith("ready in ") for line in self.stderr)

    def environment(self):
        """Everything that the program may write by itself stays in `work`, apart from any other instance."""
        return {"TMPDIR": str(self.tmpdir), "VESTIBULE_STATE_DIR": str(self.work / "state")}

    def close(self):
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def doors(self):
        """`(name, origin)` of both doors; the name in the URL is HOST."""
        return (("http", f"http://{HOST}:{self.http}"), ("https", f"https://{HOST}:{self.https}"))

    def ca(self):
        """The path of the development root, as the program tells it."""
        run = command([BINARY, "ca", "path", "--config", self.config], env={**os.environ, **self.environment()})
        if run.returncode != 0:
            raise AssertionError(f"`vestibule ca path` failed: {run.stderr}")
        return run.stdout.strip()

    def status(self, field):
        """A memory figure of /proc/PID/status in MiB: VmRSS (now) or VmHWM (highest so far)."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {field} for process {self.pid}")


def site(target, host=HOST, extra=""):
    """TOML of one site that serves the same content on both doors."""
    return f'[sites."{host}"]\nproxy = "{target}"\nhttp = "serve"\n{extra}\n'


def command(arguments, timeout=120, **options):
    """Run a command to its end, with text output."""
    return subprocess.run(
        [str(part) for part in arguments], capture_output=True, text=True, timeout=timeout, check=False, **options
    )


def curl_line(proxy, *arguments):
    """curl's arguments for a request to `proxy`: the name resolves to it and its development root is trusted."""
    ports = (proxy.http, proxy.https)
    resolve = [part for port in ports for part in ("--resolve", f"{HOST}:{port}:127.0.0.1")]
    return ["curl", "--silent", "--show-error", "--max-time", "100", *resolve, "--cacert", proxy.ca(), *arguments]


def curl(proxy, *arguments, **options):
    """curl's output; a failed transfer fails the test with curl's own message."""
    run = command(curl_line(proxy, *arguments), **options)
    if run.returncode != 0:
        raise AssertionError(
            f"curl {' '.join(map(str, arguments))}: exit {run.returncode}: {run.stderr}\n{proxy.output()[-2000:]}"
        )
    return run.stdout


def make_certificate(folder, *names):
    """A self-signed P-256 certificate for `names`, made for this run: `(certificate, key)` paths."""
    cert, key = pathlib.Path(folder) / "site.pem", pathlib.Path(folder) / "site.key"
    run = command(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-keyout", key, "-out", cert, "-subj", f"/CN={names[0]}"]
        + ["-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    )
    if run.returncode != 0:
        raise AssertionError(f"openssl req failed: {run.stderr}")
    return cert, key


class _Result(unittest.TextTestResult):
    """Counts sub-tests one by one: a row of a table is a test, and the table itself is not."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed, self.tables = 0, set()

    def addSuccess(self, test):
        super().addSuccess(test)
        if test.id() not in self.tables:
            self.passed += 1

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        self.tables.add(test.id())
        if err is None:
            self.passed += 1


def _terminated(*_):
    for process in list(Process.alive):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os._exit(143)


def main():
    """Run the suite in `__main__`, print the closing line, and exit non-zero when a test failed or none ran."""
    if not shutil.which(BINARY):
        print(f"no program at {BINARY}: build it with `cargo build --release`, or name it in VESTIBULE_BIN")
        print("0 passed, 1 failed")
        sys.exit(2)
    signal.signal(signal.SIGTERM, _terminated)
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=_Result)
    result = runner.run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    if result.passed + failed == 0:
        failed = 1
    for _, reason in result.skipped:
        print(f"skipped: {reason}")
    print(f"{result.passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
