"""docs/metrics.md names every family that `/metrics` may have, and no other one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
SOURCES = [
    ROOT / "llamaswap_lib" / name
    for name in ("activity/counters.py", "activity/machine.py", "endpoints/metrics.py", "endpoints/peers.py")
]


def test_the_page_has_every_name_and_no_other_one() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    made = set(re.findall(r'"(llamaswap_\w+)"', text))
    made |= {f"llamaswap_gpu_{name}" for name in re.findall(r'^ {4}\("(\w+)", "[^"]*GPU', text, re.MULTILINE)}
    made = {f"{name}_total" if re.search(rf'counter\(\s*"{name}"', text) else name for name in made}
    told = set(re.findall(r"^\|([^|]*)\|", PAGE, re.MULTILINE))
    names = {name for cell in told for name in re.findall(r"`(llamaswap_\w+)`", cell)}
    assert len(made) > 35
    assert made == names


def test_each_query_is_about_names_that_there_are() -> None:
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"llamaswap_\w+(?=[\[{)])", PAGE)}
    assert len(asked) > 5
    assert {name for name in asked if f"`{name}`" not in PAGE} == set()
