"""`llamaswap load`: have models ready before somebody asks for them."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.background import Background
from llamaswap_lib.client.connection import UNAUTHORIZED, Refused, Server, ServerError, in_path
from llamaswap_lib.client.terminal import Style, Terminal, without_colours
from llamaswap_lib.commands.program import fail
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.waiting import Polled, wait
from llamaswap_lib.printable import printable

LOOK_SECONDS = 1.0  # what is known of a model of a peer is as old: one that takes longer may have been unloaded since
MOST_OUTPUT = 4096  # characters of which the last line is taken
EXAMPLES = "llamaswap load small\nllamaswap load embed small"
NOTES = """While a model loads, a line shows how long that has taken, what it waits for, and what its process
printed last. Where the load fails, the reason and the last lines of the process are on stderr; the other
models are loaded all the same. Ctrl-C ends the command alone: a load that has begun goes on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="+", help="one after the other")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    results = [_result(server, terminal, name, is_told=not options.json) for name in options.models]
    if options.json:
        terminal.json({"models": [result for result, _ in results]})
    return next((code for _, code in results if code), 0)


def _result(server: Server, terminal: Terminal, name: str, *, is_told: bool) -> tuple[dict[str, Any], int]:
    """What came of one, and an exit code. A refusal is told; raises what concerns all of them."""
    try:
        return load(server, terminal, name, is_told=is_told), 0
    except Refused as error:
        if error.status == UNAUTHORIZED:
            raise
        fail(str(error) if name in str(error) else f"{name}: {error}")
        return {"model": name, "state": "failed", "error": str(error)}, error.exit_code


def load(server: Server, terminal: Terminal, name: str, *, is_told: bool) -> dict[str, Any]:
    """Load one, and say so if `is_told`; raises ServerError."""
    plan = find_plan(server, name)
    model, began = str(plan.get("model") or name), time.monotonic()
    shown = Progress(server, model, plan) if terminal.has_status else None  # which asks beside the load
    path = f"/api/models/load/{in_path(name)}"
    wait(terminal, lambda: server.ask("POST", path, seconds=None), shown.text if shown else str)
    seconds = time.monotonic() - began
    gone = _gone(server, plan)
    if is_told:
        was_ready = plan.get("state") == "ready" and (plan.get("type") != "peer" or seconds < LOOK_SECONDS)
        state = "is ready already" if was_ready else f"ready after {words.duration(seconds)}"
        terminal.line(f"{terminal.styled(printable(name), Style.NAME)}: {state}{printable(_told_of(gone))}")
    return {"model": name, "state": "ready", "seconds": round(seconds, 3), "unloaded": gone}


def find_plan(server: Server, name: str) -> Mapping[str, Any]:
    """What the load is going to do; empty where the server does not tell."""
    plan: Mapping[str, Any] = server.find(f"/api/models/{in_path(name)}/plan") or {}
    return plan


def _gone(server: Server, plan: Mapping[str, Any]) -> list[str]:
    """Which of the models that were to go are gone."""
    evicted = [row["model"] for row in plan.get("evicts") or ()]
    still = {row["model"] for row in server.get("/running")["running"]} if evicted else set()
    return [model for model in evicted if model not in still]


def _told_of(gone: list[str]) -> str:
    return f"; unloaded for it: {', '.join(gone)}" if gone else ""


class Progress:
    """How far a load is, in one line."""

    def __init__(self, server: Server, model: str, plan: Mapping[str, Any]) -> None:
        self._server, self._model = server, model
        self._estimate = plan.get("estimate_seconds")
        self._queue = Polled(lambda: server.find("/api/queue"))
        self._output = ""
        self._following = Background(self._follow)

    def text(self, seconds: float) -> str:
        about = f" of about {words.duration(self._estimate)}" if self._estimate and seconds < self._estimate else ""
        last = last_words(self._output)
        return f"{self._model}: {self._what()}, {words.duration(seconds)}{about}{f'  {last}' if last else ''}"

    def _what(self) -> str:
        queue = self._queue.latest()
        rows = queue.get("queue", []) if isinstance(queue, dict) else []
        return next((str(row["reason"]) for row in rows if row["model"] == self._model), "loading")

    def _follow(self) -> None:
        """Keep the end of what the process prints; the thread of its own."""
        path = f"/logs/stream/{in_path(self._model)}?no-history"
        with suppress(ServerError), self._server.open("GET", path) as response:
            for data in self._server.pieces(response):
                self._output = (self._output + data.decode("utf-8", "replace"))[-MOST_OUTPUT:]


def last_words(output: str) -> str:
    """The last line of it that says something, also of one that is written over again and again."""
    lines = [line for line in re.split(r"[\r\n]+", without_colours(output)) if line.strip()]
    return lines[-1].strip() if lines else ""
