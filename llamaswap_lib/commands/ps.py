"""`llamaswap ps`: what runs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llamaswap_lib.client import memory, peers, words
from llamaswap_lib.client.background import together
from llamaswap_lib.client.connection import Refused, Server
from llamaswap_lib.client.runs import STATE_STYLES, is_here, memory_of, places_of, state_of, until
from llamaswap_lib.client.terminal import Cell, Column, Style, Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.printable import printable

COLUMNS = (
    Column("NAME", may_shrink=True),
    Column("BOX", goes=5),
    Column("STATE"),
    Column("SIZE", is_number=True),
    Column("NEED", goes=4),
    Column("DEVICE", may_shrink=True, goes=1),
    Column("IN-FLIGHT", is_number=True, goes=2),
    Column("QUEUE", is_number=True, goes=3),
    Column("UNTIL"),
    Column("WAITS FOR", may_shrink=True),
)
EXAMPLES = "llamaswap ps\nllamaswap ps --json"
NOTES = """SIZE is the memory of its processes on the devices that DEVICE names, as far as
[hardware.md](hardware.md) can tell. With `use: memory` NEED is what the model needs there, and where that
figure comes from ([memory.md](memory.md#what-a-model-needs)). IN-FLIGHT counts the requests inside the
model, of as many as may be inside at once where that is limited, and QUEUE those that wait for it. A model
that somebody waits for and that does not run is there too, as `queued`; one whose server
[sleeps](scheduling.md#models-that-sleep) is `sleeping`. UNTIL says when the model is unloaded if nobody
asks for it. While somebody waits, WAITS FOR says for what, as [the queue](http.md#who-waits) does. Where the
configuration was to be read again and cannot be used, the last line says why; `--json` has `config_error` then.

With [peers](fleet.md), what runs there follows, with the name of its BOX; below the table stand the peers
that are out, and why. IN-FLIGHT and QUEUE of such a model are those of all clients of that box. `--json`
has `peers` then, as [`/api/peers`](http.md#peers) tells them."""
Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    running, queue, told, boxes, error = together(
        lambda: server.get("/running")["running"],
        lambda: (server.find("/api/queue") or {}).get("queue", []),
        lambda: {} if options.json else memory.find(server),
        lambda: peers.find(server),
        lambda: _config_error(server),
    )
    if options.json:
        more = {"peers": boxes, "config_error": error}
        terminal.json({"running": running, "queue": queue, **{key: value for key, value in more.items() if value}})
        return 0
    there = list(peers.runs_of(boxes)) if boxes else [row for row in running if not is_here(row)]
    left_out = {"NEED"} if not memory.is_decisive(told) else set()
    left_out |= {"WAITS FOR"} if not queue else set()
    left_out |= {"BOX"} if not boxes and not there else set()
    kept = [number for number, column in enumerate(COLUMNS) if column.title not in left_out]
    rows = table_rows([*filter(is_here, running), *there], queue, told)
    terminal.table([COLUMNS[number] for number in kept], ([row[number] for number in kept] for row in rows))
    for line in peers.troubles(boxes):
        terminal.line(terminal.styled(printable(line), Style.BAD))
    if error:
        first, *others = error["message"].splitlines() or [""]
        told_first = f"{first} ..." if others else first
        line = f"the changed configuration cannot be used, and the old one goes on: {told_first}"
        terminal.line(terminal.styled(printable(line), Style.BAD))
    return 0


def _config_error(server: Server) -> Row:
    """What was wrong with the configuration that was to be loaded last; empty where nothing was, or nobody says."""
    try:
        return (server.find("/api/config") or {}).get("error") or {}
    except Refused:
        return {}


def table_rows(running: Sequence[Row], queue: Sequence[Row], told: Row) -> Iterator[list[str | Cell]]:
    """A row for each model that runs, and for each one that is only waited for. `told`: of the memory."""
    waiting, needs = Counter(row["model"] for row in queue), memory.needs(told)
    reasons = {row["model"]: str(row["reason"]) for row in reversed(queue)}
    for run_ in running:
        name, state = run_["model"], state_of(run_)
        size, device = memory_of(run_.get("memory"))
        waits = waiting.pop(name, 0) if is_here(run_) else run_.get("waiting")
        yield [
            name, run_.get("peer") or "", Cell(state, STATE_STYLES.get(state, Style.PLAIN)),
            size, memory.need(needs.get(name)), device, places_of(run_), words.number(waits), until(run_),
            reasons.get(name, ""),
        ]  # fmt: skip
    for name, count in waiting.items():
        yield [
            name, "", Cell("queued", Style.BUSY), words.UNKNOWN, memory.need(needs.get(name)), words.UNKNOWN,
            "0", words.number(count), words.UNKNOWN, reasons[name],
        ]  # fmt: skip
