"""`llamaswap ps`: what runs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.background import together
from llamaswap_lib.client.runs import STATE_STYLES, memory_of, places_of, until
from llamaswap_lib.client.terminal import Cell, Column, Style, Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of

COLUMNS = (
    Column("NAME", may_shrink=True),
    Column("STATE"),
    Column("SIZE", is_number=True),
    Column("DEVICE", may_shrink=True, goes=1),
    Column("IN-FLIGHT", is_number=True, goes=2),
    Column("QUEUE", is_number=True, goes=3),
    Column("UNTIL"),
)
EXAMPLES = "llamaswap ps\nllamaswap ps --json"
NOTES = """SIZE is the memory of its processes on the devices that DEVICE names, as far as
[hardware.md](hardware.md) can tell. IN-FLIGHT counts the requests inside the model, of as many as may be
inside at once where that is limited, and QUEUE those that wait for it. A model that somebody waits for and
that does not run is there too, as `queued`. UNTIL says when the model is unloaded if nobody asks for it."""
Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    running, queue = together(
        lambda: server.get("/running")["running"], lambda: (server.find("/api/queue") or {}).get("queue", [])
    )
    if options.json:
        terminal.json({"running": running, "queue": queue})
        return 0
    terminal.table(COLUMNS, table_rows(running, queue))
    return 0


def table_rows(running: Sequence[Row], queue: Sequence[Row]) -> Iterator[list[str | Cell]]:
    """A row for each model that runs, and for each one that is only waited for."""
    waiting = Counter(row["model"] for row in queue)
    for run_ in running:
        name, state = run_["model"], run_["state"]
        size, device = memory_of(run_.get("memory"))
        yield [
            name, Cell(state, STATE_STYLES.get(state, Style.PLAIN)), size, device,
            places_of(run_), words.number(waiting.pop(name, 0)), until(run_),
        ]  # fmt: skip
    for name, count in waiting.items():
        yield [name, Cell("queued", Style.BUSY), words.UNKNOWN, words.UNKNOWN, "0", words.number(count), words.UNKNOWN]
