"""`llamaswap top`: a live screen of what the server does."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from llamaswap_lib.client.connection import Server
from llamaswap_lib.client.terminal import Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.top.live import Live, once, take_told
from llamaswap_lib.top.screen import Screen, Terminated
from llamaswap_lib.top.sources import Sources
from llamaswap_lib.top.state import State

NOTES = """\
The bars of memory show our models first, then what others use, then what is free; with `use: memory` also
what is kept free (`reserve`) at the end, and in NEED what each model needs and where that figure comes from.
Arrows (or `j` and `k`) select a model or a request; `l` loads the model, `u` unloads it, `c` cancels the
request, `?` has more, `q` leaves. Models that run at [peers](fleet.md) are there by their full names, and above
all a line for each peer that is out.

Into a pipe, and with `--json`, it prints once how things are. `ps` is shorter."""
BY_SIGNAL = 128  # and the number of the signal, as shells have it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    state = State(server.url, (server.find("/api/version") or {}).get("version", ""))
    if options.json or not _has_screen(terminal):
        _print_once(server, terminal, state, as_json=options.json)
        return 0
    try:
        with Screen() as screen:
            Live(server, terminal, screen, state).run()
    except Terminated as ended:
        return BY_SIGNAL + ended.number
    except OSError:
        return 0  # the terminal is gone, and nobody is there to be told
    return 0


def _has_screen(terminal: Terminal) -> bool:
    is_typed_at = sys.stdin is not None and sys.stdin.isatty()
    return terminal.is_terminal and is_typed_at and os.environ.get("TERM", "dumb") != "dumb"


def _print_once(server: Server, terminal: Terminal, state: State, *, as_json: bool) -> None:
    """How things are, once: into a pipe, for programs, and on a terminal that cannot be more than a printer."""
    now = time.monotonic()
    found: dict[str, Any] = {}
    for told in Sources(server, lambda: None).snapshot():
        found[told.kind] = told.value
        take_told(state, told, now)
    queue, requests = server.find("/api/queue") or {"queue": []}, server.find("/api/inflight") or {"requests": []}
    if as_json:
        performance = found.get("performance")
        terminal.json(
            {
                "running": found["running"],
                **({"peers": found["peers"]} if found["peers"] else {}),
                **queue,
                **requests,
                "memory": found["memory"],
                "hardware": found.get("hardware"),
                "performance": performance,
            }
        )
        return
    state.take_event("queue", queue, now)
    state.take_event("inflight", {"operation": "snapshot", **requests}, now)
    for line in once(state, terminal, now):
        terminal.line(terminal.styled_line(line))
