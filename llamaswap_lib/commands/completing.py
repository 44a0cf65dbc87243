"""What may follow on a command line that is being typed: commands, flags, and names that a running server knows.

The server is asked for a moment only, and where it does not answer there are no names: nothing is ever printed on
stderr, for that would be written into the line that somebody types.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from llamaswap_lib.client.connection import Server
from llamaswap_lib.commands.ls import about_of, what_it_leads_to
from llamaswap_lib.commands.parsers import parser_of
from llamaswap_lib.commands.program import print_text
from llamaswap_lib.commands.remote import server_of
from llamaswap_lib.commands.table import COMMANDS, SERVE, Command, find_command
from llamaswap_lib.commands.topics import TOPICS
from llamaswap_lib.errors import LlamaswapError

PATIENCE = 0.7  # seconds for the server
FILES, FOLDERS, WORDS = ":files", ":folders", ":words"  # the first line of an answer: what the shell is to do
Pairs = Iterable[tuple[str, str]]
Fixed = Mapping[str, Sequence[tuple[str, str]]]  # `COMPLETED` of a command: by metavar, what is always there


class Answer(NamedTuple):
    """`words` are what fits, each with a few words about it."""

    kind: str
    words: list[tuple[str, str]] = []  # noqa: RUF012 - it is never changed


def run(arguments: Sequence[str]) -> int:
    """`words WORD...`, of which the last one is being typed, or `bash LINE BREAKS`; prints what fits, one a line."""
    shell, *rest = arguments
    if shell == "bash":
        line, breaks = rest
        lines = for_bash(line, breaks)
    else:
        answer = suggest(rest)
        lines = [answer.kind, *("\t".join(pair) for pair in answer.words)]
    print_text("\n".join(lines))
    return 0


# -- bash --


def for_bash(line: str, breaks: str) -> list[str]:
    """The same for bash, which replaces what stands behind the last of its `breaks`, and takes words as they are."""
    words, begun = split(line)
    answer = suggest(words)
    quote = begun[:1] if begun[:1] in ("'", '"') else ""
    kept = 0 if quote else 1 + max((words[-1].rfind(char) for char in breaks if not char.isspace()), default=-1)
    return [answer.kind, *(name[kept:] if quote else escaped(name[kept:]) for name, _ in answer.words)]


def split(line: str) -> tuple[list[str], str]:
    """The words of a line that is not complete, as a shell reads them, and the last one as it was typed."""
    words, begun, quote, start = [""], False, "", 0
    chars = iter(enumerate(line))
    for place, char in chars:
        if quote and char == quote:
            quote = ""
        elif quote == "'" or (quote and char != "\\"):
            words[-1] += char
        elif char == "\\":
            words[-1] += next(chars, (0, ""))[1]
        elif char in "'\"":
            quote = char
        elif char.isspace():
            if begun:
                words.append("")
            begun, start = False, place + 1
            continue
        else:
            words[-1] += char
        begun = True
    return words, line[start:]


def escaped(word: str) -> str:
    """As it has to be typed."""
    return "".join(char if char.isalnum() or char in "-_./:@+=,%~" else f"\\{char}" for char in word)


# -- what fits --


def suggest(words: Sequence[str]) -> Answer:
    """`words` are those of the line from the program's name on; the last one is being typed, and may be empty."""
    *before, current = words[1:] or [""]
    if not before and not current.startswith("-"):
        return fitting(
            current, ((name, command.summary) for command in COMMANDS for name in (command.name, *command.aliases))
        )
    command = find_command(before[0]) if before else SERVE
    given = before[1:]
    if before and before[0].startswith("-"):
        command, given = SERVE, before
    if command is None:
        return Answer(WORDS)
    return _Line(command, given).suggest(current)


def fitting(current: str, pairs: Pairs) -> Answer:
    """Those that begin like that. What cannot be typed is left out."""
    found = {name: about for name, about in pairs if name.startswith(current) and name.isprintable()}
    return Answer(WORDS, [(name, about if about.isprintable() else "") for name, about in found.items()])


