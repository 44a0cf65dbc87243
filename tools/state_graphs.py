"""Draws the tables of legal moves into docs/architecture.md, one graph and one list of states for each table.

    python tools/state_graphs.py

What is drawn is a function of the enums and their tables alone, so a test can tell whether the page is out of date.
What a state means is the comment behind it in its enum.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from llamaswap_lib.core import run  # noqa: E402 - the path comes first
from llamaswap_lib.server import connection_state  # noqa: E402

PAGE = ROOT / "docs" / "architecture.md"


class Table(NamedTuple):
    """One table of moves, and where it begins."""

    file: str  # that has it, below llamaswap_lib
    moves: Mapping[Any, Collection[Any]]  # of its states
    begins: tuple[Enum, ...]


TABLES = {
    "connection": Table(
        "server/connection_state.py",
        connection_state.MOVES,
        (connection_state.State.SHAKING_HANDS, connection_state.State.IDLE),
    ),
    "run": Table("core/run.py", run.MOVES, (run.RunState.STARTING,)),
}


def main() -> None:
    """The command line."""
    PAGE.write_text(drawn(PAGE.read_text()))


def drawn(page: str) -> str:
    """The page with its graphs as the tables of moves are now; raises ValueError where it has no place for one."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/state_graphs.py -->", "<!-- until here -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE.name} has no place for the graph of a {name}")
        page = f"{before}{begin}\n\n{graph(table)}\n{states(table)}\n{end}{after}"
    return page


def graph(table: Table) -> str:
    lines = [f"    [*] --> {state.name}" for state in table.begins]
    for state in in_order(table):
        lines += [f"    {state.name} --> {target.name}" for target in in_order(table) if target in table.moves[state]]
        if not table.moves[state]:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def states(table: Table) -> str:
    meanings = meanings_of(type(table.begins[0]))
    rows = [f"| `{state.name}` | {meanings.get(state.name, '')} |" for state in in_order(table)]
    return "\n".join([f"| state (`{table.file}`) | what it means |", "|---|---|", *rows, ""])


def in_order(table: Table) -> Iterator[Enum]:
    """The states, as their enum lists them."""
    yield from type(table.begins[0])


def meanings_of(enum: type[Enum]) -> dict[str, str]:
    """The comment behind each state in the source."""
    return dict(re.findall(r"^    ([A-Z_]+) = .*?  # (.+)$", inspect.getsource(enum), re.MULTILINE))


if __name__ == "__main__":
    main()
