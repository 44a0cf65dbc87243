"""Warnings about commands that are written for a shell, though no shell reads them, or were changed by an editor.

Owns the list of such habits, and what to do about each. They are never refused, because any of them may be intended.
Text in single quotes counts as intended, and secrets are not shown. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from llamaswap_lib.command_words import Parts, mask_variable, parts_of, words_of
from llamaswap_lib.typed_yaml.problems import quoted

from .wrappers import ASSIGNMENT, Started, name_of

_BUILTINS = frozenset(
    (
        *("cd", "export", "source", ".", "exec", "ulimit", "umask", "set", "unset", "eval", "alias", "pushd", "popd"),
        *("if", "for", "while", "until", "case", "trap", "wait", "call", "setlocal", "title"),
    )
)
_CONNECTORS = frozenset(("&&", "||", ";", ";;", "|", "|&"))
_CONTINUATIONS = ("^", "`")  # of lines, on Windows
_is_ordinary = re.compile(r"[\w./:,=+@-]+\Z", re.ASCII).match  # a word that is nobody's habit but for the program
_is_output = re.compile(r"(?:[0-9]|&)?>{1,2}(?:&[0-9-]|(?![=&])\S*)").fullmatch
_is_input = re.compile(r"<{1,3}|<<-?\w+|<[\w~.-]*[./][\w./~-]*").fullmatch
_variable = re.compile(
    r"(?P<use>\$(?P<name>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*):?[-+=?][^}]*\}|%(?P<windows>[A-Z_]{3}\w*)%)"
)
_home = re.compile(r"(?:--?[\w-]+=)?~(?P<below>(?:/[^\s:]*)?)(?=:|\Z)")
_comment = re.compile(r"#+\Z|#(?![0-9a-fA-F]{3,8}\Z)[A-Za-z]")
_windows_path = re.compile(r"(?:--?[\w-]+=)?(?P<path>(?:[A-Za-z]:|\.{1,2})\\[\w.\\-]+)")
_MODEL_FILE = re.compile(r"\.(?:gguf|safetensors|onnx|ggml|pth|mmproj|bin)\Z", re.IGNORECASE)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_typographic_quote = re.compile("(?:[^\\s=]*=)?([\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb])")
_odd_blank = re.compile("[\u00a0\u2007\u202f\u200b\u2060\ufeff\u3000]")
_NO_SHELL = "commands are not run by a shell"
_AS_A_WORD = f"is passed to the program as a word, since {_NO_SHELL}"
_OWN_LINE = "give the comment a line of its own"
_TO_A_SHELL = "write the whole command as"
# What is right once the whole command is handed to a shell.
_RIGHT_IN_A_SHELL = frozenset(("assignment", "background", "redirection", "variable", "home", "substitution", "glob"))


class Habit(NamedTuple):
    """One of them."""

    message: str
    kind: str
    word: int = 0
    spoils: bool = False  # the program and its files are not what they look like, and are not looked for
    is_hint: bool = False


class Command:
    """A command, as the habits want it."""

    def __init__(
        self, text: str, argv: Sequence[str], shown: Sequence[str], starts: Started, macros: Collection[str]
    ) -> None:
        """`shown`: what may be shown of each word; `macros`: names that `${...}` may have here."""
        self.argv = argv
        self.shown = shown
        self.starts = starts
        self.macros = macros
        words = words_of(text)
        self._written = [text[word.start : word.stop] for word in words] if len(words) == len(argv) else list(argv)

    def is_secret(self, number: int) -> bool:
        return self.shown[number] != self.argv[number]

    def said(self, number: int) -> str:
        return quoted(self.shown[number])

    def written(self, number: int) -> str:
        """How the word stands in the text, quotes and all."""
        return self._written[number]


def habits_in(command: Command) -> list[Habit]:
    """Each kind once, at its first word, in the order of the words."""
    found: dict[str, Habit] = {}
    for number in range(len(command.argv)):
        written = command.written(number)
        if not _is_ordinary(written) or number == 0 or number in command.starts.programs:
            for habit in _habits_of(command, number, written, parts_of(written)):
                found.setdefault(habit.kind, habit._replace(word=number))
    if "shell" in found:
        spoils = any(habit.spoils for habit in found.values())
        found["shell"] = found["shell"]._replace(spoils=spoils)
        return [habit for habit in found.values() if habit.kind not in _RIGHT_IN_A_SHELL]
    return list(found.values())


def habit_in_value(entry: str, macros: Collection[str]) -> Habit | None:
    """The same of NAME=value under `env`, where no shell reads either."""
    value, is_secret = entry.partition("=")[2], mask_variable(entry) != entry
    if (match := _variable.search(value)) is not None:
        return Habit(_not_replaced(match, macros, is_secret=is_secret), kind="variable")
    if (match := _home.match(value)) is not None and not is_secret:
        return Habit(_not_home(quoted(value), match), kind="home")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return Habit("the quotes become a part of the value; leave them out", kind="quotes")
    return None


# -- one word; `written` is how it stands in the command --


def _habits_of(command: Command, number: int, written: str, parts: Parts) -> Iterator[Habit]:
    if parts.open_quote:
        yield _open_quote(command, number, written, parts)
    if number == command.starts.script:
        return
    if number == 0 and ASSIGNMENT.match(written):
        yield _assignment(command, number)
    elif not command.is_secret(number):
        yield from _typography(command, number, written, parts)
        yield from _windows(command, number, written)
        if not command.starts.has_shell:
            yield from _operators(command, number, written, parts)
            yield from _expansions(command, number, parts)
    elif not command.starts.has_shell and (match := _variable.fullmatch(command.argv[number].split("=")[-1])):
        yield Habit(_not_replaced(match, command.macros, is_secret=True), kind="variable")


def _open_quote(command: Command, number: int, written: str, parts: Parts) -> Habit:
    begins = " from there on" if command.is_secret(number) else f" from {quoted(written.split(maxsplit=1)[0])} on"
    cure = f"close it, or write \\{parts.open_quote} where it belongs to the word"
    return Habit(f"the quote {parts.open_quote} is not closed, so everything{begins} is one word; {cure}", kind="quote")


def _assignment(command: Command, number: int) -> Habit:
    cure = f"write it under env, beside cmd: env: [{quoted(command.shown[number])}]"
    message = f"{command.said(number)} is run as the program, since {_NO_SHELL}; {cure}"
    return Habit(message, kind="assignment", spoils=True)


def _typography(command: Command, number: int, written: str, parts: Parts) -> Iterator[Habit]:
    name = written.lstrip(_DASHES)
    if name != written and name:
        meant = quoted(("--" if len(name) > 1 else "-") + name)
        message = f"{command.said(number)} begins with a long dash (U+{ord(written[0]):04X})"
        yield Habit(f"{message}, which some editors put in place of two hyphens; write {meant}", kind="dash")
    if (match := _typographic_quote.match(parts.bare)) is not None:
        message = f"{command.said(number)} has a typographic quote (U+{ord(match[1]):04X}), which does not count as one"
        yield Habit(f"{message}; write \" or '", kind="typographic")
    if (match := _odd_blank.search(parts.bare)) is not None:
        message = (
            f"{command.said(number)} is one word, because the space in it is an unusual one (U+{ord(match[0]):04X})"
        )
        yield Habit(f"{message}; type it again", kind="blank")


def _windows(command: Command, number: int, written: str) -> Iterator[Habit]:
    match = _windows_path.match(written)
    if match is not None and match["path"] not in command.argv[number]:
        message = f"{quoted(written)} loses its backslashes, and {command.said(number)} is left; write / in place of \\"
        yield Habit(message, kind="backslash", spoils=True)
    if written in _CONTINUATIONS:
        cure = "leave it out: the next line belongs to the command anyway"
        yield Habit(f"{command.said(number)} is passed to the program as a word; {cure}", kind="continuation")


def _operators(command: Command, number: int, written: str, parts: Parts) -> Iterator[Habit]:
    said = command.said(number)
    if number == command.starts.programs[-1] and written in _BUILTINS:
        yield Habit(
            f"{said} works only in a shell, and {_NO_SHELL}; {_cure(command, number)}", kind="shell", spoils=True
        )
    if number in command.starts.programs and name_of(written) == "nohup":
        yield Habit(
            "nohup is not needed: llamaswap keeps the program running, and stops it; leave it out",
            kind="nohup",
            is_hint=True,
        )
    if written in _CONNECTORS or parts.bare.endswith(";"):
        yield Habit(f"{said} {_AS_A_WORD}; {_cure(command, 0)}", kind="shell")
    is_last = number == len(command.argv) - 1
    if written == "&" or (is_last and parts.bare.endswith("&") and not parts.bare.endswith("&&")):
        yield Habit(
            f"{said} {_AS_A_WORD}; leave it out: llamaswap does not wait for the program to end", kind="background"
        )
    elif _is_output(written):
        cure = "leave it out: the output is at /logs/stream/MODEL, and with logToStdout: both in the log"
        yield Habit(f"{said} {_AS_A_WORD}; {cure}", kind="redirection")
    elif _is_input(written):
        yield Habit(f"{said} {_AS_A_WORD}; {_TO_A_SHELL} sh -c '...'", kind="redirection")
    if number and _comment.match(written):
        yield Habit(
            f"{said} does not begin a comment after other words, and is passed to the program; {_OWN_LINE}",
            kind="comment",
        )


def _expansions(command: Command, number: int, parts: Parts) -> Iterator[Habit]:
    value, said = command.argv[number], command.said(number)
    if (match := _variable.search(parts.expanded)) is not None:
        yield Habit(_not_replaced(match, command.macros), kind="variable")
    if (match := _home.match(value)) is not None:
        yield Habit(_not_home(said, match), spoils=number in command.starts.programs, kind="home")
    if "$(" in parts.expanded or parts.expanded.count("`") > 1 or (parts.bare[:1] == "`" and len(parts.bare) > 1):
        yield Habit(f"{said} is not executed, since {_NO_SHELL}; {_TO_A_SHELL} sh -c '...'", kind="substitution")
    if _MODEL_FILE.search(value) and any(char in parts.bare for char in "*?"):
        yield Habit(f"{said} is not expanded, since {_NO_SHELL}; write the name of the file", kind="glob")


# -- cures --


def _cure(command: Command, number: int) -> str:
    """For what only a shell can do; `number` is the word with which it begins."""
    following = [None if command.is_secret(n) else command.argv[n] for n in range(number + 1, len(command.argv))]
    builtin, first = command.argv[number], following[0] if following else None
    if builtin in ("set", "export") and first and ASSIGNMENT.match(first):
        return f"write the variable under env, beside cmd: env: [{quoted(first.rstrip(';'))}]"
    script = f"cd {first.rstrip(';')} && exec ..." if builtin == "cd" and first else "..."
    return f"{_TO_A_SHELL} sh -c '{script}'"


def _not_replaced(match: re.Match[str], macros: Collection[str], *, is_secret: bool = False) -> str:
    if is_secret:
        return f"$NAME is not expanded, since {_NO_SHELL}; write ${{env.NAME}}"
    name = match["name"] or match["braced"] or match["windows"]
    meant = f"${{{name}}}" if name in macros else f"${{env.{name}}}"
    return f"{match['use']} is not expanded, since {_NO_SHELL}; write {meant}"


def _not_home(said: str, match: re.Match[str]) -> str:
    return f"{said} is not expanded, since {_NO_SHELL}; write the whole path, or ${{env.HOME}}{match['below']}"
