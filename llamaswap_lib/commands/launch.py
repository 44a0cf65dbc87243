"""`llamaswap launch AGENT`: the settings of coding agents for this server."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from pathlib import Path

from llamaswap_lib.agents.files import CannotChange, perform
from llamaswap_lib.agents.known import AGENTS, KEY_VARIABLE, Agent, Settings, Target, described, line_of
from llamaswap_lib.client.connection import Server, in_path
from llamaswap_lib.client.terminal import Cell, Column, Style, Terminal
from llamaswap_lib.commands.arguments import UsageError
from llamaswap_lib.commands.program import fail, home_folder
from llamaswap_lib.commands.remote import add_remote_flags, server_of
from llamaswap_lib.nearest import Nearest

LIST = (Column("AGENT"), Column("NAME", goes=2), Column("HERE"), Column("INSTALL", may_shrink=True, goes=1))
NOTES = """What is printed can be copied. `--write` puts it into the agent's own file: all else there stays, comments
included, and a copy with the date in its name is made first. A file that cannot be changed safely is left as it is,
and the command says what to add. A model that is chosen already stays chosen.

`--run` starts the agent for this server by variables and flags, and writes nothing, where the agent allows that;
what follows `--run` goes to the agent. Codex and Claude Code get a file of their own beside their usual one, so
`codex` and `claude` alone are as before.

A key of the server is not written into files: they name the variable LLAMASWAP_API_KEY, where the agent can read
one. Cline cannot, so its file has the key itself, and is for its user alone. `llm` keeps keys in a file of its own.

The context length is that of `capabilities.context` in the configuration of the model."""
COMPLETED = {"AGENT": [(agent.name, agent.title) for agent in AGENTS]}
EXAMPLES_NOTE = "needs the agents"
EXAMPLES = """llamaswap launch
llamaswap launch opencode small
llamaswap launch codex small --write
llamaswap launch claude small --run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("agent", metavar="AGENT", nargs="?", help="which one; without it they are listed")
    add("model", metavar="MODEL", nargs="?", help="the model; not needed where there is only one")
    add(
        "--write",
        "-write",
        action="store_true",
        help="write the settings into its files; what was there is copied first",
    )
    add("--run", "-run", metavar="ARG", type=str, nargs=argparse.REMAINDER, help="start it; what follows goes to it")
    add_remote_flags(parser)


def run(options: argparse.Namespace) -> int:
    terminal = Terminal()
    if options.agent is None:
        return _list(terminal, options)
    agent = _find(options.agent)
    server = server_of(options)
    target = _target(server, options.model)
    settings = agent.settings(target)
    if options.json:
        terminal.json(described(agent, settings, target))
        return 0
    if options.write:
        code = _write(terminal, agent, settings, target)
        if code or options.run is None:
            return code
    if options.run is not None:
        return _start(agent, settings, target, options.run, is_written=options.write)
    _print(terminal, agent, settings, target)
    return 0


def _list(terminal: Terminal, options: argparse.Namespace) -> int:
    if options.json:
        rows = [
            {"agent": it.name, "name": it.title, "path": shutil.which(it.program), "install": it.install}
            for it in AGENTS
        ]
        terminal.json({"agents": rows})
        return 0
    terminal.table(LIST, (
        [it.name, it.title, Cell("yes", Style.GOOD) if shutil.which(it.program) else "-", it.install] for it in AGENTS
    ))  # fmt: skip
    return 0


def _find(name: str) -> Agent:
    known = {agent.name: agent for agent in AGENTS} | {agent.program: agent for agent in AGENTS}
    known["claude-code"] = known["claude"]
    if name.casefold() in known:
        return known[name.casefold()]
    near = Nearest(known).find(name)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"AGENT: there is no {name!r}{hint} (llamaswap launch lists them)")


def _target(server: Server, model: str | None) -> Target:
    """The model, and what the server says of it; raises ServerError and UsageError."""
    if model is None:
        names = [str(row["id"]) for row in server.get("/v1/models")["data"]]
        if len(names) != 1:
            raise UsageError(
                f"MODEL: expected one of {', '.join(names)}" if names else "MODEL: the server has no models"
            )
        [model] = names
    row = server.find(f"/v1/models/{in_path(model)}") or {}  # another kind of server may not have this route
    context = row.get("context_length")
    return Target(server.url, server.key, model, context if isinstance(context, int) else None, home_folder())


def _print(terminal: Terminal, agent: Agent, settings: Settings, target: Target) -> None:
    """The settings for people, who may copy them."""
    for change in settings.changes:
        terminal.line(f"{agent.title}, {_short(change.path)}:", Style.HEAD)
        terminal.line(change.text)
    if settings.start:
        terminal.line("Started by:" if settings.changes else f"{agent.title}:", Style.HEAD)
        terminal.line(shlex.join(settings.start) + "\n")
    if settings.command:
        terminal.line("Without a file:" if settings.changes else f"{agent.title} is started by:", Style.HEAD)
        terminal.line(line_of(settings, target) + "\n")
    if settings.note:
        terminal.line(f"Note: {settings.note}.", Style.QUIET)
    if settings.changes:
        terminal.line("--write writes it, --run starts it.", Style.QUIET)


def _write(terminal: Terminal, agent: Agent, settings: Settings, target: Target) -> int:
    if not settings.changes:
        _print(terminal, agent, settings, target)
        return fail(f"{agent.title} has no file for its settings: nothing was written")
    for change in settings.changes:
        try:
            done = perform(change)
        except CannotChange as error:
            terminal.line(f"To be added to {_short(change.path)}:", Style.HEAD)
            terminal.line(change.text)
            return fail(str(error))
        kept = f"; what was there is in {done.copy.name}" if done.copy is not None else ""
        terminal.line(f"{_short(change.path)} {'is written' if done.is_new else 'has it already'}{kept}")
    terminal.line(f"Started by: {shlex.join(settings.start)}")
    if settings.note:
        terminal.line(f"Note: {settings.note}.", Style.QUIET)
    return 0


def _start(agent: Agent, settings: Settings, target: Target, more: list[str], *, is_written: bool) -> int:
    """Become the agent; raises UsageError where that cannot be."""
    words = settings.command or (settings.start if is_written else ())
    if not words:
        raise UsageError(f"--run: {agent.title} takes its settings from its file only; add --write in front of it")
    path = shutil.which(agent.program)
    if path is None:
        raise UsageError(f"--run: there is no {agent.program} on PATH; it is installed by: {agent.install}")
    key = {KEY_VARIABLE: target.key} if target.key else {}
    environment = {**os.environ, **key, **settings.environment}
    try:
        os.execve(path, [*words, *more], environment)
    except OSError as error:
        raise UsageError(f"--run: {path} cannot be started: {error.strerror}") from None


def _short(path: Path) -> str:
    home = home_folder()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
