"""`llamaswap version`: of this program, and of the server."""

from __future__ import annotations

import argparse
import os
from typing import Any

from llamaswap_lib import __version__
from llamaswap_lib.client.connection import ServerError, Unreachable
from llamaswap_lib.client.terminal import Terminal
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.printable import printable

EXAMPLES = "llamaswap version"
NOTES = """Where no server answers, and neither `--url` nor `LLAMASWAP_URL` names one, that is no error: the
exit code is 0. `llamaswap -version` asks no server."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    server, terminal = server_of(options), Terminal()
    told: dict[str, Any] | None = None
    error: ServerError | None = None
    try:
        told = server.get("/api/version")
    except ServerError as failure:
        error = failure
    if options.json:
        terminal.json({"client": __version__, "server": told, "error": None if error is None else str(error)})
    else:
        terminal.line(f"this program  {__version__}")
        terminal.line(f"the server    {error if told is None else _told(told)}")
    is_named = options.url is not None or os.environ.get("LLAMASWAP_URL")
    return 0 if error is None or (isinstance(error, Unreachable) and not is_named) else error.exit_code


def _told(version: dict[str, Any]) -> str:
    commit = str(version.get("commit") or "")
    return printable(str(version["version"]) + (f" ({commit})" if commit not in ("", "none", "unknown") else ""))
