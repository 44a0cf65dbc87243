"""The parser of each command, with all that its help says; and texts in the width of the terminal."""

from __future__ import annotations

import re
import textwrap

from llamaswap_lib.commands.arguments import Parser
from llamaswap_lib.commands.table import Command

MOST_WIDTH = 100


def parser_of(command: Command, name: str | None = None) -> Parser:
    """The parser of a command's arguments; `name` as it is called."""
    module = command.module()
    parser = Parser(f"llamaswap {command.name if name is None else name}".strip(), command.summary)
    module.add_arguments(parser)
    notes, examples = getattr(module, "NOTES", ""), getattr(module, "EXAMPLES", "")
    parts = [parser.epilog or "", *(wrapped(plain(part)) for part in notes.split("\n\n"))]
    parts.append("examples:\n" + textwrap.indent(examples, "  ") if examples else "")
    parser.epilog = "\n\n".join(filter(None, parts))
    return parser


def plain(markdown: str) -> str:
    """The same without what only Markdown needs."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", markdown).replace("`", "")


def width() -> int:
    import shutil  # noqa: PLC0415 - it imports what the server has put off

    return min(shutil.get_terminal_size().columns, MOST_WIDTH) - 1


def wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), max(width(), 20), break_on_hyphens=False, break_long_words=False)
