"""`llamaswap reload`: have the server take its changed configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from llamaswap_lib.client import words
from llamaswap_lib.client.terminal import Style, Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.waiting import operate
from llamaswap_lib.printable import printable

LABELS = {
    "added": "new",
    "removed": "gone",
    "replaced": "started anew when idle",
    "updated": "changed without a restart",
}
EXAMPLES = "llamaswap reload"
NOTES = """A configuration with errors changes nothing; the errors are on stderr. [reload.md](reload.md) says
what is changed when."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    operate(server_of(options), "/api/config/reload", "the configuration is being read", _show, as_json=options.json)
    return 0


def _show(terminal: Terminal, answer: Mapping[str, Any]) -> None:
    for line in told(answer):
        terminal.line(printable(line))
    for warning in answer.get("warnings") or ():
        text = printable(str(warning), keep="\n")
        terminal.line(f"{terminal.styled('warning', Style.BUSY)}: {text}")


def told(answer: Mapping[str, Any]) -> Iterator[str]:
    """What has changed, a line for each kind of change."""
    if not answer["changed"]:
        yield "nothing has changed"
        return
    models = answer.get("models") or {}
    for key, label in LABELS.items():
        names = models.get(key) or ()
        if names:
            yield f"{words.counted(len(names), 'model')} {label}: {', '.join(names)}"
    if answer.get("settings"):
        yield f"settings: {', '.join(answer['settings'])}"
    if answer.get("after_restart"):
        yield f"only after a restart: {', '.join(answer['after_restart'])}"
