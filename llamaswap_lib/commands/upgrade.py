"""`llamaswap upgrade`: have the version that is installed now take over, without an end to anything."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llamaswap_lib.client.terminal import Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.waiting import operate
from llamaswap_lib.printable import printable

EXAMPLES = "llamaswap upgrade"
EXAMPLES_NOTE = "needs another version"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    operate(server_of(options), "/api/upgrade", "another process is starting", _show, as_json=options.json)
    return 0


def _show(terminal: Terminal, answer: Mapping[str, Any]) -> None:
    told = f"process {answer['pid']} has taken over: version {answer['to']}, before it was {answer['from']}"
    terminal.line(printable(told))
