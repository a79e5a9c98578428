"""The JSON Schema of the config accepts every config that loads and refuses those that a schema can refuse.

An independent validator (PyPI jsonschema) reads what `vestibule schema` prints; Python's own TOML 1.0 parser reads the
configs.
"""

import json
import re
import tomllib
import unittest

import jsonschema
import support

# What a schema cannot know: what names refer to, which texts are hosts or paths, and what two values say together.
BEYOND = {
    "acme-any",
    "acme-bad-key",
    "acme-local-name",
    "acme-missing",
    "acme-no-hook",
    "acme-terms",
    "acme-unreachable",
    "acme-wildcard",
    "alias-of-wildcard",
    "all-off",
    "bad-address",
    "bad-directory",
    "bad-email",
    "bad-expansion",
    "bad-header-name",
    "bad-header-value",
    "bad-host",
    "bad-include",
    "bad-media-type",
    "bad-method",
    "bad-network",
    "bad-origin",
    "bad-path",
    "bad-port",
    "bad-preload",
    "bad-protocol",
    "bad-rate",
    "bad-rate-key",
    "bad-redirect",
    "bad-regex",
    "bad-request",
    "bad-share",
    "bad-status",
    "bad-strip-prefix",
    "bad-target",
    "bad-url",
    "body-not-allowed",
    "config-not-read",
    "cors-any",
    "duplicate-address",
    "duplicate-header",
    "duplicate-host",
    "duplicate-key",
    "duplicate-matcher",
    "duplicate-method",
    "duplicate-server",
    "empty-matcher",
    "env-not-set",
    "file-not-read",
    "listener-tls",
    "log-output-off",
    "missing-key",
    "nested-include",
    "no-action",
    "no-expectation",
    "no-listener",
    "no-origins",
    "no-protocol",
    "no-servers",
    "no-sites",
    "no-trust",
    "protocol-conflict",
    "proxy-protocol-h2",
    "redirect-nowhere",
    "reserved-header",
    "route-tie",
    "short-hsts",
    "tls-not-verified",
    "tls-off",
    "tls-unused",
    "two-actions",
    "two-paths",
    "two-rewrites",
    "unknown-placeholder",
    "unknown-upstream",
    "unused-upstream",
    "unusual-listener",
}
CODE = re.compile(r"^(?:error|warning)\[([a-z-]+)\]", re.M)


def configs(*folders):
    return sorted(path for folder in folders for path in (support.ROOT / folder).rglob("*.toml"))


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        run = support.command([support.BINARY, "schema"])
        cls.text = run.stdout
        cls.schema = json.loads(run.stdout)
        cls.validator = jsonschema.Draft7Validator(cls.schema)

    def errors(self, path):
        return [error.message for error in self.validator.iter_errors(tomllib.loads(path.read_text()))]

    def test_the_schema_is_draft_07_and_the_one_that_is_committed(self):
        jsonschema.Draft7Validator.check_schema(self.schema)
        self.assertEqual(self.text, (support.ROOT / "config/vestibule.schema.json").read_text())

    def test_the_reference_printed_is_the_one_that_is_committed(self):
        run = support.command([support.BINARY, "config", "--defaults"])
        self.assertEqual(run.stdout, (support.ROOT / "config/reference.toml").read_text())

    def test_every_config_that_ships_and_every_good_one_is_valid(self):
        for path in configs("config", "examples", "tests/config/good"):
            with self.subTest(path.name):
                self.assertEqual(self.errors(path), [])

    def test_a_bad_config_is_refused_where_a_schema_can(self):
        refused = 0
        for path in configs("tests/config/bad"):
            expected = path.with_suffix(".txt")
            if not expected.exists():
                continue
            codes = set(CODE.findall(expected.read_text()))
            if "syntax" in codes:
                continue
            try:
                errors = self.errors(path)
            except tomllib.TOMLDecodeError:
                self.assertIn("duplicate-key", codes, path.name)
                continue
            with self.subTest(path.name):
                self.assertEqual(bool(errors), bool(codes - BEYOND), (codes, errors))
            refused += bool(errors)
        self.assertGreater(refused, 8)


if __name__ == "__main__":
    support.main()
