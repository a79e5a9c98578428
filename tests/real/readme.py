"""Every example of README.md and docs/ that is marked runnable runs.

A block of `sh` is run with `bash -euo pipefail`; of a block of `console` the lines that start with `$ ` are. Each page
has a copy of the repository of its own, its blocks run in order there, and the program is in PATH. A block marked
`no-run` is counted and left out. What a block leaves running is ended with it.
"""

import os
import pathlib
import re
import subprocess
import unittest

import support

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<mark>(?:sh|console)(?: no-run)?) *\n(?P<text>.*?)^(?P=indent)``` *$", re.M | re.S
)
LIMIT = 120


def pages():
    return [
        support.ROOT / "README.md",
        *sorted((support.ROOT / "docs").glob("*.md")),
        *sorted((support.ROOT / "examples").glob("*/README.md")),
    ]


def blocks(page):
    """`(line, mark, text)` of each fenced block of a page."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match["mark"], match["text"]


def commands(mark, text):
    if mark.startswith("console"):
        return "".join(line.strip()[2:] + "\n" for line in text.splitlines() if line.strip().startswith("$ "))
    return text


def run_block(script, folder):
    """`(exit code, output)` of one block, in a session of its own that ends with it."""
    program = pathlib.Path(support.BINARY).resolve()
    path = f"{folder}/.bin:{os.environ['PATH']}"
    (folder / ".bin").mkdir(exist_ok=True)
    link = folder / ".bin/vestibule"
    if not link.exists():
        link.symlink_to(program)
    output = folder / ".output"
    with open(output, "w") as file:
        child = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "HOME": str(folder), "XDG_DATA_HOME": str(folder / ".data")},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = f"none after {LIMIT} s"
        finally:
            try:
                os.killpg(child.pid, support.signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    return code, output.read_text(errors="replace")


class Readme(unittest.TestCase):
    def test_every_runnable_block_runs(self):
        left_out = 0
        for page in pages():
            self.assertTrue(page.exists(), f"{page.name} is missing")
            with support.tempfile.TemporaryDirectory(prefix="vestibule-readme-") as name:
                folder = pathlib.Path(name)
                listed = support.command(
                    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=support.ROOT
                ).stdout
                for file in filter(None, listed.split("\0")):
                    if (support.ROOT / file).is_file():
                        (folder / file).parent.mkdir(parents=True, exist_ok=True)
                        support.shutil.copy2(support.ROOT / file, folder / file)
                for line, mark, text in blocks(page):
                    if mark.endswith("no-run"):
                        left_out += 1
                        continue
                    with self.subTest(f"{page.relative_to(support.ROOT)}:{line}"):
                        code, output = run_block(commands(mark, text), folder)
                        self.assertEqual(code, 0, f"\n{text}\n{output[-3000:]}")
        print(f"{left_out} blocks marked no-run were left out")


if __name__ == "__main__":
    support.main()
