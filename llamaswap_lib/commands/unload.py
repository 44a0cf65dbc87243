"""`llamaswap unload`: have models end."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.connection import NoRoute, Refused, Server, in_path
from llamaswap_lib.client.runs import is_here
from llamaswap_lib.client.terminal import Style, Terminal
from llamaswap_lib.commands.arguments import UsageError
from llamaswap_lib.commands.load import find_plan
from llamaswap_lib.commands.ls import about_of, model_of
from llamaswap_lib.commands.program import fail
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.waiting import Polled, wait
from llamaswap_lib.printable import printable

EXAMPLES = "llamaswap unload small\nllamaswap unload --all"
NOTES = """A model ends when the requests inside it have ended, at the latest after its `unloadTimeout`. It is
loaded again when somebody asks for it. One of a peer is unloaded there; `--all` means the server's own.
The server itself is ended where it runs: Ctrl-C, `systemctl stop llamaswap`, or SIGTERM."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="*", help="a name or an alias")
    parser.add_argument("--all", "-all", action="store_true", help="all models")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    if options.all and options.models:
        raise UsageError("--all: it takes no names of models beside it")
    if not options.all and not options.models:
        raise UsageError(
            "name a model, or --all; it unloads models. The server itself is ended where it runs: "
            "Ctrl-C, systemctl stop llamaswap, or kill"
        )
    server, terminal = server_of(options), Terminal()
    gone, code = [], 0
    for name in options.models or [None]:
        try:
            unloaded = unload(server, terminal, name)
        except Refused as error:
            code = code or error.exit_code
            fail(str(error) if name is None or name in str(error) else f"{name}: {error}")
            continue
        gone += unloaded
        if not options.json:
            _tell(terminal, name, unloaded)
    if options.json:
        terminal.json({"unloaded": gone})
    return code


def unload(server: Server, terminal: Terminal, name: str | None) -> list[str]:
    """Unload one, or with None all of the server's own; which models are gone. Raises ServerError."""
    about = {} if name is None else about_of(_entry(server, name))
    was_loaded = None if name is None else _is_loaded_at_peers(server, name, about)
    model = name and model_of(name, about)
    before = _running(server, model)
    polled = Polled(lambda: _running(server, model))

    def text(seconds: float) -> str:
        rows = polled.latest()
        inside = rows if isinstance(rows, dict) else {}
        count = sum(inside.values()) if model is None else inside.get(model, 0)
        told = f", {words.counted(count, 'request')} in progress" if count else ""
        return f"{name or 'all models'}: unloading, {words.duration(seconds)}{told}"

    wait(terminal, _asking(server, name), text)
    if name is not None and was_loaded is not None:
        return [name] if was_loaded else []
    if model in before:  # it is gone, though somebody may have had it loaded again
        return [model]
    return sorted(before.keys() - _running(server, model).keys())


def _is_loaded_at_peers(server: Server, name: str, about: Mapping[str, Any]) -> bool | None:
    """Whether it is loaded there; None for a model of the server's own, and for a name that leads nowhere."""
    if about.get("type") in ("model", "alias"):
        return None
    try:
        plan = find_plan(server, name)
    except Refused:  # the unload itself is told
        return None
    if plan.get("type") != "peer":
        return None
    return (_entry(server, str(plan.get("model"))).get("status") or {}).get("value") == "loaded"


def _entry(server: Server, name: str) -> Mapping[str, Any]:
    """What the list of models says of it; empty where it has none, as for the bare name of a peer's model."""
    try:
        entry: Mapping[str, Any] = server.find(f"/v1/models/{in_path(name)}") or {}
    except Refused:
        return {}
    return entry


def _asking(server: Server, name: str | None) -> Callable[[], object]:
    if name is not None:
        return lambda: server.ask("POST", f"/api/models/unload/{in_path(name)}", seconds=None)

    def ask() -> object:
        try:
            return server.ask("POST", "/api/models/unload", seconds=None)
        except NoRoute:  # an older llama-swap
            return server.ask("GET", "/unload", seconds=None)

    return ask


def _running(server: Server, name: str | None) -> dict[str, int]:
    """What runs on the server itself, and that model wherever it runs; and how many requests are inside."""
    rows = (row for row in server.get("/running")["running"] if is_here(row) or row["model"] == name)
    return {row["model"]: row.get("in_flight") or 0 for row in rows}


def _tell(terminal: Terminal, name: str | None, unloaded: list[str]) -> None:
    for model in unloaded:
        terminal.line(f"{terminal.styled(printable(model), Style.NAME)}: unloaded")
    if name is None and not unloaded:
        terminal.line("no model was loaded")
    elif name is not None and not unloaded:
        terminal.line(f"{terminal.styled(printable(name), Style.NAME)}: was not loaded")
