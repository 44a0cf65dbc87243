"""The styles of the page: what one page calls by a name is no other page's."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

STYLES = Path(__file__).resolve().parents[2] / "llamaswap_lib" / "ui" / "assets" / "styles"
SHARED = ("1-", "2-", "3-", "4-")  # for all pages
MEETING = {".timeline"}  # of the time line, which the home page shows smaller


def first_classes(text: str) -> set[str]:
    """The classes that the selectors of a file begin with."""
    selectors = re.findall(r"(?:^|[{};])\s*([^{};@/]+)\{", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    each = (part.strip() for selector in selectors for part in re.split(r",(?![^(]*\))", selector))
    return {found[1] for part in each if (found := re.match(r"[a-z0-9]*(\.[\w-]+)", part))}


def test_no_two_pages_style_the_same_class() -> None:
    users = defaultdict(set)
    for path in STYLES.glob("*.css"):
        for name in first_classes(path.read_text()):
            users[name].add(path.name)
    both = {
        name: sorted(files) for name, files in users.items() if len([f for f in files if not f.startswith(SHARED)]) > 1
    }
    assert {name: files for name, files in both.items() if name not in MEETING} == {}
