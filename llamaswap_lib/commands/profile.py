"""`llamaswap profile`: which profile is active, and another one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llamaswap_lib.client.terminal import Cell, Column, Style, Terminal
from llamaswap_lib.commands.arguments import UsageError
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.printable import printable

COLUMNS = (
    Column("NAME", may_shrink=True),
    Column("ACTIVE"),
    Column("PINS", may_shrink=True),
    Column("ABOUT", may_shrink=True, goes=1),
)
EXAMPLES = "llamaswap profile\nllamaswap profile --none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PROFILE", nargs="?", help="make this one active; without it, list them")
    parser.add_argument("--none", "-none", action="store_true", help="make none active")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    if options.none and options.name is not None:
        raise UsageError("--none: it takes no name of a profile beside it")
    server, terminal = server_of(options), Terminal()
    if options.none or options.name is not None:
        answer = server.tell("PUT", "/api/profiles/active", {"name": options.name})
        active = answer["active"]
        if options.json:
            terminal.json(answer)
        else:
            terminal.line("no profile is active" if active is None else f"the active profile is {printable(active)}")
        return 0
    answer = server.get("/api/profiles")
    if options.json:
        terminal.json(answer)
    elif not answer["profiles"]:
        terminal.line("there are no profiles; the key profiles of the configuration has them", Style.QUIET)
    else:
        terminal.table(COLUMNS, (_cells(row, answer["active"]) for row in answer["profiles"]))
    return 0


def _cells(row: Mapping[str, Any], active: str | None) -> list[str | Cell]:
    pins = row.get("pins") or {}
    told = ", ".join(f"{name} = {target}" if target else f"{name} is off" for name, target in pins.items())
    is_active = row["id"] == active
    return [row["id"], Cell("active", Style.GOOD) if is_active else "", told, str(row.get("description") or "")]
