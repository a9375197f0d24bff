"""The code blocks of a Markdown file, and which of them say that they are not run, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- no-run: (?P<why>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: where, in what language, and why it is not run ("" where it is)."""

    path: Path
    line: int
    language: str
    code: str
    why_not: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, without comments, one line each."""
        lines = self.code.replace("\\\n", " ").splitlines()
        stripped = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
        return [" ".join(line.split()) for line in stripped if line]


def blocks_of(path: Path) -> list[Block]:
    """Return the code blocks of a file, in order."""
    text = path.read_text()
    return [
        Block(
            path,
            text[: found.start("code")].count("\n"),
            found["language"],
            found["code"],
            (found["why"] or "").strip(),
        )
        for found in FENCE.finditer(text)
    ]
