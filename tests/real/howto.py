"""What docs/how-to.md tells a user to write: the suites take it from there, so that it is tested as it stands."""

import re

import support

PAGE = support.ROOT / "docs/how-to.md"


def block(heading, language):
    """The first block of `language` below a heading of the page."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    found = section and re.search(rf"^```{language}\n(.*?)^```$", section[1], re.M | re.S)
    if not found:
        raise AssertionError(f"{PAGE.name} has no block of {language} below {heading!r}")
    return found[1]
