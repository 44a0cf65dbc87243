"""The parts of docs/command-line.md that come from the commands: the list of them, their flags, and the help's topics.

Owns the form and the places in the page: what stands between two marks is made here, the rest is written by hand. A
command whose flags have marks of their own has a section that is written by hand; all others have one that is made.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from llamaswap_lib.commands.arguments import Parser, spellings
from llamaswap_lib.commands.help import shown_command
from llamaswap_lib.commands.parsers import parser_of
from llamaswap_lib.commands.remote import REMOTE, add_remote_flags
from llamaswap_lib.commands.table import COMMANDS, SERVE, Command, Topic
from llamaswap_lib.commands.topics import TOPICS, HelpTopic

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
MARK = re.compile(r"<!-- ([\w -]+): made by python -m tools\.generate -->\n.*?<!-- until here -->\n", re.DOTALL)
FLAGS_OF = "flags of "


def text() -> str:
    """The whole page, with all parts as they ought to be."""
    page = PAGE.read_text(encoding="utf-8")
    by_hand = {mark[len(FLAGS_OF) :] for mark in MARK.findall(page) if mark.startswith(FLAGS_OF)}
    return MARK.sub(lambda match: _part(match[1], by_hand), page)


def _part(mark: str, by_hand: set[str]) -> str:
    if mark == "commands":
        content = _list()
    elif mark == "other commands":
        content = "\n".join(_section(command) for command in COMMANDS if command.name not in by_hand)
    elif mark == "topics":
        content = "\n".join(map(_topic, TOPICS))
    else:
        [command] = [command for command in COMMANDS if f"{FLAGS_OF}{command.name}" == mark]
        content = _flags(parser_of(command))
    return f"<!-- {mark}: made by python -m tools.generate -->\n\n{content}\n<!-- until here -->\n"


def _list() -> str:
    rows = [
        (f"[`{shown_command(command)}`](#{anchor(command)})", topic.value, command.summary)
        for topic in Topic
        for command in COMMANDS
        if command.topic is topic
    ]
    return _table(("command", "to", "what it does"), rows)


def heading(command: Command) -> str:
    """Of the section of a command."""
    return "`llamaswap -c config.yaml`" if command is SERVE else f"`llamaswap {command.name}`"


def anchor(command: Command) -> str:
    """The name that links have for it."""
    if command.name in ("systemd", "launchd"):
        return "llamaswap-systemd-and-llamaswap-launchd"
    return re.sub(r"[^\w\- ]", "", heading(command).lower()).replace(" ", "-")


def _section(command: Command) -> str:
    module, parser = command.module(), parser_of(command)
    usage = " ".join(["llamaswap", command.name, *map(_usage, parser.arguments())])
    also = f" `llamaswap {command.aliases[0]}` is the same." if command.aliases else ""
    parts = [f"## {heading(command)}\n", f"{command.summary}{also}\n", f"`{usage}`\n"]
    flags = _flags(parser)
    parts += [flags] if flags else []
    parts += [f"{notes}\n"] if (notes := getattr(module, "NOTES", "")) else []
    if examples := getattr(module, "EXAMPLES", ""):
        note = getattr(module, "EXAMPLES_NOTE", "")
        parts.append(f"```sh{f' ({note})' if note else ''}\n{examples}\n```\n")
    return "\n".join(parts)


def _usage(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    forms = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ...", argparse.REMAINDER: f"[{name} ...]"}
    return forms.get(str(action.nargs), name)


def _flags(parser: Parser) -> str:
    """The arguments of a command and its flags, in a table; those for the server in a sentence."""
    remote = [action for action in parser.flags() if action.dest in REMOTE and "--url" in _spelled(parser)]
    own = [action for action in parser.flags() if action not in remote and action.dest != "help"]
    rows = [(f"`{action.metavar or action.dest}`", _sentence(action)) for action in parser.arguments() if action.help]
    rows += [(_forms(action), _sentence(action)) for action in own]
    table = _table(("argument", "meaning"), rows) if rows else ""
    names = ", ".join(f"`{action.option_strings[0]}`" for action in remote)
    told = f"It takes the [flags for the server](#server): {names}.\n" if remote else ""
    return "\n".join(filter(None, (table, told)))


def _spelled(parser: Parser) -> set[str]:
    return {name for action in parser.flags() for name in action.option_strings}


def _forms(action: argparse.Action) -> str:
    return ", ".join(f"`{spelling}`" for spelling in spellings(action))


def _sentence(action: argparse.Action) -> str:
    return (action.help or "").replace("%(default)s", str(action.default)).replace("|", "\\|").replace("*", "\\*")


def _topic(topic: HelpTopic) -> str:
    parts = [f"## {topic.name.replace('-', ' ').capitalize()}\n", f"`llamaswap help {topic.name}`\n", f"{topic.text}\n"]
    if topic.name == "server":
        parser = Parser("", "")
        add_remote_flags(parser)
        rows = [(_forms(action), _sentence(action)) for action in parser.flags() if action.dest != "help"]
        parts.append(_table(("flag", "meaning"), rows))
    if topic.rows:
        rows = [(", ".join(f"`{name}`" for name in names.split(", ")), meaning) for names, meaning in topic.rows]
        parts.append(_table(("", "meaning"), rows))
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:], ""])
