"""Certificates of a run: a root of our own, and what it signs, made with openssl."""

import pathlib

import support


class Authority:
    """A root in `folder`; `root` is its file."""

    def __init__(self, folder, name="test root"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root, self.key = self.folder / "root.pem", self.folder / "root.key"
        self._openssl(
            ["req", "-x509", *self._new_key(self.key), "-days", "2", "-out", self.root, "-subj", f"/CN={name}"]
            + ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        )

    @staticmethod
    def _new_key(path, kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        return ["-newkey", *kind, "-nodes", "-keyout", path]

    @staticmethod
    def _openssl(arguments):
        run = support.command(["openssl", *arguments])
        if run.returncode != 0:
            raise AssertionError(f"openssl {arguments[0]} failed: {run.stderr}")

    def sign(self, label, *names, days=2, subject=None, usage=None, kind=None):
        """`(certificate, key)` for `DNS:...` and `IP:...` names; with `days` below 0 it has expired.

        `subject` is openssl's `/O=.../CN=...`, `usage` an extended key usage, `kind` what `-newkey` takes."""
        cert, key, request = (self.folder / f"{label}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.folder / f"{label}.cnf"
        purpose = f"extendedKeyUsage={usage}\n" if usage else ""
        extensions.write_text(f"subjectAltName={','.join(names)}\nbasicConstraints=CA:FALSE\n{purpose}")
        fresh = self._new_key(key, kind) if kind else self._new_key(key)
        self._openssl(["req", "-new", *fresh, "-out", request, "-subj", subject or f"/CN={label}"])
        # Debian 12's `openssl x509` knows no -not_after; a negative -days it does.
        self._openssl(
            ["x509", "-req", "-in", request, "-CA", self.root, "-CAkey", self.key, "-CAcreateserial", "-out", cert]
            + ["-days", str(days), "-extfile", extensions]
        )
        return cert, key

    def crl(self, *revoked, path=None):
        """A revocation list with these certificates: its path."""
        path, config, index = path or self.folder / "list.crl", self.folder / "ca.cnf", self.folder / "index.txt"
        index.write_text("")
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={index}\ndefault_md=sha256\ndefault_crl_days=2\n"
            "crl_extensions=extensions\n[extensions]\nauthorityKeyIdentifier=keyid\n"
        )
        common = ["ca", "-config", config, "-cert", self.root, "-keyfile", self.key]
        for certificate in revoked:
            self._openssl([*common, "-revoke", certificate])
        fresh = path.with_suffix(".tmp")
        self._openssl([*common, "-gencrl", "-out", fresh])
        fresh.replace(path)
        return path
