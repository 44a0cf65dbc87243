"""What a line that was typed means: an order, or a question with pictures in it.

Pure, but for a look whether the pictures are there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
# As a terminal writes the path of a file that is dropped on it: in quotes, or with `\` before blanks.
_path = re.compile(
    r"""(?<!\S)(?:'((?:~|\.{0,2})/[^'\n]+)'|"((?:~|\.{0,2})/[^"\n]+)"|((?:~|\.{0,2})/(?:\\.|[^\s\\])+))"""
)
_order = re.compile(r"/([a-z?]+)(?:\s+(.*))?", re.DOTALL)


class Question(NamedTuple):
    """`missing` are paths of pictures that are not there; they stay in the text."""

    text: str
    images: list[Path]
    missing: list[str]

    def remarks(self) -> list[str]:
        """What is to be said of those that are missing."""
        return [f"no such file: {name}; it is sent as text" for name in self.missing]


def question(text: str) -> Question:
    """The text without the paths of its pictures."""
    images, missing = [], []

    def take(match: re.Match[str]) -> str:
        told = match[1] or match[2] or re.sub(r"\\(.)", r"\1", match[3])
        if not told.lower().endswith(PICTURES):
            return match[0]
        path = expanded(told)
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where it may not look
            missing.append(told)
            return match[0]
        images.append(path)
        return ""

    rest = _path.sub(take, text)
    return Question(re.sub(r"[ \t]{2,}", " ", rest).strip() if images else rest, images, missing)


def expanded(told: str) -> Path:
    """The path, with the home folder for `~`; as it is where there is no such user, or no home."""
    return Path(os.path.expanduser(told))  # noqa: PTH111 - Path.expanduser raises there


def order(text: str) -> tuple[str, str] | None:
    """Name and the rest of an order such as `/system Be brief`; None for what is none, a path among them."""
    match = _order.fullmatch(text.strip())
    return (match[1], (match[2] or "").strip()) if match else None
