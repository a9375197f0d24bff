"""What mkdocs does to the pages: the docstrings' Sphinx roles become plain code."""

import re

ROLE = re.compile(r":(?:class|func|attr|meth|mod|data|exc):(?=\s*<code)")
EXAMPLE = re.compile(r"<p>::</p>\n?|(?<=:):(?=</p>)")


def on_page_content(html: str, **_: object) -> str:
    """Return the page without ``:class:`` before names and ``::`` before examples."""
    return EXAMPLE.sub("", ROLE.sub("", html))
