"""`llamaswap upgrade`: have the version that is installed now take over, without an end to anything."""

from __future__ import annotations

import argparse

from llamaswap_lib.client import words
from llamaswap_lib.client.terminal import Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.commands.waiting import wait
from llamaswap_lib.printable import printable

EXAMPLES = "llamaswap upgrade"
EXAMPLES_NOTE = "needs another version"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    answer = wait(
        terminal,
        lambda: server.tell("POST", "/api/upgrade", seconds=None),
        lambda seconds: f"another process is starting, {words.duration(seconds)}",
    )
    if options.json:
        terminal.json(answer)
    else:
        told = f"process {answer['pid']} has taken over: version {answer['to']}, before it was {answer['from']}"
        terminal.line(printable(told))
    return 0
