"""Certificates with one thing wrong each, under a root and an intermediate of a run, made with openssl."""

import pathlib

import support

P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
LEAF = "basicConstraints=CA:FALSE\n"
NAME = "DNS:shop.example.com"


def openssl(*arguments, clock="now"):
    # Debian 12's openssl cannot be told when a certificate begins: its clock is moved.
    run = support.command(["faketime", clock, "openssl", *arguments])
    if run.returncode != 0:
        raise AssertionError(f"openssl {arguments[0]} failed: {run.stderr}")


class Chains:
    """`root` is the root's file. A leaf is made when a file first asks for it."""

    MADE = {
        "leaf": {},
        "wildcard": {"names": "DNS:*.eu.example.com"},
        "expired": {"clock": "-9 days", "days": 1},
        "early": {"clock": "+1 day"},
        "sha1": {"digest": "-sha1"},
        "expired-sha1": {"digest": "-sha1", "clock": "-9 days", "days": 1},
        "expired-client": {"extra": "extendedKeyUsage=clientAuth\n", "clock": "-9 days", "days": 1},
        "elsewhere-client": {"extra": "extendedKeyUsage=clientAuth\n", "names": "DNS:other.example.com"},
        "weak": {"kind": ("rsa:1024",)},
        "client": {"extra": "extendedKeyUsage=clientAuth\n"},
        "nameless": {"names": None},
        "aia": {"extra": "authorityInfoAccess=caIssuers;URI:http://ca.test/middle.der\n"},
        "evil": {"extra": "authorityInfoAccess=caIssuers;URI:http://ca.test/\\$(id)\n"},
        "below": {"by": "leaf", "subject": "below"},
    }

    def __init__(self, folder):
        self.folder = pathlib.Path(folder) / "made"
        self.folder.mkdir(parents=True)
        for label in ("root", "other"):
            self._self_signed(label, f"test {label}", CA)
        self.root = self.folder / "root.crt"
        self.sign("middle", None, by="root", subject="test middle", constraints=CA)
        # The name of the intermediate over another key.
        self.sign("forged", None, by="root", subject="test middle", constraints=CA)
        self._self_signed("self", "shop.example.com", f"subjectAltName={NAME}\n{LEAF}")

    def _self_signed(self, label, subject, extensions):
        config = self.folder / f"{label}.cnf"
        config.write_text(f"[req]\ndistinguished_name=dn\nx509_extensions=v3\n[dn]\n[v3]\n{extensions}")
        openssl(
            *("req", "-x509", "-newkey", *P256, "-nodes", "-days", "60", "-subj", f"/CN={subject}", "-config", config),
            *("-keyout", self.folder / f"{label}.key", "-out", self.folder / f"{label}.crt"),
            clock="-30 days",
        )

    def sign(
        self,
        label,
        names=NAME,
        by="middle",
        subject=None,
        days=40,
        clock="-30 days",
        digest="-sha256",
        kind=P256,
        extra="",
        constraints=LEAF,
    ):
        """Makes `LABEL.crt` and `LABEL.key`; it begins at `clock`, by faketime."""
        place = lambda end: self.folder / f"{label}.{end}"
        subject = f"/CN={subject or 'shop.example.com'}"
        fresh = ["-newkey", *kind, "-nodes", "-keyout", place("key")]
        openssl("req", "-new", *fresh, "-out", place("csr"), "-subj", subject)
        san = f"subjectAltName={names}\n" if names else ""
        place("ext").write_text(f"{san}{constraints}{extra}")
        issuer = ["-CA", self.folder / f"{by}.crt", "-CAkey", self.folder / f"{by}.key", "-CAcreateserial"]
        openssl(
            *("x509", "-req", "-in", place("csr"), *issuer, digest, "-days", str(days)),
            *("-extfile", place("ext"), "-out", place("crt")),
            clock=clock,
        )

    def file(self, name, *labels, key=None):
        """`NAME.pem` with these certificates and `NAME.key` beside it: the key of the first leaf, or of `key`."""
        for label in labels:
            if not (self.folder / f"{label}.crt").exists():
                if "by" in self.MADE[label] and not (self.folder / f"{self.MADE[label]['by']}.crt").exists():
                    self.sign(self.MADE[label]["by"], **self.MADE[self.MADE[label]["by"]])
                self.sign(label, **self.MADE[label])
        leaf = next((label for label in labels if label in (*self.MADE, "self")), labels[0])
        if key and not (self.folder / f"{key}.crt").exists():
            self.sign(key, **self.MADE[key])
        path = self.folder.parent / name / f"{name}.pem"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join((self.folder / f"{label}.crt").read_text() for label in labels))
        secret = path.with_suffix(".key")
        secret.write_text((self.folder / f"{key or leaf}.key").read_text())
        secret.chmod(0o600)
        return path
