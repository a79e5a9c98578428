"""`vestibule compare`: what it says is what others count, capture and read.

A relay between `compare` and the proxy counts and keeps every byte; tshark reads the packets it writes; `ss` says who holds
TIME_WAIT. The backend is the demonstration's own.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import threading
import time
import unittest

import readme
import support

HOST = support.HOST
COLUMNS = ["plain", "tls13", "tls13_resumed", "tls12", "http2"]
SECRETS = [b"my-secret-search", b"my-secret-session", b"my-secret-password"]
# The front of a command line that may not open packet sockets, though it may be root.
UNPRIVILEGED = ["setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin"]
# Handshake messages by their number (RFC 8446 appendix B.3, RFC 5246 section 7.4).
HANDSHAKE = {
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
}


class Relay:
    """Passes bytes on, after `delay` seconds each way, and keeps them: `connections` is a list of (out, in)."""

    def __init__(self, port, delay=0.0):
        self.target, self.delay, self.connections = port, delay, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kept = (bytearray(), bytearray())
            self.connections.append(kept)
            for source, sink, copy in ((near, far, kept[0]), (far, near, kept[1])):
                thread = threading.Thread(target=self._pass, args=(source, sink, copy), daemon=True)
                thread.start()
                self.threads.append(thread)

    def _pass(self, source, sink, copy):
        """Each piece leaves `delay` after it came, however many are on their way: a long line, not a slow one."""
        queue, ready = [], threading.Condition()

        def deliver():
            while True:
                with ready:
                    while not queue:
                        ready.wait()
                    due, data = queue.pop(0)
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    if not data:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(data)
                except OSError:
                    return

        sender = threading.Thread(target=deliver, daemon=True)
        sender.start()
        data = b"x"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            copy.extend(data)
            with ready:
                queue.append((time.monotonic() + self.delay, data))
                ready.notify()
        sender.join()

    def close(self):
        self.listener.close()


def compare(*arguments, code=0, env=None, cwd=None, front=()):
    run = support.command(
        [*front, support.BINARY, "compare", *arguments], env={**os.environ, **(env or {})}, cwd=cwd or "/"
    )
    if run.returncode != code:
        raise AssertionError(f"compare {arguments}: exit {run.returncode}\n{run.stdout[-3000:]}\n{run.stderr}")
    return run


def legs(report, exchange=0):
    return {leg["column"]: leg for leg in report["exchanges"][exchange]["columns"]}


def time_wait(leg, inside=()):
    """Who holds TIME_WAIT of a connection, by `ss`; `inside` runs it in a namespace."""
    listed = support.command([*inside, "ss", "-Htan", "state", "time-wait"]).stdout
    rows = [line.split() for line in listed.splitlines()]
    clean = lambda text: text.replace("[::ffff:", "").replace("]", "")  # noqa: E731
    pairs = {(clean(row[-2]), clean(row[-1])) for row in rows}
    client, server = (leg["client"], leg["server"]) in pairs, (leg["server"], leg["client"]) in pairs
    return {(True, True): "both", (True, False): "client", (False, True): "server"}.get((client, server), "nobody")


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        redirecting = '[sites."redirect.localhost"]\nproxy = "builtin:show"\n'
        cls.proxy = support.Proxy(support.site("builtin:show") + redirecting)

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()

    def through(self, *arguments, delay=0.0):
        """`compare --json` through relays: `(report, plain relay, TLS relay)`."""
        plain, secure = Relay(self.proxy.http, delay), Relay(self.proxy.https, delay)
        try:
            url = f"https://{HOST}:{secure.port}/"
            run = compare(url, "--http", plain.port, "--config", self.proxy.config, "--json", *arguments)
            for thread in plain.threads + secure.threads:
                thread.join(support.PATIENCE)
            return json.loads(run.stdout), plain, secure
        finally:
            plain.close()
            secure.close()

    def direct(self, *arguments, host=HOST, **options):
        return compare(f"https://{host}/", "--config", self.proxy.config, *arguments, **options)

    def test_byte_counts_equal_those_of_a_relay_and_round_trips_are_2_3_3_4_3(self):
        report, plain, secure = self.through()
        counted = {"plain": list(plain.connections), "tls": list(secure.connections)}
        for number in (0, 1):
            for name, leg in legs(report, number).items():
                with self.subTest(f"{report['exchanges'][number]['method']} {name}"):
                    kept = counted["plain" if name == "plain" else "tls"].pop(0)
                    self.assertIsNone(leg["failure"])
                    self.assertEqual((leg["bytes"]["sent"], leg["bytes"]["received"]), tuple(map(len, kept)))
                    expected = {"plain": 2, "tls13": 3, "tls13_resumed": 3, "tls12": 4, "http2": 3}[name]
                    self.assertEqual(leg["round_trips"], expected)
                    self.assertEqual(leg["status"], 200)
                    scheme = "http" if name == "plain" else "https"
                    self.assertEqual(leg["backend_saw"]["X-Forwarded-Proto"], scheme)
                    if name != "plain":
                        self.assertEqual(leg["tls"]["resumed"], name == "tls13_resumed")

    def test_secrets_are_read_on_port_80_and_nowhere_on_443_and_the_name_is_in_both_hellos(self):
        report, plain, secure = self.through()
        wire = b"".join(out + back for out, back in plain.connections)
        for secret in SECRETS:
            self.assertIn(secret, wire)
        said = json.dumps([leg["readable"] for number in (0, 1) for leg in legs(report, number).values()])
        for secret in SECRETS:
            self.assertIn(secret.decode(), said)
        self.assertEqual(len(secure.connections), 8)
        for out, back in secure.connections:
            for secret in SECRETS:
                self.assertNotIn(secret, out + back)
            self.assertIn(HOST.encode(), out[:2000])
        for number in (0, 1):
            for name, leg in legs(report, number).items():
                if name == "plain":
                    continue
                self.assertEqual(leg["client_hello"]["server_name"], HOST)
                self.assertIn(["SNI", HOST], leg["readable"])
                for secret in SECRETS:
                    self.assertNotIn(secret.decode(), json.dumps(leg["readable"]))

    def test_round_trips_are_what_a_long_line_costs(self):
        # The relay delays bytes, not the TCP handshake, which the kernel answers: one round trip less than the count.
        def net(leg):
            return leg["seconds"]["first_byte"]

        # A line so long that a loaded machine adds less than half a round trip to the best of a few.
        rtt, best = 0.6, {}
        for _ in range(4):
            report, _, _ = self.through("--method", "GET", delay=rtt / 2)
            for name, leg in legs(report).items():
                self.assertEqual(leg["round_trips"], {"plain": 2, "tls12": 4}.get(name, 3))
                best[name] = min(best.get(name, 9), net(leg) - rtt * (leg["round_trips"] - 1))
            if all(late < rtt / 2 for late in best.values()):
                break
        for name, late in best.items():
            with self.subTest(name):
                self.assertGreaterEqual(late, -0.001)
                self.assertLess(late, rtt / 2)

    def test_tshark_reads_the_packets_and_names_the_same_messages(self):
        for kind, front in (("captured", ()), ("synthesised", UNPRIVILEGED)):
            with self.subTest(kind):
                self.tshark_agrees(kind, front)

    def tshark_agrees(self, kind, front):
        with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as folder:
            pcap = pathlib.Path(folder) / "talk.pcapng"
            report = json.loads(self.direct("--json", "--pcap", pcap, front=front).stdout)
            port = self.proxy.https

            def tshark(*arguments):
                run = support.command(
                    ["tshark", "-r", pcap, "-d", f"tcp.port=={port},tls", "-d", f"tcp.port=={self.proxy.http},http"]
                    + list(arguments)
                )
                self.assertEqual(run.returncode, 0, run.stderr)
                return run.stdout

            requests = tshark("-Y", "http.request", "-T", "fields", "-e", "tcp.srcport", "-e", "http.request.uri")
            found = dict(line.split("\t") for line in requests.splitlines())
            h2 = tshark("-Y", "http2.headers.path", "-T", "fields", "-e", "tcp.srcport", "-e", "http2.headers.path")
            found.update(line.split("\t") for line in h2.splitlines())
            types = tshark(
                *("-Y", "tls.handshake.type", "-T", "fields", "-e", "tcp.srcport", "-e", "tcp.dstport"),
                *("-e", "tls.handshake.type"),
            )
            listed = {}
            for line in types.splitlines():
                source, target, numbers = line.split("\t")
                names = [HANDSHAKE[int(number)] for number in numbers.split(",")]
                listed.setdefault((source, target), []).extend(names)
            bad = tshark(
                *("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"),
                *("-Y", "tcp.checksum.status==0 || ip.checksum.status==0 || _ws.malformed"),
            )
            # Of captured ones on loopback the kernel has not computed any.
            if kind == "synthesised":
                self.assertEqual(bad, "")
            for number, target in ((0, "/?q=my-secret-search"), (1, "/")):
                for name, leg in legs(report, number).items():
                    with self.subTest(f"{name} {target}"):
                        ours = leg["client"].rsplit(":", 1)[1]
                        self.assertEqual(found[ours], target)
                        if name == "plain":
                            continue
                        for side, ends in (("client", (ours, str(port))), ("server", (str(port), ours))):
                            named = [m["name"] for m in leg["messages"] if m["from"] == side]
                            named = [m for m in named if m in HANDSHAKE.values()]
                            self.assertEqual(named, listed[ends])

    def test_time_wait_is_where_ss_says(self):
        report = json.loads(self.direct("--json").stdout)
        for name, leg in legs(report, 1).items():
            with self.subTest(name):
                self.assertEqual(leg["close"]["time_wait"], time_wait(leg))
                # Our own legs half-close, so that the four steps can be seen.
                self.assertEqual(leg["close"]["time_wait"], "client")
                self.assertEqual(leg["close"]["first_fin"], "client")
                named = [(step["from"], [message["name"] for message in step["messages"]]) for step in leg["ladder"]]
                fins = [side for side, names in named if "FIN" in names]
                self.assertEqual(fins, ["client", "server"])

    def test_a_server_that_closes_first_keeps_time_wait_itself(self):
        with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as folder:
            cert, key = support.make_certificate(folder, HOST)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"

            def serve(listener, wrap):
                while True:
                    try:
                        near, _ = listener.accept()
                        near = wrap(near)
                        near.recv(65536)
                        # Answer and FIN leave in one packet, so that the client cannot close in between.
                        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                        near.sendall(answer)
                        near.close()
                    except OSError:
                        if listener.fileno() < 0:
                            return

            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
            wraps = (lambda s: s, lambda s: context.wrap_socket(s, server_side=True))
            for listener, wrap in zip(listeners, wraps, strict=True):
                threading.Thread(target=serve, args=(listener, wrap), daemon=True).start()
            plain, secure = (listener.getsockname()[1] for listener in listeners)
            run = compare(
                f"https://{HOST}:{secure}/", "--http", plain, "--ca", cert, "--json", "--method", "GET", cwd=folder
            )
            for listener in listeners:
                listener.close()
            report = json.loads(run.stdout)
            self.assertEqual(report["identity"]["trusted"], False)
            for name, leg in legs(report).items():
                if name in ("plain", "tls13", "tls12"):
                    with self.subTest(name):
                        self.assertEqual(leg["status"], 200)
                        self.assertEqual(leg["close"]["time_wait"], time_wait(leg))
                        self.assertNotEqual(leg["close"]["time_wait"], "client")

    def test_a_redirect_is_the_first_column_and_what_had_crossed_is_shown(self):
        report = json.loads(self.direct("--json", host="redirect.localhost").stdout)
        for number in (0, 1):
            plain = legs(report, number)["plain"]
            self.assertIn(plain["status"], (301, 302, 307, 308))
            self.assertIn("my-secret", json.dumps(plain["readable"]))
            self.assertTrue(any("had crossed in clear" in text for text in report["exchanges"][number]["lessons"]))
            self.assertEqual(legs(report, number)["tls13"]["status"], 200)

    def test_flags_decide_method_fields_and_body(self):
        run = self.direct("--json", "-X", "put", "-H", "Cookie: a=b", "-H", "X-Seen: yes", "--data", '{"a":1}')
        report = json.loads(run.stdout)
        self.assertEqual([e["method"] for e in report["exchanges"]], ["PUT"])
        read = {tuple(part) for part in legs(report)["plain"]["readable"]}
        self.assertEqual([part for part in read if part[0] == "Cookie"], [("Cookie", "Cookie: a=b")])
        self.assertIn(("field", "X-Seen: yes"), read)
        self.assertIn(("body", '{"a":1}'), read)
        refused = compare(f"https://{HOST}/", "-H", "Content-Length: 5", "--config", self.proxy.config, code=1)
        self.assertIn("set by compare itself", refused.stderr)

    def test_text_fits_its_width_and_has_colour_only_when_asked(self):
        for width in (80, 120):
            with self.subTest(f"{width} columns"):
                text = self.direct(env={"COLUMNS": str(width)}).stdout
                self.assertNotIn("\x1b", text)
                too_long = [line for line in text.splitlines() if len(line) > width]
                self.assertEqual(too_long, [])
                for word in ("round trips", "my-secret-session", "SNI", "ClientHello", "TIME_WAIT", "days left"):
                    self.assertIn(word, text)
        self.assertIn("\x1b[31m", self.direct("--color", "always").stdout)

    def test_the_page_needs_nothing_else_and_escapes_what_it_shows(self):
        with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as folder:
            page = pathlib.Path(folder) / "page.html"
            self.direct("--html", page, "-X", "POST", "--data", "<script>alert(1)</script>")
            text = page.read_text()
            self.assertNotIn("<script", text)
            self.assertIn("&lt;script&gt;", text)
            self.assertEqual(re.findall(r"(?:src|href)=|url\(|@import", text), [])
            self.assertIn("round trips", text)

    def test_with_nothing_running_it_opens_doors_of_its_own_and_writes_nothing(self):
        backend = support.Process(["python3", "-m", "http.server", "--bind", "127.0.0.1", "0"], env={"PYTHONUNBUFFERED": "1"})
        try:
            pattern = re.compile(r"port (\d+)")
            port = support.wait_until(lambda: pattern.search(backend.output()), "the backend says its port")[1]
            with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as home:
                env = {"HOME": home, "XDG_DATA_HOME": f"{home}/data", "VESTIBULE_STATE_DIR": ""}
                run = compare(f"{HOST}={port}", "--json", "--method", "GET", env=env, cwd=home)
                self.assertEqual(os.listdir(home), [])
            report = json.loads(run.stdout)
            self.assertEqual([legs(report)[name]["status"] for name in COLUMNS], [200] * 5)
            self.assertTrue(report["identity"]["trusted"])
        finally:
            backend.stop()

    def test_every_command_of_the_primer_prints_what_the_page_shows(self):
        page = support.ROOT / "docs/http-and-https.md"
        with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as name:
            for line, mark, text in readme.blocks(page):
                with self.subTest(f"line {line}"):
                    self.assertEqual(mark, "console")
                    code, output = readme.run_block(readme.commands(mark, text), pathlib.Path(name))
                    shown = "".join(part + "\n" for part in text.splitlines() if not part.startswith("$ "))
                    self.assertEqual(code, 0, output)
                    # Spaces beside what varies vary with it.
                    pattern = re.sub(r"(?:\\ )*…(?:\\ )*", r"[^\\n]*", re.escape(shown))
                    self.assertRegex(output, rf"\A{pattern}\Z")

    def test_where_nothing_listens_the_cure_is_said(self):
        port = support.free_port()
        with support.tempfile.TemporaryDirectory(prefix="vestibule-compare-") as folder:
            arguments = (f"https://{HOST}:{port}/", "--http", port)
            run = compare(*arguments, code=1, cwd=folder)
            self.assertIn("does not accept", run.stdout)


if __name__ == "__main__":
    for program in ("tshark", "ss"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is missing")
    support.main()
