"""The Autobahn cases of WebSocket (RFC 6455) through both doors, run by `kosoku` against a real echo server.

Left out are the cases of size, speed and compression (9, 12, 13). One of the rest fails with this echo server, behind a
proxy or not: it answers an unfinished fragment before a close (7.1.5) with another code.
"""

import asyncio
import logging
import pathlib
import select
import socket
import ssl
import sys
import threading
import unittest

# This file has the name of the package, and stands first in the path.
sys.path.remove(str(pathlib.Path(__file__).resolve().parent))
from kosoku import FailureError, run_fuzzingclient  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402
from backends import RawServer  # noqa: E402
from websockets.asyncio.server import serve  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

HOST = "localhost"
LEFT_OUT = ["9.*", "12.*", "13.*"]
COUNT, AT_ONCE = 247, 32


class Echo:
    """The echo server in a thread with its own loop."""

    def __init__(self):
        self.port, started = None, threading.Event()
        logging.getLogger("websockets").setLevel(logging.CRITICAL)

        async def echo(connection):
            try:
                async for message in connection:
                    await connection.send(message)
            except ConnectionClosed:
                pass

        async def run():
            async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
                self.port = server.sockets[0].getsockname()[1]
                started.set()
                await server.serve_forever()

        threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
        started.wait(support.PATIENCE)


def relay(port, ca):
    """Takes plain connections and hands their bytes to the TLS door: kosoku has no TLS of its own."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])

    def carry(peer):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=HOST) as tls:
            while True:
                ready = [tls] if tls.pending() else select.select([peer, tls], [], [])[0]
                for side in ready:
                    data = side.recv(65536)
                    if not data:
                        if side is tls:
                            # What still comes is read, so that the end is no reset.
                            peer.shutdown(socket.SHUT_WR)
                            while peer.recv(65536):
                                pass
                        return
                    (tls if side is peer else peer).sendall(data)

    def quietly(peer):
        try:
            carry(peer)
        except OSError:
            pass

    return RawServer(quietly)


class Autobahn(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = support.Proxy(support.site(f"127.0.0.1:{Echo().port}", host=HOST))
        cls.addClassCleanup(cls.proxy.close)

    def run_cases(self, port):
        async def run(cases=None, at_once=AT_ONCE):
            try:
                return await run_fuzzingclient(f"ws://{HOST}:{port}", cases, LEFT_OUT, concurrency=at_once)
            except FailureError as failure:
                return failure.results

        results = asyncio.run(run())
        self.assertEqual(len(results), COUNT)
        failed = [result.case_id for result in results if not result.passed]
        # kosoku's own limits are short: what failed while the machine was busy is asked again, alone.
        again = asyncio.run(run(failed, 1)) if failed else []
        failed = {r.case_id: f"{r.result} {r.result_close} {r.was_not_clean_reason}" for r in again if not r.passed}
        self.assertLessEqual(set(failed), {"7.1.5"}, failed)

    def test_the_cases_pass_through_the_plain_door(self):
        self.run_cases(self.proxy.http)

    def test_the_cases_pass_through_the_tls_door(self):
        server = relay(self.proxy.https, self.proxy.ca())
        self.addCleanup(server.close)
        self.run_cases(server.port)


if __name__ == "__main__":
    support.main()
