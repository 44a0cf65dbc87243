"""tests/README.md: each file and test that its tables name exists, and each behaviour has one or says why not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS / "README.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[str, str]]:
    """Behaviour and test, of the tables of behaviours."""
    section = PAGE.partition("## The logs of llama-swap")[2]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(behaviour, test) for behaviour, test in lines if behaviour != "behaviour"]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_each_test_that_the_table_names_exists() -> None:
    named = [pair for _, test in rows() for pair in NAMED.findall(test)]
    assert len(named) > 20
    assert [f"{path}::{name}" for path, name in named if name not in functions(TESTS / path)] == []


def test_each_behaviour_has_a_test_or_says_why_it_cannot_happen() -> None:
    assert [behaviour for behaviour, test in rows() if not NAMED.search(test) and "cannot happen" not in test] == []


def test_each_file_that_the_table_of_places_names_exists() -> None:
    section = PAGE.partition("**Where to look.**")[2].partition("**Tiers.**")[0]
    patterns = [pattern for row in section.splitlines() for pattern in re.findall(r"`(\w+/[^`]+)`", row)]
    assert len(patterns) > 30
    assert [pattern for pattern in patterns if not any(TESTS.glob(pattern))] == []
