"""What the suites of `cert` share: the command with a state folder and a list of roots of its own."""

import json
import os
import pathlib
import shutil
import tempfile
import unittest

import support


class Case(unittest.TestCase):
    """A folder for files, and one for state: nothing of the user's is read or written."""

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-certs-"))
        self.addCleanup(shutil.rmtree, self.work, True)
        self.files = self.work / "files"
        self.files.mkdir()
        self.env = {**os.environ, "VESTIBULE_STATE_DIR": str(self.work / "state"), "HOME": str(self.work)}
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "VESTIBULE_SITES", "JAVA_HOME"):
            self.env.pop(name, None)

    def cert(self, *arguments, roots=None):
        """`vestibule cert`; `roots` is what the system believes."""
        env = {**self.env, "SSL_CERT_FILE": str(roots)} if roots else self.env
        return support.command([support.BINARY, "cert", *arguments], cwd=self.files, env=env)

    def root(self):
        run = support.command([support.BINARY, "ca", "path"], cwd=self.files, env=self.env)
        self.assertEqual(run.returncode, 0, run.stderr)
        return pathlib.Path(run.stdout.strip())

    def explain(self, *arguments, roots=None):
        """Exit code and JSON; the text has to end the same way."""
        run = self.cert("explain", "--json", *arguments, roots=roots)
        self.assertNotIn("panicked", run.stderr)
        text = self.cert("explain", *arguments, roots=roots)
        self.assertEqual(text.returncode, run.returncode)
        found = json.loads(run.stdout)
        self.assertIn(found["browser"]["says"], text.stdout)
        for problem in found["problems"]:
            self.assertIn(f"[{problem['code']}]", text.stdout)
        return run.returncode, found


def codes(found):
    return sorted({problem["code"] for problem in found["problems"]})
