"""pebble, the test server of ACME (a Debian package), with its DNS, and a root for its own API: everything on loopback."""

import http.client
import json
import os
import pathlib
import shutil
import ssl
import tempfile

import support

EAB_KEY_ID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def openssl(*arguments):
    run = support.command(["openssl", *arguments])
    if run.returncode != 0:
        raise AssertionError(f"openssl {arguments[0]} failed: {run.stderr}")


def make_api_certificate(folder):
    """A root and a certificate for 127.0.0.1 under it: `(root, certificate, key)` paths."""
    folder = pathlib.Path(folder)
    root, root_key = folder / "api-root.pem", folder / "api-root.key"
    cert, key, request, extensions = (folder / f"api.{end}" for end in ("pem", "key", "csr", "ext"))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "2", "-keyout", root_key, "-out", root, "-subj", "/CN=API root")
    openssl("req", *curve, "-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1")
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ["-req", "-in", request, "-CA", root, "-CAkey", root_key, "-CAcreateserial", "-days", "2"]
    openssl("x509", *signed, "-extfile", extensions, "-out", cert)
    return root, cert, key


class Pebble:
    """An ACME server that checks names of any kind at 127.0.0.1, at the two ports given."""

    def __init__(self, http_port, tls_port, eab=False, reject_nonces=0, lifetime=None, port=None, reuse=0):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-pebble-"))
        self.root, cert, key = make_api_certificate(self.folder)
        self.port, self.management, self.dns = port or support.free_port(), support.free_port(), support.free_port()
        self.challtest = support.free_port()
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": str(cert),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "externalAccountBindingRequired": eab,
        }
        if eab:
            config["externalAccountMACKeys"] = {EAB_KEY_ID: EAB_KEY}
        if lifetime:
            config["certificateValidityPeriod"] = lifetime
        path = self.folder / "pebble.json"
        path.write_text(json.dumps({"pebble": config}))
        self.env = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(reject_nonces),
            # Percent of names that need no new proof because an order before had one.
            "PEBBLE_AUTHZREUSE": str(reuse),
        }
        self.resolver = support.Process(
            ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{self.dns}"]
            + ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"127.0.0.1:{self.challtest}"]
        )
        self.command = ["pebble", "-config", path, "-dnsserver", f"127.0.0.1:{self.dns}", "-strict"]
        self.server = None

    def start(self):
        support.wait_for_port(self.challtest, self.resolver)
        self.server = support.Process(self.command, env=self.env)
        support.wait_for_port(self.port, self.server)
        support.wait_for_port(self.management, self.server)
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in (self.server, self.resolver):
            if process:
                process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def directory(self):
        return f"https://127.0.0.1:{self.port}/dir"

    def issuer(self):
        """The path of the root that the certificates of this run come from."""
        context = ssl.create_default_context(cafile=self.root)
        link = http.client.HTTPSConnection("127.0.0.1", self.management, timeout=10, context=context)
        link.request("GET", "/roots/0")
        path = self.folder / "issued-root.pem"
        path.write_bytes(link.getresponse().read())
        return path

    def orders(self):
        """How many orders have been placed."""
        return sum("POST /order-plz" in line for line in self.server.stdout + self.server.stderr)

    def log(self):
        return self.server.output() if self.server else ""


def dns01_hook(folder, pebble, gate=None):
    """A command that sets TXT records in the resolver of pebble, and notes its calls in `hook.log`. With a `gate`, it
    waits until that file is in the folder."""
    path, log = pathlib.Path(folder) / "hook", pathlib.Path(folder) / "hook.log"
    wait = f"while [ ! -e {folder}/{gate} ]; do sleep 0.02; done" if gate else ""
    path.write_text(
        f"""#!/bin/sh
{wait}
echo "$1 $2" >> {log}
case $1 in
present) data="{{\\"host\\":\\"$2.\\",\\"value\\":\\"$3\\"}}" verb=set-txt ;;
cleanup) data="{{\\"host\\":\\"$2.\\"}}" verb=clear-txt ;;
esac
exec curl --silent --show-error --fail --data "$data" http://127.0.0.1:{pebble.challtest}/$verb
"""
    )
    os.chmod(path, 0o755)
    return path, log