class _Line:
    """The words behind a command."""

    def __init__(self, command: Command, given: Sequence[str]) -> None:
        self._parser, self._command = parser_of(command), command.name
        self._fixed: Fixed = getattr(command.module(), "COMPLETED", {})
        self._flags = {name: action for action in self._parser.flags() for name in action.option_strings}
        self._values: dict[str, str] = {}  # by the attribute that a flag sets
        self._plain: list[str] = []  # words that belong to no flag
        self._open: argparse.Action | None = None  # the flag whose value comes next
        for word in given:
            self._take(word)

    def _take(self, word: str) -> None:
        name, equals, value = word.partition("=")
        action = self._flags.get(name)
        if self._open is not None:
            self._values[self._open.dest], self._open = word, None
        elif action is None:
            self._plain.append(word)
        elif equals:
            self._values[action.dest] = value
        elif action.nargs != 0:
            self._open = action

    def suggest(self, current: str) -> Answer:
        name, equals, value = current.partition("=")
        if self._open is not None:
            return self._value_of(self._open, current)
        if equals and name in self._flags:
            answer = self._value_of(self._flags[name], value)
            return answer._replace(words=[(f"{name}={word}", about) for word, about in answer.words])
        if current.startswith("-"):
            return fitting(current, self._flags_like(current))
        action = self._argument()
        return Answer(WORDS) if action is None else self._value_of(action, current)

    def _flags_like(self, current: str) -> Iterator[tuple[str, str]]:
        """Each flag once: as the help shows it, if that fits."""
        for action in self._parser.flags():
            spelled = [name for name in action.option_strings if name.startswith(current)]
            if spelled:
                yield spelled[0], action.help or ""

    def _argument(self) -> argparse.Action | None:
        """Which of the arguments without a flag comes next."""
        left = len(self._plain)
        for action in self._parser.arguments():
            if action.nargs in ("*", "+") or not left:
                return action
            left -= 1
        return None

    def _value_of(self, action: argparse.Action, current: str) -> Answer:
        kinds = {"FILE": FILES, "DIR": FOLDERS}
        if action.metavar in kinds and not action.choices:
            return Answer(kinds[str(action.metavar)])
        pairs = ((name, about) for name, about in self._candidates(action) if name not in self._plain)
        return fitting(current, pairs)

    def _candidates(self, action: argparse.Action) -> Iterator[tuple[str, str]]:
        yield from self._fixed.get(str(action.metavar), ())
        if action.choices is not None:
            yield from ((str(choice), "") for choice in action.choices)
        elif action.metavar == "TOPIC":
            yield from ((topic.name, topic.summary) for topic in TOPICS)
            yield from ((command.name, command.summary) for command in COMMANDS)
        elif action.metavar in ("MODEL", "M"):
            yield from self._asked(models_of(self._command))
        elif action.metavar == "PROFILE":
            yield from self._asked(profiles)

    def _asked(self, names_of: Callable[[Server], Pairs]) -> Iterator[tuple[str, str]]:
        """What the server of this line tells; nothing where it does not."""
        told = argparse.Namespace(**{name: self._values.get(name) for name in ("url", "api_key", "ca_file")})
        with suppress(LlamaswapError, TypeError, AttributeError):  # the answer of another program may be anything
            yield from names_of(server_of(told)._replace(patience=PATIENCE))


# -- names that the server knows --


def models_of(command: str) -> Callable[[Server], Pairs]:
    """Which names make sense behind that command."""
    if command == "unload":
        return running
    return own_models if command == "load" else models


def models(server: Server) -> Iterator[tuple[str, str]]:
    """All that can be asked for, and other names for it."""
    for entry in server.get("/v1/models")["data"]:
        about = about_of(entry)
        yield str(entry["id"]), what_it_leads_to(about)
        yield from ((str(alias), f"an alias of {entry['id']}") for alias in about.get("aliases") or ())


def own_models(server: Server) -> Iterator[tuple[str, str]]:
    """Those that can be loaded: no selectors, and no models of peers."""
    yield from ((name, about) for name, about in models(server) if not about or about.startswith("an alias"))


def running(server: Server) -> Iterator[tuple[str, str]]:
    yield from ((str(row["model"]), str(row["state"])) for row in server.get("/running")["running"])


def profiles(server: Server) -> Iterator[tuple[str, str]]:
    yield from ((str(row["id"]), str(row.get("description") or "")) for row in server.get("/api/profiles")["profiles"])
