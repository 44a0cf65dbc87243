"""Where a model's server listens, as far as its command tells: for the error that says that nothing else tells.

Owns what is said of a model whose `cmd` does not use `${PORT}` though its address needs it. Pure. Knows the options of
usual servers by their looks; a guess of it is never more than an advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .problems import quoted

PORT = "${PORT}"
EXAMPLE = f"llama-server --port {PORT} -m model.gguf"
# What people write who know macros from elsewhere.
NEAR = (
    r"\$\{\{?\s*port\s*(?:[:?][^}]{0,40})?\}{1,2}|\{\{?\s*[.$]?port\s*\}{1,2}|\$\(\s*port\s*\)|\$port\b\}?|\$\{port\b(?!\})"
    r"|%\{?port\}?%|%\{port\}|<port>|\[port\]|@port@|(?<=port[ =])port\b"
)
OPEN_MACRO = r"\$\{[\w-]+(?=[\s\"'/]|$)"
OPTION = (
    r"(?<!\S)(?P<option>--?(?:publish|p|[a-z.-]*port|listen|listen-addr(?:ess)?|bind|addr(?:ess)?|[a-z.-]*host|[blH]))"
    r"(?P<between>=| +)(?P<value>[\"']?\S+)"
)
FIRST = ("--publish", "-p")  # of a container: what its server listens on inside counts for nobody
LOOKED_AT = 10_000  # characters of a command
LETTERS = ("-b", "-l", "-H")
NUMBER = r"(?P<before>[\"']?(?:\S*?[:\]])??)(?P<port>\d{2,5})(?P<behind>(?::\d{1,5})?(?:/tcp)?[\"']?)$"


class Fixed(NamedTuple):
    """A port that a command has in itself."""

    written: str  # the option as it stands there
    port: int
    with_macro: str  # the same with ${PORT}


def fixed_port(command: str) -> Fixed | None:
    """The port that an option of the command names."""
    found = [fixed for match in re.finditer(OPTION, command) if (fixed := _fixed(match)) is not None]
    published = [fixed for fixed in found if fixed.written.startswith(FIRST)]
    return next(iter([*published, *found]), None)


def _fixed(match: re.Match[str]) -> Fixed | None:
    value = re.match(NUMBER, match["value"])
    if value is None or (value["behind"].startswith(":") and match["option"] not in FIRST):
        return None
    if match["option"] in LETTERS and ":" not in value["before"]:
        return None  # the batch size of llama-server, for one
    start = match["option"] + match["between"]
    with_macro = start + value["before"] + PORT + value["behind"]
    return Fixed(start + match["value"], int(value["port"]), with_macro)


def fixed_in_env(entries: Iterable[str]) -> int | None:
    """The port that a variable names: `PORT=9999`, `OLLAMA_HOST=127.0.0.1:9999`."""
    for entry in entries:
        match = re.match(r"\w*(?:PORT=|HOST=(?:\S*:))(\d{2,5})$", entry)
        if match is not None:
            return int(match[1])
    return None


class Cure(NamedTuple):
    """`text`: what to do; `spot`: the part of the command that it is about, '' for all of it."""

    text: str
    spot: str = ""


def cure(command: str, env: Sequence[str] = ()) -> Cure:
    """What to do with a command that does not use ${PORT}."""
    command = command[:LOOKED_AT]
    near = re.search(NEAR, command, re.IGNORECASE)
    if near is not None:
        return Cure(f"{near[0]} is not replaced; did you mean {quoted(PORT)}?", near[0])
    is_open = re.search(OPEN_MACRO, command)
    if is_open is not None:
        return Cure(f"{is_open[0]} has no }} at its end", is_open[0])
    fixed = fixed_port(command)
    if fixed is not None:
        address = quoted(f"proxy: http://127.0.0.1:{fixed.port}")
        return Cure(f"write {fixed.with_macro} in place of {fixed.written}, or add {address}", fixed.written)
    if any(PORT in entry for entry in env):
        return Cure(
            f"{PORT} in env counts only where cmd uses it too, such as {quoted(f'cmd: env PORT={PORT} ./run.sh')}"
        )
    port = fixed_in_env(env)
    if port is not None:
        return Cure(f"use {PORT} in cmd, or add {quoted(f'proxy: http://127.0.0.1:{port}')}")
    return Cure(f"add --port {PORT} to cmd, or say where it listens: {quoted('proxy: http://127.0.0.1:9999')}")
