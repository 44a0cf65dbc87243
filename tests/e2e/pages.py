"""The pages of the documentation, read as tests need them: fenced blocks with their language and their note.

The note stands in brackets behind the language, as in "```sh (runs until Ctrl-C)". Notes that tests know:

- (runs until Ctrl-C): started beside the rest; what it serves stays up until the end of its page
- (needs the network): packages are installed; without a registry the block is passed over
- (takes minutes), (needs ...): not run here, for want of time, of a GPU, of an engine or of another program
- (the log): what the server of that page has printed by now
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)(?: \(([^)\n]+)\))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line of text."""

    page: Path
    line: int
    language: str
    note: str
    text: str


class Command(NamedTuple):
    """A command of a console block, and the output that is shown below it."""

    command: str
    output: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        language, note, content = match.groups()
        yield Block(page, text.count("\n", 0, match.start()) + 2, language, note or "", content)


def of_language(*languages: str) -> list[Block]:
    """Those of all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def name_of(block: Block) -> str:
    return f"{block.page.name}-{block.line}"


def console(text: str) -> Iterator[Command]:
    """The commands of a console block: each begins with `$ ` and goes on while lines end with a backslash."""
    lines = text.splitlines()
    while lines:
        command = lines.pop(0).removeprefix("$ ")
        while command.endswith("\\"):
            command += "\n" + lines.pop(0)
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        yield Command(command, "\n".join(output))


def is_shown(expected: str, found: str) -> bool:
    """Whether what is found begins as a page shows it: numbers may be others, and `...` is any text."""

    def pattern(text: str) -> str:
        return re.sub(r"\d+(?:\\\.\d+)*", r"[\\d.]+", re.escape(text))

    parts = [pattern(part.strip()) for part in expected.split("...")]
    return re.match(r"\s*" + r"(?s:.*?)".join(parts), found) is not None
